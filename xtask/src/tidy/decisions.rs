//! Each decision has one number, in its file name and in its title.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::{Report, files};

pub(super) fn check(root: &Path, report: &mut Report) -> Result<()> {
    let mut decisions = BTreeMap::new();
    for file in files(&root.join("docs/decisions"), "md")? {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        decisions.insert(name, fs_err::read_to_string(&file)?);
    }
    for fault in faults(&decisions) {
        report.fault(fault);
    }
    for _ in &decisions {
        report.looked();
    }
    Ok(())
}

/// What is wrong with the files, by name and text.
fn faults(decisions: &BTreeMap<String, String>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, text) in decisions {
        let Some((number, _)) = name.split_once('-').filter(|(number, _)| is_number(number)) else {
            faults.push(format!(
                "docs/decisions/{name}: the name is to be NNNN-title.md"
            ));
            continue;
        };
        if let Some(other) = taken.insert(number, name) {
            faults.push(format!(
                "docs/decisions/{name}: {number} is taken by {other}"
            ));
        }
        let title = text.lines().next().unwrap_or("");
        if !title
            .strip_prefix("# ")
            .is_some_and(|title| title.starts_with(number))
        {
            faults.push(format!(
                "docs/decisions/{name}: the title is to begin with `# {number}`"
            ));
        }
    }
    faults
}

fn is_number(text: &str) -> bool {
    text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)]) -> usize {
        let files = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        faults(&files).len()
    }

    #[test]
    fn numbers_are_unique_and_repeated_in_the_title() {
        assert_eq!(
            check(&[("0001-a.md", "# 0001 A"), ("0002-b.md", "# 0002: B")]),
            0
        );
        assert_eq!(
            check(&[("0001-a.md", "# 0001 A"), ("0001-b.md", "# 0001 B")]),
            1
        );
        assert_eq!(check(&[("0001-a.md", "# A")]), 1);
        assert_eq!(check(&[("notes.md", "# Notes")]), 1);
    }
}
