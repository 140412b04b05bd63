//! Elements of nftables' sets and maps: added, removed and listed without `nft` (`linux/netfilter/nf_tables.h`).

use std::time::Duration;

use stockade_controls::firewall::nft::Family;

use super::message::{Attributes, Malformed, Message, Open, Writer, be32, be64, flag, text};
use super::{NetlinkError, Socket};

/// `NFNL_SUBSYS_NFTABLES`.
const NFTABLES: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`: what stands between holds as a whole or not at all.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `NFT_MSG_NEWSETELEM`, `NFT_MSG_GETSETELEM`, `NFT_MSG_DELSETELEM`.
const NEW: u16 = (NFTABLES << 8) | 0x0c;
const GET: u16 = (NFTABLES << 8) | 0x0d;
const DELETE: u16 = (NFTABLES << 8) | 0x0e;
/// `NFT_MSG_GETTABLE`, `NFTA_TABLE_NAME`.
const GET_TABLE: u16 = (NFTABLES << 8) | 0x01;
const TABLE_NAME: u16 = 1;
/// `NFTA_SET_ELEM_LIST_*`.
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
/// `NFTA_LIST_ELEM`.
const LIST_ELEMENT: u16 = 1;
/// `NFTA_SET_ELEM_*`.
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const ELEMENT_FLAGS: u16 = 3;
const ELEMENT_TIMEOUT: u16 = 4;
const ELEMENT_EXPIRATION: u16 = 5;
const ELEMENT_KEY_END: u16 = 10;
/// `NFTA_DATA_*`, `NFTA_VERDICT_*`.
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
/// `NFT_SET_ELEM_INTERVAL_END`: in a set of one field, the end of an interval is an element of its own.
const INTERVAL_END: u32 = 1;
/// The elements of one message stay below the longest attribute, 65,535 bytes.
const ELEMENTS_BYTES: usize = 60_000;
/// A transaction of many elements ends behind so much: a quarter of what a socket sends at once. At each end the kernel looks
/// through all chains, so few are better.
const FILL_BYTES: usize = 1024 * 1024;
/// The longest key: a concatenation of `NFT_REG32_COUNT` registers.
const MAX_KEY: usize = 64;
/// How often a change is tried while elements run out.
const ATTEMPTS: usize = 4;
/// The longest name of a table, set or chain (`NFT_NAME_MAXLEN`).
const MAX_NAME: usize = 255;

/// The family's number (`linux/netfilter.h`, `NFPROTO_*`).
fn number(family: Family) -> u8 {
    match family {
        Family::Inet => 1,
        Family::Arp => 3,
        Family::Netdev => 5,
    }
}

/// Which set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetName {
    /// The family of its table.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its name.
    pub set: String,
}

/// The key of an element: the octets of its field, or of several, each padded to four (`NFT_REG32_SIZE`).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Vec<u8>);

impl Key {
    /// No field yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more field, in network order: an address, a port, a MAC address.
    #[must_use]
    pub fn with(mut self, field: &[u8]) -> Self {
        let alone = self.0.is_empty();
        self.pad();
        self.0.extend_from_slice(field);
        if !alone {
            self.pad();
        }
        self
    }

    fn pad(&mut self) {
        let padded = self.0.len().next_multiple_of(4);
        self.0.resize(padded, 0);
    }

    /// Its octets, padding included.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a map gives for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The packet passes.
    Accept,
    /// The packet does not.
    Drop,
    /// The rules of that chain decide.
    Goto(String),
    /// The rules of that chain are asked first.
    Jump(String),
}

/// An element of a set or of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its key, or the lowest one.
    pub key: Key,
    /// The highest key of an interval, in a set of several fields.
    pub key_end: Option<Key>,
    /// What a verdict map gives for it.
    pub verdict: Option<Verdict>,
    /// How long it is kept from now; for ever without.
    pub timeout: Option<Duration>,
}

impl Element {
    /// An element of a plain set.
    pub fn new(key: Key) -> Self {
        Self {
            key,
            key_end: None,
            verdict: None,
            timeout: None,
        }
    }
}

/// An element as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The element; its timeout as it was given.
    pub element: Element,
    /// How much of the timeout is left.
    pub left: Option<Duration>,
    /// It is the end of the interval that its forerunner begins (sets of one field).
    pub interval_end: bool,
}

/// A change of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The element is there afterwards, with this verdict, and its time begins anew.
    Put(SetName, Element),
    /// The element is not there afterwards, whether it was or not.
    Remove(SetName, Element),
}

/// Changes the elements of the kernel's sets.
#[derive(Debug)]
pub struct Sets {
    socket: Socket,
}

const CHANGE: &str = "change the elements of a set";
/// Room for the answers to the largest batch that a socket sends at once.
const RECEIVE_BYTES: usize = 8 * 1024 * 1024;
const LOOK: &str = "look for an element of a set";
const LIST: &str = "list the elements of a set";

impl Sets {
    /// A connection to the kernel, in the network namespace of the calling thread.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = Socket::netfilter(CHANGE)?;
        // The kernel answers each element of a batch: thousands of answers wait here before the first is read.
        socket.receive_buffer(RECEIVE_BYTES);
        Ok(Self { socket })
    }

    /// All of the changes or none; when it returns, packets meet the new sets.
    pub fn change(&mut self, changes: &[Change]) -> Result<(), NetlinkError> {
        let mut tries = ATTEMPTS;
        loop {
            tries = tries.saturating_sub(1);
            match self.attempt(changes) {
                // An element may run out between our look and our change.
                Err(NetlinkError::Missing { .. }) if tries > 0 => (),
                done => return done,
            }
        }
    }

    fn attempt(&mut self, changes: &[Change]) -> Result<(), NetlinkError> {
        if changes.is_empty() {
            return Ok(());
        }
        for Change::Put(set, element) | Change::Remove(set, element) in changes {
            checked(set, element)?;
        }
        let mut present = Vec::with_capacity(changes.len());
        for Change::Put(set, element) | Change::Remove(set, element) in changes {
            present.push(self.has(set, element)?);
        }
        let mut batch = Batch::begin(&mut self.socket);
        // What has to go first: kernels before 6.12 keep the time of an element that is there, and a verdict can not be
        // changed in place. A batch takes effect as one.
        for (change, present) in changes.iter().zip(&present) {
            let (Change::Put(set, element) | Change::Remove(set, element)) = change;
            if *present {
                batch.add(&mut self.socket, Kind::Delete, set, element);
            }
        }
        for change in changes {
            if let Change::Put(set, element) = change {
                batch.add(&mut self.socket, Kind::New, set, element);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        batch.send(&mut self.socket)
    }

    /// Puts many elements into sets that do not have them, in as few transactions as fit. What stands before a failure
    /// stays: the caller takes the table away.
    pub fn fill(&mut self, sets: &[(SetName, Vec<Element>)]) -> Result<(), NetlinkError> {
        for (set, elements) in sets {
            for element in elements {
                checked(set, element)?;
            }
        }
        let mut batch = Batch::begin(&mut self.socket);
        for (set, elements) in sets {
            for element in elements {
                if batch.writer.len() > FILL_BYTES {
                    let next = Batch::begin(&mut self.socket);
                    std::mem::replace(&mut batch, next).send(&mut self.socket)?;
                }
                batch.add(&mut self.socket, Kind::New, set, element);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        batch.send(&mut self.socket)
    }

    /// Whether an element with this key is in the set now.
    pub fn has(&mut self, set: &SetName, element: &Element) -> Result<bool, NetlinkError> {
        checked(set, element)?;
        let sequence = self.socket.sequence();
        let mut request = Writer::default();
        let bare = Element {
            timeout: None,
            verdict: None,
            ..element.clone()
        };
        head(
            &mut request,
            (GET, flag::REQUEST | flag::ACK, sequence),
            set,
        );
        let list = request.open(LIST_ELEMENTS);
        write_element(&mut request, &bare);
        request.close(&list);
        request.end();
        match self.socket.acknowledged(LOOK, &request, sequence) {
            Ok(()) => Ok(true),
            // The set is missing too, perhaps: the change itself will say so.
            Err(NetlinkError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether there is a table of this family and name.
    pub fn has_table(&mut self, family: Family, table: &str) -> Result<bool, NetlinkError> {
        if !is_name(table) {
            return Ok(false);
        }
        let sequence = self.socket.sequence();
        let mut request = Writer::default();
        let flags = flag::REQUEST | flag::ACK;
        request.netfilter(GET_TABLE, flags, sequence, (number(family), 0));
        request.text(TABLE_NAME, table);
        request.end();
        match self.socket.acknowledged(LOOK, &request, sequence) {
            Ok(()) => Ok(true),
            // A kernel without the family has no table of it.
            Err(NetlinkError::Missing { .. } | NetlinkError::Unsupported { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All elements of a set, as the kernel has them now.
    pub fn list(&mut self, set: &SetName) -> Result<Vec<Listed>, NetlinkError> {
        named(set, LIST)?;
        let sequence = self.socket.sequence();
        let mut request = Writer::default();
        head(
            &mut request,
            (GET, flag::REQUEST | flag::DUMP, sequence),
            set,
        );
        request.end();
        let mut listed = Vec::new();
        self.socket.list(LIST, &request, |message| {
            if message.kind == NEW {
                elements(message, &mut listed)?;
            }
            Ok(())
        })?;
        Ok(listed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    New,
    Delete,
}

/// Messages that hold as a whole. Elements of one set that follow one another share a message.
#[derive(Debug)]
struct Batch {
    writer: Writer,
    last: u32,
    open: Option<(Kind, SetName, Open)>,
    elements_from: usize,
}

impl Batch {
    fn begin(socket: &mut Socket) -> Self {
        let mut writer = Writer::default();
        let last = socket.sequence();
        writer.netfilter(BATCH_BEGIN, flag::REQUEST, last, (0, NFTABLES));
        writer.end();
        Self {
            writer,
            last,
            open: None,
            elements_from: 0,
        }
    }

    fn add(&mut self, socket: &mut Socket, kind: Kind, set: &SetName, element: &Element) {
        let long = self.writer.len().saturating_sub(self.elements_from) > ELEMENTS_BYTES;
        let same =
            matches!(&self.open, Some((open, name, _)) if *open == kind && name == set) && !long;
        if !same {
            self.finish();
            self.last = socket.sequence();
            let (number, flags) = match kind {
                Kind::New => (NEW, flag::CREATE),
                Kind::Delete => (DELETE, 0),
            };
            let flags = flag::REQUEST | flag::ACK | flags;
            head(&mut self.writer, (number, flags, self.last), set);
            self.elements_from = self.writer.len();
            self.open = Some((kind, set.clone(), self.writer.open(LIST_ELEMENTS)));
        }
        match kind {
            Kind::New => write_element(&mut self.writer, element),
            Kind::Delete => {
                let bare = Element {
                    timeout: None,
                    verdict: None,
                    ..element.clone()
                };
                write_element(&mut self.writer, &bare);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.elements_from == 0
    }

    fn finish(&mut self) {
        if let Some((_, _, list)) = self.open.take() {
            self.writer.close(&list);
            self.writer.end();
        }
    }

    fn send(mut self, socket: &mut Socket) -> Result<(), NetlinkError> {
        self.finish();
        let sequence = socket.sequence();
        self.writer
            .netfilter(BATCH_END, flag::REQUEST, sequence, (0, NFTABLES));
        self.writer.end();
        socket.acknowledged(CHANGE, &self.writer, self.last)
    }
}

/// The start of a message about a set.
fn head(writer: &mut Writer, (kind, flags, sequence): (u16, u16, u32), set: &SetName) {
    writer.netfilter(kind, flags, sequence, (number(set.family), 0));
    writer.text(LIST_TABLE, &set.table);
    writer.text(LIST_SET, &set.set);
}

fn write_element(writer: &mut Writer, element: &Element) {
    let open = writer.open(LIST_ELEMENT);
    data(writer, ELEMENT_KEY, element.key.bytes());
    if let Some(end) = &element.key_end {
        data(writer, ELEMENT_KEY_END, end.bytes());
    }
    if let Some(verdict) = &element.verdict {
        let outer = writer.open(ELEMENT_DATA);
        let inner = writer.open(DATA_VERDICT);
        // NF_DROP, NF_ACCEPT, NFT_JUMP, NFT_GOTO.
        let (code, chain): (i32, Option<&str>) = match verdict {
            Verdict::Drop => (0, None),
            Verdict::Accept => (1, None),
            Verdict::Jump(chain) => (-3, Some(chain)),
            Verdict::Goto(chain) => (-4, Some(chain)),
        };
        writer.attribute(VERDICT_CODE, &code.to_be_bytes());
        if let Some(chain) = chain {
            writer.text(VERDICT_CHAIN, chain);
        }
        writer.close(&inner);
        writer.close(&outer);
    }
    if let Some(timeout) = element.timeout {
        let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        writer.attribute(ELEMENT_TIMEOUT, &milliseconds.to_be_bytes());
    }
    writer.close(&open);
}

fn data(writer: &mut Writer, kind: u16, value: &[u8]) {
    let open = writer.open(kind);
    writer.attribute(DATA_VALUE, value);
    writer.close(&open);
}

/// What would not fit into a message is refused before anything is sent.
fn checked(set: &SetName, element: &Element) -> Result<(), NetlinkError> {
    named(set, CHANGE)?;
    let keys = [Some(&element.key), element.key_end.as_ref()];
    let fits = keys
        .into_iter()
        .flatten()
        .all(|key| (1..=MAX_KEY).contains(&key.bytes().len()));
    let chain = match &element.verdict {
        Some(Verdict::Goto(chain) | Verdict::Jump(chain)) => is_name(chain),
        Some(Verdict::Accept | Verdict::Drop) | None => true,
    };
    if fits && chain {
        Ok(())
    } else {
        Err(NetlinkError::TooMuch { doing: CHANGE })
    }
}

fn named(set: &SetName, doing: &'static str) -> Result<(), NetlinkError> {
    if is_name(&set.table) && is_name(&set.set) {
        Ok(())
    } else {
        Err(NetlinkError::TooMuch { doing })
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.contains('\0')
}

/// The elements of one message of a list.
fn elements(message: &Message<'_>, listed: &mut Vec<Listed>) -> Result<(), Malformed> {
    let (_, attributes) = message.generic()?;
    let Some(list) = attributes.find(LIST_ELEMENTS)? else {
        return Ok(());
    };
    for element in Attributes(list) {
        let (kind, value) = element?;
        if kind == LIST_ELEMENT {
            listed.push(read_element(Attributes(value))?);
        }
    }
    Ok(())
}

fn read_element(attributes: Attributes<'_>) -> Result<Listed, Malformed> {
    let mut listed = Listed {
        element: Element::new(Key::new()),
        left: None,
        interval_end: false,
    };
    for attribute in attributes {
        let (kind, value) = attribute?;
        match kind {
            ELEMENT_KEY => listed.element.key = read_key(value)?,
            ELEMENT_KEY_END => listed.element.key_end = Some(read_key(value)?),
            ELEMENT_DATA => listed.element.verdict = read_verdict(value)?,
            ELEMENT_FLAGS => listed.interval_end = be32(value)? & INTERVAL_END != 0,
            ELEMENT_TIMEOUT => {
                listed.element.timeout = Some(Duration::from_millis(be64(value)?));
            }
            ELEMENT_EXPIRATION => listed.left = Some(Duration::from_millis(be64(value)?)),
            // Comments, counters and limits of an element say nothing about what it matches.
            _ => (),
        }
    }
    Ok(listed)
}

fn read_key(value: &[u8]) -> Result<Key, Malformed> {
    let key = Attributes(value).find(DATA_VALUE)?;
    let key = key.ok_or(Malformed("an element without its key"))?;
    if key.len() > MAX_KEY {
        return Err(Malformed("an element with too long a key"));
    }
    Ok(Key(key.to_vec()))
}

fn read_verdict(value: &[u8]) -> Result<Option<Verdict>, Malformed> {
    let Some(verdict) = Attributes(value).find(DATA_VERDICT)? else {
        return Ok(None);
    };
    let attributes = Attributes(verdict);
    let code = attributes.find(VERDICT_CODE)?;
    let code = be32(code.ok_or(Malformed("a verdict without its code"))?)?;
    let chain = || {
        let chain = attributes.find(VERDICT_CHAIN)?;
        chain
            .map(text)
            .ok_or(Malformed("a jump that leads to no chain"))
    };
    match i32::from_be_bytes(code.to_be_bytes()) {
        0 => Ok(Some(Verdict::Drop)),
        1 => Ok(Some(Verdict::Accept)),
        -3 => chain().map(Verdict::Jump).map(Some),
        -4 => chain().map(Verdict::Goto).map(Some),
        _ => Err(Malformed("a verdict that is none of ours")),
    }
}
