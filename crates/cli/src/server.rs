//! Gateway, vault and console in one process.

mod addresses;
mod database;
mod guard;
mod kept;
mod restore;
mod tasks;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stockade_console::{Admin, ConsoleState, Info, OneTimePassword};
use stockade_gateway::est::{Est, EstSettings};
use stockade_gateway::events::EventLog;
use stockade_gateway::evidence;
use stockade_gateway::link::grants::Grants;
use stockade_gateway::link::{self, Link, LinkSettings, LinkStatus, Rates};
use stockade_gateway::mqtt::{Mqtt, MqttSettings};
use stockade_gateway::pki::Pki;
use stockade_gateway::registry::Registry;
use stockade_gateway::rollout;
use stockade_gateway::tls::{Clock, Minimum, Refusals, TlsOptions};
use stockade_store::DataDir;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::addresses::{Listeners, reachable};
use self::kept::{CA, CA_FOR_DEVICES, Kept};
pub(crate) use self::restore::restore;
use crate::config::{Config, Listen, TlsVersion};
use crate::demo::Told;
use crate::out::Out;

/// How long open connections may take to end at the stop.
const GRACE: Duration = Duration::from_secs(5);

/// Everything that runs. It ends in good order with [`Server::stop`].
pub(crate) struct Server {
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: Arc<EventLog>,
    pub(crate) ca_fingerprint: String,
    pub(crate) password: Option<OneTimePassword>,
    pub(crate) shown: Shown,
    pub(crate) grants: Arc<Grants>,
    listen: Listen,
    mqtt: Mqtt,
    link: Link,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    data: DataDir,
}

/// Addresses as a person is told them.
pub(crate) struct Shown {
    pub(crate) console: String,
    pub(crate) est: String,
    pub(crate) mqtt: String,
    pub(crate) coap: String,
    /// Beside UDP: `, serial:/dev/ttyACM0`.
    pub(crate) bearers: String,
    pub(crate) tls: &'static str,
}

/// `stockade ca import`: before the first start.
pub(crate) fn import_ca(
    out: Out,
    data: &Path,
    certificate: &Path,
    key: &Path,
) -> anyhow::Result<()> {
    // First what may not be there: a typo leaves no directory behind.
    let certificate = fs_err::read_to_string(certificate)?;
    let key = zeroize::Zeroizing::new(fs_err::read_to_string(key)?);
    let data = DataDir::open(data)?;
    let dir = data.subdir(CA)?;
    Pki::import(&dir, &certificate, &key, OffsetDateTime::now_utc())?;
    out.line(&format!(
        "the authority is in {}; start the gateway: stockade up",
        dir.display()
    ));
    Ok(())
}

/// `stockade admin reset-password`: while the gateway is stopped.
pub(crate) fn reset_password(out: Out, data: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        data.join(CA_FOR_DEVICES).exists(),
        "{} is no data directory of a gateway",
        data.display()
    );
    let config = crate::up::read_config(data, None)?;
    let data = DataDir::open(data)?;
    database::same_as_before(&config, &data)?;
    let store = database::open(&config, &data, false)?;
    let password = Admin::reset_password(&*store, OffsetDateTime::now_utc())?;
    out.line(&format!(
        "user admin, one-time password {}",
        password.expose()
    ));
    Ok(())
}

