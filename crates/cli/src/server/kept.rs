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
/// The CA's certificate for whoever sets up a device, in the data directory.
pub(super) const CA_FOR_DEVICES: &str = "ca.pem";
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

/// Refuses a directory that a gateway once ran on, and that lost a part since. Making the part anew would look like a
/// start and be a loss: an empty registry, a CA that no device knows, messages that were acknowledged and are gone.
fn whole(data: &DataDir) -> anyhow::Result<()> {
    // Written at the end of each start, when all the others are there.
    if !data.join(CA_FOR_DEVICES).exists() {
        return Ok(());
    }
    let parts = [
        (STORE, "the registry and what the vault stored"),
        ("journal", "sessions and messages"),
        ("ca/ca.key", "the CA's key"),
        ("ca/ca.pem", "the CA's certificate"),
    ];
    for (part, what) in parts {
        let path = data.join(part);
        let there = if path.is_dir() {
            fs_err::read_dir(&path)?.next().is_some()
        } else {
            fs_err::metadata(&path).is_ok_and(|file| file.len() > 0)
        };
        anyhow::ensure!(
            there,
            "{} is missing or empty: {what}; restore the directory from a backup, all of it, or start with a new one",
            path.display()
        );
    }
    Ok(())
}

impl Kept {
    pub(super) fn open(config: &Config, data: &DataDir) -> anyhow::Result<Self> {
        whole(data)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &[&str]) -> (tempfile::TempDir, DataDir) {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(&dir.path().join("data")).unwrap();
        for name in ["journal", CA] {
            data.subdir(name).unwrap();
        }
        for name in files {
            fs_err::write(data.join(name), "x").unwrap();
        }
        (dir, data)
    }

    #[test]
    fn a_part_that_got_lost_is_not_made_anew() {
        let all = [
            "state.sqlite",
            "journal/1.segment",
            "ca/ca.key",
            "ca/ca.pem",
            "ca.pem",
        ];
        let (_dir, data) = with(&all);
        whole(&data).unwrap();
        for (number, lost) in all.iter().take(4).enumerate() {
            let mut left = all.to_vec();
            left.remove(number);
            let (_dir, data) = with(&left);
            let told = whole(&data).unwrap_err().to_string();
            let named = lost.split("/1").next().unwrap();
            assert!(told.contains(named), "{lost}: {told}");
        }
    }

    #[test]
    fn a_first_start_that_was_cut_short_goes_on() {
        let (_dir, data) = with(&["state.sqlite", "ca/ca.key"]);
        whole(&data).unwrap();
    }
}
