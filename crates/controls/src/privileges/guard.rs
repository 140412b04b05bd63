//! What only root may change: files, the programs they name, and every directory on the way.

use std::collections::BTreeSet;

use super::files::{is_named, settled};
use crate::engine::names;
use crate::engine::{
    Action, Case, Entry, Finding, Host, HostPath, Judged, Kind, Remedy, Rule, Stage, Step, Unseen,
};

/// The most links that are followed for one path.
const MOST_LINKS: u32 = 40;

/// Looks who may write.
pub(super) struct Guard<'a> {
    pub(super) host: &'a dyn Host,
    case: Case<'a>,
    /// The groups that nobody but root is in.
    nobodys: NobodysGroups,
    /// What was told, by this rule or one before.
    pub(super) told: BTreeSet<HostPath>,
    /// What this rule found.
    findings: Vec<Finding>,
    /// How many things this rule looked at.
    looked_at: usize,
    /// What this rule could not see, the first of it.
    unseen: Option<(HostPath, Unseen)>,
}

impl<'a> Guard<'a> {
    pub(super) fn new(case: &Case<'a>) -> Self {
        Self {
            host: case.host,
            case: *case,
            nobodys: NobodysGroups::read(case.host),
            told: BTreeSet::new(),
            findings: Vec::new(),
            looked_at: 0,
            unseen: None,
        }
    }

    /// A rule has looked at everything.
    pub(super) fn done(&mut self, rule: &'static Rule, judged: &mut Judged) {
        let findings = std::mem::take(&mut self.findings);
        let looked_at = std::mem::take(&mut self.looked_at);
        match self.unseen.take() {
            None => judged.judged(rule, format!("{looked_at} files"), findings),
            Some((path, why)) => judged.cannot_tell(rule, format!("`{path}`: {why}"), findings),
        }
    }

    /// Other rules were judged by what was looked at for this one; `more` is where there was more than is looked at.
    pub(super) fn done_with(
        &self,
        rules: Vec<(&'static Rule, Vec<Finding>)>,
        more: Option<&HostPath>,
        judged: &mut Judged,
    ) {
        for (rule, findings) in rules {
            match (&self.unseen, more) {
                (Some((path, why)), _) => {
                    judged.cannot_tell(rule, format!("`{path}`: {why}"), findings);
                }
                (None, Some(path)) => {
                    let why = format!("`{path}` has more rules than are looked at");
                    judged.cannot_tell(rule, why, findings);
                }
                (None, None) => {
                    judged.judged(rule, format!("{} files", self.looked_at), findings);
                }
            }
        }
    }

    /// Something else that this rule found.
    pub(super) fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Something could not be seen; that it is not there is no trouble.
    pub(super) fn missed(&mut self, path: &HostPath, why: Unseen) {
        if why != Unseen::Absent && self.unseen.is_none() {
            self.unseen = Some((path.clone(), why));
        }
    }

    /// A directory's names, if it is there.
    pub(super) fn list(&mut self, directory: &HostPath) -> Vec<(HostPath, Entry)> {
        match self.host.list(directory) {
            Ok(names) => names
                .into_iter()
                .filter_map(|(name, entry)| Some((directory.join(&name).ok()?, entry)))
                .collect(),
            Err(why) => {
                self.missed(directory, why);
                Vec::new()
            }
        }
    }

    /// A file's text, if it is there.
    pub(super) fn text(&mut self, path: &HostPath) -> Option<String> {
        match self.host.read(path, 1 << 20) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(why) => {
                self.missed(path, why);
                None
            }
        }
    }

    /// Only root may write to this, and to what leads to it. `what` says what it is: "the unit".
    pub(super) fn only_roots(&mut self, rule: &'static Rule, path: &HostPath, what: &str) {
        for (path, entry, is_last) in self.way_to(path) {
            let told = if is_last {
                format!("The {what} `{path}`")
            } else {
                format!("`{path}`, on the way to a {what},")
            };
            self.only_roots_entry(rule, &path, &entry, &told);
        }
    }

    /// Only root may write to this; the way to it was looked at before.
    pub(super) fn only_roots_entry(
        &mut self,
        rule: &'static Rule,
        path: &HostPath,
        entry: &Entry,
        what: &str,
    ) {
        self.looked_at = self.looked_at.saturating_add(1);
        if let Some(who) = self.others(entry)
            && self.told.insert(path.clone())
        {
            let what = format!("{what} may be changed by {who}");
            let finding = loose(rule, path, entry, what, is_named(&self.case, path));
            self.findings
                .push(finding.seen(path.to_string(), shown(entry)));
        }
    }

