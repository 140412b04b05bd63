//! Files stay small, and pure crates do not reach for the world by its std names.

use std::path::Path;

use anyhow::Result;

use super::{Report, crates, files, shown};

/// Lines of production code a file should have at most, and may have at most.
const LENGTH: (usize, usize) = (500, 700);

/// What a pure crate does not write, and what it writes in its place.
const IMPURE: [(&str, &str); 9] = [
    (
        "std::net",
        "addresses are in core::net; sockets are the shell's",
    ),
    ("std::fs", "bytes are handed in"),
    ("std::io", "bytes are handed in"),
    ("std::thread", "the shell runs threads"),
    ("std::process", "the shell runs programs"),
    ("std::env", "settings are arguments"),
    ("Instant::now", "the time is an argument"),
    ("SystemTime", "the time is an argument"),
    ("SystemRandom", "randomness is an argument"),
];

pub(super) fn check(root: &Path, report: &mut Report) -> Result<()> {
    let pure: Vec<String> = crates::PURE
        .iter()
        .map(|name| name.replace("stockade-", "crates/") + "/src/")
        .collect();
    for folder in ["crates", "xtask", "tests", "fuzz/fuzz_targets"] {
        for file in files(&root.join(folder), "rs")? {
            let name = shown(root, &file);
            let text = fs_err::read_to_string(&file)?;
            let code = production(&text);
            report.looked();
            // A file of tests alone is as long as what it tests.
            if !name.contains("/tests/") && !name.ends_with("/tests.rs") {
                length(&name, code.lines().count(), report);
            }
            if pure.iter().any(|folder| name.starts_with(folder)) {
                for (line, word, instead) in impure(code) {
                    report.fault(format!(
                        "{name}:{line}: a pure crate names `{word}`: {instead}"
                    ));
                }
            }
        }
    }
    Ok(())
}

fn length(name: &str, lines: usize, report: &mut Report) {
    let (should, may) = LENGTH;
    if lines > may {
        report.fault(format!(
            "{name} has {lines} lines of production code; {may} is the ceiling"
        ));
    } else if lines > should {
        report.warn(format!(
            "{name} has {lines} lines of production code; about {should} is the aim"
        ));
    }
}

/// The text before its tests, which come last.
fn production(text: &str) -> &str {
    text.split_once("\n#[cfg(test)]\nmod ")
        .map_or(text, |(code, _)| code)
}

/// Lines that name the world, as (line, word, what to write in its place).
fn impure(code: &str) -> Vec<(usize, &'static str, &'static str)> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let line = line.split("//").next().unwrap_or("");
        for (word, instead) in IMPURE {
            if names(line, word) {
                found.push((number + 1, word, instead));
            }
        }
    }
    found
}

/// Whether the line names the path `word`, written out or in a group such as `std::{fmt, net}`.
fn names(line: &str, word: &str) -> bool {
    let boundary = |byte: Option<char>| !byte.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let whole = |text: &str, word: &str| {
        text.match_indices(word).any(|(at, _)| {
            boundary(text.get(..at).and_then(|before| before.chars().next_back()))
                && boundary(
                    text.get(at + word.len()..)
                        .and_then(|after| after.chars().next()),
                )
        })
    };
    if whole(line, word) {
        return true;
    }
    let Some((module, item)) = word.split_once("::") else {
        return false;
    };
    line.split_once(&format!("{module}::{{"))
        .is_some_and(|(_, group)| whole(group, item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_a_socket_and_a_file_are_seen() {
        let code = "use std::net::TcpStream;\nuse std::{fmt, fs};\nlet now = Instant::now();\nuse std::fmt;";
        let lines: Vec<usize> = impure(code).iter().map(|(line, ..)| *line).collect();
        assert_eq!(lines, [1, 2, 3]);
    }

    #[test]
    fn comments_lookalikes_and_core_are_not() {
        assert!(
            impure("// std::fs is not for us\nuse core::net::IpAddr;\nlet x = my_std::fs_like;")
                .is_empty()
        );
    }

    #[test]
    fn tests_at_the_end_do_not_count() {
        assert_eq!(
            production("fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n"),
            "fn a() {}\n"
        );
    }
}
