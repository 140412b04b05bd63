//! `stockade.toml`: strict, every default here, with its unit in its name or type.

mod evidence;
mod guard;
mod link;
mod storage;
mod vault;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use stockade_gateway::attest::Roots;
use stockade_gateway::name::TrustDomain;
use stockade_profile::VerifyingKey;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

pub(crate) use self::evidence::Evidence;
pub(crate) use self::guard::Guard;
pub(crate) use self::link::Link;
pub(crate) use self::storage::{Durability, Storage};
pub(crate) use self::vault::Vault;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Config {
    /// Version of this format.
    pub(crate) schema: Schema,
    pub(crate) gateway: Gateway,
    pub(crate) listen: Listen,
    pub(crate) protocols: Protocols,
    pub(crate) enrolment: Enrolment,
    pub(crate) quarantine: Quarantine,
    pub(crate) evidence: Evidence,
    pub(crate) attestation: Attestation,
    pub(crate) link: Link,
    pub(crate) storage: Storage,
    pub(crate) vault: Vault,
    /// The LAN guard; none without this section.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guard: Option<Guard>,
    pub(crate) log: Log,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "the section [attestation]"
)]
pub(crate) struct Attestation {
    /// Files with the certificates (PEM) of TPM makers' authorities, relative to the configuration file. With any, a TPM without a
    /// certificate by one of them is not believed.
    pub(crate) ek_roots: Vec<PathBuf>,
}

