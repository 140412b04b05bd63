//! What the console is handed by the program it is part of.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use stockade_gateway::events::EventLog;
use stockade_gateway::evidence::Judge;
use stockade_gateway::link::LinkStatus;
use stockade_gateway::link::grants::Grants;
use stockade_gateway::name::{DeviceName, TrustDomain};
use stockade_gateway::registry::Registry;
use stockade_gateway::rollout::Rollouts;
use stockade_gateway::tls::Clock;
use stockade_profile::VerifyingKey;
use stockade_store::Store;
use stockade_vault::{Forgotten, Vault};
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use crate::http::Problem;
use stockade_web::limit::LoginLimit;

/// Password checks at once: each takes 46 MiB for a moment.
const HASHES: usize = 2;
/// Event streams at once.
const STREAMS: usize = 64;

/// Something the operator tells a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The topic it is published to.
    pub topic: String,
    /// What is published.
    pub payload: Vec<u8>,
    /// Quality of service, 0 to 2.
    pub qos: u8,
}

/// What becomes of a command: done, or why not.
pub type Published = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Publishes commands.
pub type Publisher = Arc<dyn Fn(Command) -> Published + Send + Sync>;

/// What becomes of forgetting a device: what the broker had of it, or why not all of that is gone.
pub type Forgetting = Pin<Box<dyn Future<Output = Result<Forgotten, String>> + Send>>;

/// Has the broker forget a device.
pub type Forget = Arc<dyn Fn(DeviceName) -> Forgetting + Send + Sync>;

/// Facts about this gateway that do not change while it runs.
#[derive(Debug, Clone)]
pub struct Info {
    /// The program's version.
    pub version: String,
    /// The trust domain of the devices' names.
    pub trust_domain: TrustDomain,
    /// SHA-256 of the CA's certificate, as people compare it.
    pub ca_fingerprint: String,
    /// Where devices enrol: `https://host:8444/.well-known/est`.
    pub est_url: String,
    /// Where devices connect: `host:8883`.
    pub mqtt_address: String,
}

/// Everything the console needs.
#[derive(Clone)]
pub struct ConsoleState {
    /// The devices and models.
    pub registry: Arc<Registry>,
    /// What happens.
    pub events: Arc<EventLog>,
    /// What devices say of themselves, where it is judged in this process.
    pub judge: Option<Arc<Judge>>,
    /// Roll-outs, where they run in this process.
    pub rollouts: Option<Arc<Rollouts>>,
    /// What devices may ask of each other, where the link runs in this process.
    pub grants: Option<Arc<Grants>>,
    /// How the link does, where it runs in this process.
    pub link: Option<Arc<LinkStatus>>,
    /// The data, where the vault runs in this process.
    pub vault: Option<Arc<Vault>>,
    /// Where sessions and the administrator are kept.
    pub store: Arc<dyn Store>,
    /// Sends commands to devices, where the broker runs in this process.
    pub publisher: Option<Publisher>,
    /// Has the broker forget devices that are erased, where it runs in this process.
    pub forget: Option<Forget>,
    /// Keys whose signature on a profile is trusted.
    pub signers: Arc<[VerifyingKey]>,
    /// Facts about the gateway.
    pub info: Info,
    /// What time it is.
    pub clock: Clock,
}

impl fmt::Debug for ConsoleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleState")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// The state together with what the console counts.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) state: ConsoleState,
    pub(crate) limit: LoginLimit,
    /// Attempts with tokens: who tries those does not keep anybody from logging in.
    pub(crate) tokens: LoginLimit,
    pub(crate) hashing: Semaphore,
    pub(crate) streams: Arc<Semaphore>,
}

pub(crate) type Shared = Arc<App>;

impl App {
    pub(crate) fn new(state: ConsoleState) -> Shared {
        Arc::new(Self {
            state,
            limit: LoginLimit::default(),
            tokens: LoginLimit::default(),
            hashing: Semaphore::new(HASHES),
            streams: Arc::new(Semaphore::new(STREAMS)),
        })
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.state.clock.now()
    }

    /// Does something that blocks, where that is allowed.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let app = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&app)).await {
            Ok(result) => result,
            Err(error) => Err(Problem::ours("finish its work", &error)),
        }
    }
}
