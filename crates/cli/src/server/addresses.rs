//! Where the server listens, and how others reach it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;
use stockade_gateway::link::LinkError;
use stockade_gateway::mqtt::StartError;
use tokio::net::TcpListener;

use crate::config::Listen;

/// The listeners that are bound before anything starts: a port in use stops the start, not half of it.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) est: TcpListener,
    pub(crate) console: TcpListener,
}

impl Listeners {
    pub(crate) async fn bind(listen: Listen) -> anyhow::Result<Self> {
        Ok(Self {
            est: bind("est", listen.est).await?,
            console: bind("console", listen.console).await?,
        })
    }

    /// All addresses, with those that MQTT and the link got.
    pub(crate) fn with(&self, mqtt: SocketAddr, coap: SocketAddr) -> anyhow::Result<Listen> {
        let of =
            |listener: &TcpListener| listener.local_addr().context("a listener has no address");
        Ok(Listen {
            mqtt,
            est: of(&self.est)?,
            console: of(&self.console)?,
            coap,
        })
    }
}

async fn bind(name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = match TcpListener::bind(address).await {
        // A machine without IPv6 still has all its IPv4 addresses.
        Err(e) if address.ip() == IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED) && no_ipv6(&e) => {
            TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        other => other,
    };
    bound.map_err(|e| refused(name, address, e))
}

/// The same for the listener that the gateway binds itself.
pub(crate) fn explain(error: StartError) -> anyhow::Error {
    match error {
        StartError::Listen { address, source } => refused("mqtt", address, source),
        other => other.into(),
    }
}

/// The same for the link.
pub(crate) fn explain_link(error: LinkError) -> anyhow::Error {
    match error {
        LinkError::Listen { address, source } => refused("coap", address, source),
        other @ LinkError::Crypto(_) => other.into(),
    }
}

/// Names the culprit and the next step.
fn refused(name: &str, address: SocketAddr, error: std::io::Error) -> anyhow::Error {
    use std::io::ErrorKind;

    let next = match error.kind() {
        ErrorKind::AddrInUse => "another program has this port: stop it, or choose another port",
        ErrorKind::PermissionDenied => "ports below 1024 need rights: choose a higher one",
        ErrorKind::AddrNotAvailable => "no interface has this address: choose another",
        _ => "choose another address",
    };
    let told =
        format!("cannot listen on {address} ({name}); {next} in stockade.toml, [listen] {name}");
    anyhow::Error::new(error).context(told)
}

fn no_ipv6(error: &std::io::Error) -> bool {
    // EAFNOSUPPORT, as the standard library does not name it.
    error.raw_os_error() == Some(97) || error.kind() == std::io::ErrorKind::AddrNotAvailable
}

/// How somebody who reads this on the screen reaches an address: this machine by its name, loopback as it is.
pub(crate) fn reachable(address: SocketAddr, names: &[String]) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    let host = names.first().cloned().unwrap_or_else(|| {
        let name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        if name.is_empty() {
            "localhost".to_owned()
        } else {
            name
        }
    });
    format!("{host}:{}", address.port())
}

/// Tells other programs on this machine (scripts, tests) what was bound: `run/addresses.json`.
pub(crate) fn write(run: &Path, listen: Listen) -> anyhow::Result<()> {
    let text = serde_json::json!({ "mqtt": listen.mqtt, "est": listen.est, "console": listen.console, "coap": listen.coap });
    let (new, file) = (run.join("addresses.json.new"), run.join("addresses.json"));
    fs_err::write(&new, text.to_string())?;
    fs_err::rename(&new, &file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let told = format!("{:#}", bind("est", address).await.unwrap_err());
        assert!(
            told.contains(&address.to_string()) && told.contains("[listen] est"),
            "{told}"
        );
    }

    #[test]
    fn a_name_is_shown_for_every_address_and_loopback_for_itself() {
        let any: SocketAddr = "[::]:8443".parse().unwrap();
        assert_eq!(reachable(any, &["gw.home".to_owned()]), "gw.home:8443");
        assert_eq!(
            reachable("127.0.0.1:1".parse().unwrap(), &[]),
            "127.0.0.1:1"
        );
    }
}