/// The only version of the format there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Schema;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "the section [gateway]"
)]
pub(crate) struct Gateway {
    /// The trust domain of the devices' SPIFFE IDs. It is part of every certificate.
    #[serde(deserialize_with = "trust_domain")]
    pub(crate) trust_domain: String,
    /// Further host names and addresses that devices and browsers reach the gateway by.
    #[serde(deserialize_with = "names")]
    pub(crate) names: Vec<String>,
    /// Files with the public keys (PEM) whose signature on a profile is trusted; relative to the configuration file.
    pub(crate) profile_keys: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "the section [listen]"
)]
pub(crate) struct Listen {
    /// MQTT over TLS.
    #[serde(deserialize_with = "socket_address")]
    pub(crate) mqtt: SocketAddr,
    /// Enrolment over Secure Transport.
    #[serde(deserialize_with = "socket_address")]
    pub(crate) est: SocketAddr,
    /// The console.
    #[serde(deserialize_with = "socket_address")]
    pub(crate) console: SocketAddr,
    /// CoAP over UDP, for constrained devices.
    #[serde(deserialize_with = "socket_address")]
    pub(crate) coap: SocketAddr,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "the section [protocols]"
)]
pub(crate) struct Protocols {
    /// `"1.3"`, and `"1.2"` (AEAD and ECDHE only) where old devices need it. Nothing older can be written here.
    pub(crate) tls: Vec<TlsVersion>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum TlsVersion {
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "the section [enrolment]"
)]
pub(crate) struct Enrolment {
    /// How long a code can be used.
    pub(crate) code_life: Span,
    /// How long after its certificate ended a device may still come back, into quarantine; "0s": never.
    pub(crate) comeback_window: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "the section [quarantine]"
)]
pub(crate) struct Quarantine {
    /// More breaches of its profile than this in a minute, and a device is quarantined.
    pub(crate) breaches_per_minute: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "the section [log]"
)]
pub(crate) struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`; a filter such as `info,stockade_gateway=debug` is fine.
    #[serde(deserialize_with = "log_level")]
    pub(crate) level: String,
    /// `text` or `json`.
    pub(crate) format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// A duration, written `30s`, `10min`, `24h` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];

impl Default for Config {
    fn default() -> Self {
        Self {
            schema: Schema,
            gateway: Gateway::default(),
            listen: Listen::default(),
            protocols: Protocols::default(),
            enrolment: Enrolment::default(),
            quarantine: Quarantine {
                breaches_per_minute: 30,
            },
            evidence: Evidence::default(),
            attestation: Attestation::default(),
            link: Link::default(),
            storage: Storage {
                durability: Durability::Commit,
                database: None,
                database_password: None,
                database_authorities: None,
            },
            vault: Vault::default(),
            guard: None,
            log: Log {
                level: "warn".to_owned(),
                format: LogFormat::Text,
            },
        }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            trust_domain: "stockade.local".to_owned(),
            names: Vec::new(),
            profile_keys: Vec::new(),
        }
    }
}

impl Default for Listen {
    /// The ports of the design, on every address: devices and browsers come from the network.
    fn default() -> Self {
        let on = |port| SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        Self {
            mqtt: on(8883),
            est: on(8444),
            console: on(8443),
            coap: on(5683),
        }
    }
}

impl Listen {
    /// The same ports, reachable from this machine only.
    pub(crate) fn on_loopback(self) -> Self {
        let here = |a: SocketAddr| SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, a.port()));
        Self {
            mqtt: here(self.mqtt),
            est: here(self.est),
            console: here(self.console),
            coap: here(self.coap),
        }
    }
}

impl Default for Protocols {
    fn default() -> Self {
        Self {
            tls: vec![TlsVersion::Tls13],
        }
    }
}

impl Default for Enrolment {
    fn default() -> Self {
        let days = |n: u64| Span(Duration::from_secs(n * 86_400));
        Self {
            code_life: days(1),
            comeback_window: days(30),
        }
    }
}

impl Default for Quarantine {
    fn default() -> Self {
        Config::default().quarantine
    }
}

impl Default for Log {
    fn default() -> Self {
        Config::default().log
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u32::deserialize(from)? {
            1 => Ok(Self),
            other => Err(de::Error::custom(format!(
                "schema {other} is not known to this version of stockade, which reads schema 1"
            ))),
        }
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(1)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(SpanText)
    }
}

/// A number alone is what people write first: they are told what it lacks.
struct SpanText;

impl de::Visitor<'_> for SpanText {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit: \"30s\", \"10min\", \"24h\" or \"7d\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = text.split_at(digits);
        let seconds = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .and_then(|(_, size)| count.parse::<u64>().ok()?.checked_mul(*size))
            // A hundred years: what adds to a date without leaving the calendar.
            .filter(|&seconds| seconds <= 36_525 * 86_400);
        seconds
            .map(|s| Span(Duration::from_secs(s)))
            .ok_or_else(|| {
                E::custom(format!(
                    "`{text}` is no duration: write \"30s\", \"10min\", \"24h\" or \"7d\""
                ))
            })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let fits = |size: u64| seconds != 0 && seconds.is_multiple_of(size);
        match UNITS.iter().find(|&&(_, size)| fits(size)) {
            Some((unit, size)) => write!(f, "{}{unit}", seconds / size),
            None => write!(f, "{seconds}s"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

// What is no type of its own is checked while it is read, so that a fault has its place in the file.

fn socket_address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|_| {
        de::Error::custom(format!(
            "`{text}` is no address with a port: write \"[::]:8883\" (every address) or \"192.0.2.1:8883\""
        ))
    })
}

fn trust_domain<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    TrustDomain::new(&text).map_err(de::Error::custom)?;
    Ok(text)
}

fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    match names
        .iter()
        .find(|name| ServerName::try_from(name.as_str()).is_err())
    {
        Some(odd) => Err(de::Error::custom(format!(
            "`{odd}` is neither a host name nor an address"
        ))),
        None => Ok(names),
    }
}

fn log_level<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    // A word alone would be taken for the name of a module, and a misspelt level would silence everything else.
    let plain = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    if text.split(',').all(plain) && EnvFilter::try_new(&text).is_ok() {
        return Ok(text);
    }
    Err(de::Error::custom(format!(
        "`{text}` is no level: write \"error\", \"warn\", \"info\", \"debug\" or \"trace\""
    )))
}

impl Config {
    /// Reads a configuration; an error names file, line, column and what would be right.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs_err::read_to_string(file)?;
        let mut config = Self::parse(&text)
            .with_context(|| format!("{} is not a valid configuration", file.display()))?;
        let roots = &mut config.attestation.ek_roots;
        let Storage {
            database_password: password,
            database_authorities: authorities,
            ..
        } = &mut config.storage;
        let files = config.gateway.profile_keys.iter_mut().chain(roots);
        for key in files.chain(password).chain(authorities) {
            *key = file.with_file_name("").join(&*key);
        }
        Ok(config)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    /// What only shows when values are seen together, or the type does not say.
    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.protocols.tls.contains(&TlsVersion::Tls13),
            "[protocols] tls must have \"1.3\", which is always spoken; \"1.2\" may come with it"
        );
        anyhow::ensure!(
            !self.enrolment.code_life.0.is_zero(),
            "[enrolment] code-life is zero: no code could ever be used"
        );
        let Listen {
            mqtt, est, console, ..
        } = self.listen;
        for (a, b, which) in [
            (mqtt, est, "mqtt and est"),
            (mqtt, console, "mqtt and console"),
            (est, console, "est and console"),
        ] {
            anyhow::ensure!(
                a != b || a.port() == 0,
                "[listen] {which} are both {a}: give each a port of its own"
            );
        }
        Ok(())
    }

    /// The keys whose signature on a profile is trusted.
    pub(crate) fn profile_keys(&self) -> anyhow::Result<Vec<VerifyingKey>> {
        let read = |path: &PathBuf| {
            let pem = fs_err::read_to_string(path)?;
            VerifyingKey::from_pem(&pem).with_context(|| {
                format!(
                    "{} in stockade.toml, [gateway] profile-keys",
                    path.display()
                )
            })
        };
        self.gateway.profile_keys.iter().map(read).collect()
    }

    /// Whose word counts that a key is in a TPM.
    pub(crate) fn ek_roots(&self) -> anyhow::Result<Roots> {
        let mut all = Vec::new();
        for path in &self.attestation.ek_roots {
            let pem = fs_err::read(path)?;
            // Each by itself, so that the file with the fault is named.
            Roots::read(&pem).with_context(|| {
                let path = path.display();
                format!("{path} in stockade.toml, [attestation] ek-roots")
            })?;
            all.extend(pem);
        }
        if all.is_empty() {
            return Ok(Roots::default());
        }
        Ok(Roots::read(&all)?)
    }

    /// The configuration with all its values, to start a file from.
    pub(crate) fn to_toml(&self) -> anyhow::Result<String> {
        Ok(toml::to_string(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        format!("{:#}", Config::parse(text).unwrap_err())
    }

    #[test]
    fn an_empty_file_means_the_defaults_and_the_defaults_read_back() {
        let default = Config::parse("").unwrap();
        assert_eq!(default, Config::default());
        assert_eq!(Config::parse(&default.to_toml().unwrap()).unwrap(), default);
        insta::assert_snapshot!(default.to_toml().unwrap());
    }

    #[test]
    fn a_typo_is_named_with_its_place_and_what_would_be_right() {
        insta::assert_snapshot!(complaint("[listen]\nmqt = \"[::]:8883\"\n"));
    }

    #[test]
    fn tls_1_1_can_not_be_written() {
        insta::assert_snapshot!(complaint("[protocols]\ntls = [\"1.1\", \"1.3\"]\n"));
    }

    #[test]
    fn what_has_the_wrong_form_is_answered_with_the_right_one() {
        let told: Vec<String> = [
            "gateway = 3",
            "[listen]\nmqtt = \"localhost\"",
            "[enrolment]\ncode-life = 24",
            "[evidence]\ngrace = \"a day\"",
        ]
        .map(complaint)
        .into();
        insta::assert_snapshot!(told.join("\n"), @r#"
        TOML parse error at line 1, column 11
          |
        1 | gateway = 3
          |           ^
        invalid type: integer `3`, expected the section [gateway]

        TOML parse error at line 2, column 8
          |
        2 | mqtt = "localhost"
          |        ^^^^^^^^^^^
        `localhost` is no address with a port: write "[::]:8883" (every address) or "192.0.2.1:8883"

        TOML parse error at line 2, column 13
          |
        2 | code-life = 24
          |             ^^
        invalid type: integer `24`, expected a duration with its unit: "30s", "10min", "24h" or "7d"

        TOML parse error at line 2, column 9
          |
        2 | grace = "a day"
          |         ^^^^^^^
        `a day` is no duration: write "30s", "10min", "24h" or "7d"
        "#);
    }

    #[test]
    fn values_that_the_start_would_refuse_are_refused_where_they_are_written() {
        for (line, text) in [
            ("gateway", "trust-domain = \"a b\""),
            ("gateway", "names = [\"gw.home\", \"two words\"]"),
            ("log", "level = \"inof\""),
            ("log", "level = \"info,stockade_gateway=lots\""),
            ("log", "format = \"xml\""),
            ("link", "bearers = [\"lora\"]"),
            ("storage", "durability = \"never\""),
            ("storage", "database = \"mysql://db/x\""),
            ("storage", "database = \"postgres://u:secret@db/x\""),
        ] {
            let told = complaint(&format!("[{line}]\n{text}\n"));
            assert!(told.contains("line 2, column"), "{text}: {told}");
        }
        let fine = "[log]\nlevel = \"info,stockade_gateway=debug\"\n[gateway]\nnames = [\"gw.home\", \"192.0.2.1\"]\n";
        assert!(Config::parse(fine).is_ok());
    }

    #[test]
    fn every_setting_is_explained_where_operators_look() {
        let documented = include_str!("../../../docs/operate.md");
        let config = Config {
            guard: Some(Guard::default()),
            ..Config::default()
        };
        let mut all: toml::Table = toml::from_str(&config.to_toml().unwrap()).unwrap();
        let guard = all["guard"].as_table_mut().unwrap();
        let mud = guard.remove("mud").unwrap();
        all.insert("guard.mud".to_owned(), mud);
        for (section, settings) in &all {
            for (name, _) in settings.as_table().into_iter().flatten() {
                assert!(
                    documented.contains(&format!("`{name}`"))
                        || documented.contains(&format!("`[{section}] {name}`")),
                    "[{section}] {name} is not in docs/operate.md"
                );
            }
        }
    }

    #[test]
    fn values_that_do_not_go_together_are_refused() {
        for (bad, told) in [
            ("[protocols]\ntls = [\"1.2\"]\n", "\"1.3\""),
            ("[protocols]\ntls = []\n", "\"1.3\""),
            ("[listen]\nmqtt = \"[::]:8443\"\n", "mqtt and console"),
            ("[enrolment]\ncode-life = \"0s\"\n", "code-life"),
        ] {
            let said = complaint(bad);
            assert!(said.contains(told), "{bad}: {said}");
        }
        let any = "[listen]\nmqtt = \"[::]:0\"\nest = \"[::]:0\"\nconsole = \"[::]:0\"\n";
        Config::parse(any).unwrap();
    }

    #[test]
    fn durations_have_units_and_bounds() {
        for bad in ["7", "7 days", "d", "-1d", "99999999999999d", "1w", ""] {
            let text = format!("[enrolment]\ncode-life = \"{bad}\"\n");
            assert!(Config::parse(&text).is_err(), "{bad}");
        }
        let text = "[enrolment]\ncomeback-window = \"90min\"\n";
        assert_eq!(
            Config::parse(text)
                .unwrap()
                .enrolment
                .comeback_window
                .to_string(),
            "90min"
        );
    }
}
