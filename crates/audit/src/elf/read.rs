//! Reads the fields of an ELF file that are judged. All is bounded by the file's own length.

use super::{Elf, Relro, What};

const LOAD: u64 = 1;
const DYNAMIC: u64 = 2;
const INTERPRETER: u64 = 3;
const NOTE: u64 = 4;
const STACK: u64 = 0x6474_e551;
const RELRO: u64 = 0x6474_e552;
const PROPERTY: u64 = 0x6474_e553;

const X86_64: u16 = 62;
const I386: u16 = 3;
const AARCH64: u16 = 183;

/// What the kernel's build appends to a module that it signs.
const SIGNATURE: &[u8] = b"~Module signature appended~\n";
/// The longest name of a symbol that is compared.
const MOST_NAME: usize = 256;
/// The most symbols.
const MOST_SYMBOLS: u64 = 1_000_000;
/// The most libraries and paths that it asks for, and the most notes: places that lead to the same bytes again must not take long.
const MOST: usize = 1000;
const MOST_NOTES: usize = 16;

/// Functions that the C library has a second time, as `__NAME_chk`, with a check of the length (glibc's `debug/Versions`).
const FORTIFIABLE: [&[u8]; 68] = [
    b"asprintf",
    b"confstr",
    b"dprintf",
    b"explicit_bzero",
    b"fdelt",
    b"fgets",
    b"fgets_unlocked",
    b"fgetws",
    b"fgetws_unlocked",
    b"fprintf",
    b"fread",
    b"fread_unlocked",
    b"fwprintf",
    b"getcwd",
    b"getdomainname",
    b"getgroups",
    b"gethostname",
    b"getlogin_r",
    b"gets",
    b"getwd",
    b"longjmp",
    b"mbsnrtowcs",
    b"mbsrtowcs",
    b"mbstowcs",
    b"memcpy",
    b"memmove",
    b"mempcpy",
    b"memset",
    b"obstack_printf",
    b"obstack_vprintf",
    b"poll",
    b"ppoll",
    b"pread",
    b"pread64",
    b"printf",
    b"ptsname_r",
    b"read",
    b"readlink",
    b"readlinkat",
    b"realpath",
    b"recv",
    b"recvfrom",
    b"snprintf",
    b"sprintf",
    b"stpcpy",
    b"stpncpy",
    b"strcat",
    b"strcpy",
    b"strncat",
    b"strncpy",
    b"swprintf",
    b"syslog",
    b"ttyname_r",
    b"vasprintf",
    b"vdprintf",
    b"vfprintf",
    b"vfwprintf",
    b"vprintf",
    b"vsnprintf",
    b"vsprintf",
    b"vswprintf",
    b"vsyslog",
    b"vwprintf",
    b"wcscpy",
    b"wcsncpy",
    b"wcstombs",
    b"wmemcpy",
    b"wprintf",
];

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    wide: bool,
    big: bool,
    kind: u16,
    machine: u16,
    segments: Vec<Segment>,
    sections: Vec<Section>,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u64,
    flags: u64,
    offset: u64,
    address: u64,
    length: u64,
}

#[derive(Debug, Clone, Copy)]
struct Section {
    name: u64,
    kind: u64,
    offset: u64,
    length: u64,
    link: u64,
}

/// A symbol's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Symbol<'a> {
    text: &'a [u8],
    /// Somebody else has it.
    wanted: bool,
}

/// What the dynamic linker is told.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the format"
)]
#[derive(Default)]
struct Dynamic {
    needed: Vec<u64>,
    paths: Vec<u64>,
    strings: u64,
    strings_length: u64,
    symbols: u64,
    now: bool,
    program: bool,
    /// It has a name as a library: the C library has that, and can be started as well.
    library: bool,
    code_changes: bool,
}

