//! What an address of a database says.

use std::str::FromStr as _;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// The database without user and password.
pub(super) fn place(config: &Config) -> String {
    let hosts: Vec<_> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(dir) => dir.display().to_string(),
        })
        .collect();
    let database = config.get_dbname().unwrap_or("(the user's own)");
    format!("database {database} on {}", hosts.join(", "))
}

/// What an address says, and whether the servers are reached over TCP; or why it cannot be used.
pub(super) fn address(url: &str) -> Result<(Config, bool), String> {
    if !url.starts_with("postgres://") {
        return Err("it must begin with postgres://".to_owned());
    }
    let config =
        Config::from_str(url).map_err(|error| match std::error::Error::source(&error) {
            Some(source) => source.to_string(),
            None => error.to_string(),
        })?;
    let refused = |why: &str| Err(why.to_owned());
    if config.get_password().is_some() {
        return refused("the address holds a password: write that into a file of its own");
    }
    let hosts = config.get_hosts();
    let tcp = |host: &Host| matches!(host, Host::Tcp(_));
    if hosts.is_empty() {
        return refused("it names no host");
    }
    if hosts.iter().any(tcp) != hosts.iter().all(tcp) {
        return refused("it names sockets and hosts: name one kind");
    }
    let tcp = hosts.iter().all(tcp);
    if tcp && config.get_ssl_mode() == SslMode::Disable {
        return refused("over the network a database is reached by TLS only: leave out sslmode");
    }
    Ok((config, tcp))
}
