//! Load for MQTT brokers behind mutual TLS 1.3, on the loopback; `cargo xtask bench gateway` runs it.
//!
//! It speaks MQTT by code of its own, few lines and nothing allocated per message, so that a fault in the product's
//! codec can not hide on both sides, and so that the generator is not what is measured. Each mode prints one JSON object.

mod client;
mod flow;
mod handshake;
mod identity;
mod idle;
mod process;
mod revoke;
mod settings;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::settings::Settings;

const USAGE: &str = "\
usage: stockade-load <mode> [name=value ...]

  identities dir=D n=N                          make a CA, a server certificate and N devices
  enrol dir=D n=N data=DATA stockade=BIN        add and enrol N devices at a running gateway
  handshake ids=D port=P pid=PID                connects as fast as it can: rate, CPU of the server for each
  idle ids=D port=P pid=PID n=N                 memory of the server for each idle connection
  flow ids=D port=P pid=PID shape=S qos=Q       messages a second and CPU of the server for each;
       rate=R secs=T                            shape: pairs | fan-in | fan-out; rate=0: as fast as it goes
  revoke ids=D port=P run='COMMAND {id}'        time from starting COMMAND to the last byte of a live session
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(mode(&arguments)));
    match outcome {
        Ok(report) => {
            drop(writeln!(std::io::stdout(), "{report}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            drop(writeln!(std::io::stderr(), "stockade-load: {error:#}"));
            ExitCode::from(2)
        }
    }
}

async fn mode(arguments: &[String]) -> Result<Value> {
    let Some((mode, rest)) = arguments.split_first() else {
        bail!("{USAGE}")
    };
    let settings = Settings::parse(rest)?;
    match mode.as_str() {
        "identities" => identity::make(&settings),
        "enrol" => identity::enrol(&settings).await,
        "handshake" => handshake::run(&settings).await,
        "idle" => idle::run(&settings).await,
        "flow" => flow::run(&settings).await,
        "revoke" => revoke::run(&settings).await,
        other => bail!("there is no mode `{other}`\n{USAGE}"),
    }
}