impl Server {
    /// Starts everything on the data directory, or nothing.
    pub(crate) async fn start(config: &Config, data: &Path) -> anyhow::Result<Self> {
        let data = DataDir::open(data)?;
        let listeners = Listeners::bind(config.listen).await?;
        let kept = Kept::open(config, &data)?;
        let tls = TlsOptions {
            minimum: minimum(config),
            ..TlsOptions::default()
        };
        let refusals = Arc::new(Refusals::default());
        let est = est(config, &kept, tls, &refusals)?;
        let settings = MqttSettings::new(config.listen.mqtt);
        let mqtt = Mqtt::start(settings, kept.around(), kept.pki.mqtt_tls(tls)?)
            .await
            .map_err(addresses::explain)?;
        let link = start_link(config, &kept, &mqtt).await?;
        let listen = listeners.with(mqtt.local_addr(), link.local_addr())?;
        let shown = Shown::new(config, listen);
        let state = console_state(config, &kept, &shown, &mqtt, Arc::clone(link.status()))?;
        let socket = stockade_console::bind_unix(&data.join("admin.sock")).await?;
        let web = kept.pki.web_tls(Minimum::Tls13)?;
        // Last of what can fail: a password that nobody was shown would lock the console.
        let password = Admin::first_start(&*kept.store, OffsetDateTime::now_utc())?;

        let (stop, stopped) = watch::channel(false);
        let wait = || {
            let mut stopped = stopped.clone();
            async move {
                // A sender that is gone means the same.
                let _stop = stopped.wait_for(|stop| *stop).await;
            }
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::new(est).serve(listeners.est, wait()));
        let pages = stockade_console::router(state.clone());
        tasks.spawn(stockade_console::serve(
            listeners.console,
            move || Arc::clone(&web),
            pages,
            wait(),
        ));
        tasks.spawn(stockade_console::serve_unix(
            socket,
            stockade_console::admin_router(state),
            wait(),
        ));
        tend_vault(&mut tasks, &kept, &stopped);
        tasks.spawn(evidence::run(
            kept.judge,
            mqtt.handle(),
            Clock::system(),
            stopped.clone(),
        ));
        tasks.spawn(rollout::run(
            kept.rollouts,
            Clock::system(),
            stopped.clone(),
        ));
        tasks.spawn(link::grants::run(
            Arc::clone(&kept.grants),
            Clock::system(),
            stopped.clone(),
        ));
        tasks.spawn(tasks::tidy(Arc::clone(&kept.registry), refusals, stopped));

        fs_err::write(data.join(CA_FOR_DEVICES), kept.pki.ca_pem())?;
        addresses::write(&data.subdir("run")?, listen)?;
        Ok(Self {
            registry: kept.registry,
            events: kept.events,
            ca_fingerprint: kept.pki.ca_fingerprint(),
            password,
            shown,
            grants: kept.grants,
            listen,
            mqtt,
            link,
            tasks,
            stop,
            data,
        })
    }

    /// What a device's operator hands to the device.
    pub(crate) fn told_to_devices(&self) -> Told {
        Told {
            mqtt: self.listen.mqtt,
            est: self.listen.est,
            coap: self.listen.coap,
            ca_fingerprint: self.ca_fingerprint.clone(),
        }
    }

    /// Starts the LAN guard beside the gateway, and tells it what the registry decides.
    pub(crate) fn start_guard(&mut self, config: Option<PathBuf>) {
        let data = self.data.path().to_owned();
        let stopped = self.stop.subscribe();
        self.tasks
            .spawn(guard::keep_running(data.clone(), config, stopped.clone()));
        self.tasks
            .spawn(guard::inform(data, Arc::clone(&self.registry), stopped));
    }

    /// A directory in the data directory.
    pub(crate) fn data_dir(&self, name: &str) -> anyhow::Result<PathBuf> {
        Ok(self.data.subdir(name)?)
    }

    /// A file in the data directory.
    pub(crate) fn data_path(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    /// Tells a device something, as the operator does.
    pub(crate) async fn command(&self, topic: &str, payload: &str) {
        let sent = self
            .mqtt
            .handle()
            .publish_from_operator(topic, payload.as_bytes(), 1, false)
            .await;
        if let Err(error) = sent {
            tracing::warn!(%error, topic, "a command was not sent");
        }
    }

    /// Ends when one of the parts does, which none should before [`Server::stop`].
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Err(error)) => anyhow::Error::new(error).context("a part of the gateway failed"),
            Some(Ok(())) | None => anyhow::anyhow!("a part of the gateway ended by itself"),
        }
    }

    /// Ends sessions, takes what has arrived, writes what is in memory.
    pub(crate) async fn stop(mut self) {
        self.link.shutdown().await;
        self.mqtt.shutdown().await;
        self.stop.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!("connections were still open at the end of the grace period");
        }
        // A script that finds no addresses knows that nothing runs.
        if let Err(error) = fs_err::remove_file(self.data.join("run/addresses.json")) {
            tracing::debug!(%error, "cannot remove run/addresses.json");
        }
    }
}

