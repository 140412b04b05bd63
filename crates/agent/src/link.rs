//! The connection to the gateway: evidence and events up, profiles and commands down.
//!
//! One loop: it keeps a session, sends what waits, and hands what comes to the helper, which checks and does it. Nothing here can
//! change the device; a gateway that is away for weeks costs one attempt in a while.

mod pace;
mod repair;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use stockade_api::helper::{Answer, Request, Weight};
use stockade_api::signed::MOST_EVIDENCE;
use stockade_mqtt::{PacketId, ReasonCode};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::pace::Pace;
use self::repair::{Repaired, Repairs};
use crate::helper::{Helper, HelperError};
use crate::outbox::Outbox;
use crate::session::{Incoming, Session, SessionError};
use crate::standing::Standing;

/// Between two pieces of evidence when nothing happens.
const EVIDENCE: Duration = Duration::from_mins(5);
/// Between two looks for events of the helper.
const LOOK: Duration = Duration::from_secs(15);
/// After something changed, before evidence of it: changes seldom come alone.
const SETTLE: Duration = Duration::from_secs(3);
/// The keep alive that is promised, in seconds: evidence comes about as often.
const KEEP_ALIVE: u16 = 420;
/// How long an answer may take before the session is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the gateway is and who we are.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The gateway's name or address.
    pub gateway: String,
    /// Its port for MQTT.
    pub port: u16,
    /// This device's id.
    pub device: String,
}

/// Makes the TLS settings of the identity that is in use now.
pub type Identity = Box<dyn Fn() -> anyhow::Result<Arc<ClientConfig>> + Send>;

