//! Opens what is given, and what is in it, to the bottom.

mod names;
mod scan;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use fs_err as fs;
use stockade_controls::engine::{Kind, Unseen};

use crate::compress::wide;
use crate::format::{FORMATS, Format, Inside, Opened, Piece};
use crate::{Bytes, Content, Limits, Meter, Tree, directory};

/// A gap shorter than this holds no file system: checksums, padding, trailers.
const SMALL: u64 = 512;
/// The smallest file of a tree that is opened as an image.
const SMALLEST: u64 = 64;
/// The most facts about a part.
const MOST_NOTES: usize = 64;
/// The longest of them, in bytes.
const LONGEST_NOTE: usize = 2048;
/// How often one format is tried in a blob where it could not be read: of something damaged, every piece looks like a beginning.
const MOST_TRIES: u32 = 256;
/// The format of a part that is a directory of this machine.
pub const DIRECTORY: &str = "directory";
/// The most parts.
const MOST_PARTS: usize = 10_000;

/// Something that was opened, with all that is in it.
#[derive(Debug)]
pub struct Image {
    /// SHA-256 of the file; none of a directory.
    pub digest: Option<[u8; 32]>,
    /// Everything that was found, what holds others before them.
    pub parts: Vec<Part>,
}

/// One thing that was found.
#[derive(Debug)]
pub struct Part {
    /// Where: `firmware.bin, squashfs at 0x120200, /boot/initrd.gz`.
    pub place: String,
    /// What it is.
    pub format: &'static str,
    /// Where it begins in what it lies in.
    pub at: u64,
    /// How long it is there, if it says so.
    pub length: Option<u64>,
    /// Facts worth telling.
    pub notes: Vec<(String, String)>,
    /// What is in it.
    pub content: PartContent,
}

/// What is in a part.
#[derive(Debug)]
pub enum PartContent {
    /// Files.
    Tree(Arc<Tree>),
    /// Other parts, which follow; or nothing at all.
    Container,
    /// Bytes that are no image: a kernel, a text.
    Data(Bytes),
    /// It could not be read.
    NotAudited(Unseen),
}

/// Opens a file or a directory, and keeps all that is found. `progress` is told where it is.
pub fn open(path: &Path, limits: Limits, progress: &dyn Fn(&str)) -> Result<Image, Unseen> {
    let mut parts = Vec::new();
    let digest = visit(path, limits, progress, &mut |part| parts.push(part))?;
    Ok(Image { digest, parts })
}

/// Opens a file or a directory, and gives away each part as it is found, what holds others before them: nothing of it stays here
/// but what is still to be opened. SHA-256 of the file; none of a directory.
pub fn visit(
    path: &Path,
    limits: Limits,
    progress: &dyn Fn(&str),
    take: &mut dyn FnMut(Part),
) -> Result<Option<[u8; 32]>, Unseen> {
    let meter = Meter::new(limits);
    let mut opener = Opener {
        meter: &meter,
        progress,
        take,
        count: 0,
    };
    let metadata = fs::metadata(path).map_err(|why| Unseen::Failed(why.to_string()))?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    let name = name.to_string_lossy().into_owned();
    if metadata.is_dir() {
        progress(&name);
        let opened = Opened {
            content: Inside::Tree(directory::tree(path, &meter)?),
            length: None,
            notes: Vec::new(),
        };
        let nothing = Bytes::memory(Vec::new());
        opener.inside(DIRECTORY, &name, (0, &nothing), opened, 0);
        return Ok(None);
    }
    if !metadata.is_file() {
        let why = "neither a file nor a directory".to_owned();
        return Err(Unseen::Damaged(why));
    }
    let file = fs::File::open(path).map_err(|why| Unseen::Failed(why.to_string()))?;
    let bytes = Bytes::file(File::from(file))?;
    let digest = digest(&bytes, &meter)?;
    opener.blob(&name, &bytes, 0);
    Ok(Some(digest))
}

/// Opens what is in memory.
pub(crate) fn open_bytes(name: &str, bytes: &Bytes, limits: Limits) -> Vec<Part> {
    let meter = Meter::new(limits);
    let mut parts = Vec::new();
    let mut opener = Opener {
        meter: &meter,
        progress: &|_| (),
        take: &mut |part| parts.push(part),
        count: 0,
    };
    opener.blob(name, bytes, 0);
    parts
}

