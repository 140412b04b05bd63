//! What is kept, dropped and sent. Pure.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use stockade_api::events::{self, Batch};
use stockade_api::helper::Event;

/// Room in a batch for all but its events.
const FRAME: usize = 256;
/// The longest event that is kept whole, in bytes; the text of a longer one is cut.
const LONGEST: usize = 4 * 1024;

/// One change, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Record {
    /// The log and where it is: the first record of a file.
    Begun {
        /// The log's name.
        log: u64,
        /// The number of the next event.
        next: u64,
        /// The last event that was taken over, by the helper's number.
        taken: u64,
        /// How many were lost.
        lost: u64,
    },
    /// An event was put, numbered anew; `taken` is its number at the helper.
    Put {
        /// The event.
        event: Event,
        /// Its number at the helper.
        taken: u64,
    },
    /// Events of the helper's log were gone before they were taken over.
    Missed {
        /// How many.
        count: u64,
        /// The last of them.
        taken: u64,
    },
    /// The helper's log began anew, and its numbers with it.
    Restarted,
    /// An event was dropped for want of room.
    Dropped {
        /// Its number.
        number: u64,
    },
    /// The gateway has all events up to here.
    Acknowledged {
        /// The number.
        up_to: u64,
    },
}

/// The events that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    log: u64,
    next: u64,
    taken: u64,
    lost: u64,
    most: usize,
    bytes: usize,
    waiting: VecDeque<(Event, usize)>,
}

impl Record {
    /// The record as one line: its CRC-32 in hexadecimal, a space, JSON.
    pub fn write(&self) -> Vec<u8> {
        // Text and numbers: they can always be written.
        let json = serde_json::to_vec(self).unwrap_or_default();
        let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
        line.extend(json);
        line.push(b'\n');
        line
    }

    fn read(line: &[u8]) -> Option<Self> {
        let (crc, json) = (line.get(..8)?, line.get(9..)?);
        let crc = u32::from_str_radix(str::from_utf8(crc).ok()?, 16).ok()?;
        (crc == crc32fast::hash(json)).then_some(())?;
        serde_json::from_slice(json).ok()
    }
}

impl Core {
    /// An empty outbox.
    pub const fn new(log: u64, most: usize) -> Self {
        Self {
            log,
            next: 1,
            taken: 0,
            lost: 0,
            most,
            bytes: 0,
            waiting: VecDeque::new(),
        }
    }

    /// What the bytes of a file say, up to the first record that is not whole, and how many bytes that is. A file that says
    /// nothing begins the log anew.
    pub fn read(bytes: &[u8], log: u64, most: usize) -> (Self, usize) {
        let mut core = Self::new(log, most);
        let mut sound = 0_usize;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let whole = line.strip_suffix(b"\n").and_then(Record::read);
            let begins = matches!(whole, Some(Record::Begun { .. }));
            match whole {
                Some(record) if begins == (sound == 0) => core.follow(record),
                _ => break,
            }
            sound = sound.saturating_add(line.len());
        }
        (core, sound)
    }

    /// Everything that is needed to be as it is now.
    pub fn snapshot(&self) -> Vec<Record> {
        let begun = Record::Begun {
            log: self.log,
            next: self.next,
            taken: self.taken,
            lost: self.lost,
        };
        let put = self.waiting.iter().map(|(event, _)| Record::Put {
            event: event.clone(),
            taken: self.taken,
        });
        std::iter::once(begun).chain(put).collect()
    }

    fn follow(&mut self, record: Record) {
        match record {
            Record::Begun {
                log,
                next,
                taken,
                lost,
            } => {
                (self.log, self.next, self.taken, self.lost) = (log, next, taken, lost);
            }
            Record::Put { event, taken } => {
                self.next = self.next.max(event.number.saturating_add(1));
                self.taken = self.taken.max(taken);
                let size = size(&event);
                self.bytes = self.bytes.saturating_add(size);
                self.waiting.push_back((event, size));
            }
            Record::Missed { count, taken } => {
                self.lost = self.lost.saturating_add(count);
                self.taken = self.taken.max(taken);
            }
            Record::Restarted => self.taken = 0,
            Record::Dropped { number } => {
                if let Some(at) = self.waiting.iter().position(|(it, _)| it.number == number)
                    && let Some((_, size)) = self.waiting.remove(at)
                {
                    self.bytes = self.bytes.saturating_sub(size);
                    self.lost = self.lost.saturating_add(1);
                }
            }
            Record::Acknowledged { up_to } => {
                while let Some((_, size)) = self
                    .waiting
                    .pop_front_if(|(event, _)| event.number <= up_to)
                {
                    self.bytes = self.bytes.saturating_sub(size);
                }
            }
        }
    }

    fn done(&mut self, record: Record) -> Record {
        self.follow(record.clone());
        record
    }

    /// Puts an event of the helper's log, unless it was put before. What has to make room is of the least worth, and the oldest of
    /// that.
    pub fn put(&mut self, mut event: Event) -> Vec<Record> {
        let taken = event.number;
        if taken <= self.taken {
            return Vec::new();
        }
        for text in [&mut event.says, &mut event.by, &mut event.kind] {
            while text.len() > LONGEST / 4 {
                text.pop();
            }
        }
        event.number = self.next;
        let mut records = vec![self.done(Record::Put { event, taken })];
        while self.bytes > self.most {
            let least = self
                .waiting
                .iter()
                .map(|(event, _)| event)
                .min_by_key(|it| it.weight);
            let Some(number) = least.map(|event| event.number) else {
                break;
            };
            records.push(self.done(Record::Dropped { number }));
        }
        records
    }

    /// The helper's log goes from `oldest` to `last`. What was before that and not taken over is lost; one that ends before what
    /// was taken over is another log.
    pub fn compare(&mut self, oldest: u64, last: u64) -> Vec<Record> {
        let mut records = Vec::new();
        if last < self.taken {
            records.push(self.done(Record::Restarted));
        }
        let before = oldest.saturating_sub(1);
        match before.saturating_sub(self.taken) {
            0 => {}
            count => records.push(self.done(Record::Missed {
                count,
                taken: before,
            })),
        }
        records
    }

    /// The gateway has everything up to this number.
    pub fn acknowledged(&mut self, up_to: u64) -> Vec<Record> {
        if self
            .waiting
            .front()
            .is_none_or(|(event, _)| event.number > up_to)
        {
            return Vec::new();
        }
        vec![self.done(Record::Acknowledged { up_to })]
    }

    /// The first events that wait, as many as one message may have.
    pub fn batch(&self) -> Batch {
        let mut room = events::MOST.saturating_sub(FRAME);
        let fits = |waits: &&(Event, usize)| {
            let left = room.checked_sub(waits.1);
            room = left.unwrap_or_default();
            left.is_some()
        };
        let first = self.waiting.iter().take_while(fits);
        let first = first.map(|(event, _)| event.clone()).collect();
        Batch::new(self.log, self.lost, first)
    }

    /// The last event that was taken over, by the helper's number.
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many were lost.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// How many bytes wait.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// How long an event is as JSON, with what stands between two.
fn size(event: &Event) -> usize {
    serde_json::to_vec(event)
        .map_or(0, |json| json.len())
        .saturating_add(1)
}
