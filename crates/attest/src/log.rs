//! The event log of a start (TCG PC Client Platform Firmware Profile 1.06 §10): what the firmware and the boot loader measured,
//! in the form with SHA-1 alone and in the one with several digests.

use std::collections::BTreeMap;

use crate::bytes::Bytes;
use crate::component;
use crate::digest::Algorithm;

/// The longest log that is read.
pub const LONGEST: usize = 4 * 1024 * 1024;
/// The most events of a log.
pub const MOST_EVENTS: usize = 16_384;
/// The most digests of an event, known or not.
const MOST_DIGESTS: usize = 8;
/// The number of registers of a PC's TPM.
const REGISTERS: u32 = 24;

/// Kinds of events that are treated apart (§10.4.1); all are in [`Event::kind_name`].
pub(crate) mod kind {
    pub(crate) const NO_ACTION: u32 = 0x03;
    pub(crate) const VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
}

/// A log that is none, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// There is more than is read.
    #[error("the event log has more than {LONGEST} bytes or {MOST_EVENTS} events")]
    TooLong,
    /// There is no event in it.
    #[error("the event log is empty")]
    Empty,
    /// It ends within an event.
    #[error("the event log ends within the event at byte {0}")]
    Short(usize),
    /// It says what can not be.
    #[error("the event log is wrong at byte {at}: {what}")]
    Wrong {
        /// Where.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// What was measured in one step of the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// The register that was extended.
    pub pcr: u8,
    /// Its kind: a `TCG_EVENTTYPE`.
    pub kind: u32,
    /// Its digests, those of known algorithms.
    pub digests: Vec<(Algorithm, &'a [u8])>,
    /// What it says; for many kinds not what was measured.
    pub data: &'a [u8],
}

impl Event<'_> {
    /// Whether it is for information only: nothing was extended.
    pub fn is_no_action(&self) -> bool {
        self.kind == kind::NO_ACTION
    }

    /// Its digest by this algorithm.
    pub fn digest(&self, algorithm: Algorithm) -> Option<&[u8]> {
        let found = self.digests.iter().find(|(it, _)| *it == algorithm);
        found.map(|(_, digest)| *digest)
    }

    /// Its kind as the standard writes it.
    pub fn kind_name(&self) -> Option<&'static str> {
        component::kind_name(self.kind)
    }

    /// What was measured, in words for a person: "kernel command line", "Secure Boot db".
    pub fn component(&self) -> String {
        component::of(self)
    }
}

/// What the events' registers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registers {
    /// Those of a TPM.
    Tpm,
    /// Those of Intel TDX (CCEL): 0 is MRTD, 1 to 4 are RTMR0 to RTMR3.
    Tdx,
}

/// An event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog<'a> {
    /// Its events, in their order.
    pub events: Vec<Event<'a>>,
    /// The algorithms whose registers it tells of.
    pub algorithms: Vec<Algorithm>,
}

/// What each event's digests look like.
enum Form {
    /// §10.2.1 `TCG_PCClientPCREvent`: one SHA-1.
    Old,
    /// §10.2.2 `TCG_PCR_EVENT2`: as many as the first event says, of these sizes.
    Agile(Vec<(u16, usize)>),
}

impl<'a> EventLog<'a> {
    /// Reads a log. Padding after its end is left out: zeros, or the ones that confidential guests fill their table with.
    pub fn read(log: &'a [u8]) -> Result<Self, LogError> {
        if log.len() > LONGEST {
            return Err(LogError::TooLong);
        }
        let mut bytes = Bytes::of(log);
        let first = event(&mut bytes, &Form::Old)?.ok_or(LogError::Empty)?;
        let form = spec_id(&first)?;
        let algorithms = match &form {
            Form::Old => vec![Algorithm::Sha1],
            Form::Agile(sizes) => sizes
                .iter()
                .filter_map(|(id, _)| Algorithm::of(*id))
                .collect(),
        };
        let mut events = vec![first];
        while let Some(event) = event(&mut bytes, &form)? {
            if events.len() == MOST_EVENTS {
                return Err(LogError::TooLong);
            }
            events.push(event);
        }
        Ok(Self { events, algorithms })
    }

    /// What the registers are. A log does not say; a guest of TDX measures the Secure Boot variables to RTMR0, which it numbers 1,
    /// and has SHA-384 alone.
    pub fn registers(&self) -> Registers {
        let variable = self
            .events
            .iter()
            .find(|it| it.kind == kind::VARIABLE_DRIVER_CONFIG);
        if self.algorithms == [Algorithm::Sha384] && variable.is_some_and(|it| it.pcr == 1) {
            Registers::Tdx
        } else {
            Registers::Tpm
        }
    }