/// What the link works with.
pub struct Link {
    /// Where to.
    pub peer: Peer,
    /// The device's identity.
    pub identity: Identity,
    /// Who does what comes.
    pub helper: Arc<Helper>,
    /// Where is noted how it stands.
    pub standing: Arc<Standing>,
    /// What waits for the gateway.
    pub outbox: Outbox,
    /// Told when a command says that the certificate is to be renewed.
    pub renew: Arc<Notify>,
    /// Told by whoever changed something: the certificate was renewed, evidence is wanted soon.
    pub changed: Arc<Notify>,
    /// Told of what the gateway is to know at once.
    pub urgent: Arc<Notify>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("the gateway's address is not known")]
    Name(#[source] std::io::Error),
    #[error("the gateway's name is none")]
    NoName,
    #[error("the identity can not be used")]
    Identity(#[source] anyhow::Error),
    #[error("the gateway does not answer")]
    Silent,
    #[error("the gateway takes no subscription")]
    NotSubscribed,
    #[error("the firewall has new rules: a new session shows that they let us through")]
    Trial,
}

/// What the helper told.
#[derive(Debug, Default)]
struct Heard {
    /// Something changes how the device stands.
    changes: bool,
    /// The firewall's rules are on trial.
    trial: bool,
}

/// What was sent and is not answered.
#[derive(Debug, Default)]
struct Flying {
    evidence: Option<PacketId>,
    /// With the number of the last event in it.
    events: Option<(PacketId, u64)>,
    /// When the oldest of it was sent.
    since: Option<Instant>,
}

impl Link {
    /// Keeps the connection, for as long as the process lives.
    pub async fn run(mut self) -> std::convert::Infallible {
        let mut pace = Pace::default();
        let (repairs, mut repaired) =
            Repairs::start(Arc::clone(&self.helper), Arc::clone(&self.renew));
        loop {
            self.gather().await;
            let began = Instant::now();
            let Err(over) = self.session(&repairs, &mut repaired).await;
            self.standing.note(|noted| {
                noted.connected = None;
                noted.trouble = Some(stockade_host::chain(&over));
            });
            let pause = pace.pause(began.elapsed(), random());
            let until = Instant::now() + pause;
            // Events that happen meanwhile are kept: the helper has room for fewer.
            while Instant::now() < until {
                tokio::select! {
                    () = sleep_until(until.min(Instant::now() + LOOK)) => {}
                    // It is worth a try before its time.
                    () = self.urgent.notified() => break,
                }
                self.gather().await;
            }
        }
    }

    async fn session(
        &mut self,
        repairs: &Repairs,
        repaired: &mut mpsc::Receiver<Repaired>,
    ) -> Result<std::convert::Infallible, Over> {
        let mut session = tokio::time::timeout(PATIENCE, self.connect())
            .await
            .map_err(|_elapsed| Over::Silent)??;
        let subscribed = session
            .subscribe(&format!("stockade/{}/repair", self.peer.device))
            .await?;
        self.standing.note(|noted| {
            noted.connected = Some(now());
            noted.trouble = None;
        });
        // Whatever becomes of it: the helper notes it, and asks again when it matters.
        let _noted = self.helper.ask(&Request::Connected).await;
        let mut flying = Flying::default();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut evidence_at = Instant::now();
        let mut looking = None;
        // An empty batch is a greeting: it makes the gateway send what waits for us.
        let mut greet = true;
        loop {
            let may_send = !greet && flying.evidence.is_none() && looking.is_none();
            if may_send && Instant::now() >= evidence_at {
                evidence_at = Instant::now() + EVIDENCE;
                // A look takes a while, and what cannot wait does not wait for it.
                looking = Some(tokio::spawn(self.evidence()));
            }
            tokio::select! {
                incoming = session.next() => match incoming? {
                    Incoming::Subscribed(id, reasons) if id == subscribed => {
                        if reasons.iter().any(|reason| reason.is_error()) {
                            return Err(Over::NotSubscribed);
                        }
                        self.send_events(&mut session, &mut flying, true).await?;
                        greet = false;
                    }
                    Incoming::Published(id, reason) => {
                        self.answered(id, reason, &mut flying);
                        self.send_events(&mut session, &mut flying, false).await?;
                    }
                    Incoming::Message { payload, .. } => repairs.hand_over(payload),
                    Incoming::Subscribed(..) | Incoming::Pong => {}
                },
                Some(done) = repaired.recv() => {
                    evidence_at = Instant::now();
                    if let Repaired::Evidence(signed) = done {
                        evidence_at += EVIDENCE;
                        self.send_evidence(&mut session, &signed, &mut flying).await?;
                    }
                }
                signed = over(&mut looking) => {
                    looking = None;
                    if let Some(signed) = signed {
                        self.send_evidence(&mut session, &signed, &mut flying).await?;
                    }
                }
                _ = look.tick() => {
                    if flying.since.is_some_and(|since| since.elapsed() > PATIENCE) {
                        return Err(Over::Silent);
                    }
                    let heard = self.gather().await;
                    // A session from before the rules would not show whether they let a new one through.
                    if heard.trial {
                        return Err(Over::Trial);
                    }
                    if heard.changes {
                        evidence_at = evidence_at.min(Instant::now() + SETTLE);
                    }
                    if !greet {
                        self.send_events(&mut session, &mut flying, false).await?;
                    }
                }
                () = self.urgent.notified() => {
                    self.take_events().await;
                    if !greet {
                        self.send_events(&mut session, &mut flying, false).await?;
                    }
                }
                () = self.changed.notified() => evidence_at = evidence_at.min(Instant::now() + SETTLE),
                () = sleep_until(evidence_at), if may_send && looking.is_none() => {}
            }
        }
    }

    async fn connect(&self) -> Result<Session, Over> {
        let tls = (self.identity)().map_err(Over::Identity)?;
        let host = (self.peer.gateway.as_str(), self.peer.port);
        let found = tokio::net::lookup_host(host).await.map_err(Over::Name)?;
        let all: Vec<SocketAddr> = found.collect();
        let name = ServerName::try_from(self.peer.gateway.clone()).map_err(|_| Over::NoName)?;
        let mut last = Over::NoName;
        for peer in all {
            let to = Session::connect_to(
                peer,
                name.clone(),
                Arc::clone(&tls),
                &self.peer.device,
                KEEP_ALIVE,
            );
            match to.await {
                Ok(session) => return Ok(session),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Takes over what happened at the helper.
    async fn gather(&mut self) -> Heard {
        let mut heard = Heard::default();
        loop {
            let Ok(Answer::Status(status)) = self.helper.ask(&Request::Status).await else {
                return heard;
            };
            heard.trial = status.trial.is_some();
            let last = status.last_event;
            if last == self.outbox.core().taken() {
                return heard;
            }
            let after = if last < self.outbox.core().taken() {
                0
            } else {
                self.outbox.core().taken()
            };
            let Ok(Answer::Events { events, oldest }) =
                self.helper.ask(&Request::Events { after }).await
            else {
                return heard;
            };
            if events.is_empty() {
                return heard;
            }
            heard.changes |= events.iter().any(|event| event.weight > Weight::Note);
            self.outbox.take(events, oldest, last);
            let core = self.outbox.core();
            let (waiting, dropped) = (core.len(), core.lost());
            self.standing
                .note(|noted| (noted.waiting, noted.dropped) = (waiting, dropped));
        }
    }

    /// Takes over events alone, without asking how the device stands: that waits for the firewall.
    async fn take_events(&mut self) {
        let after = self.outbox.core().taken();
        if let Ok(Answer::Events { events, oldest }) =
            self.helper.ask(&Request::Events { after }).await
            && let Some(last) = events.last().map(|event| event.number)
        {
            self.outbox.take(events, oldest, last);
        }
    }

    /// Evidence, signed; none while it cannot be had, which is the helper's to tell.
    fn evidence(&self) -> impl Future<Output = Option<Vec<u8>>> + Send + 'static {
        let (helper, standing) = (Arc::clone(&self.helper), Arc::clone(&self.standing));
        async move {
            match helper.ask(&Request::Evidence { nonce: None }).await {
                Ok(Answer::Evidence { signed }) if signed.0.len() <= MOST_EVIDENCE => {
                    standing.note(|noted| noted.trouble = None);
                    Some(signed.0)
                }
                Err(HelperError::Refused(refused)) => {
                    standing.note(|noted| noted.trouble = Some(refused.why));
                    None
                }
                Ok(_) | Err(HelperError::Away(_) | HelperError::Slow) => None,
            }
        }
    }

    async fn send_evidence(
        &self,
        session: &mut Session,
        signed: &[u8],
        flying: &mut Flying,
    ) -> Result<(), Over> {
        let topic = format!("stockade/{}/posture", self.peer.device);
        flying.evidence = Some(session.publish(&topic, signed).await?);
        flying.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    async fn send_events(
        &self,
        session: &mut Session,
        flying: &mut Flying,
        greet: bool,
    ) -> Result<(), Over> {
        if flying.events.is_some() || (!greet && self.outbox.core().is_empty()) {
            return Ok(());
        }
        let batch = self.outbox.batch();
        let last = batch.events.last().map_or(0, |event| event.number);
        let topic = format!("stockade/{}/events", self.peer.device);
        flying.events = Some((session.publish(&topic, &batch.write()).await?, last));
        flying.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn answered(&mut self, id: PacketId, reason: ReasonCode, flying: &mut Flying) {
        if flying.evidence == Some(id) {
            flying.evidence = None;
            if !reason.is_error() {
                self.standing.note(|noted| noted.evidence = Some(now()));
            }
        }
        if let Some((_, last)) = flying.events.take_if(|(flies, _)| *flies == id)
            && !reason.is_error()
        {
            self.outbox.acknowledged(last);
            let waiting = self.outbox.core().len();
            self.standing.note(|noted| noted.waiting = waiting);
        }
        flying.since = (flying.evidence.is_some() || flying.events.is_some()).then(Instant::now);
    }
}

/// Waits for a look that is under way; for good where there is none.
async fn over(looking: &mut Option<JoinHandle<Option<Vec<u8>>>>) -> Option<Vec<u8>> {
    match looking {
        Some(looking) => looking.await.ok().flatten(),
        None => std::future::pending().await,
    }
}

/// By the clock of the device: for the page.
fn now() -> SystemTime {
    SystemTime::now()
}

/// A number that other devices do not have at the same time.
fn random() -> u32 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => u32::from_le_bytes(bytes),
        // Then all wait equally long, which is no danger.
        Err(_unspecified) => 0,
    }
}
