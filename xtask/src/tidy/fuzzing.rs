//! Each fuzz target is listed, has a corpus, and the corpus is replayed by a normal test.

use std::path::Path;

use anyhow::Result;

use super::{Report, files};

pub(super) fn check(root: &Path, report: &mut Report) -> Result<()> {
    let manifest = fs_err::read_to_string(root.join("fuzz/Cargo.toml"))?;
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
