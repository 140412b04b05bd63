//! Flattened device trees (Devicetree Specification 0.4 chapter 5): data, unless they are an image of U-Boot's newer kind.

use stockade_controls::engine::Unseen;

use super::fit;
use crate::fields::Fields;
use crate::format::{Inside, Opened};
use crate::{Bytes, Meter};

/// The magic.
pub(crate) const MAGICS: &[(u64, &[u8])] = &[(0, b"\xd0\x0d\xfe\xed")];

/// The deepest node and the most nodes and properties.
const DEEPEST: usize = 64;
const MOST: usize = 200_000;
/// The longest tree; what is bigger keeps its data behind itself.
const LONGEST: u64 = 256 << 20;

/// One node with its properties: names, and places of their values in the tree.
#[derive(Debug)]
pub(super) struct Node {
    /// `/images/kernel-1`.
    pub(super) path: String,
    pub(super) properties: Vec<(String, Bytes)>,
}

/// A tree that was read.
#[derive(Debug)]
pub(super) struct Fdt {
    /// Parents before what is in them.
    pub(super) nodes: Vec<Node>,
    pub(super) length: u64,
}

/// Reads one: an image, or a description of hardware.
pub(crate) fn open(bytes: &Bytes, meter: &Meter) -> Result<Opened, Unseen> {
    let fdt = Fdt::read(bytes, meter)?;
    if fdt.node("/images").is_some() {
        return fit::open(bytes, &fdt, meter);
    }
    let mut notes = Vec::new();
    let root = fdt.nodes.first();
    for name in ["model", "compatible"] {
        if let Some(text) = root.and_then(|it| it.text(name)) {
            notes.push((name.to_owned(), text));
        }
    }
    // By these, U-Boot checks images (its `doc/usage/fit/signature.rst`).
    for key in fdt.below("/signature") {
        let of = |name| key.text(name).unwrap_or_else(|| "none".to_owned());
        let said = format!("{}, required: {}", of("algo"), of("required"));
        notes.push((format!("key {}", of("key-name-hint")), said));
    }
    Ok(Opened {
        content: Inside::Data,
        length: Some(fdt.length),
        notes,
    })
}

impl Fdt {
    fn read(bytes: &Bytes, meter: &Meter) -> Result<Self, Unseen> {
        let fixed = bytes.read(0, 40)?;
        let mut fields = Fields::big(&fixed);
        fields.take(4)?;
        let length = u64::from(fields.u32()?);
        let structure = u64::from(fields.u32()?);
        let strings = u64::from(fields.u32()?);
        fields.u32()?;
        let (version, oldest) = (fields.u32()?, fields.u32()?);
        fields.u32()?;
        let size = u64::from(fields.u32()?);
        if version < 16 || oldest > 17 || length > LONGEST {
            return Err(wrong("a version or length that none has"));
        }
        let whole = bytes.part(0, length)?;
        let strings = whole.part(strings, size)?.all(1 << 20)?;
        let mut at = structure;
        let mut path: Vec<String> = Vec::new();
        let mut nodes: Vec<Node> = Vec::new();
        // Of the nodes that are open, the last one has the properties that come.
        let mut open: Vec<usize> = Vec::new();
        let mut count = 0_usize;
        loop {
            let token = whole.read(at, 4)?;
            at = at.saturating_add(4);
            count = count.saturating_add(1);
            if count > MOST {
                return Err(Unseen::TooMuch(MOST));
            }
            meter.time()?;
            match Fields::big(&token).u32()? {
                1 => {
                    let text = whole.some(at, 256)?;
                    let end = text.iter().position(|byte| *byte == 0);
                    let end = end.ok_or_else(|| wrong("a name that does not end"))?;
                    let name = text.get(..end).unwrap_or_default();
                    path.push(String::from_utf8_lossy(name).replace(char::is_control, ""));
                    if path.len() > DEEPEST {
                        return Err(Unseen::TooMuch(DEEPEST));
                    }
                    open.push(nodes.len());
                    let joined = path.iter().skip(1).map(String::as_str);
                    let joined: Vec<&str> = joined.collect();
                    let joined = format!("/{}", joined.join("/"));
                    meter.hold(crate::compress::wide(joined.len()))?;
                    nodes.push(Node {
                        path: joined,
                        properties: Vec::new(),
                    });
                    at = padded(
                        at.saturating_add(crate::compress::wide(end))
                            .saturating_add(1),
                    );
                }
                2 => {
                    path.pop();
                    open.pop();
                }
                3 => {
                    let header = whole.read(at, 8)?;
                    let mut fields = Fields::big(&header);
                    let (size, name) = (u64::from(fields.u32()?), fields.u32()?);
                    let name = usize::try_from(name).unwrap_or(usize::MAX);
                    let name = strings.get(name..).unwrap_or_default();
                    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                    let name = String::from_utf8_lossy(name).into_owned();
                    let value = whole.part(at.saturating_add(8), size)?;
                    let node = open.last().and_then(|it| nodes.get_mut(*it));
                    let node = node.ok_or_else(|| wrong("a property of nothing"))?;
                    node.properties.push((name, value));
                    at = padded(at.saturating_add(8).saturating_add(size));
                }
                4 => (),
                9 => break,
                _ => return Err(wrong("a token that none is")),
            }
        }
        Ok(Self { nodes, length })
    }

    /// The node of a path.
    pub(super) fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.iter().find(|it| it.path == path)
    }

    /// The nodes right below one.
    pub(super) fn below<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Node> {
        self.nodes.iter().filter(move |it| {
            let rest = it.path.strip_prefix(path);
            let name = rest.and_then(|rest| rest.strip_prefix('/'));
            name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
        })
    }
}

impl Node {
    /// The last part of its path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// A property's value.
    pub(super) fn value(&self, name: &str) -> Option<&Bytes> {
        let found = self.properties.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value)
    }

    /// A property that is a text, or several: then with commas between.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let value = self.value(name)?.all(4096).ok()?;
        let value = value.strip_suffix(b"\0").unwrap_or(&value);
        let text = String::from_utf8_lossy(value).replace('\0', ", ");
        Some(text.replace(char::is_control, ""))
    }

    /// A property that is a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let value = self.value(name)?.all(8).ok()?;
        Fields::big(&value).number(value.len()).ok()
    }
}

fn padded(at: u64) -> u64 {
    at.checked_next_multiple_of(4).unwrap_or(u64::MAX)
}

fn wrong(why: &str) -> Unseen {
    Unseen::Damaged(format!("device tree: {why}"))
}