    /// The value that a register starts with: zero, with the locality of the start in register 0 (§10.4.5.3), and ones in those
    /// of a dynamic start (PC Client Platform TPM Profile §4.6.2).
    pub fn start(&self, pcr: u8, algorithm: Algorithm) -> Vec<u8> {
        if (17..=22).contains(&pcr) {
            return vec![0xff; algorithm.size()];
        }
        let mut value = vec![0; algorithm.size()];
        let said = self
            .events
            .iter()
            .filter(|it| it.is_no_action())
            .find_map(|it| it.data.strip_prefix(b"StartupLocality\0"));
        if let (0, Some([locality, ..]), Some(last)) = (pcr, said, value.last_mut()) {
            *last = *locality;
        }
        value
    }

    /// What the registers hold by this log; those without an event are not there.
    pub fn replay(&self, algorithm: Algorithm) -> BTreeMap<u8, Vec<u8>> {
        let mut registers = BTreeMap::new();
        for event in self.extends() {
            let Some(digest) = event.digest(algorithm) else {
                continue;
            };
            let start = || self.start(event.pcr, algorithm);
            let register = registers.entry(event.pcr).or_insert_with(start);
            *register = algorithm.extend(register, digest);
        }
        registers
    }

    /// The events that extended a register.
    pub fn extends(&self) -> impl Iterator<Item = &Event<'a>> {
        self.events.iter().filter(|it| !it.is_no_action())
    }
}

/// The next event; none at the end, or where only padding is left.
fn event<'a>(bytes: &mut Bytes<'a>, form: &Form) -> Result<Option<Event<'a>>, LogError> {
    let at = bytes.taken();
    let padding = |it: u8| bytes.rest().iter().all(|byte| *byte == it);
    if padding(0) || padding(0xff) || bytes.rest().starts_with(&[0xff; 8]) {
        return Ok(None);
    }
    let short = || LogError::Short(at);
    let wrong = |what| LogError::Wrong { at, what };
    let pcr = bytes.u32().ok_or_else(short)?;
    let kind = bytes.u32().ok_or_else(short)?;
    let digests = match form {
        Form::Old => vec![(Algorithm::Sha1, bytes.take(20).ok_or_else(short)?)],
        Form::Agile(sizes) => {
            let count = bytes.length().ok_or_else(short)?;
            if count > sizes.len() {
                return Err(wrong("an event with more digests than the log has"));
            }
            let mut digests = Vec::with_capacity(count);
            for _ in 0..count {
                let id = bytes.u16().ok_or_else(short)?;
                let size = sizes.iter().find(|(it, _)| *it == id);
                let (_, size) = size.ok_or_else(|| wrong("a digest that the log does not name"))?;
                let digest = bytes.take(*size).ok_or_else(short)?;
                digests.extend(Algorithm::of(id).map(|it| (it, digest)));
            }
            digests
        }
    };
    let length = bytes.length().ok_or_else(short)?;
    let data = bytes.take(length).ok_or_else(short)?;
    // What extends nothing may name a register that there is not.
    let pcr = if pcr < REGISTERS || kind == kind::NO_ACTION {
        u8::try_from(pcr).unwrap_or(u8::MAX)
    } else {
        return Err(wrong("there is no such register"));
    };
    Ok(Some(Event {
        pcr,
        kind,
        digests,
        data,
    }))
}

/// What the first event says of those that follow (§10.4.5.1 `TCG_EfiSpecIDEventStruct`).
fn spec_id(first: &Event<'_>) -> Result<Form, LogError> {
    let Some(rest) = first.data.strip_prefix(b"Spec ID Event03\0") else {
        return Ok(Form::Old);
    };
    let wrong = |what| LogError::Wrong { at: 32, what };
    if !first.is_no_action() {
        return Err(wrong("a header that is no information"));
    }
    let mut bytes = Bytes::of(rest);
    let read = |bytes: &mut Bytes<'_>| {
        // Class, three numbers of the version, size of a native integer.
        bytes.take(8)?;
        let count = bytes.length().filter(|it| *it <= MOST_DIGESTS)?;
        let mut sizes = Vec::with_capacity(count);
        for _ in 0..count {
            sizes.push((bytes.u16()?, usize::from(bytes.u16()?)));
        }
        let vendor = bytes.u8()?;
        bytes.take(vendor.into())?;
        Some(sizes)
    };
    let sizes = read(&mut bytes).ok_or_else(|| wrong("a header that is cut short"))?;
    let fits = |(id, size): &(u16, usize)| {
        *size <= 128 && Algorithm::of(*id).is_none_or(|it| it.size() == *size)
    };
    if sizes.is_empty() || !sizes.iter().all(fits) {
        return Err(wrong("a header with digests that can not be"));
    }
    Ok(Form::Agile(sizes))
}