fn digest(bytes: &Bytes, meter: &Meter) -> Result<[u8; 32], Unseen> {
    let mut context = Context::new(&SHA256);
    let mut at = 0;
    while at < bytes.length() {
        meter.time()?;
        let chunk = bytes.some(at, scan::CHUNK)?;
        context.update(&chunk);
        at = at.saturating_add(wide(chunk.len()));
    }
    let digest = context.finish();
    <[u8; 32]>::try_from(digest.as_ref()).map_err(|why| Unseen::Failed(why.to_string()))
}

struct Opener<'a> {
    meter: &'a Meter,
    progress: &'a dyn Fn(&str),
    take: &'a mut dyn FnMut(Part),
    /// How many were given away.
    count: usize,
}

/// What looked like a format and could not be read: where, which, why.
type Failed = Vec<(u64, &'static str, Unseen)>;

impl Opener<'_> {
    /// Everything in a stretch of bytes: what begins it, what follows, and what is between.
    fn blob(&mut self, place: &str, bytes: &Bytes, depth: u8) {
        if let Err(why) = self.may_go_on(depth) {
            return self.not_audited(place, "unknown", (0, bytes.length()), why);
        }
        (self.progress)(place);
        let mut failed = Failed::new();
        // Up to where all is told; and whether what was found last does not say where it ends.
        let (mut told, mut endless) = (0, false);
        let mut tries: BTreeMap<&'static str, u32> = BTreeMap::new();
        // What fills all of it needs no search.
        let first = FORMATS.iter().filter(|it| it.begins(bytes));
        let mut candidates: Vec<_> = first.map(|format| (0, format)).collect();
        for round in 0..2 {
            for (at, format) in candidates {
                if at < told || endless && at == 0 {
                    continue;
                }
                if let Err(why) = self.meter.time() {
                    failed.push((at, format.name, why));
                    break;
                }
                let tries = tries.entry(format.name).or_default();
                if *tries == MOST_TRIES {
                    continue;
                }
                let opened = bytes.from(at).and_then(|rest| {
                    let opened = (format.open)(&rest, self.meter)?;
                    // Nobody takes more than there is.
                    let bounded = |length: u64| length.clamp(1, rest.length().max(1));
                    Ok((opened.length.map(bounded), opened))
                });
                match opened {
                    Ok((length, opened)) => {
                        if !endless {
                            self.gap(place, bytes, (told, at), &mut failed, depth);
                        }
                        failed.clear();
                        self.found(format, place, (at, bytes), opened, depth);
                        endless = length.is_none();
                        told = at.saturating_add(length.unwrap_or(1));
                    }
                    // It is something else after all.
                    Err(Unseen::Absent) => *tries = tries.saturating_add(1),
                    Err(why) => {
                        *tries = tries.saturating_add(1);
                        // It is this, and more than may be read: that is told by itself.
                        if matches!(why, Unseen::TooMuch(_) | Unseen::Failed(_)) && !endless {
                            self.gap(place, bytes, (told, at), &mut failed, depth);
                            told = at;
                        }
                        failed.push((at, format.name, why));
                    }
                }
            }
            if round == 1 || told >= bytes.length() {
                break;
            }
            candidates = match scan::candidates(bytes, told, self.meter) {
                Ok(candidates) => candidates,
                Err(why) => {
                    failed.push((told, "unknown", why));
                    break;
                }
            };
            // Tried already.
            candidates.retain(|(at, _)| *at > 0);
        }
        if !endless || !failed.is_empty() {
            self.gap(place, bytes, (told, bytes.length()), &mut failed, depth);
        }
    }

    /// A program: told as it is; archives in it are found (a kernel has its first file system so).
    fn program(&mut self, place: &str, bytes: &Bytes, depth: u8) {
        if let Err(why) = self.may_go_on(depth) {
            return self.not_audited(place, "unknown", (0, bytes.length()), why);
        }
        // What is at the beginning of a disk only, is not in a program.
        let first = FORMATS.iter().filter(|it| it.anywhere);
        for format in first.filter(|it| it.begins(bytes)) {
            match (format.open)(bytes, self.meter) {
                Ok(mut opened) => {
                    // What is packed in a program is one.
                    if let Inside::Pieces(pieces) = &mut opened.content
                        && format.stream()
                    {
                        for piece in pieces {
                            piece.program = true;
                        }
                    }
                    return self.found(format, place, (0, bytes), opened, depth);
                }
                Err(why) if format.stream() => {
                    let all = (0, bytes.length());
                    return self.not_audited(place, format.name, all, why);
                }
                Err(_) => (),
            }
        }
        let filler = scan::is_filler(bytes, self.meter) == Ok(true);
        self.push(Part {
            place: place.to_owned(),
            format: if filler { "filler" } else { "program" },
            at: 0,
            length: Some(bytes.length()),
            notes: Vec::new(),
            content: if filler {
                PartContent::Container
            } else {
                PartContent::Data(bytes.clone())
            },
        });
        if !filler {
            self.archives(place, bytes, depth);
        }
    }

    /// File systems and archives in a program.
    fn archives(&mut self, place: &str, bytes: &Bytes, depth: u8) {
        let candidates = match scan::candidates(bytes, 0, self.meter) {
            Ok(candidates) => candidates,
            Err(why) => return self.not_audited(place, "program", (0, bytes.length()), why),
        };
        let mut told = 0;
        for (at, format) in candidates {
            if at < told || self.meter.time().is_err() {
                continue;
            }
            let opened = bytes.from(at).and_then(|it| (format.open)(&it, self.meter));
            let Ok(opened) = opened else { continue };
            let archive = match &opened.content {
                Inside::Tree(tree) => tree.nodes.len() > 2,
                Inside::Pieces(pieces) => {
                    let starts = |piece: &Piece| piece.bytes.some(0, 5);
                    format.stream()
                        && pieces
                            .iter()
                            .any(|it| starts(it).as_deref() == Ok(b"07070"))
                }
                Inside::Program | Inside::Data => false,
            };
            if archive {
                told = at.saturating_add(opened.length.unwrap_or(1));
                self.found(format, place, (at, bytes), opened, depth);
            }
        }
    }

    /// Tells of something that was opened, and opens what is in it.
    fn found(
        &mut self,
        format: &Format,
        place: &str,
        (at, bytes): (u64, &Bytes),
        opened: Opened,
        depth: u8,
    ) {
        let place = if at == 0 {
            place.to_owned()
        } else {
            format!("{place}, {} at {at:#x}", format.name)
        };
        self.inside(format.name, &place, (at, bytes), opened, depth);
    }

    fn inside(
        &mut self,
        format: &'static str,
        place: &str,
        (at, bytes): (u64, &Bytes),
        opened: Opened,
        depth: u8,
    ) {
        let deeper = depth.saturating_add(1);
        let mut notes = opened.notes;
        notes.truncate(MOST_NOTES);
        for (key, value) in &mut notes {
            for text in [key, value] {
                let end = text.floor_char_boundary(LONGEST_NOTE);
                text.truncate(end);
            }
        }
        let runs = matches!(opened.content, Inside::Program);
        let (content, pieces) = match opened.content {
            Inside::Tree(tree) => (PartContent::Tree(Arc::new(tree)), Vec::new()),
            Inside::Pieces(pieces) => (PartContent::Container, pieces),
            Inside::Program | Inside::Data => {
                let length = opened.length.unwrap_or(u64::MAX);
                let there = bytes.length().saturating_sub(at);
                let content = match bytes.part(at, length.min(there)) {
                    Ok(data) => PartContent::Data(data),
                    Err(why) => PartContent::NotAudited(why),
                };
                (content, Vec::new())
            }
        };
        let program = match &content {
            PartContent::Data(data) if runs => Some(data.clone()),
            _ => None,
        };
        let tree = match &content {
            PartContent::Tree(tree) => Some(Arc::clone(tree)),
            _ => None,
        };
        self.push(Part {
            place: place.to_owned(),
            format,
            at,
            length: opened.length,
            notes,
            content,
        });
        if let Some(program) = program {
            self.archives(place, &program, depth);
        }
        if let Some(tree) = tree {
            self.images(&tree, place, deeper);
        }
        for piece in pieces {
            // Padding between the parts of a container.
            if piece.padding && scan::is_filler(&piece.bytes, self.meter) == Ok(true) {
                continue;
            }
            let place = if piece.name.is_empty() {
                place.to_owned()
            } else {
                format!("{place}, {}", piece.name)
            };
            if piece.program {
                self.program(&place, &piece.bytes, deeper);
            } else {
                self.blob(&place, &piece.bytes, deeper);
            }
        }
    }

    /// Opens the files of a tree that are images themselves: by name and size, then by their first bytes. One after another, so
    /// that none but the last is in memory. What package managers keep of what they installed is told, and not opened.
    fn images(&mut self, tree: &Tree, place: &str, depth: u8) {
        let mut caches: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (path, node) in &tree.nodes {
            let file = node.entry.kind == Kind::File && node.entry.size >= SMALLEST;
            if !file || self.count > MOST_PARTS {
                continue;
            }
            if let Some(cache) = names::cache(path) {
                let (count, size) = caches.entry(cache).or_default();
                *count = count.saturating_add(1);
                *size = size.saturating_add(node.entry.size);
                continue;
            }
            if !names::is_image(path) {
                continue;
            }
            let before = self.meter.held();
            let (found, held) = if let Content::Bytes(bytes) = &node.content {
                (Ok(bytes.clone()), 0)
            } else {
                let content = tree.read(path, self.meter.limits().longest);
                let held = content.as_ref().map_or(0, Vec::len);
                (content.map(Bytes::memory), wide(held))
            };
            let found = match found {
                Ok(bytes) if !FORMATS.iter().any(|it| it.begins(&bytes)) => continue,
                found => found.and_then(|bytes| self.meter.hold(held).map(|()| bytes)),
            };
            let place = format!("{place}, {path}");
            match found {
                Ok(bytes) => self.blob(&place, &bytes, depth),
                Err(why) => self.not_audited(&place, "unknown", (0, 0), why),
            }
            self.meter.let_go(before);
        }
        for (cache, (count, size)) in caches {
            self.push(Part {
                place: format!("{place}, {cache}"),
                format: "package cache",
                at: 0,
                length: Some(size),
                notes: vec![("packages, not opened".to_owned(), count.to_string())],
                content: PartContent::Container,
            });
        }
    }

    /// Tells of what lies between two things that were found.
    fn gap(
        &mut self,
        place: &str,
        bytes: &Bytes,
        (from, to): (u64, u64),
        failed: &mut Failed,
        depth: u8,
    ) {
        let failed = std::mem::take(failed);
        let whole = from == 0 && to == bytes.length();
        if from >= to && !(whole && to == 0) {
            return;
        }
        let length = to.saturating_sub(from);
        let given = whole && depth == 0;
        let (mut format, mut why) = ("unknown", None);
        let mut notes = Vec::new();
        for (at, name, reason) in failed {
            if at == from && why.is_none() {
                (format, why) = (name, Some(reason));
            } else if notes.len() < MOST_NOTES {
                notes.push((format!("{name} at {at:#x}"), reason.to_string()));
            }
        }
        let part = bytes.part(from, length);
        let content = match (part, why) {
            (Err(why), _) | (_, Some(why)) => PartContent::NotAudited(why),
            (Ok(part), None) => match scan::is_filler(&part, self.meter) {
                Ok(true) if !given && length > 0 => {
                    format = "filler";
                    PartContent::Container
                }
                Ok(_) if length < SMALL && length > 0 && !given => PartContent::Data(part),
                Ok(_) if length == 0 => {
                    PartContent::NotAudited(Unseen::Damaged("it is empty".to_owned()))
                }
                Ok(_) => PartContent::NotAudited(Unseen::Damaged(
                    "no format that is known here".to_owned(),
                )),
                Err(why) => PartContent::NotAudited(why),
            },
        };
        let place = if from == 0 {
            place.to_owned()
        } else {
            format!("{place}, {format} at {from:#x}")
        };
        self.push(Part {
            place,
            format,
            at: from,
            length: Some(length),
            notes,
            content,
        });
    }

    fn may_go_on(&self, depth: u8) -> Result<(), Unseen> {
        let most = self.meter.limits().depth;
        if depth > most {
            return Err(Unseen::TooMuch(usize::from(most)));
        }
        self.meter.time()
    }

    fn not_audited(
        &mut self,
        place: &str,
        format: &'static str,
        (at, length): (u64, u64),
        why: Unseen,
    ) {
        self.push(Part {
            place: place.to_owned(),
            format,
            at,
            length: Some(length),
            notes: Vec::new(),
            content: PartContent::NotAudited(why),
        });
    }

    fn push(&mut self, mut part: Part) {
        // The last one says that there were more.
        if self.count == MOST_PARTS {
            part.content = PartContent::NotAudited(Unseen::TooMuch(MOST_PARTS));
        }
        if self.count <= MOST_PARTS {
            self.count = self.count.saturating_add(1);
            (self.take)(part);
        }
    }
}
