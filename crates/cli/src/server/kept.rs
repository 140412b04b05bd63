//! What the data directory keeps, opened.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use stockade_gateway::events::EventLog;
use stockade_gateway::evidence::Judge;
use stockade_gateway::link::grants::Grants;
use stockade_gateway::link::keys::LinkKeys;
use stockade_gateway::mqtt::Around;
use stockade_gateway::name::TrustDomain;
use stockade_gateway::pki::{Pki, PkiSettings};
use stockade_gateway::registry::{Registry, RegistrySettings};
use stockade_gateway::rollout::Rollouts;
use stockade_gateway::tls::Clock;
use stockade_store::{Bus, DataDir, Durability, Journal, JournalOptions, Store};
use stockade_vault::{Keys, Profiles, RootPlace, SealedBus, Vault, VaultError};
use time::OffsetDateTime;

use super::database;
use super::tasks::OfRegistry;
use crate::config::{self, Config, Listen};
use crate::out;

/// Where the state is kept, in the data directory.
pub(super) const STORE: &str = "state.sqlite";
/// The CA's certificate for whoever sets up a device, in the data directory.
pub(super) const CA_FOR_DEVICES: &str = "ca.pem";
/// Where the CA is kept, in the data directory.
pub(super) const CA: &str = "ca";
/// Where the link's keys are kept, in the data directory.
const LINK: &str = "link";
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
    pub(super) judge: Arc<Judge>,
    pub(super) rollouts: Arc<Rollouts>,
    pub(super) grants: Arc<Grants>,
}

