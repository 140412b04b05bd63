//! A device from before 2018: it offers TLS 1.1, then TLS 1.0, and nothing newer.

use std::time::Duration;

use anyhow::Context as _;
use stockade_agent::session::dial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use crate::args::DemoDevice;
use crate::out::Out;

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(10);
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The versions such a device knows, as (name, the protocol's minor number).
const KNOWN: [(&str, u8); 2] = [("TLS 1.1", 2), ("TLS 1.0", 1)];

/// Tries forever.
pub(super) async fn run(out: Out, told: &DemoDevice) -> anyhow::Result<()> {
    for (name, minor) in KNOWN.into_iter().cycle() {
        let told = match attempt(told, minor).await {
            Ok(answer) => answer,
            Err(e) => format!("{e:#}"),
        };
        out.line(&format!("offered {name}: {told}"));
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Says hello in one version and tells what came back.
async fn attempt(told: &DemoDevice, minor: u8) -> anyhow::Result<String> {
    let mut stream = dial(told.mqtt, Some(told.source))
        .await
        .context("cannot connect")?;
    stream.write_all(&client_hello(minor)).await?;
    // A TLS record's header is 5 bytes (RFC 5246 §6.2.1), an alert 2 (§7.2).
    let mut answer = [0; 7];
    timeout(PATIENCE, stream.read_exact(&mut answer))
        .await
        .context("no answer in time")?
        .context("closed without an alert")?;
    Ok(match answer {
        [21, _, _, 0, 2, 2, 70] => "fatal alert protocol_version (70)".to_owned(),
        [21, _, _, 0, 2, level, alert] => format!("alert {alert}, level {level}"),
        [22, ..] => "accepted, which must not happen".to_owned(),
        other => format!("unexpected bytes {other:02x?}"),
    })
}

/// A `ClientHello` of TLS 1.`minor-1` (RFC 4346 §7.4.1.2, RFC 2246 §7.4.1.2) without extensions.
fn client_hello(minor: u8) -> Vec<u8> {
    // TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_RSA_WITH_AES_128_CBC_SHA, TLS_RSA_WITH_3DES_EDE_CBC_SHA
    const SUITES: [u8; 6] = [0xc0, 0x13, 0x00, 0x2f, 0x00, 0x0a];
    let mut body = vec![3, minor];
    // The random of a hello that is never answered with a key exchange need not be secret.
    body.extend([0x5a; 32]);
    body.push(0); // no session id
    body.extend([0, 6]);
    body.extend(SUITES);
    body.extend([1, 0]); // no compression
    let mut message = vec![1, 0, 0, u8::try_from(body.len()).unwrap_or(u8::MAX)];
    message.extend(body);
    let mut record = vec![22, 3, 1, 0, u8::try_from(message.len()).unwrap_or(u8::MAX)];
    record.extend(message);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hello_says_its_own_lengths_and_version() {
        let hello = client_hello(2);
        assert_eq!(usize::from(hello[4]), hello.len() - 5);
        assert_eq!(usize::from(hello[8]), hello.len() - 9);
        assert_eq!(&hello[9..11], &[3, 2]);
    }
}
