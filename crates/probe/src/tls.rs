//! Which versions of SSL and TLS a port offers, which weak ciphers, and its certificate.
//!
//! A connection for each version, closed at the first answer. A refusal that could have another reason is asked again in other
//! ways; what stays unclear is *undetermined*, never a pass.

mod ask;
pub mod certificate;
mod certificate_rules;
mod judge;
mod rules;
mod seen;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use stockade_wire::tls::suites::{self, FEW, NEW, USUAL};
use stockade_wire::tls::{Hello, Version};

pub use self::judge::{Port, judge, shared_keys};
use crate::line::Line;
pub(crate) use ask::alert;
use ask::{Came, ask};
use seen::Seen;

/// The rules about TLS and certificates that only others see, in the order of a report.
pub(crate) fn rules() -> impl Iterator<Item = &'static stockade_controls::engine::Rule> {
    let all = rules::ALL.iter().chain(certificate_rules::ALL);
    all.copied()
}

/// What is asked of a port.
#[derive(Debug, Clone, Copy, Default)]
pub struct What<'a> {
    /// The name it is asked by; none for an address.
    pub name: Option<&'a str>,
    /// Every cipher suite, too: a connection for each that is accepted, and one more for each version.
    pub ciphers: bool,
}

/// What came of asking for a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It went on with this version.
    Offered {
        /// The suite it chose; none in SSL 2.0.
        suite: Option<u16>,
        /// The group it wants a key of, in TLS 1.3.
        group: Option<u16>,
    },
    /// It refused: how.
    Refused(String),
    /// It answered with something else: its first bytes, escaped.
    NotTls(String),
    /// Neither can be said: why.
    Undetermined(String),
}

/// What came of offering a kind of cipher suite only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepts {
    /// None of them.
    No,
    /// This one, for example.
    Yes(u16),
    /// It cannot be said: why.
    Undetermined(String),
}

/// Ciphers of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ciphers {
    /// Those nobody may use any longer ([`suites::weak`]).
    pub weak: Accepts,
    /// Those without forward secrecy or with CBC ([`suites::dated`]).
    pub dated: Accepts,
}

/// The cipher suites of a version, in the order in which the server takes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The suites.
    pub suites: Vec<u16>,
    /// Why there may be more.
    pub incomplete: Option<String>,
}

/// What a port answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// A verdict for each version.
    pub versions: BTreeMap<Version, Verdict>,
    /// For each version before TLS 1.3 that is offered.
    pub ciphers: BTreeMap<Version, Ciphers>,
    /// If it was asked for.
    pub inventory: BTreeMap<Version, Inventory>,
    /// The chain of certificates in DER, its own first; or why there is none.
    pub certificates: Result<Vec<Vec<u8>>, String>,
}

impl Facts {
    /// The versions that are offered, the oldest first.
    pub fn offered(&self) -> impl Iterator<Item = Version> {
        let offered = |verdict: &Verdict| matches!(verdict, Verdict::Offered { .. });
        let all = self.versions.iter();
        all.filter(move |(_, verdict)| offered(verdict))
            .map(|(version, _)| *version)
    }

    /// What it says in plain text, if it is not TLS that it speaks.
    pub fn plain(&self) -> Option<&str> {
        self.versions.values().find_map(|verdict| match verdict {
            Verdict::NotTls(said) => Some(said.as_str()),
            Verdict::Offered { .. } | Verdict::Refused(_) | Verdict::Undetermined(_) => None,
        })
    }
}

/// Asks a port which versions it offers, and no more; the certificate is there if it came along.
pub fn versions(line: &Line, to: SocketAddr, name: Option<&str>) -> Facts {
    let what = &What {
        name,
        ciphers: false,
    };
    Asker { line, to, what }.versions()
}

/// Asks a port.
pub fn probe(line: &Line, to: SocketAddr, what: &What<'_>) -> Facts {
    let asker = Asker { line, to, what };
    let mut facts = asker.versions();
    for version in [
        Version::Tls12,
        Version::Tls11,
        Version::Tls10,
        Version::Ssl3,
    ] {
        if is_offered(&facts.versions, version) {
            facts.ciphers.insert(version, asker.ciphers(version));
        }
    }
    if what.ciphers {
        for version in Version::ALL {
            if version != Version::Ssl2 && is_offered(&facts.versions, version) {
                facts.inventory.insert(version, asker.inventory(version));
            }
        }
    }
    if facts.certificates.is_err() && is_offered(&facts.versions, Version::Tls13) {
        facts.certificates = certificate::by_handshake(line, to, what.name);
    }
    facts
}

fn is_offered(versions: &BTreeMap<Version, Verdict>, version: Version) -> bool {
    matches!(versions.get(&version), Some(Verdict::Offered { .. }))
}

