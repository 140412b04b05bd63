//! What tests can be skipped for, and what is installed.

use super::*;

/// The texts in the brackets of a call such as `without(&["nft", "ip"])`, or of a constant that such a call names.
fn asked(source: &str) -> Vec<&str> {
    let texts = |list: &'_ str| -> Vec<(usize, usize)> {
        let at: Vec<usize> = list.match_indices('"').map(|(at, _)| at).collect();
        at.chunks_exact(2)
            .map(|pair| (pair[0] + 1, pair[1]))
            .collect()
    };
    let mut found = Vec::new();
    for call in ["without(&", "unable(&"] {
        for (at, _) in source.match_indices(call) {
            let named = source.get(at + call.len()..).unwrap_or_default();
            let list = if named.starts_with('[') {
                named
            } else {
                let name = named.split([')', ':']).next().unwrap_or_default();
                let constant = source.split_once(&format!("const {name}: "));
                constant
                    .and_then(|(_, rest)| rest.split_once("= "))
                    .map_or("", |(_, list)| list)
            };
            let list = list.split(']').next().unwrap_or_default();
            found.extend(
                texts(list)
                    .into_iter()
                    .filter_map(|(from, to)| list.get(from..to)),
            );
        }
    }
    found
}

#[test]
fn whatever_a_test_can_be_skipped_for_is_something_that_is_installed() {
    let mut count = 0;
    let mut folders = vec![root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|its| its != "rs") {
                continue;
            }
            let source = fs_err::read_to_string(&path).expect("readable");
            for name in asked(&source) {
                let known = NEEDED.iter().any(|needed| needed.program == name)
                    || LISTS.iter().any(|(_, judge)| *judge == name)
                    || name == CLIENTS;
                assert!(known, "{}: nothing installs `{name}`", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 100, "only {count} were found");
}

#[test]
fn names_are_read_from_calls_and_from_constants() {
    let source =
        "const TOOLS: [&str; 2] = [\"a\", \"b\"];\nif without(&TOOLS) || unable(&[\"c\"]) {}";
    assert_eq!(asked(source), ["a", "b", "c"]);
}
