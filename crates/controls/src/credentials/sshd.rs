//! How OpenSSH's server is configured (`sshd_config(5)`): the first value counts, `Include` and `Match` are followed.

use crate::engine::{Host, HostPath, Unseen};

/// The configuration that is read first.
pub(super) const MAIN: &str = "/etc/ssh/sshd_config";
/// The largest file, and the most files, lines and levels of inclusion.
const MOST_BYTES: usize = 1 << 20;
const MOST_FILES: usize = 256;
const MOST_LINES: usize = 20_000;
const DEEPEST: usize = 16;

/// A line that sets something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) path: HostPath,
    pub(super) number: usize,
    /// The line as it stands there.
    pub(super) text: String,
    /// The keyword, in lower case.
    pub(super) keyword: String,
    pub(super) value: String,
    /// It stands in a `Match` block.
    pub(super) conditional: bool,
}

impl Line {
    /// `/etc/ssh/sshd_config:3`.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.path, self.number)
    }
}

/// All lines that set something, in the order in which they count.
pub(super) fn read(host: &dyn Host) -> Result<Vec<Line>, Unseen> {
    let mut reader = Reader {
        host,
        lines: Vec::new(),
        files: 0,
    };
    reader.file(&HostPath::of(MAIN), false, 0)?;
    Ok(reader.lines)
}

struct Reader<'a> {
    host: &'a dyn Host,
    lines: Vec<Line>,
    files: usize,
}

impl Reader<'_> {
    fn file(&mut self, path: &HostPath, conditional: bool, depth: usize) -> Result<(), Unseen> {
        self.files = self.files.saturating_add(1);
        if self.files > MOST_FILES || depth > DEEPEST {
            return Err(Unseen::TooMuch(MOST_FILES));
        }
        let bytes = self.host.read(path, MOST_BYTES)?;
        let mut conditional = conditional;
        for (number, text) in (1_usize..).zip(String::from_utf8_lossy(&bytes).lines()) {
            let Some((keyword, value)) = setting(text) else {
                continue;
            };
            match keyword.as_str() {
                "match" => conditional = !value.eq_ignore_ascii_case("all") || conditional,
                "include" => {
                    for pattern in value.split_whitespace() {
                        self.include(pattern.trim_matches('"'), conditional, depth)?;
                    }
                }
                _ if self.lines.len() == MOST_LINES => return Err(Unseen::TooMuch(MOST_LINES)),
                _ => self.lines.push(Line {
                    path: path.clone(),
                    number,
                    text: text.to_owned(),
                    keyword,
                    value,
                    conditional,
                }),
            }
        }
        Ok(())
    }

    fn include(&mut self, pattern: &str, conditional: bool, depth: usize) -> Result<(), Unseen> {
        let full = match pattern.strip_prefix('/') {
            Some(_) => pattern.to_owned(),
            None => format!("/etc/ssh/{pattern}"),
        };
        let Ok(path) = HostPath::from_bytes(full.as_bytes()) else {
            return Ok(());
        };
        let below = depth.saturating_add(1);
        match self.host.list(&path.parent()) {
            Ok(names) => {
                for (name, _) in names {
                    if matches(path.name(), &name)
                        && let Ok(found) = path.parent().join(&name)
                    {
                        self.file(&found, conditional, below)?;
                    }
                }
                Ok(())
            }
            // A pattern that nothing fits is no fault for sshd either.
            Err(Unseen::Absent) => Ok(()),
            Err(why) => Err(why),
        }
    }
}

/// Keyword in lower case and value; none in a comment or an empty line.
pub(super) fn setting(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (keyword, value) = line.split_once(|c: char| c.is_whitespace() || c == '=')?;
    let value = value.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
    let value = value.split(" #").next().unwrap_or_default().trim();
    let value = match value.strip_prefix('"').and_then(|it| it.strip_suffix('"')) {
        Some(inner) if !inner.contains('"') => inner,
        _ => value,
    };
    Some((keyword.to_ascii_lowercase(), value.to_owned()))
}

/// Whether a name fits a pattern of `*` and `?` (glob(7), without classes).
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let hidden = name.first() == Some(&b'.') && pattern.first() != Some(&b'.');
    let (mut rest, mut text) = (pattern, name);
    // Where to go on after the last `*`, with one more byte taken by it.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        match (rest.split_first(), text.split_first()) {
            (Some((b'*', after)), _) => {
                again = Some((after, text));
                rest = after;
            }
            (Some((wanted, after)), Some((byte, left))) if *wanted == b'?' || wanted == byte => {
                (rest, text) = (after, left);
            }
            (None, None) => return !hidden,
            _ => match again {
                Some((after, [_, left @ ..])) => {
                    again = Some((after, left));
                    (rest, text) = (after, left);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::MemoryHost;

    #[test]
    fn the_first_value_counts_and_included_files_come_where_they_are_named() {
        let host = MemoryHost::new()
            .file("/etc/ssh/sshd_config", 0o644, "Include sshd_config.d/*.conf\nPort 22\nMatch User x\n PasswordAuthentication=\"yes\" # why\nMatch all\nX11Forwarding no\n")
            .file("/etc/ssh/sshd_config.d/10-a.conf", 0o644, "PasswordAuthentication no\nMatch Group y\nPort 23\n")
            .file("/etc/ssh/sshd_config.d/README", 0o644, "Port 99\n");
        let lines = read(&host).expect("a configuration");
        let told: Vec<_> = lines
            .iter()
            .map(|it| {
                (
                    it.place(),
                    it.keyword.as_str(),
                    it.value.as_str(),
                    it.conditional,
                )
            })
            .map(|(place, keyword, value, conditional)| {
                format!("{place} {keyword}={value} {conditional}")
            })
            .collect();
        assert_eq!(
            told,
            [
                "/etc/ssh/sshd_config.d/10-a.conf:1 passwordauthentication=no false",
                "/etc/ssh/sshd_config.d/10-a.conf:3 port=23 true",
                "/etc/ssh/sshd_config:2 port=22 false",
                "/etc/ssh/sshd_config:4 passwordauthentication=yes true",
                "/etc/ssh/sshd_config:6 x11forwarding=no true",
            ]
        );
    }

    #[test]
    fn a_file_that_includes_itself_comes_to_an_end() {
        let host = MemoryHost::new().file(
            "/etc/ssh/sshd_config",
            0o644,
            "Include /etc/ssh/sshd_config\nInclude /etc/ssh/*\n",
        );
        assert_eq!(read(&host), Err(Unseen::TooMuch(MOST_FILES)));
    }

    #[test]
    fn patterns_fit_as_the_shell_has_them() {
        for (pattern, name, fits) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".hidden.conf", false),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbx", false),
            ("?", "", false),
            ("", "", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                fits,
                "{pattern} {name}"
            );
        }
    }
}
