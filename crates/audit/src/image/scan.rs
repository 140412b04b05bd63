//! One pass over all files of a tree: each is read once, and no more of them are in memory than there are threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use stockade_advisories::Component;
use stockade_controls::engine::{Entry, Finding, Host, HostPath, Kind, UnixSeconds, Unseen};
use stockade_image::{Bytes, Meter};

use super::certificates::Certificate;
use super::content::content_of;
use super::keys::Key;
use crate::counted;
use crate::elf::Built;
use crate::kernel::Kernel;

/// As many threads read and look.
const THREADS: usize = 2;
/// From how many bytes on a file is a large one.
const LARGE: u64 = 32 << 20;
/// The most files.
const MOST_FILES: usize = 4_000_000;

/// The most that is kept of all files: an image made to fill the memory does not.
const MOST_FOUND: usize = 200_000;

/// What a pass found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) findings: Vec<Finding>,
    /// Private keys, and where.
    pub(super) keys: Vec<(String, Key)>,
    /// Certificates, and where.
    pub(super) certificates: Vec<(String, Certificate)>,
    /// Password hashes in programs and scripts, and where.
    pub(super) hashes: Vec<(String, String)>,
    /// Files that say how a kernel is started.
    pub(super) boot: Vec<String>,
    /// Files that set a firewall up.
    pub(super) firewall: Vec<String>,
    /// Files that say which versions of TLS are accepted.
    pub(super) tls: Vec<String>,
    /// How programs were built.
    pub(super) built: Vec<Built>,
    /// Programs of which that cannot be told, and why.
    pub(super) broken: Vec<(String, String)>,
    /// How kernels were configured.
    pub(super) kernels: Vec<Kernel>,
    /// Software that says its version.
    pub(super) components: Vec<Component>,
    /// Files that were not read: where, and why.
    pub(super) unread: Vec<(String, String)>,
    /// How many files were read.
    pub(super) files: usize,
}

impl Scan {
    /// How much there is to keep.
    fn weight(&self) -> usize {
        let lists = [
            self.findings.len(),
            self.keys.len(),
            self.certificates.len(),
            self.hashes.len(),
            self.built.len(),
            self.components.len(),
            self.unread.len(),
        ];
        lists.into_iter().fold(0, usize::saturating_add)
    }

    pub(super) fn join(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.keys.extend(other.keys);
        self.certificates.extend(other.certificates);
        self.hashes.extend(other.hashes);
        self.boot.extend(other.boot);
        self.firewall.extend(other.firewall);
        self.tls.extend(other.tls);
        self.built.extend(other.built);
        self.kernels.extend(other.kernels);
        self.components.extend(other.components);
        self.unread.extend(other.unread);
        self.broken.extend(other.broken);
        self.files = self.files.saturating_add(other.files);
    }
}

/// Where a tree lies, if there is more than one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label<'a>(pub(super) Option<&'a str>);

impl Label<'_> {
    pub(super) fn at(self, place: &str) -> String {
        match self.0 {
            Some(label) => format!("{label}: {place}"),
            None => place.to_owned(),
        }
    }
}

/// Looks at all files of a tree.
pub(super) fn tree(
    host: &(dyn Host + Sync),
    label: Label<'_>,
    now: UnixSeconds,
    meter: &Meter,
    progress: &dyn Fn(&str),
) -> Scan {
    let mut scan = Scan::default();
    let files = files(host, label, &mut scan);
    let (next, kept) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let alone = Mutex::new(());
    let work = |told: &dyn Fn(&str)| {
        let mut seen = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((path, entry)) = files.get(number) else {
                return seen;
            };
            if number.is_multiple_of(1000) {
                told(&format!(
                    "{number} of {}",
                    counted(wide(files.len()), "file")
                ));
            }
            // Of large files one is in memory at a time.
            let large = (entry.size > LARGE).then(|| alone.lock());
            let found = one(host, path, entry.mode, label, now, meter);
            drop(large);
            let before = kept.fetch_add(found.weight(), Ordering::Relaxed);
            if before <= MOST_FOUND {
                seen.push((number, found));
            }
        }
    };
    let mut seen = std::thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS)
            .map(|_| scope.spawn(|| work(&|_| ())))
            .collect();
        let mut seen = work(progress);
        for other in others {
            match other.join() {
                Ok(found) => seen.extend(found),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        seen
    });
    if kept.into_inner() > MOST_FOUND {
        let why = Unseen::TooMuch(MOST_FOUND).to_string();
        scan.unread
            .push((label.at("/"), format!("findings: {why}")));
    }
    // The same order, whoever was faster.
    seen.sort_by_key(|(number, _)| *number);
    for (_, found) in seen {
        scan.join(found);
    }
    scan
}

pub(super) fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// All files with something in them, sorted.
fn files(host: &dyn Host, label: Label<'_>, scan: &mut Scan) -> Vec<(HostPath, Entry)> {
    let mut files = Vec::new();
    let mut open = vec![HostPath::root()];
    while let Some(directory) = open.pop() {
        let names = match host.list(&directory) {
            Ok(names) => names,
            Err(why) => {
                scan.unread
                    .push((label.at(&directory.to_string()), why.to_string()));
                continue;
            }
        };
        for (name, entry) in names {
            let Ok(path) = directory.join(&name) else {
                continue;
            };
            match entry.kind {
                Kind::Directory => open.push(path),
                Kind::File if entry.size > 0 => files.push((path, entry)),
                Kind::File | Kind::Link | Kind::Device | Kind::Other => (),
            }
        }
        if files.len() > MOST_FILES {
            let why = Unseen::TooMuch(MOST_FILES).to_string();
            scan.unread.push((label.at("/"), why));
            break;
        }
    }
    files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    files
}

fn one(
    host: &dyn Host,
    path: &HostPath,
    mode: u32,
    label: Label<'_>,
    now: UnixSeconds,
    meter: &Meter,
) -> Scan {
    let content = meter
        .time()
        .and_then(|()| host.read(path, meter.limits().longest));
    match content {
        Ok(content) => {
            let path = path.to_string();
            let place = label.at(&path);
            let plain = if path.contains(".ko.") {
                let most = meter.limits().longest;
                stockade_image::decompressed(&content, most, meter)
            } else {
                None
            };
            match plain {
                // A module of the kernel is judged as what it is when it is loaded.
                Some(Ok(plain)) => content_of(&path, &place, &plain, mode, now),
                Some(Err(why)) => Scan {
                    broken: vec![(place, why.to_string())],
                    files: 1,
                    ..Scan::default()
                },
                None => content_of(&path, &place, &content, mode, now),
            }
        }
        Err(why) => Scan {
            unread: vec![(label.at(&path.to_string()), why.to_string())],
            ..Scan::default()
        },
    }
}

/// Looks at bytes that are no file of a tree: a boot loader, a kernel, what nobody knows.
pub(super) fn data(place: &str, bytes: &Bytes, now: UnixSeconds, meter: &Meter) -> Scan {
    let content = meter
        .time()
        .and_then(|()| bytes.whole(meter.limits().longest));
    match content {
        Ok(content) => content_of("", place, &content, 0, now),
        Err(why) => Scan {
            unread: vec![(place.to_owned(), why.to_string())],
            ..Scan::default()
        },
    }
}