/// What goes on in the vault beside what it is asked.
fn tend_vault(tasks: &mut JoinSet<()>, kept: &Kept, stopped: &watch::Receiver<bool>) {
    let vault = || Arc::clone(&kept.vault);
    tasks.spawn(tasks::stream_vault(vault(), stopped.clone()));
    let bus = Arc::clone(&kept.bus);
    tasks.spawn(tasks::feed_vault(vault(), bus, stopped.clone()));
    let (keys, registry) = (Arc::clone(vault().keys()), Arc::clone(&kept.registry));
    tasks.spawn(tasks::make_keys(keys, registry, stopped.clone()));
}

fn est(
    config: &Config,
    kept: &Kept,
    tls: TlsOptions,
    refusals: &Arc<Refusals>,
) -> anyhow::Result<Est> {
    let settings = EstSettings {
        tls,
        ..EstSettings::default()
    };
    let est = Est::new(
        Arc::clone(&kept.pki),
        Arc::clone(&kept.registry),
        Arc::clone(refusals),
        settings,
    )?;
    Ok(est
        .with_signer(kept.judge.signer())
        .with_attester(Arc::clone(kept.judge.attester()), config.ek_roots()?)
        .with_grants(Arc::clone(&kept.grants)))
}

async fn start_link(config: &Config, kept: &Kept, mqtt: &Mqtt) -> anyhow::Result<Link> {
    let settings = LinkSettings {
        udp: config.listen.coap,
        bearers: config.link.parsed()?,
        rates: Rates::default(),
    };
    link::start(settings, Arc::clone(&kept.grants), &mqtt.handle())
        .await
        .map_err(addresses::explain_link)
}

fn minimum(config: &Config) -> Minimum {
    if config.protocols.tls.contains(&TlsVersion::Tls12) {
        Minimum::Tls12
    } else {
        Minimum::Tls13
    }
}

impl Shown {
    fn new(config: &Config, listen: Listen) -> Self {
        let shown = |address| reachable(address, &config.gateway.names);
        Self {
            console: shown(listen.console),
            est: shown(listen.est),
            mqtt: shown(listen.mqtt),
            coap: shown(listen.coap),
            bearers: [""]
                .iter()
                .copied()
                .chain(config.link.bearers.iter().map(String::as_str))
                .collect::<Vec<_>>()
                .join(", "),
            tls: minimum(config).spoken(),
        }
    }
}

fn console_state(
    config: &Config,
    kept: &Kept,
    shown: &Shown,
    mqtt: &Mqtt,
    link: Arc<LinkStatus>,
) -> anyhow::Result<ConsoleState> {
    Ok(ConsoleState {
        registry: Arc::clone(&kept.registry),
        events: Arc::clone(&kept.events),
        judge: Some(Arc::clone(&kept.judge)),
        rollouts: Some(Arc::clone(&kept.rollouts)),
        grants: Some(Arc::clone(&kept.grants)),
        link: Some(link),
        vault: Some(Arc::clone(&kept.vault)),
        store: Arc::clone(&kept.store),
        publisher: Some(tasks::publisher(mqtt.handle())),
        forget: Some(tasks::forget(mqtt.handle())),
        signers: config.profile_keys()?.into(),
        info: Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            trust_domain: kept.domain.clone(),
            ca_fingerprint: kept.pki.ca_fingerprint(),
            est_url: format!("https://{}/.well-known/est", shown.est),
            mqtt_address: shown.mqtt.clone(),
        },
        clock: Clock::system(),
    })
}