    /// Every directory and link from the root to the end of a path, and that end, links resolved. What is not there ends it.
    fn way_to(&mut self, path: &HostPath) -> Vec<(HostPath, Entry, bool)> {
        let mut way = Vec::new();
        let mut here = HostPath::root();
        let mut todo: Vec<Vec<u8>> = names(path.as_bytes());
        let mut links = 0_u32;
        while let Some(name) = todo.pop() {
            if name == b".." {
                here = here.parent();
                continue;
            }
            let Ok(next) = here.join(&name) else { break };
            match self.host.entry(&next) {
                Ok(entry) if entry.kind == Kind::Link => {
                    links = links.saturating_add(1);
                    let Ok(target) = self.host.link(&next) else {
                        break;
                    };
                    if links > MOST_LINKS {
                        let why = Unseen::Damaged("a loop of links".to_owned());
                        self.missed(path, why);
                        break;
                    }
                    if target.first() == Some(&b'/') {
                        here = HostPath::root();
                    }
                    todo.extend(names(&target));
                }
                Ok(entry) => {
                    way.push((next.clone(), entry, todo.is_empty()));
                    here = next;
                }
                Err(why) => {
                    self.missed(&next, why);
                    break;
                }
            }
        }
        way
    }

    /// Where a path ends when its links are followed; itself if that is nowhere.
    pub(super) fn real(&mut self, path: &HostPath) -> HostPath {
        match self.way_to(path).pop() {
            Some((end, _, true)) => end,
            _ => path.clone(),
        }
    }

    /// Who but root may change what is there.
    fn others(&self, entry: &Entry) -> Option<String> {
        if !matches!(entry.kind, Kind::File | Kind::Directory) {
            return None;
        }
        if entry.owner != 0 {
            return Some(format!("user {}", entry.owner));
        }
        // In a directory with the sticky bit, nobody takes away what is another's.
        if entry.kind == Kind::Directory && entry.mode & 0o1000 != 0 {
            return None;
        }
        if entry.mode & 0o002 != 0 {
            return Some("everybody".to_owned());
        }
        (entry.mode & 0o020 != 0 && !self.nobodys.has(entry.group))
            .then(|| format!("group {}", entry.group))
    }
}

fn shown(entry: &Entry) -> String {
    let Entry {
        mode, owner, group, ..
    } = entry;
    format!("mode {mode:04o}, owner {owner}, group {group}")
}

fn loose(
    rule: &'static Rule,
    path: &HostPath,
    entry: &Entry,
    what: String,
    named: bool,
) -> Finding {
    let finding = Finding::of(rule, path.to_string(), what);
    if entry.owner != 0 && entry.kind == Kind::Directory {
        let advice = format!(
            "`{path}` belongs to user {}: move what root runs to a directory of root's, such as /usr/local/sbin.",
            entry.owner
        );
        return Finding {
            remedy: Remedy::Person(advice),
            ..finding
        };
    }
    let (mode, owner) = settled(entry, named, true);
    let action = Action::Mode {
        path: path.clone(),
        mode,
        owner,
    };
    let says = format!("Let only root write to `{path}`");
    let risk = "A program that changes it as another user no longer can.";
    finding.mended_by(vec![Step::risky(Stage::Change, action, says, risk)])
}

/// The groups that have no member but root; none is known to be so if the files can not be read.
struct NobodysGroups(BTreeSet<u32>);

impl NobodysGroups {
    fn read(host: &dyn Host) -> Self {
        let read = |path| host.read(&HostPath::of(path), 4 << 20);
        let (Ok(groups), Ok(users)) = (read("/etc/group"), read("/etc/passwd")) else {
            return Self(BTreeSet::from([0]));
        };
        let groups = String::from_utf8_lossy(&groups);
        // name:password:number:members
        let empty = groups.lines().filter_map(|line| {
            let mut fields = line.splitn(4, ':').skip(2);
            let number: u32 = fields.next()?.parse().ok()?;
            let members = fields.next()?.trim();
            matches!(members, "" | "root").then_some(number)
        });
        let mut empty: BTreeSet<u32> = empty.collect();
        empty.insert(0);
        // name:password:user:group
        for line in String::from_utf8_lossy(&users).lines() {
            let mut fields = line.split(':').skip(2);
            if let (Some(user), Some(group)) = (fields.next(), fields.next())
                && user != "0"
                && let Ok(group) = group.parse::<u32>()
            {
                empty.remove(&group);
            }
        }
        Self(empty)
    }

    fn has(&self, group: u32) -> bool {
        self.0.contains(&group)
    }
}