/// Refuses a directory that a gateway once ran on, and that lost a part since. Making the part anew would look like a
/// start and be a loss: an empty registry, a CA that no device knows, messages that were acknowledged and are gone.
fn whole(data: &DataDir, (store, what): (&str, &str)) -> anyhow::Result<()> {
    // Written at the end of each start, when all the others are there.
    if !data.join(CA_FOR_DEVICES).exists() {
        return Ok(());
    }
    let parts = [
        (store, what),
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

/// Refuses to make a key of the link anew that constrained devices were built with: none of them could be reached again.
fn link_whole(data: &DataDir, constrained: usize) -> anyhow::Result<()> {
    for key in ["edhoc.key", "grants.key"] {
        let path = data.join(LINK).join(key);
        anyhow::ensure!(
            constrained == 0 || path.exists(),
            "{} is missing, and {constrained} constrained devices know the gateway by it; restore the file from a backup, or start \
             with a new data directory and provision the devices anew",
            path.display()
        );
    }
    Ok(())
}

impl Kept {
    pub(super) fn open(config: &Config, data: &DataDir) -> anyhow::Result<Self> {
        database::same_as_before(config, data)?;
        whole(data, database::part(config))?;
        let store = database::open(config, data, false)?;
        let journal = Journal::open(&data.subdir("journal")?, journal_options(config))?;
        let events = Arc::new(EventLog::default());
        let settings = registry_settings(config)?;
        let registry = Arc::new(Registry::open(
            Arc::clone(&store),
            Arc::clone(&events),
            settings,
        )?);
        let profiles: Arc<dyn Profiles> = Arc::new(OfRegistry(Arc::clone(&registry)));
        let vault = data.subdir("vault")?;
        let root = root_key(config, &vault)?;
        let keys = Arc::new(Keys::open(Arc::clone(&store), root, &vault)?);
        let bus: Arc<dyn Bus> = Arc::new(SealedBus::open(
            Arc::new(journal),
            Arc::clone(&store),
            Arc::clone(&keys),
            Arc::clone(&profiles),
        )?);
        let vault = Arc::new(Vault::open(
            Arc::clone(&store),
            Arc::clone(&bus),
            keys,
            &vault,
            profiles,
        )?);
        settle(&vault)?;
        let domain = TrustDomain::new(&config.gateway.trust_domain)
            .context("in stockade.toml, [gateway] trust-domain")?;
        let mut settings = PkiSettings::new(domain.clone());
        settings
            .server_names
            .extend(config.gateway.names.iter().cloned());
        // Where it is told to listen is where devices are told to go.
        let Listen {
            mqtt, est, console, ..
        } = config.listen;
        let told = BTreeSet::from([mqtt, est, console].map(|it| it.ip()));
        let own = told
            .iter()
            .filter(|it| !it.is_unspecified() && !it.is_loopback());
        settings.server_names.extend(own.map(ToString::to_string));
        let pki = Arc::new(Pki::open(&data.subdir(CA)?, settings, Clock::system())?);
        let judge = Arc::new(Judge::open(
            Arc::clone(&store),
            Arc::clone(&bus),
            Arc::clone(&registry),
            config.evidence.settings()?,
            &data.subdir("signer")?,
            OffsetDateTime::now_utc(),
        )?);
        let rollouts = Rollouts::open(
            Arc::clone(&store),
            Arc::clone(&registry),
            Arc::clone(&judge),
        )?;
        link_whole(
            data,
            registry.list_constrained(OffsetDateTime::now_utc()).len(),
        )?;
        let link = Arc::new(LinkKeys::open(&data.subdir(LINK)?)?);
        let grants = Grants::open(Arc::clone(&store), Arc::clone(&registry), Arc::clone(&link))?;
        Ok(Self {
            grants: Arc::new(grants),
            rollouts: Arc::new(rollouts),
            store,
            bus,
            events,
            registry,
            domain,
            pki,
            vault,
            judge,
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

/// Where the vault's root key is; said once, when it is made where it should not stay.
pub(super) fn root_key(config: &Config, vault: &Path) -> anyhow::Result<RootPlace> {
    if let Some(text) = &config.vault.root_key {
        let place = text.parse().map_err(anyhow::Error::msg);
        return place.context("in stockade.toml, [vault] root-key");
    }
    let path = vault.join("root.key");
    if !path.exists() && !vault.join("keyring").exists() {
        out::aside(&format!(
            "The vault's root key is made in {}: whoever copies the data directory copies it too. It belongs elsewhere: move it, and \
             name its place in stockade.toml, [vault] root-key (docs/vault-keys.md).",
            path.display()
        ));
    }
    Ok(RootPlace::File(path))
}

/// Ends what was interrupted in the vault. What keeps it from that is told, and the gateway starts: devices are not to wait.
fn settle(vault: &Vault) -> anyhow::Result<()> {
    match vault.settle(OffsetDateTime::now_utc()) {
        Err(error @ VaultError::Key(_)) => {
            tracing::error!(%error, "an erasure in the vault is not complete");
            Ok(())
        }
        settled => Ok(settled?),
    }
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
        let part = database::part(&Config::default());
        whole(&data, part).unwrap();
        for (number, lost) in all.iter().take(4).enumerate() {
            let mut left = all.to_vec();
            left.remove(number);
            let (_dir, data) = with(&left);
            let told = whole(&data, part).unwrap_err().to_string();
            let named = lost.split("/1").next().unwrap();
            assert!(told.contains(named), "{lost}: {told}");
        }
    }

    #[test]
    fn a_key_of_the_link_that_devices_know_is_not_made_anew() {
        let keys = ["link/edhoc.key", "link/grants.key"];
        for (left, lost) in [(keys[0], keys[1]), (keys[1], keys[0])] {
            let (_dir, data) = with(&[]);
            link_whole(&data, 0).unwrap();
            data.subdir(LINK).unwrap();
            fs_err::write(data.join(left), "x").unwrap();
            link_whole(&data, 0).unwrap();
            let told = link_whole(&data, 2).unwrap_err().to_string();
            assert!(told.contains(lost), "{lost}: {told}");
            fs_err::write(data.join(lost), "x").unwrap();
            link_whole(&data, 2).unwrap();
        }
    }

    #[test]
    fn a_first_start_that_was_cut_short_goes_on() {
        let (_dir, data) = with(&["state.sqlite", "ca/ca.key"]);
        whole(&data, database::part(&Config::default())).unwrap();
    }
}