impl<'a> Reader<'a> {
    /// The head and its tables; none if they are not there.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Self {
            bytes,
            wide: match bytes.get(4)? {
                1 => false,
                2 => true,
                _ => return None,
            },
            big: match bytes.get(5)? {
                1 => false,
                2 => true,
                _ => return None,
            },
            kind: 0,
            machine: 0,
            segments: Vec::new(),
            sections: Vec::new(),
        };
        reader.kind = u16::try_from(reader.number(16, 2)?).ok()?;
        reader.machine = u16::try_from(reader.number(18, 2)?).ok()?;
        let (word, counts) = if reader.wide { (8, 54) } else { (4, 42) };
        let segments = reader.number(if reader.wide { 32 } else { 28 }, word)?;
        let sections = reader.number(if reader.wide { 40 } else { 32 }, word)?;
        let count = |at| reader.number(at, 2);
        let (size, number) = (count(counts)?, count(counts.checked_add(2)?)?);
        let (wide, many) = (
            count(counts.checked_add(4)?)?,
            count(counts.checked_add(6)?)?,
        );
        // Zero means that the number is elsewhere (`PN_XNUM` and `SHN_UNDEF`), which no program needs.
        for place in (0..number).map(|it| segments.saturating_add(it.saturating_mul(size))) {
            let segment = reader.segment(place)?;
            reader.segments.push(segment);
        }
        // Sections are not needed to run, and some tools cut them off.
        for place in (0..many).map(|it| sections.saturating_add(it.saturating_mul(wide))) {
            let Some(section) = reader.section(place) else {
                break;
            };
            reader.sections.push(section);
        }
        Some(reader)
    }

    pub(super) fn elf(&self) -> Option<Elf> {
        let segment = |kind| self.segments.iter().find(|it| it.kind == kind);
        let dynamic = match segment(DYNAMIC) {
            Some(segment) => Some(self.dynamic(segment)?),
            None => None,
        };
        let relro = match (segment(RELRO), &dynamic) {
            (None, _) => Relro::None,
            (Some(_), Some(dynamic)) if dynamic.now => Relro::Full,
            (Some(_), _) => Relro::Partial,
        };
        let names = self.names(dynamic.as_ref());
        let has = |name: &[u8]| names.iter().any(|it| it.text == name);
        let fortified = names.iter().filter(|name| {
            let plain = checked(name.text);
            plain.is_some_and(|it| FORTIFIABLE.contains(&it))
        });
        let fortified = fortified.count();
        // Whoever has them itself is the C library.
        let could = names
            .iter()
            .filter(|name| name.wanted && FORTIFIABLE.contains(&name.text));
        let text = |at: &u64| {
            let text = self.string(dynamic.as_ref()?, *at)?;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let needed: Vec<String> = dynamic
            .iter()
            .flat_map(|it| &it.needed)
            .filter_map(text)
            .collect();
        let search = dynamic.iter().flat_map(|it| &it.paths).filter_map(text);
        let cfi = names.iter().any(|it| it.text.starts_with(b"__cfi_"));
        Some(Elf {
            machine: self.machine,
            what: self.what(dynamic.as_ref()),
            relro,
            stack_runs: segment(STACK).is_none_or(|it| it.flags & 1 != 0),
            canary: (!names.is_empty()).then(|| {
                has(b"__stack_chk_fail")
                    || has(b"__stack_chk_guard")
                    || has(b"__stack_smash_handler")
            }),
            fortified: (fortified, fortified.saturating_add(could.count())),
            search: search.collect(),
            code_changes: dynamic.as_ref().is_some_and(|it| it.code_changes),
            guarded: self.guarded().map(|it| it || cfi),
            plain_libc: needed
                .iter()
                .any(|it| it.contains("musl") || it.contains("uClibc") || *it == "libc.so.0"),
        })
    }

    fn what(&self, dynamic: Option<&Dynamic>) -> What {
        let interpreted = self.segments.iter().any(|it| it.kind == INTERPRETER);
        let program = dynamic.is_some_and(|it| it.program);
        let library = dynamic.is_some_and(|it| it.library);
        // Where kernels and boot loaders lie, and no program.
        let top = if self.wide { 63 } else { 31 };
        let mut loaded = self.segments.iter().filter(|it| it.kind == LOAD);
        if loaded.any(|it| it.address.wrapping_shr(top) & 1 == 1) {
            return What::Other;
        }
        match self.kind {
            1 => match self.module() {
                Some(version) => What::Module {
                    signed: self.bytes.ends_with(SIGNATURE),
                    version,
                },
                None => What::Other,
            },
            2 => What::Program {
                whole: !interpreted,
                anywhere: false,
            },
            3 if program || (interpreted && !library) => What::Program {
                whole: !interpreted,
                anywhere: true,
            },
            3 if dynamic.is_some() => What::Library,
            _ => What::Other,
        }
    }

    /// Of a module: the kernel that it is for.
    fn module(&self) -> Option<String> {
        // The table of the sections' names is one of those that are not loaded; the right one names itself.
        let named = |table: &Section| {
            let wanted = self.sections.iter().find(|it| {
                let at = table.offset.saturating_add(it.name);
                self.text(at, MOST_NAME) == Some(b".modinfo")
            });
            wanted.copied()
        };
        let tables = self.sections.iter().filter(|it| it.kind == 3);
        let information = tables.take(8).find_map(named)?;
        let bytes = self.part(information.offset, information.length)?;
        let mut lines = bytes.split(|byte| *byte == 0);
        let version = lines.find_map(|line| line.strip_prefix(b"vermagic="));
        let version = version.map(|it| it.get(..it.len().min(200)).unwrap_or_default());
        Some(version.map_or_else(
            || "an unknown kernel".to_owned(),
            |it| String::from_utf8_lossy(it).trim_end().to_owned(),
        ))
    }

    /// A field of a row that begins here, by where it is in narrow rows and in wide ones; in narrow ones it has four bytes.
    fn field(&self, at: u64, narrow: u64, wide: u64, length: u64) -> Option<u64> {
        let (from, length) = if self.wide {
            (wide, length)
        } else {
            (narrow, 4)
        };
        self.number(at.checked_add(from)?, length)
    }

    fn segment(&self, at: u64) -> Option<Segment> {
        let field = |narrow, wide, length| self.field(at, narrow, wide, length);
        Some(Segment {
            kind: field(0, 0, 4)?,
            flags: field(24, 4, 4)?,
            offset: field(4, 8, 8)?,
            address: field(8, 16, 8)?,
            length: field(16, 32, 8)?,
        })
    }

    fn section(&self, at: u64) -> Option<Section> {
        let field = |narrow, wide, length| self.field(at, narrow, wide, length);
        Some(Section {
            name: field(0, 0, 4)?,
            kind: field(4, 4, 4)?,
            offset: field(16, 24, 8)?,
            length: field(20, 32, 8)?,
            link: field(24, 40, 4)?,
        })
    }

    fn dynamic(&self, segment: &Segment) -> Option<Dynamic> {
        let mut found = Dynamic::default();
        let word = if self.wide { 8 } else { 4 };
        let end = segment.offset.checked_add(segment.length)?;
        let mut at = segment.offset;
        while at < end {
            let value = self.number(at.checked_add(word)?, word)?;
            match self.number(at, word)? {
                0 => break,
                1 if found.needed.len() < MOST => found.needed.push(value),
                5 => found.strings = value,
                6 => found.symbols = value,
                10 => found.strings_length = value,
                14 => found.library = true,
                15 | 29 if found.paths.len() < MOST => found.paths.push(value),
                22 => found.code_changes = true,
                24 => found.now = true,
                30 => {
                    found.now |= value & 8 != 0;
                    found.code_changes |= value & 4 != 0;
                }
                0x6fff_fffb => {
                    found.now |= value & 1 != 0;
                    found.program = value & 0x0800_0000 != 0;
                }
                _ => (),
            }
            at = at.checked_add(word)?.checked_add(word)?;
        }
        Some(found)
    }

    /// The names of all symbols, of both tables; none of a file that has no tables.
    fn names(&self, dynamic: Option<&Dynamic>) -> Vec<Symbol<'a>> {
        let mut names = Vec::new();
        // There is one of each.
        let table = |kind| self.sections.iter().find(|it| it.kind == kind);
        let tables = [table(2), table(11)].into_iter().flatten();
        let mut add = |symbols: u64, length: u64, strings: u64| {
            let size = if self.wide { 24 } else { 16 };
            let count = length
                .checked_div(size)
                .unwrap_or_default()
                .min(MOST_SYMBOLS);
            for number in 0..count {
                let at = symbols.saturating_add(number.saturating_mul(size));
                let section = at.saturating_add(if self.wide { 6 } else { 14 });
                let (Some(name), Some(section)) = (self.number(at, 4), self.number(section, 2))
                else {
                    return;
                };
                let name = self.text(strings.saturating_add(name), MOST_NAME);
                names.extend(name.filter(|it| !it.is_empty()).map(|it| Symbol {
                    text: unversioned(it),
                    wanted: section == 0,
                }));
            }
        };
        let mut sections = false;
        for table in tables {
            let link = usize::try_from(table.link).ok();
            let Some(strings) = link.and_then(|link| self.sections.get(link)) else {
                continue;
            };
            sections = true;
            add(table.offset, table.length, strings.offset);
        }
        if let Some(dynamic) = dynamic.filter(|_| !sections) {
            // Without sections nothing says how many there are; linkers put the strings behind them.
            let length = dynamic.strings.saturating_sub(dynamic.symbols);
            if let (Some(symbols), Some(strings)) =
                (self.place(dynamic.symbols), self.place(dynamic.strings))
            {
                add(symbols, length, strings);
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether the notes say that all code was built with guards of jumps; none for processors that have none.
    fn guarded(&self) -> Option<bool> {
        let wanted = match self.machine {
            AARCH64 => 0xc000_0000,
            X86_64 | I386 => 0xc000_0002,
            _ => return None,
        };
        let notes = self
            .segments
            .iter()
            .filter(|it| matches!(it.kind, NOTE | PROPERTY));
        let align = if self.wide { 8 } else { 4 };
        for note in notes.take(MOST_NOTES) {
            let mut at = note.offset;
            let end = note.offset.saturating_add(note.length);
            while at < end {
                let field = |offset: u64| self.number(at.saturating_add(offset), 4);
                let (Some(name), Some(length), Some(kind)) = (field(0), field(4), field(8)) else {
                    break;
                };
                let from = at
                    .saturating_add(12)
                    .saturating_add(name.next_multiple_of(4));
                if name == 4 && kind == 5 && self.text(at.saturating_add(12), 4) == Some(b"GNU") {
                    return Some(self.property(from, length, wanted, align) == Some(true));
                }
                let next = from.saturating_add(length.next_multiple_of(4));
                at = next.max(at.saturating_add(12));
            }
        }
        Some(false)
    }

    /// Both bits of a property, of all in a note.
    fn property(&self, from: u64, length: u64, wanted: u64, align: u64) -> Option<bool> {
        let mut at = from;
        while at < from.checked_add(length)? {
            let kind = self.number(at, 4)?;
            let size = self.number(at.checked_add(4)?, 4)?;
            let value = at.checked_add(8)?;
            if kind == wanted {
                return Some(self.number(value, 4)? & 3 == 3);
            }
            at = value.checked_add(size.next_multiple_of(align))?;
        }
        None
    }

    /// Where what is loaded at an address lies in the file.
    fn place(&self, address: u64) -> Option<u64> {
        let loaded = self.segments.iter().filter(|it| it.kind == LOAD);
        let mut places = loaded.filter_map(|it| {
            let into = address.checked_sub(it.address)?;
            (into < it.length).then(|| it.offset.checked_add(into))?
        });
        places.next()
    }

    fn string(&self, dynamic: &Dynamic, at: u64) -> Option<&'a [u8]> {
        let within = at < dynamic.strings_length;
        let table = self.place(dynamic.strings)?;
        within.then(|| self.text(table.checked_add(at)?, 4096))?
    }

    /// Text up to its NUL.
    fn text(&self, at: u64, most: usize) -> Option<&'a [u8]> {
        let rest = self.bytes.get(usize::try_from(at).ok()?..)?;
        let rest = rest.get(..rest.len().min(most))?;
        rest.split(|byte| *byte == 0).next()
    }

    fn part(&self, at: u64, length: u64) -> Option<&'a [u8]> {
        let rest = self.bytes.get(usize::try_from(at).ok()?..)?;
        rest.get(..usize::try_from(length).ok()?)
    }

    fn number(&self, at: u64, length: u64) -> Option<u64> {
        let bytes = self.part(at, length)?;
        let add = |sum: u64, byte: &u8| sum.wrapping_shl(8) | u64::from(*byte);
        Some(if self.big {
            bytes.iter().fold(0, add)
        } else {
            bytes.iter().rev().fold(0, add)
        })
    }
}

/// A symbol's name without its version.
fn unversioned(name: &[u8]) -> &[u8] {
    name.split(|byte| *byte == b'@').next().unwrap_or_default()
}

/// `memcpy` of `__memcpy_chk`.
fn checked(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(b"__")?.strip_suffix(b"_chk")
}
