//! The NFC bearer: a reader of this host, by pcscd. A device is a card that answers; the gateway asks it again and again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use stockade_link::bearer::MESSAGE_MAX;
use stockade_link::bearer::apdu::{self, ApduError, COMMAND_MAX, Exchange, RESPONSE_MAX};

use self::pcscd::{Card, Daemon, Failure, Reader};
use super::bearer::{BearerError, Datagram, Place, Port, Retry, deliver, drain};

mod pcscd;

/// Where pcscd listens.
const SOCKET: &str = "/run/pcscd/pcscd.comm";
/// How long to wait before pcscd, or a card that failed, is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long to wait before a card is asked again: at first and at most. It is answered at once.
const ASK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(80));

/// Which reader: one whose name has this in it; any, when nothing is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    reader: String,
    socket: PathBuf,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nfc")?;
        if self.reader.is_empty() {
            return Ok(());
        }
        write!(f, ":{}", self.reader)
    }
}

impl FromStr for Settings {
    type Err = BearerError;

    fn from_str(text: &str) -> Result<Self, BearerError> {
        Ok(Self {
            reader: text.to_owned(),
            socket: SOCKET.into(),
        })
    }
}

/// Speaks with one card after the other until the core is gone. Where pcscd is not there, it is tried again.
pub async fn run(settings: Settings, bearer: u16, mut port: Port) {
    let mut place = Place::Near { bearer, peer: 0 };
    let mut retry = Retry::new(AGAIN, AGAIN, &port);
    while let Err(error) = serve(&settings, &mut place, &mut port, &mut retry).await {
        retry.failed(&error);
        if !retry.wait(&mut port).await {
            return;
        }
    }
}

/// One connection with pcscd. Ends well only when the core is gone.
async fn serve(
    settings: &Settings,
    place: &mut Place,
    port: &mut Port,
    retry: &mut Retry,
) -> Result<(), Failure> {
    let mut daemon = Daemon::connect(&settings.socket).await?;
    tracing::info!(%place, "cards are waited for");
    retry.works();
    // Cards that are there and do not speak as we do: by reader, with the count of its changes.
    let mut strangers: BTreeMap<String, u32> = BTreeMap::new();
    loop {
        let wanted = |it: &Reader| {
            it.card
                && it.name.contains(&settings.reader)
                && strangers.get(&it.name) != Some(&it.changes)
        };
        let reader = tokio::select! {
            () = drain(port) => return Ok(()),
            reader = daemon.next(wanted) => reader?,
        };
        let Some(reader) = reader else { continue };
        if let Place::Near { peer, .. } = place {
            *peer += 1;
        }
        match card(&mut daemon, &reader, *place, port).await {
            Ok(()) => return Ok(()),
            Err(End::Pcsc(Failure::Daemon(error))) => return Err(error.into()),
            Err(End::Pcsc(Failure::Refused(_))) => tokio::time::sleep(AGAIN).await,
            Err(End::Stranger) => drop(strangers.insert(reader.name, reader.changes)),
        }
    }
}

/// Why a card is not spoken to any more.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Pcsc(#[from] Failure),
    #[error("the card does not speak as we do")]
    Stranger,
}

impl From<ApduError> for End {
    fn from(_: ApduError) -> Self {
        Self::Stranger
    }
}

async fn card(
    daemon: &mut Daemon,
    reader: &Reader,
    place: Place,
    port: &mut Port,
) -> Result<(), End> {
    let card = daemon.card(&reader.name).await?;
    let end = speak(daemon, &card, place, port).await;
    tracing::debug!(%place, reader = reader.name, ?end, "the card is left");
    if !matches!(end, Err(End::Pcsc(Failure::Daemon(_)))) {
        daemon.disconnect(&card).await?;
    }
    end
}

/// Selects us on a card and carries messages both ways until it is gone, or the core is.
async fn speak(daemon: &mut Daemon, card: &Card, place: Place, port: &mut Port) -> Result<(), End> {
    let mut response = [0; RESPONSE_MAX];
    let length = daemon
        .transmit(card, &apdu::select(), &mut response)
        .await?;
    if !apdu::selected(response.get(..length).unwrap_or_default()) {
        return Err(End::Stranger);
    }
    let mut message = Vec::new();
    let mut pause = ASK.0;
    loop {
        let mut buffer = [0; MESSAGE_MAX];
        let mut exchange = Exchange::new(&message, &mut buffer);
        let length = loop {
            let mut command = [0; COMMAND_MAX];
            let length = exchange.command(&mut command);
            let command = command.get(..length).unwrap_or_default();
            let length = daemon.transmit(card, command, &mut response).await?;
            if let Some(length) = exchange.response(response.get(..length).unwrap_or_default())? {
                break length;
            }
        };
        let idle = message.is_empty() && length == 0;
        message.clear();
        if let Some(bytes) = buffer.get(..length).filter(|it| !it.is_empty()) {
            let bytes = bytes.to_vec();
            if deliver(port, Datagram { place, bytes }).is_err() {
                return Ok(());
            }
        }
        pause = if idle { (pause * 2).min(ASK.1) } else { ASK.0 };
        tokio::select! {
            datagram = port.to_send.recv() => {
                let Some(datagram) = datagram else { return Ok(()) };
                if datagram.place == place && datagram.bytes.len() <= MESSAGE_MAX {
                    message = datagram.bytes;
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
