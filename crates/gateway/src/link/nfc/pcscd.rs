//! pcscd's own protocol over its Unix socket, version 4.4 or 4.5: what libpcsclite speaks, without loading it (decision 0262).
//!
//! Each request is a header (size of the body, command) and a structure of fixed size in the byte order of the machine; the answer is
//! that structure, filled in. Whoever closes the socket lets go of its cards.

use std::io;
use std::path::Path;
use std::time::Duration;

use stockade_link::bearer::apdu::{COMMAND_MAX, RESPONSE_MAX};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// How long pcscd may take to answer: a card may ask for more time again and again.
const ANSWER: Duration = Duration::from_secs(20);

const ESTABLISH_CONTEXT: u32 = 0x01;
const CONNECT: u32 = 0x04;
const DISCONNECT: u32 = 0x06;
const TRANSMIT: u32 = 0x09;
const VERSION: u32 = 0x11;
const WAIT_FOR_CHANGE: u32 = 0x13;
const STOP_WAITING: u32 = 0x14;

/// Scope of a context: the whole machine.
const SCOPE_SYSTEM: u32 = 2;
/// Nobody else speaks to the card meanwhile.
const SHARE_EXCLUSIVE: u32 = 1;
/// T=0 or T=1; a contactless card has T=1.
const PROTOCOLS: u32 = 3;
/// Result: this user may not.
const NO_ACCESS: u32 = 0x8010_006a;
/// Bit of a reader's state: a card is there.
const PRESENT: u32 = 4;
/// Readers in a list, and the bytes of each.
const READERS: usize = 16;
const READER: usize = 184;
/// Longest name of a reader, with a nought after it.
const NAME: usize = 128;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The connection is of no more use.
    #[error("pcscd: {0}")]
    Daemon(#[from] io::Error),
    /// pcscd, the reader or the card would not.
    #[error("{}", reason(*.0))]
    Refused(u32),
}

/// A reader, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reader {
    pub(super) name: String,
    /// Counts the cards that come and go.
    pub(super) changes: u32,
    pub(super) card: bool,
}

/// A connection with pcscd.
#[derive(Debug)]
pub(super) struct Daemon {
    socket: UnixStream,
    context: u32,
}

/// A card that was connected to.
#[derive(Debug)]
pub(super) struct Card {
    handle: u32,
    protocol: u32,
}

impl Daemon {
    pub(super) async fn connect(path: &Path) -> Result<Self, Failure> {
        let socket = UnixStream::connect(path).await?;
        let mut daemon = Self { socket, context: 0 };
        let first = daemon.call(VERSION, &bytes(&[4, 4, 0])).await;
        // Whom polkit does not let in is told nothing.
        let first = first.map_err(|failure| match failure {
            Failure::Daemon(error) if error.kind() != io::ErrorKind::TimedOut => {
                Failure::Refused(NO_ACCESS)
            }
            other => other,
        });
        // The releases 2.3.0 to 2.4.0 know 4.5 alone; what we ask for is the same in both.
        let [_, minor, mut result] = words(&first?);
        if minor == 5 && result != 0 {
            [_, _, result] = words(&daemon.call(VERSION, &bytes(&[4, 5, 0])).await?);
        }
        check(result)?;
        let [_, context, result] = words(
            &daemon
                .call(ESTABLISH_CONTEXT, &bytes(&[SCOPE_SYSTEM, 0, 0]))
                .await?,
        );
        check(result)?;
        daemon.context = context;
        Ok(daemon)
    }

    /// The readers, and whether there is one to turn to: if not, waits until something changes.
    pub(super) async fn next(
        &mut self,
        wanted: impl Fn(&Reader) -> bool,
    ) -> Result<Option<Reader>, Failure> {
        self.request(WAIT_FOR_CHANGE, &[]).await?;
        let mut list = [0; READERS * READER];
        self.answer(&mut list).await?;
        let found = list.chunks_exact(READER).filter_map(reader).find(wanted);
        if found.is_some() {
            self.request(STOP_WAITING, &[]).await?;
        }
        // Eight bytes come in either case: what stopped, or what changed.
        let mut change = [0; 8];
        match found {
            Some(_) => self.answer(&mut change).await?,
            None => drop(self.socket.read_exact(&mut change).await?),
        }
        Ok(found)
    }

