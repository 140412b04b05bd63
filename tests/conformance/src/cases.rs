//! Running one check as the test of one statement.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::client;
use crate::server::{Server, Which, failures_are_listed, which};
use crate::wire::Version;

/// Tests where the server under test is known to fall short: `name: why`, one a line.
const KNOWN_OURS: &str = include_str!("../known-failures-ours.txt");
const KNOWN_MOSQUITTO: &str = include_str!("../known-failures-mosquitto.txt");

type Known = Vec<(&'static str, &'static str)>;

pub(crate) fn known_ours() -> Known {
    parse(KNOWN_OURS)
}

pub(crate) fn known_mosquitto() -> Known {
    parse(KNOWN_MOSQUITTO)
}

fn known() -> Known {
    match which() {
        Which::Ours => known_ours(),
        Which::Mosquitto => known_mosquitto(),
    }
}

/// All known failures, of either server.
pub(crate) fn all_known() -> Known {
    [known_ours(), known_mosquitto()].concat()
}

fn parse(list: &'static str) -> Known {
    list.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(": ").expect("`name: why`"))
        .collect()
}

/// Runs `check` against a server of its own; a known failure must fail, so that the list
/// shrinks as soon as it can. Of another version than the listed one it may.
pub(crate) fn run(name: &str, version: Version, check: fn(&Server, Version)) {
    let attempt = || check(&Server::start(), version);
    match known().into_iter().find(|(known, _)| *known == name) {
        None => attempt(),
        Some((_, why)) => {
            client::lose_patience();
            let outcome = catch_unwind(AssertUnwindSafe(attempt));
            assert!(
                outcome.is_err() || !failures_are_listed(),
                "{name} is listed as a known failure ({why}) but passes: unlist it"
            );
        }
    }
}

/// Test functions, each named after its statement, and the list of their names.
macro_rules! cases {
    ($version:expr; $($name:ident => $check:path;)*) => {
        $(
            #[test]
            fn $name() {
                $crate::cases::run(stringify!($name), $version, $check);
            }
        )*

        /// The tests of this file.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

pub(crate) use cases;
