//! The three devices of `up --demo`. Each is a process of its own that knows what a stranger's device would be
//! told (addresses, the CA's fingerprint, its code) and uses the same public interfaces.

mod camera;
mod fleet;
mod old;
mod thermostat;

use std::time::Duration;

use anyhow::{Context as _, bail};
use stockade_agent::enrol::{self, Identity, Invitation};
use stockade_agent::session::Session;
use stockade_agent::trust::Fingerprint;
use zeroize::Zeroizing;

use crate::args::DemoDevice;
use crate::out::Out;

pub(crate) use fleet::{COMMAND_TOPIC, Fleet, Told, install_profiles};

/// The code comes this way, where `ps` cannot show it.
const CODE_VARIABLE: &str = "STOCKADE_DEMO_CODE";
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(5);
/// In seconds.
const KEEP_ALIVE: u16 = 30;

/// Is the device, until the process is ended.
pub(crate) async fn device(out: Out, told: &DemoDevice) -> anyhow::Result<()> {
    // Should the gateway be killed, its devices end with it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    match told.kind.as_str() {
        "old" => old::run(out, told).await,
        "honest" => live(out, told, camera::work).await,
        "misbehaving" => live(out, told, thermostat::work).await,
        other => bail!("there is no demo device `{other}`; there are honest, misbehaving and old"),
    }
}

/// Enrols once, then connects and works, again and again.
async fn live(
    out: Out,
    told: &DemoDevice,
    work: impl AsyncFn(Out, &mut Session, &DemoDevice) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let identity = enrolled(told).await?;
    out.line("enrolled");
    loop {
        let session = Session::connect(
            told.mqtt,
            Some(told.source),
            identity.tls()?,
            &told.id,
            KEEP_ALIVE,
        )
        .await;
        let ended = match session {
            Ok(mut session) => {
                out.line("connected");
                Box::pin(work(out, &mut session, told)).await
            }
            Err(refused) => Err(refused.into()),
        };
        if let Err(reason) = ended {
            out.line(&format!("{reason:#}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn enrolled(told: &DemoDevice) -> anyhow::Result<Identity> {
    if let Some(identity) = Identity::load(&told.keys)? {
        return Ok(identity);
    }
    let code =
        std::env::var(CODE_VARIABLE).with_context(|| format!("{CODE_VARIABLE} is not set"))?;
    let invitation = Invitation {
        est: told.est,
        ca: Fingerprint::parse(&told.ca_fingerprint).context("--ca-fingerprint is no SHA-256")?,
        id: told.id.clone(),
        code: Zeroizing::new(code),
    };
    Ok(enrol::enrol(&invitation, &told.keys).await?)
}
