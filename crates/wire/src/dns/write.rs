//! Messages as bytes.

use std::collections::BTreeMap;

use super::{Data, Message, Name, Record, kind};

/// Where each suffix of a name was written, to point to (RFC 1035 §4.1.4).
#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    suffixes: BTreeMap<Vec<u8>, u16>,
}

impl Message {
    /// The message as bytes, at most `limit` of them: what does not fit is left out and the message says that it is cut (TC).
    ///
    /// Additional records are left out first, then authorities, then answers.
    pub fn write(&self, limit: usize) -> Vec<u8> {
        let limit = limit.min(usize::from(u16::MAX));
        let counts = [
            self.answers.len(),
            self.authorities.len(),
            self.additionals.len(),
        ];
        let (bytes, fitted) = self.written(counts, limit);
        if fitted == counts {
            return bytes;
        }
        // Whole sections only matter if the answers are all there; otherwise the client asks again over TCP (RFC 2181 §9).
        let [answers, _, _] = fitted;
        if answers == self.answers.len() {
            return self.written(fitted, limit).0;
        }
        let cut = Self {
            truncated: true,
            ..self.clone()
        };
        cut.written([answers, 0, 0], limit).0
    }

    /// The message with at most so many records of each section, and how many of them fitted.
    fn written(&self, counts: [usize; 3], limit: usize) -> (Vec<u8>, [usize; 3]) {
        let mut out = Out::default();
        let mut fitted = [0_usize; 3];
        // The counts are known at the end.
        out.u16(self.id);
        out.u16(self.flags());
        out.bytes.extend_from_slice(&[0; 8]);
        for question in &self.questions {
            out.name(&question.name, true);
            out.u16(question.kind);
            out.u16(question.class);
        }
        let edns_len = if self.edns.is_some() { 11 } else { 0 };
        let room = limit.saturating_sub(edns_len);
        let sections = [&self.answers, &self.authorities, &self.additionals];
        'sections: for ((section, count), fitted) in sections.iter().zip(counts).zip(&mut fitted) {
            for record in section.iter().take(count) {
                let before = out.bytes.len();
                out.record(record);
                if out.bytes.len() > room {
                    out.bytes.truncate(before);
                    break 'sections;
                }
                *fitted = fitted.saturating_add(1);
            }
        }
        if let Some(edns) = self.edns {
            out.bytes.push(0);
            out.u16(kind::OPT);
            out.u16(edns.payload);
            let flags = if edns.dnssec { 0x80 } else { 0 };
            out.bytes
                .extend_from_slice(&[edns.rcode, edns.version, flags, 0]);
            out.u16(0);
        }
        let [answers, authorities, additionals] = fitted;
        let additionals = additionals.saturating_add(usize::from(self.edns.is_some()));
        let counts = [self.questions.len(), answers, authorities, additionals];
        let counts = counts.map(|count| u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
        let places = out.bytes.iter_mut().skip(4);
        for (place, byte) in places.zip(counts.as_flattened()) {
            *place = *byte;
        }
        (out.bytes, fitted)
    }

    fn flags(&self) -> u16 {
        let bit = |set: bool, number: u32| u16::from(set).checked_shl(number).unwrap_or_default();
        bit(self.response, 15)
            | u16::from(self.opcode & 0xf) << 11
            | bit(self.authoritative, 10)
            | bit(self.truncated, 9)
            | bit(self.recursion_desired, 8)
            | bit(self.recursion_available, 7)
            | bit(self.authentic, 5)
            | bit(self.checking_disabled, 4)
            | u16::from(self.rcode & 0xf)
    }
}

impl Out {
    fn u16(&mut self, number: u16) {
        self.bytes.extend_from_slice(&number.to_be_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.bytes.extend_from_slice(&number.to_be_bytes());
    }

    /// A name; types that came after RFC 1035 must not be compressed (RFC 3597 §4).
    fn name(&mut self, name: &Name, compress: bool) {
        let mut suffix = name.bytes();
        while let Some((&length, rest)) = suffix.split_first() {
            if compress && let Some(&place) = self.suffixes.get(suffix) {
                self.u16(0xc000 | place);
                return;
            }
            // A pointer has 14 bits.
            if let Ok(place) = u16::try_from(self.bytes.len())
                && place < 0x4000
            {
                self.suffixes.entry(suffix.to_vec()).or_insert(place);
            }
            let (label, after) = rest.split_at_checked(length.into()).unwrap_or((rest, &[]));
            self.bytes.push(length);
            self.bytes.extend_from_slice(label);
            suffix = after;
        }
        self.bytes.push(0);
    }

    fn record(&mut self, record: &Record) {
        self.name(&record.name, true);
        self.u16(record.data.kind());
        self.u16(record.class);
        self.u32(record.ttl);
        let length_at = self.bytes.len();
        self.u16(0);
        let start = self.bytes.len();
        self.data(&record.data);
        let length = self.bytes.len().saturating_sub(start);
        let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        let places = self.bytes.iter_mut().skip(length_at);
        for (place, byte) in places.zip(length) {
            *place = byte;
        }
    }

    fn data(&mut self, data: &Data) {
        match data {
            Data::A(address) => self.bytes.extend_from_slice(&address.octets()),
            Data::Aaaa(address) => self.bytes.extend_from_slice(&address.octets()),
            Data::Cname(name) | Data::Ns(name) | Data::Ptr(name) => self.name(name, true),
            Data::Mx(preference, name) => {
                self.u16(*preference);
                self.name(name, true);
            }
            Data::Srv {
                priority,
                weight,
                port,
                target,
            } => {
                self.u16(*priority);
                self.u16(*weight);
                self.u16(*port);
                self.name(target, false);
            }
            Data::Soa {
                server,
                mailbox,
                times,
            } => {
                self.name(server, true);
                self.name(mailbox, true);
                for &number in times {
                    self.u32(number);
                }
            }
            Data::Other(_, bytes) => self.bytes.extend_from_slice(bytes),
        }
    }
}
