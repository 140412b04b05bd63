//! What can be said on the command line.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are help texts, read without markdown"
)]

pub(crate) mod attest;
pub(crate) mod audit;
pub(crate) mod constrained;
pub(crate) mod firewall;
pub(crate) mod grant;
pub(crate) mod guard;
pub(crate) mod learn;
pub(crate) mod mend;
pub(crate) mod mud;
pub(crate) mod rollout;
pub(crate) mod time;
pub(crate) mod token;
pub(crate) mod update;
pub(crate) mod vault;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Keeps IoT devices safe: what a device's profile does not allow is refused.
#[derive(Debug, Parser)]
#[command(name = "stockade", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Directory that holds everything the server keeps
    /// [default: ./stockade-data, or ./stockade-demo with --demo]
    #[arg(long, global = true, value_name = "DIR", env = "STOCKADE_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: token::Remote,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start gateway, vault and console in one process
    Up(Up),
    /// Devices: add, list, show, quarantine, release, revoke; on a device: status, plan, apply, undo
    #[command(subcommand)]
    Device(Device),
    /// Profiles: check, sign, verify, install
    #[command(subcommand)]
    Profile(Profile),
    /// This machine's firewall, from a profile: show, check, apply, confirm, watch
    #[command(subcommand)]
    Firewall(firewall::Firewall),
    /// The LAN guard: devices that can run nothing of ours
    #[command(subcommand)]
    Guard(guard::Guard),
    /// How devices started, by their TPMs
    #[command(subcommand)]
    Attest(attest::Attest),
    /// What the maker of a device does: systems, signed by several people
    #[command(subcommand)]
    Update(update::Update),
    /// A new system for the devices of a model, a few of them first
    #[command(subcommand)]
    Rollout(rollout::Rollout),
    /// Devices that ask each other directly: what the gateway grants
    #[command(subcommand)]
    Grant(grant::Grant),
    /// The link, which constrained devices come by
    #[command(subcommand)]
    Link(Link),
    /// Proof from outside: images, hosts and this system judged, with evidence and provisions
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Data the vault keeps
    #[command(subcommand)]
    Vault(vault::Vault),
    /// Tokens for people and programs without the administrator's password
    #[command(subcommand)]
    Token(token::Token),
    /// The gateway's certificate authority
    #[command(subcommand)]
    Ca(Ca),
    /// The configuration file
    #[command(subcommand)]
    Config(Config),
    /// The administrator of the console
    #[command(subcommand)]
    Admin(Admin),
    /// What was admitted and refused, newest last
    Events(Events),
    /// Send a command to a device: publish to a topic as the operator
    Publish(Publish),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages into a directory
    Man {
        /// Where to write them
        dir: PathBuf,
    },
    /// One of the devices that `up --demo` starts
    #[command(hide = true)]
    DemoDevice(DemoDevice),
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Configuration file [default: DIR/stockade.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Start demo devices beside it: four of different kinds and a street of meters; listen on this machine only
    #[arg(long)]
    pub(crate) demo: bool,
    /// Also listen for constrained devices on a bearer of short range: `serial:PATH[@BAUD]`, `nfc[:READER]`, `ble[:CONTROLLER]`; may be given more than once
    #[arg(long, value_name = "BEARER")]
    pub(crate) bearer: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// Let a device enrol: prints a code that works once
    Add {
        /// The model, as its profile names it
        #[arg(long)]
        model: String,
        /// A name for this device: a-z, 0-9, `.`, `_`, `-`
        id: String,
        /// Add it although what its profile says of its data is known to fail; that is an event
        #[arg(long)]
        allow_policy_findings: bool,
        #[command(flatten)]
        constrained: constrained::Constrained,
    },
    /// All devices with their states
    List,
    /// One device: state, reasons, what its profile lets it do
    Show {
        /// The device
        id: String,
    },
    /// Let a device reach nothing but what it needs to be mended
    Quarantine {
        /// The device
        id: String,
        /// Why, for whoever looks later
        #[arg(long, default_value = "by the operator")]
        reason: String,
    },
    /// Back to normal after quarantine
    Release {
        /// The device
        id: String,
        /// Why, for whoever looks later
        #[arg(long, default_value = "by the operator")]
        reason: String,
    },
    /// What a device says of itself: the seven protocols, what is wrong, since when
    Posture {
        /// The device
        id: String,
    },
    /// Have a device's agent do something, as soon as it can be reached
    Command {
        /// The device
        id: String,
        /// What to do
        #[arg(value_name = "WHAT", value_parser = ["apply", "undo", "assess", "upnp-off", "renew"])]
        what: String,
    },
    /// A new code for a device that has not enrolled, or that lost its key; voids the old one
    Code {
        /// The device
        id: String,
    },
    /// Forget a device: its certificate is refused, its name is free
    Remove {
        /// The device
        id: String,
    },
    #[command(flatten)]
    Mend(mend::Mend),
    /// Its case was opened and that was looked after: release it, and tell it so; without a device: this one, as root
    ClearTamper {
        /// The device
        id: Option<String>,
        /// Why, for whoever looks later
        #[arg(long)]
        reason: String,
        /// The device's files are below this directory
        #[arg(long, value_name = "DIR", hide = true, conflicts_with = "id")]
        places: Option<PathBuf>,
    },
    /// Never again: its certificate is refused from now on
    Revoke {
        /// The device
        id: String,
        /// Why, for whoever looks later
        #[arg(long, default_value = "by the operator")]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Profile {
    /// Report all faults, each with line, column and a suggestion
    Check {
        /// Profiles in TOML
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// What a profile allows, in words
    Show {
        /// A profile in TOML
        file: PathBuf,
    },
    /// Make a key pair for signing: KEY (private) and KEY.pub
    Keygen {
        /// Where to write the private key (PKCS#8 PEM)
        key: PathBuf,
    },
    /// Sign a profile for transport (COSE_Sign1, Ed25519)
    Sign {
        /// A profile in TOML
        file: PathBuf,
        /// The private key (PKCS#8 PEM)
        #[arg(long)]
        key: PathBuf,
        /// Where to write it [default: FILE with .cose in place of .toml]
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Verify a signed profile
    Verify {
        /// The signed profile
        file: PathBuf,
        /// Public keys that are trusted (PEM)
        #[arg(long, required = true)]
        key: Vec<PathBuf>,
    },
    /// Make a profile of a MUD file (RFC 8520), and say what became of each of its rules
    FromMud(mud::FromMud),
    /// Make a MUD file of a profile, signed (CMS) if a key is given
    ToMud(mud::ToMud),
    /// Make a profile of what a device was seen to do, in captures or on an interface
    Learn(learn::Learn),
    /// Give the running gateway a profile; an older version is refused, and one whose data `vault policy check` refuses
    Install {
        /// A profile in TOML, or a signed one
        file: PathBuf,
        /// Install it although what it says of its data is known to fail; that is an event
        #[arg(long)]
        allow_policy_findings: bool,
    },
    /// The models the running gateway knows
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Link {
    /// Its sessions, what was refused, and which of its bearers work
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Where its certificate is, and its fingerprint
    Show,
    /// Use an existing authority; before the first `up`
    Import {
        /// Its certificate (PEM)
        #[arg(long)]
        certificate: PathBuf,
        /// Its private key (PKCS#8 PEM)
        #[arg(long)]
        key: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Report what is wrong with a configuration file
    Check {
        /// The file
        file: PathBuf,
    },
    /// Print the configuration with every default
    Default,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Make a new one-time password; the old one ends
    ResetPassword,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only those after this number
    #[arg(long, default_value_t = 0)]
    pub(crate) after: u64,
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The topic
    pub(crate) topic: String,
    /// What to send
    pub(crate) payload: String,
    /// 0, 1 or 2
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
}

/// A demo device is told what a stranger's device would be told: where to go and its code.
#[derive(Debug, Clone, Args)]
pub(crate) struct DemoDevice {
    /// honest | misbehaving | old | constrained | street
    pub(crate) kind: String,
    /// Its name
    #[arg(long)]
    pub(crate) id: String,
    /// Its model
    #[arg(long)]
    pub(crate) model: String,
    /// The local address it connects from
    #[arg(long)]
    pub(crate) source: std::net::IpAddr,
    /// The gateway's MQTT address
    #[arg(long)]
    pub(crate) mqtt: std::net::SocketAddr,
    /// The gateway's enrolment address
    #[arg(long)]
    pub(crate) est: std::net::SocketAddr,
    /// The gateway's address for constrained devices
    #[arg(long)]
    pub(crate) coap: std::net::SocketAddr,
    /// SHA-256 of the gateway's CA certificate, in hexadecimal
    #[arg(long)]
    pub(crate) ca_fingerprint: String,
    /// Where it keeps its key and certificate
    #[arg(long)]
    pub(crate) keys: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// A row for each command that can be given, with the first sentence of its help.
    fn rows(command: &clap::Command, path: &str, out: &mut Vec<String>) {
        let mut words = vec![format!("{path}{}", command.get_name())];
        if command.has_subcommands() {
            for below in command.get_subcommands().filter(|c| !c.is_hide_set()) {
                rows(below, &format!("{} ", words[0]), out);
            }
            return;
        }
        words.extend(
            command
                .get_positionals()
                .map(|word| word.get_id().as_str().to_uppercase()),
        );
        let about = command.get_about().map(ToString::to_string);
        out.push(format!(
            "| `{}` | {} |",
            words.join(" "),
            about.unwrap_or_default()
        ));
    }

    #[test]
    fn every_command_can_be_given() {
        Cli::command().debug_assert();
    }

    /// Where a command has an argument of the same name as one that all have, each would be given the other's value.
    #[test]
    fn what_all_commands_take_no_command_calls_otherwise() {
        fn walk(command: &clap::Command, global: &[clap::Id]) {
            for inner in command.get_subcommands() {
                for argument in inner.get_arguments() {
                    let id = argument.get_id();
                    assert!(!global.contains(id), "{}: {id}", inner.get_name());
                }
                walk(inner, global);
            }
        }
        let all = Cli::command();
        let global = all.get_arguments().filter(|it| it.is_global_set());
        let global: Vec<_> = global.map(|it| it.get_id().clone()).collect();
        assert!(global.len() > 3, "{global:?}");
        walk(&all, &global);
    }

    /// A command line as a shell has it, with quotes and without what it does with the output.
    fn shell(line: &str) -> Vec<String> {
        let parts = line.split('\'').enumerate();
        parts
            .flat_map(|(place, part)| {
                if place % 2 == 1 {
                    vec![part.to_owned()]
                } else {
                    part.split_whitespace().map(str::to_owned).collect()
                }
            })
            .take_while(|word| word != ">")
            .collect()
    }

    #[test]
    fn every_example_of_the_help_can_be_given() {
        let vault = Cli::command();
        let vault = vault.find_subcommand("vault").unwrap();
        let help: Vec<String> = vault
            .get_subcommands()
            .filter_map(|verb| Some(verb.get_after_help()?.to_string()))
            .collect();
        let examples = help
            .iter()
            .flat_map(|text| text.lines().filter(|line| line.contains("stockade ")));
        let mut count = 0;
        for example in examples {
            Cli::try_parse_from(shell(example))
                .unwrap_or_else(|wrong| panic!("{example}: {wrong}"));
            count += 1;
        }
        assert!(count > 10, "{count}");
    }

    #[test]
    fn the_document_lists_every_command_as_the_help_does() {
        let mut table = vec![
            "| command | what it does |".to_owned(),
            "|---|---|".to_owned(),
        ];
        rows(&Cli::command(), "", &mut table);
        let table = table.join("\n");
        let documented = include_str!("../../../docs/cli.md");
        assert!(
            documented.contains(&format!("{table}\n\n")),
            "docs/cli.md must have:\n\n{table}"
        );
    }
}
