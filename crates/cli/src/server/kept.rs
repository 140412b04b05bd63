//! What the data directory keeps, opened.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use stockade_gateway::events::EventLog;
use stockade_gateway::mqtt::Around;
use stockade_gateway::name::TrustDomain;
use stockade_gateway::pki::{Pki, PkiSettings};
use stockade_gateway::registry::{Registry, RegistrySettings};
use stockade_gateway::tls::Clock;
use stockade_store::{Bus, DataDir, Durability, Journal, JournalOptions, Sqlite, Store};
use stockade_vault::Vault;

use super::tasks::OfRegistry;
use crate::config::{self, Config};

/// Where the state is kept, in the data directory.
pub(super) const STORE: &str = "state.sqlite";
/// Where the CA is kept, in the data directory.
pub(super) const CA: &str = "ca";
/// With `durability = "interval"`, the medium is synced this often.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Everything that survives a restart.
pub(super) struct Kept {
    pub(super) store: Arc<dyn Store>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) events: Arc<EventLog>,
    pub(super) registry: Arc<Registry>,
    pub(super) domain: TrustDomain,
    pub(super) pki: Arc<Pki>,
    pub(super) vault: Arc<Vault>,
}

impl Kept {
    pub(super) fn open(config: &Config, data: &DataDir) -> anyhow::Result<Self> {
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&data.join(STORE))?);
        let journal = Journal::open(&data.subdir("journal")?, journal_options(config))?;
        let bus: Arc<dyn Bus> = Arc::new(journal);
        let events = Arc::new(EventLog::default());
        let settings = registry_settings(config)?;
        let registry = Arc::new(Registry::open(
            Arc::clone(&store),
            Arc::clone(&events),
            settings,
        )?);
        let domain = TrustDomain::new(&config.gateway.trust_domain)
            .context("in stockade.toml, [gateway] trust-domain")?;
        let mut settings = PkiSettings::new(domain.clone());
        settings
            .server_names
            .extend(config.gateway.names.iter().cloned());
        let pki = Arc::new(Pki::open(&data.subdir(CA)?, settings, Clock::system())?);
        let profiles = Arc::new(OfRegistry(Arc::clone(&registry)));
        let keys = data.subdir("vault")?;
        let vault = Arc::new(Vault::open(
            Arc::clone(&store),
            Arc::clone(&bus),
            &keys,
            profiles,
        )?);
        Ok(Self {
            store,
            bus,
            events,
            registry,
            domain,
            pki,
            vault,
        })
    }

    /// What the MQTT listener works with.
    pub(super) fn around(&self) -> Around {
        Around {
            registry: Arc::clone(&self.registry),
            events: Arc::clone(&self.events),
            bus: Arc::clone(&self.bus),
            clock: Clock::system(),
        }
    }
}

fn journal_options(config: &Config) -> JournalOptions {
    let durability = match config.storage.durability {
        config::Durability::Commit => Durability::Commit,
        config::Durability::Interval => Durability::Interval(SYNC_INTERVAL),
    };
    JournalOptions {
        durability,
        ..JournalOptions::default()
    }
}

fn registry_settings(config: &Config) -> anyhow::Result<RegistrySettings> {
    Ok(RegistrySettings {
        violations_per_minute: config.quarantine.breaches_per_minute,
        code_life: config.enrolment.code_life.0.try_into()?,
        return_window: config.enrolment.comeback_window.0.try_into()?,
        ..RegistrySettings::default()
    })
}
