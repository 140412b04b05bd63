//! The devices of `up --demo`: four, and a street of meters. Each is a process of its own that knows what a stranger's device would be
//! told (addresses, the CA's fingerprint, its code) and uses the same public interfaces.

mod camera;
mod fleet;
mod old;
mod soil;
mod street;
mod system;
mod thermostat;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustls::ClientConfig;
use stockade_agent::enrol::{self, Identity, Invitation};
use stockade_agent::session::Session;
use stockade_agent::trust::Fingerprint;
use zeroize::Zeroizing;

use crate::args::DemoDevice;
use crate::out::Out;

pub(crate) use fleet::{COMMANDS, Fleet, Told, install_profiles};
pub(crate) use street::{is_worth_a_line, questions};

/// The code comes this way, where `ps` cannot show it.
const CODE_VARIABLE: &str = "STOCKADE_DEMO_CODE";
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(2);
/// In seconds.
const KEEP_ALIVE: u16 = 30;

/// Is the device, until the process is ended.
pub(crate) async fn device(out: Out, told: &DemoDevice) -> anyhow::Result<()> {
    // Should the gateway be killed, its devices end with it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    match told.kind.as_str() {
        "old" => old::run(out, told).await,
        "constrained" => soil::run(out, told),
        "honest" => camera::run(out, told).await,
        "street" => street::run(out, told).await,
        "misbehaving" => {
            let tls = enrolled(out, told).await?.tls()?;
            let work = async |session: &mut Session| thermostat::work(out, session, told).await;
            live(out, told, &tls, work).await
        }
        other => bail!(
            "there is no demo device `{other}`; there are honest, misbehaving, old, constrained and street"
        ),
    }
}

/// Connects and works, again and again.
async fn live(
    out: Out,
    told: &DemoDevice,
    tls: &Arc<ClientConfig>,
    mut work: impl AsyncFnMut(&mut Session) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    loop {
        let session = Session::connect(
            told.mqtt,
            Some(told.source),
            Arc::clone(tls),
            &told.id,
            KEEP_ALIVE,
        )
        .await;
        let ended = match session {
            Ok(mut session) => {
                out.line("connected");
                Box::pin(work(&mut session)).await
            }
            Err(refused) => Err(refused.into()),
        };
        if let Err(reason) = ended {
            out.line(&format!("{reason:#}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Enrols, unless it did so before.
async fn enrolled(out: Out, told: &DemoDevice) -> anyhow::Result<Identity> {
    let code = std::env::var(CODE_VARIABLE).ok().map(Zeroizing::new);
    enrolled_by(out, told, code).await
}

/// The same, by this code.
async fn enrolled_by(
    out: Out,
    told: &DemoDevice,
    code: Option<Zeroizing<String>>,
) -> anyhow::Result<Identity> {
    if let Some(identity) = Identity::load(&told.keys)? {
        return Ok(identity);
    }
    let invitation = Invitation {
        est: told.est,
        ca: Fingerprint::parse(&told.ca_fingerprint).context("--ca-fingerprint is no SHA-256")?,
        id: told.id.clone(),
        code: code.context("no code to enrol with")?,
    };
    let identity = enrol::enrol(&invitation, &told.keys).await?;
    out.line("enrolled");
    Ok(identity)
}
