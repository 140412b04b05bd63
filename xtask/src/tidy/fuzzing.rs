//! Each fuzz target is listed, has a corpus, and the corpus is replayed by a normal test.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::{Report, files};

pub(super) fn check(root: &Path, report: &mut Report) -> Result<()> {
    let manifest = fs_err::read_to_string(root.join("fuzz/Cargo.toml"))?;
    report.looked();
    let product = fs_err::read_to_string(root.join("Cargo.toml"))?;
    if profiles(&manifest) != profiles(&product) {
        report.fault(
            "fuzz/Cargo.toml sets other things for dev builds of others' packages than Cargo.toml: \
             checking its targets would build all of them again"
                .to_owned(),
        );
    }
    let mut replays = String::new();
    for file in files(&root.join("crates"), "rs")? {
        if file.to_string_lossy().ends_with("corpus.rs") {
            replays.push_str(&fs_err::read_to_string(file)?);
        }
    }
    for file in files(&root.join("fuzz/fuzz_targets"), "rs")? {
        let target = file.file_stem().unwrap_or_default().to_string_lossy();
        report.looked();
        if !manifest.contains(&format!("fuzz_targets/{target}.rs")) {
            report.fault(format!("fuzz target `{target}` is not in fuzz/Cargo.toml"));
        }
        let corpus = root.join("fuzz/corpus").join(&*target);
        if !corpus.is_dir() || fs_err::read_dir(&corpus)?.next().is_none() {
            report.fault(format!(
                "fuzz target `{target}` has no corpus in fuzz/corpus/{target}"
            ));
        }
        if !replays.contains(&*target) {
            report.fault(format!(
                "no crate's test of a name that ends in corpus replays the corpus of `{target}`"
            ));
        }
    }
    Ok(())
}

/// What a manifest sets for dev builds, our own packages aside: sections by their names, without comments.
fn profiles(manifest: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut section = None;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            let its = ["[profile.dev]", "[profile.dev."]
                .iter()
                .any(|start| line.starts_with(start))
                && !line.starts_with("[profile.dev.package.stockade-");
            section = its.then_some(line);
        } else if let Some(section) = section
            && !line.is_empty()
            && !line.starts_with('#')
        {
            found.entry(section).or_default().push(line);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_for_dev_builds_are_compared_without_comments_and_our_own_packages() {
        let product = "[profile.dev]\ndebug = 1\n\n# C.\n[profile.dev.package.\"*\"]\nopt-level = 1\n[profile.dev.package.stockade-x]\nopt-level = 2\n[profile.device]\nlto = true\n";
        let same = "[profile.dev]\ndebug = 1\n[profile.dev.package.\"*\"]\nopt-level = 1\n";
        assert_eq!(profiles(product), profiles(same));
        let other = same.replace("opt-level = 1", "opt-level = 1\ndebug = false");
        assert_ne!(profiles(product), profiles(&other));
    }
}