/// How a question is put.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// As most servers like it.
    Usual,
    /// Every suite there is.
    Full,
    /// Short, for those that take no longer question.
    Short,
}

struct Asker<'a> {
    line: &'a Line,
    to: SocketAddr,
    what: &'a What<'a>,
}

/// What most speak comes last: it shows that the server was still there when it closed before, and brings the certificate.
const ORDER: [Version; 6] = [
    Version::Tls13,
    Version::Tls11,
    Version::Tls10,
    Version::Ssl3,
    Version::Ssl2,
    Version::Tls12,
];

impl Asker<'_> {
    fn versions(&self) -> Facts {
        let mut seen = Seen::default();
        for version in ORDER {
            self.put(&mut seen, version, first_way(version));
            if seen.is_hopeless() || self.line.is_over() {
                break;
            }
        }
        self.again(&mut seen);
        let plain = seen
            .versions
            .values()
            .find(|it| matches!(it, Verdict::NotTls(_)));
        let plain = plain.filter(|_| !seen.speaks_tls()).cloned();
        let verdict = |version: &Version| {
            let settled = seen.versions.get(version).cloned();
            if matches!(settled, Some(Verdict::Offered { .. })) {
                return settled;
            }
            // What it chose by itself it offers, whatever it said when it was asked for it.
            let chosen = seen.chosen.get(version).map(|suite| Verdict::Offered {
                suite: *suite,
                group: None,
            });
            let unsure = seen.unsure.get(version).map(ToString::to_string);
            let unsure = unsure.map(Verdict::Undetermined);
            chosen.or(settled).or_else(|| plain.clone()).or(unsure)
        };
        let unasked = || Verdict::Undetermined("not asked: nothing else was answered".to_owned());
        let versions = Version::ALL.map(|it| (it, verdict(&it).unwrap_or_else(unasked)));
        Facts {
            versions: BTreeMap::from(versions),
            ciphers: BTreeMap::new(),
            inventory: BTreeMap::new(),
            certificates: seen
                .certificates
                .ok_or_else(|| "none came in clear text".to_owned()),
        }
    }

    /// Asks in one way and takes the answer in.
    fn put(&self, seen: &mut Seen, version: Version, way: Way) {
        let offered = offered(version, way);
        // RFC 6066 §3: asked again, it is asked without the name.
        let name = self.what.name.filter(|_| way == Way::Usual);
        let chain = seen.certificates.is_none();
        let came = self.ask(version, &offered, name, (way == Way::Short, chain));
        seen.take(version, &offered, came);
    }

    fn ask(
        &self,
        version: Version,
        offered: &[u16],
        name: Option<&str>,
        (short, chain): (bool, bool),
    ) -> Came {
        let mut random = [0; 32];
        if let Err(why) =
            rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        {
            return Came::NoConnection(why.to_string());
        }
        let hello = Hello {
            version,
            suites: offered,
            name,
            short,
            random,
        };
        ask(self.line, self.to, &hello, chain)
    }

    /// Asks in other ways for what was refused for a reason that may be another one.
    fn again(&self, seen: &mut Seen) {
        if !seen.speaks_tls() {
            // A server that answers nothing is asked for what most speak once more, and then left alone; one that only takes short
            // questions is asked all of them so.
            let there = seen
                .unsure
                .values()
                .any(|it| !matches!(it, Came::NoConnection(_)));
            for version in ORDER.into_iter().rev().filter(|_| there) {
                if version == Version::Tls12 || seen.speaks_tls() {
                    self.put(seen, version, Way::Short);
                }
            }
            return;
        }
        let unsure: Vec<Version> = seen.unsure.keys().rev().copied().collect();
        let mut refusals = BTreeMap::new();
        for version in unsure {
            let mut refused = true;
            for way in [Way::Usual, Way::Full, Way::Short] {
                let Some(came) = seen.unsure.get(&version) else {
                    break;
                };
                refused &= came.is_word();
                let full = version == Version::Tls13 || first_way(version) == Way::Full;
                // With an alert it says no to every suite there is, not to the length of the question; and SSL 2.0 can be asked in
                // one way only.
                if version == Version::Ssl2 || full && matches!(came, Came::Alert(_)) {
                    break;
                }
                if way != first_way(version) {
                    self.put(seen, version, way);
                }
            }
            let Some(came) = seen.unsure.get(&version).filter(|_| refused) else {
                continue;
            };
            if version == Version::Tls13 && matches!(came, Came::Alert(_)) {
                // Without TLS 1.3 it had said `protocol_version` or chosen an older one; with it, what is wanting may be a key
                // that both know (RFC 8446 §4.1.1).
                let why = format!("{came}: it may want a shared key");
                seen.versions.insert(version, Verdict::Undetermined(why));
            } else if came.is_word() {
                refusals.insert(version, Verdict::Refused(came.to_string()));
            }
        }
        // They refused in each way; closing is a refusal by one who is still there for a version that it does speak.
        let spoken = seen.chosen.keys().next_back().copied();
        if !refusals.is_empty() && (seen.alive || self.still_answers(spoken)) {
            seen.versions.extend(refusals);
        }
    }

    /// Whether it still answers with a version that it has spoken.
    fn still_answers(&self, version: Option<Version>) -> bool {
        version.is_some_and(|version| {
            let usual = offered(version, Way::Usual);
            let came = self.ask(version, &usual, self.what.name, (false, false));
            matches!(came, Came::Hello(..) | Came::Ssl2(_))
        })
    }

    /// Whether weak and dated ciphers are accepted: one question for both, and a second only if it is accepted.
    fn ciphers(&self, version: Version) -> Ciphers {
        let of = |kind: &dyn Fn(&str) -> bool| -> Vec<u16> {
            let all = suites::all().filter(|(_, name)| !suites::is_new(name) && kind(name));
            all.map(|(number, _)| number).collect()
        };
        let weak = of(&|name| suites::weak(name).is_some());
        let dated = of(&|name| suites::weak(name).is_none() && suites::dated(name).is_some());
        let first = self.accepts(version, &[weak.as_slice(), &dated].concat());
        match &first {
            Accepts::Yes(suite) if weak.contains(suite) => Ciphers {
                dated: self.accepts(version, &dated),
                weak: first,
            },
            Accepts::Yes(_) => Ciphers {
                weak: self.accepts(version, &weak),
                dated: first,
            },
            Accepts::No | Accepts::Undetermined(_) => Ciphers {
                weak: first.clone(),
                dated: first,
            },
        }
    }

    /// Whether any of these suites is accepted in a version that is offered.
    fn accepts(&self, version: Version, offered: &[u16]) -> Accepts {
        match self.ask(version, offered, self.what.name, (false, false)) {
            Came::Hello(hello, _) if hello.version < version => Accepts::No,
            Came::Hello(hello, _) if offered.contains(&hello.suite) => Accepts::Yes(hello.suite),
            Came::Hello(..) => Accepts::Undetermined("it chose what it was not offered".to_owned()),
            // RFC 5246 §7.2.2: handshake_failure, insufficient_security; with an alert it says no.
            Came::Alert(_) => Accepts::No,
            // Whoever closes may do so for any reason: it says no if it still speaks the version.
            Came::Closed if self.still_answers(Some(version)) => Accepts::No,
            came => Accepts::Undetermined(came.to_string()),
        }
    }

    /// Offers all, takes away what is chosen, and again. If all at once is too much for it: 64 at a time.
    fn inventory(&self, version: Version) -> Inventory {
        let new = version == Version::Tls13;
        let all = suites::all().filter(|(_, name)| suites::is_new(name) == new);
        let all: Vec<u16> = all.map(|(number, _)| number).collect();
        let mut found = self.drain(version, all.clone());
        if found.suites.is_empty() {
            found = Inventory::default();
            for part in all.chunks(64) {
                let more = self.drain(version, part.to_vec());
                found.suites.extend(more.suites);
                found.incomplete = found.incomplete.or(more.incomplete);
            }
        }
        found
    }

    fn drain(&self, version: Version, mut offered: Vec<u16>) -> Inventory {
        let mut found = Inventory::default();
        while !offered.is_empty() {
            match self.accepts(version, &offered) {
                Accepts::Yes(suite) => {
                    offered.retain(|it| *it != suite);
                    found.suites.push(suite);
                }
                Accepts::No => break,
                Accepts::Undetermined(why) => {
                    found.incomplete = Some(why);
                    break;
                }
            }
        }
        found
    }
}

/// Versions without much to say besides their suites are asked with all of them at once.
fn first_way(version: Version) -> Way {
    match version {
        Version::Tls13 | Version::Tls12 => Way::Usual,
        _ => Way::Full,
    }
}

/// The suites of a question.
fn offered(version: Version, way: Way) -> Vec<u16> {
    let old = match way {
        Way::Usual => USUAL.to_vec(),
        // The usual ones first: a server without a will of its own takes what a client of today would get.
        Way::Full => {
            let rest =
                suites::all().filter(|(it, name)| !suites::is_new(name) && !USUAL.contains(it));
            USUAL.into_iter().chain(rest.map(|(it, _)| it)).collect()
        }
        Way::Short => FEW.to_vec(),
    };
    // With suites of before, a server that does not know TLS 1.3 says so by choosing an older version.
    if version == Version::Tls13 {
        [&NEW[..], &old].concat()
    } else {
        old
    }
}

#[cfg(test)]
mod tests;
