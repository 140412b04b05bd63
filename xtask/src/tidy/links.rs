//! Every link in our documents leads somewhere.

use std::path::Path;

use anyhow::Result;

use super::{Report, files, shown};

pub(super) fn check(root: &Path, report: &mut Report) -> Result<()> {
    for file in files(root, "md")? {
        let name = shown(root, &file);
        let text = fs_err::read_to_string(&file)?;
        report.looked();
        for (line, target) in links(&text) {
            if let Some(why) = broken(&file, &text, target) {
                report.fault(format!("{name}:{line}: {why}"));
            }
        }
    }
    Ok(())
}

/// The targets of `[text](target)` outside code, with their lines.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced || line.starts_with("    ") {
            continue;
        }
        // Odd parts are between backticks.
        for part in line.split('`').step_by(2) {
            for rest in part.split("](").skip(1) {
                if let Some((target, _)) = rest.split_once(')') {
                    found.push((number + 1, target));
                }
            }
        }
        // A link whose text is code has its target in the part after the backtick, which the loop above saw.
    }
    found
}

fn broken(file: &Path, text: &str, target: &str) -> Option<String> {
    if target.starts_with("https://")
        || target.starts_with("http://")
        || target.starts_with("mailto:")
    {
        return None;
    }
    let (path, anchor) = target
        .split_once('#')
        .map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let aim = file.parent().unwrap_or(file).join(path);
    if !path.is_empty() && !aim.exists() {
        return Some(format!("`{target}` leads nowhere"));
    }
    let anchor = anchor?;
    let there = if path.is_empty() {
        text.to_owned()
    } else {
        fs_err::read_to_string(&aim).unwrap_or_default()
    };
    (!anchors(&there).any(|its| its == anchor))
        .then(|| format!("`{target}`: there is no such heading"))
}

/// The anchors of the headings, as forges make them.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code() {
        let text = "see [a](b.md) and [`c`](d.md#e)\n```\n[no](x.md)\n```\n`[no](y.md)`";
        assert_eq!(links(text), [(1, "b.md"), (1, "d.md#e")]);
    }

    #[test]
    fn headings_become_anchors() {
        let made: Vec<String> = anchors("# One `up` — two\n## Bad input, and what").collect();
        assert_eq!(made, ["one-up--two", "bad-input-and-what"]);
    }

    #[test]
    fn a_link_to_nothing_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.md");
        fs_err::write(&file, "# Here").unwrap();
        assert!(broken(&file, "# Here", "gone.md").is_some());
        assert!(broken(&file, "# Here", "#there").is_some());
        assert_eq!(broken(&file, "# Here", "a.md#here"), None);
        assert_eq!(broken(&file, "# Here", "https://example.org/x"), None);
    }
}