    pub(super) async fn card(&mut self, reader: &str) -> Result<Card, Failure> {
        let mut body = bytes(&[self.context]);
        body.extend(reader.as_bytes().iter().take(NAME - 1));
        body.resize(4 + NAME, 0);
        body.extend(bytes(&[SHARE_EXCLUSIVE, PROTOCOLS, 0, 0, 0]));
        let answer = self.call(CONNECT, &body).await?;
        let [_, _, handle, protocol, result] = words(answer.get(4 + NAME..).unwrap_or_default());
        check(result)?;
        Ok(Card { handle, protocol })
    }

    pub(super) async fn transmit(
        &mut self,
        card: &Card,
        command: &[u8],
        response: &mut [u8; RESPONSE_MAX],
    ) -> Result<usize, Failure> {
        debug_assert!(command.len() <= COMMAND_MAX, "commands are short");
        let length = u32::try_from(command.len()).unwrap_or(u32::MAX);
        let most = u32::try_from(RESPONSE_MAX).unwrap_or(u32::MAX);
        // Two of libpcsclite's SCARD_IO_REQUEST, of which only the protocol means something.
        let body = bytes(&[card.handle, card.protocol, 16, length, 0, 16, most, 0]);
        self.request(TRANSMIT, &body).await?;
        self.socket.write_all(command).await?;
        let mut answer = [0; 32];
        self.answer(&mut answer).await?;
        let [_, _, _, _, _, _, length, result] = words(&answer);
        check(result)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let response = response.get_mut(..length);
        let response = response.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        self.answer(response).await?;
        Ok(length)
    }

    pub(super) async fn disconnect(&mut self, card: &Card) -> Result<(), Failure> {
        let [_, _, _] = words(&self.call(DISCONNECT, &bytes(&[card.handle, 0, 0])).await?);
        Ok(())
    }

    async fn call(&mut self, command: u32, body: &[u8]) -> Result<Vec<u8>, Failure> {
        self.request(command, body).await?;
        let mut answer = vec![0; body.len()];
        self.answer(&mut answer).await?;
        Ok(answer)
    }

    async fn request(&mut self, command: u32, body: &[u8]) -> Result<(), Failure> {
        let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let request = [bytes(&[size, command]), body.to_vec()].concat();
        Ok(self.socket.write_all(&request).await?)
    }

    async fn answer(&mut self, answer: &mut [u8]) -> Result<(), Failure> {
        let read = tokio::time::timeout(ANSWER, self.socket.read_exact(answer)).await;
        read.map_err(io::Error::from)??;
        Ok(())
    }
}

fn reader(state: &[u8]) -> Option<Reader> {
    let (name, rest) = state.split_at_checked(NAME)?;
    let name = name
        .split(|byte| *byte == 0)
        .next()
        .filter(|it| !it.is_empty())?;
    let [changes, state] = words(rest);
    Some(Reader {
        name: String::from_utf8_lossy(name).into_owned(),
        changes,
        card: state & PRESENT == PRESENT,
    })
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|it| it.to_ne_bytes()).collect()
}

/// The first words of a structure; noughts, where it is shorter.
fn words<const N: usize>(structure: &[u8]) -> [u32; N] {
    let mut words = structure
        .as_chunks()
        .0
        .iter()
        .map(|it| u32::from_ne_bytes(*it));
    std::array::from_fn(|_| words.next().unwrap_or_default())
}

fn check(result: u32) -> Result<(), Failure> {
    if result == 0 {
        Ok(())
    } else {
        Err(Failure::Refused(result))
    }
}

fn reason(result: u32) -> String {
    let reason = match result {
        0x8010_000b => "another program uses the card",
        0x8010_000c | 0x8010_0068 | 0x8010_0069 => "the card was taken away",
        0x8010_001e => "pcscd speaks another version of its protocol than 4.4 and 4.5",
        NO_ACCESS => "pcscd does not let this user speak to cards",
        other => return format!("PC/SC error {other:#010x}"),
    };
    reason.to_owned()
}
