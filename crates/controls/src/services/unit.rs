//! Unit files of systemd, with what is dropped in beside them (systemd.unit(5), systemd.syntax(7)).

use std::collections::BTreeMap;

use super::{MOST, below, names};
use crate::engine::{Host, HostPath, Kind, Unseen};

/// Where units are, the first wins (systemd.unit(5), "Unit File Load Path").
pub const DIRECTORIES: [&str; 6] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// One line `Key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The section, without its brackets.
    pub section: String,
    /// The key.
    pub key: String,
    /// The value, continued lines joined with a blank.
    pub value: String,
}

/// A unit as systemd would read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The file.
    pub path: HostPath,
    /// Whether it is masked: a link to `/dev/null`, or an empty file.
    pub masked: bool,
    /// The files that were read: the unit and what is dropped in.
    pub files: Vec<HostPath>,
    /// All directives, in the order in which they count.
    pub directives: Vec<Directive>,
}

impl Unit {
    /// The last value of a key that holds one; none if it is not set, or set to nothing.
    pub fn last(&self, section: &str, key: &str) -> Option<&str> {
        self.all(section, key).last().copied()
    }

    /// The values of a key that holds a list: an empty one begins it anew.
    pub fn all(&self, section: &str, key: &str) -> Vec<&str> {
        let mut values = Vec::new();
        for it in &self.directives {
            if it.section == section && it.key == key {
                if it.value.is_empty() {
                    values.clear();
                } else {
                    values.push(it.value.as_str());
                }
            }
        }
        values
    }

    /// The program of `ExecStart=`, without the characters that may stand before it (systemd.service(5)).
    pub fn program(&self) -> Option<HostPath> {
        let command = self.all("Service", "ExecStart").first().copied()?;
        let command = command.trim_start_matches(['@', '-', ':', '+', '!', '|']);
        let word = match command.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => command.split_ascii_whitespace().next(),
        };
        HostPath::from_bytes(word?.as_bytes()).ok()
    }

    /// The user that the service runs as, if one is named.
    pub fn user(&self) -> Option<String> {
        let dynamic = self.last("Service", "DynamicUser");
        if dynamic.is_some_and(|it| matches!(it, "yes" | "true" | "on" | "1")) {
            return Some("(dynamic)".to_owned());
        }
        self.last("Service", "User").map(str::to_owned)
    }
}

/// Reads the text of a unit. What is no directive is passed over, as systemd does.
pub fn parse(text: &[u8]) -> Vec<Directive> {
    let text = String::from_utf8_lossy(text);
    let mut directives = Vec::new();
    let mut section = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            name.clone_into(&mut section);
            continue;
        }
        let mut whole = line.to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            whole.truncate(whole.trim_end().len());
            // Comments between continued lines are passed over.
            let mut more = lines.by_ref().map(str::trim);
            let Some(next) = more.find(|it| !it.starts_with(['#', ';'])) else {
                break;
            };
            whole.push(' ');
            whole.push_str(next);
        }
        if let Some((key, value)) = whole.split_once('=') {
            directives.push(Directive {
                section: section.clone(),
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            });
        }
    }
    directives
}

/// Reads a unit by its whole name (`ssh.service`, `getty@tty1.service`) with what is dropped in.
pub fn read(host: &dyn Host, name: &str) -> Result<Unit, Unseen> {
    let template = template(name);
    let wanted = [Some(name.to_owned()), template.clone()];
    for name in wanted.iter().flatten() {
        for directory in DIRECTORIES {
            let path = below(&HostPath::of(directory), name)?;
            let entry = match host.entry(&path) {
                Err(Unseen::Absent) => continue,
                entry => entry?,
            };
            let is_null = entry.kind == Kind::Link && *host.link(&path)? == *b"/dev/null";
            if is_null || (entry.kind == Kind::File && entry.size == 0) {
                return Ok(Unit {
                    path,
                    masked: true,
                    files: Vec::new(),
                    directives: Vec::new(),
                });
            }
            let mut directives = parse(&host.read(&path, MOST)?);
            let mut files = vec![path.clone()];
            for dropped in dropped_in(host, &wanted)? {
                directives.extend(parse(&host.read(&dropped, MOST)?));
                files.push(dropped);
            }
            return Ok(Unit {
                path,
                masked: false,
                files,
                directives,
            });
        }
    }
    Err(Unseen::Absent)
}

/// `getty@.service` of `getty@tty1.service`.
pub fn template(name: &str) -> Option<String> {
    let (prefix, rest) = name.split_once('@')?;
    let (instance, suffix) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{suffix}"))
}

/// The files dropped in for a unit, in their order: by name, and one of the same name counts once.
fn dropped_in(host: &dyn Host, units: &[Option<String>]) -> Result<Vec<HostPath>, Unseen> {
    let mut found: BTreeMap<String, HostPath> = BTreeMap::new();
    for unit in units.iter().flatten() {
        for directory in DIRECTORIES {
            let directory = below(&HostPath::of(directory), &format!("{unit}.d"))?;
            for (name, kind, _) in names(host, &directory)? {
                if name.strip_suffix(".conf").is_some() && matches!(kind, Kind::File | Kind::Link) {
                    let path = below(&directory, &name)?;
                    found.entry(name).or_insert(path);
                }
            }
        }
    }
    // A link to /dev/null drops one of the same name that comes later.
    Ok(found
        .into_values()
        .filter(|path| host.link(path).as_deref() != Ok(b"/dev/null"))
        .collect())
}
