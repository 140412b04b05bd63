//! What is known while versions are asked for, and what an answer means by itself.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use stockade_wire::tls::Version;

use super::Verdict;
use super::ask::Came;

/// What is asked in vain this often, with nothing but silence, is not asked again.
const MOST_SILENT: usize = 3;

/// What is known of a port.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) versions: BTreeMap<Version, Verdict>,
    /// Refusals that may have another reason.
    pub(super) unsure: BTreeMap<Version, Came>,
    /// What it chose of its own accord.
    pub(super) chosen: BTreeMap<Version, Option<u16>>,
    pub(super) certificates: Option<Vec<Vec<u8>>>,
    /// Whether its last answer was one, not a closed connection.
    pub(super) alive: bool,
}

impl Seen {
    pub(super) fn speaks_tls(&self) -> bool {
        !self.chosen.is_empty()
    }

    /// Whether asking on is of no use: it speaks something else, or nothing.
    pub(super) fn is_hopeless(&self) -> bool {
        let plain = self.versions.values();
        let plain = plain.filter(|it| matches!(it, Verdict::NotTls(_))).count();
        let count = |kind: fn(&Came) -> bool| self.unsure.values().filter(|it| kind(it)).count();
        let silent = count(|it| matches!(it, Came::Silent));
        let gone = count(|it| matches!(it, Came::NoConnection(_)));
        let unheard = self.versions.is_empty() && self.unsure.len() == gone;
        gone >= 2
            || gone == 1 && unheard
            || !self.speaks_tls() && (plain >= 2 || silent >= MOST_SILENT)
    }

    /// What an answer means by itself; otherwise it is kept for later.
    pub(super) fn take(&mut self, version: Version, offered: &[u16], came: Came) {
        self.alive = !matches!(came, Came::Closed | Came::Silent | Came::NoConnection(_));
        let verdict = match came {
            Came::Hello(hello, chain) => {
                if self.certificates.is_none() {
                    self.certificates = chain;
                }
                let unheard = !offered.contains(&hello.suite);
                let keyless = version == Version::Tls13 && !hello.retry;
                match hello.version.cmp(&version) {
                    _ if hello.version.is_datagram() => {
                        Verdict::Undetermined("it chose a version of DTLS".to_owned())
                    }
                    Ordering::Greater => {
                        let what =
                            format!("it chose {}, newer than what it was offered", hello.version);
                        Verdict::Undetermined(what)
                    }
                    _ if unheard => Verdict::Undetermined(format!(
                        "it chose cipher suite {:#06x}, which it was not offered",
                        hello.suite
                    )),
                    Ordering::Less => {
                        self.chosen.insert(hello.version, Some(hello.suite));
                        Verdict::Refused(format!("it answered with {}", hello.version))
                    }
                    Ordering::Equal if keyless => {
                        Verdict::Undetermined("it went on without the key it needs".to_owned())
                    }
                    Ordering::Equal => {
                        self.chosen.insert(version, Some(hello.suite));
                        Verdict::Offered {
                            suite: Some(hello.suite),
                            group: hello.group,
                        }
                    }
                }
            }
            Came::Ssl2(certificate) => {
                self.certificates.get_or_insert_with(|| vec![certificate]);
                self.chosen.insert(version, None);
                Verdict::Offered {
                    suite: None,
                    group: None,
                }
            }
            Came::Plain(said) => Verdict::NotTls(said),
            // RFC 8446 §6.2: protocol_version; RFC 7507 §3: inappropriate_fallback.
            Came::Alert(70 | 86) => Verdict::Refused(came.to_string()),
            // Whoever answers SSL 2.0's question with an alert of TLS does not speak it.
            Came::Alert(_) if version == Version::Ssl2 => Verdict::Refused(came.to_string()),
            Came::Ssl2Error(_) if version != Version::Ssl2 => Verdict::Refused(came.to_string()),
            came => {
                self.unsure.insert(version, came);
                return;
            }
        };
        self.unsure.remove(&version);
        self.versions.insert(version, verdict);
    }
}
