//! One-time enrolment codes, and a limit on guessing them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use subtle::ConstantTimeEq as _;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::name::DeviceId;
use crate::tls::{Source, sha256};

/// Crockford's base 32: no I, L, O or U, so that a code can be read aloud.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 28 symbols of 5 bits are 140 bits, in seven groups of four.
const SYMBOLS: usize = 28;
const GROUP: usize = 4;

/// A fresh enrolment code. It is shown once and kept nowhere: only its hash is stored.
pub struct EnrolmentCode {
    text: Zeroizing<String>,
    expires: OffsetDateTime,
}

impl std::fmt::Debug for EnrolmentCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EnrolmentCode(..)")
    }
}

/// The operating system's random source failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random numbers")]
pub struct NoRandomness;

impl EnrolmentCode {
    pub(super) fn generate(expires: OffsetDateTime) -> Result<Self, NoRandomness> {
        let mut random = Zeroizing::new([0_u8; SYMBOLS]);
        aws_lc_rs::rand::fill(random.as_mut_slice()).map_err(|_| NoRandomness)?;
        let mut text = Zeroizing::new(String::with_capacity(SYMBOLS + SYMBOLS / GROUP));
        for (place, byte) in random.iter().enumerate() {
            if place > 0 && place % GROUP == 0 {
                text.push('-');
            }
            // 256 is a multiple of 32, so the low five bits are as even as the byte.
            let symbol = ALPHABET
                .get(usize::from(byte & 31))
                .copied()
                .unwrap_or(b'0');
            text.push(char::from(symbol));
        }
        Ok(Self { text, expires })
    }

    /// The code, for the one person who asked for it: `7K3F-…`.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Until when it can be used.
    pub const fn expires(&self) -> OffsetDateTime {
        self.expires
    }

    pub(super) fn hash(&self, device: &DeviceId) -> CodeHash {
        CodeHash::of(device.as_str(), &self.text)
    }
}

/// What is stored of a code. 140 random bits need no slow hash: there is no list of likely ones to try.
#[derive(Clone, Copy)]
pub(super) struct CodeHash(pub(super) [u8; 32]);

impl CodeHash {
    /// Hashes what was typed, forgiving what Crockford's alphabet forgives: case, dashes, spaces, O for 0, I and L
    /// for 1.
    pub(super) fn of(device: &str, typed: &str) -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(device.len() + 64));
        bytes.extend_from_slice(b"stockade enrolment code 1\0");
        bytes.extend_from_slice(device.as_bytes());
        bytes.push(0);
        for byte in typed.bytes() {
            match byte.to_ascii_uppercase() {
                b'-' | b' ' => {}
                b'O' => bytes.push(b'0'),
                b'I' | b'L' => bytes.push(b'1'),
                other => bytes.push(other),
            }
        }
        Self(sha256(&bytes))
    }

    /// Compares in constant time.
    pub(super) fn is(self, stored: &[u8; 32]) -> bool {
        self.0.ct_eq(stored).into()
    }
}

/// How many wrong codes are borne.
#[derive(Debug, Clone, Copy)]
pub struct GuessSettings {
    /// From one source before it must wait; 10.
    pub per_source: u32,
    /// One more is borne after this time; 30 seconds.
    pub source_interval: Duration,
    /// For one device, from all sources, before it must wait; 50.
    pub per_device: u32,
    /// One more is borne after this time; 10 seconds.
    pub device_interval: Duration,
}

impl Default for GuessSettings {
    fn default() -> Self {
        Self {
            per_source: 10,
            source_interval: Duration::seconds(30),
            per_device: 50,
            device_interval: Duration::seconds(10),
        }
    }
}

/// How many sources or devices are counted one by one; all others share one count.
const MAX_COUNTED: usize = 4_096;

#[derive(Debug)]
pub(super) struct Guesses {
    settings: GuessSettings,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    sources: Paid<Source>,
    devices: Paid<DeviceId>,
}

/// For each key, the time until which its wrong guesses are paid for: the generic cell rate algorithm.
#[derive(Debug)]
struct Paid<K> {
    until: BTreeMap<Option<K>, OffsetDateTime>,
    swept: OffsetDateTime,
}

impl<K> Default for Paid<K> {
    fn default() -> Self {
        Self {
            until: BTreeMap::new(),
            swept: OffsetDateTime::UNIX_EPOCH,
        }
    }
}

impl<K: Ord + Clone> Paid<K> {
    fn wait(
        &self,
        key: &K,
        burst: u32,
        interval: Duration,
        now: OffsetDateTime,
    ) -> Option<Duration> {
        let key = Some(key.clone());
        let shared = self.until.len() > MAX_COUNTED && !self.until.contains_key(&key);
        let paid = *self.until.get(if shared { &None } else { &key })?;
        let owed = paid - now;
        let borne = interval * burst;
        // A clock that jumped back must not lock anyone out for longer than a full count would.
        (owed > borne - interval).then(|| (owed - borne + interval).min(borne))
    }

    fn wrong(&mut self, key: &K, interval: Duration, most: Duration, now: OffsetDateTime) {
        let mut key = Some(key.clone());
        if self.until.len() >= MAX_COUNTED && !self.until.contains_key(&key) {
            // Looking for room costs a walk through all of it: once a second is enough.
            if now < self.swept || now - self.swept >= Duration::SECOND {
                self.until.retain(|_, paid| *paid > now);
                self.swept = now;
            }
            if self.until.len() >= MAX_COUNTED {
                key = None;
            }
        }
        let paid = self.until.entry(key).or_insert(now);
        *paid = ((*paid).max(now) + interval).min(now + most + interval);
    }
}

impl Guesses {
    pub(super) fn new(settings: GuessSettings) -> Self {
        Self {
            settings,
            counts: Mutex::default(),
        }
    }

    /// How long this source has to wait before its next try.
    pub(super) fn source_wait(&self, source: IpAddr, now: OffsetDateTime) -> Option<Duration> {
        let s = &self.settings;
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .sources
            .wait(&Source::of(source), s.per_source, s.source_interval, now)
    }

    /// How long everyone who asks for this device has to wait.
    pub(super) fn device_wait(&self, device: &DeviceId, now: OffsetDateTime) -> Option<Duration> {
        let s = &self.settings;
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .devices
            .wait(device, s.per_device, s.device_interval, now)
    }

    /// Counts a wrong guess; `device` only if there is one of this name.
    pub(super) fn wrong(&self, source: IpAddr, device: Option<&DeviceId>, now: OffsetDateTime) {
        let s = &self.settings;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let most = s.source_interval * s.per_source;
        counts
            .sources
            .wrong(&Source::of(source), s.source_interval, most, now);
        if let Some(id) = device {
            counts
                .devices
                .wrong(id, s.device_interval, s.device_interval * s.per_device, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    #[test]
    fn a_code_is_140_bits_in_seven_groups_of_four() {
        let code = EnrolmentCode::generate(START).unwrap();
        let groups: Vec<&str> = code.reveal().split('-').collect();
        assert_eq!(groups.len(), 7);
        assert!(
            groups
                .iter()
                .all(|g| g.len() == 4 && g.bytes().all(|b| ALPHABET.contains(&b))),
            "{groups:?}"
        );
        assert_ne!(
            code.reveal(),
            EnrolmentCode::generate(START).unwrap().reveal()
        );
    }

    #[test]
    fn a_code_typed_carelessly_is_the_same_code_and_is_for_one_device() {
        let stored = CodeHash::of("porch", "1O0A-7K3F").0;
        for typed in ["1O0A-7K3F", "100a7k3f", " l0oA 7K3F ", "i00a-7k3f"] {
            assert!(CodeHash::of("porch", typed).is(&stored), "{typed}");
        }
        assert!(!CodeHash::of("porch", "100A-7K3G").is(&stored));
        assert!(!CodeHash::of("garden", "1O0A-7K3F").is(&stored));
    }

    #[test]
    fn a_source_that_guesses_must_wait_and_others_need_not() {
        let guesses = Guesses::new(GuessSettings::default());
        let (bad, good): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..10 {
            assert_eq!(guesses.source_wait(bad, START), None);
            guesses.wrong(bad, None, START);
        }
        assert_eq!(guesses.source_wait(bad, START), Some(Duration::seconds(30)));
        assert_eq!(guesses.source_wait(good, START), None);
        assert_eq!(
            guesses.source_wait(bad, START + Duration::seconds(30)),
            None
        );
        guesses.wrong(bad, None, START + Duration::seconds(30));
        assert!(
            guesses
                .source_wait(bad, START + Duration::seconds(31))
                .is_some()
        );
    }

    #[test]
    fn a_device_guessed_at_from_everywhere_must_wait() {
        let guesses = Guesses::new(GuessSettings::default());
        let porch = DeviceId::new("porch").unwrap();
        for host in 0..50_u8 {
            let source = IpAddr::from([10, 0, 0, host]);
            assert_eq!(guesses.device_wait(&porch, START), None);
            guesses.wrong(source, Some(&porch), START);
        }
        assert!(guesses.device_wait(&porch, START).is_some());
        assert!(
            guesses
                .source_wait("10.0.1.1".parse().unwrap(), START)
                .is_none()
        );
    }

    #[test]
    fn guessing_from_everywhere_fills_no_memory() {
        let guesses = Guesses::new(GuessSettings::default());
        for i in 0..20_000_u32 {
            guesses.wrong(IpAddr::from(i.to_be_bytes()), None, START);
        }
        assert_eq!(
            guesses.counts.lock().unwrap().sources.until.len(),
            MAX_COUNTED + 1
        );
        assert!(
            guesses
                .source_wait("203.0.113.1".parse().unwrap(), START)
                .is_some(),
            "the rest share one count"
        );
    }

    #[test]
    fn a_clock_that_jumps_back_locks_nobody_out_for_long() {
        let guesses = Guesses::new(GuessSettings::default());
        let source = "192.0.2.1".parse().unwrap();
        let later = START + Duration::days(365);
        for _ in 0..20 {
            guesses.wrong(source, None, later);
        }
        assert!(
            guesses
                .source_wait(source, START)
                .is_some_and(|wait| wait <= Duration::minutes(5))
        );
        guesses.wrong(source, None, START);
        assert_eq!(
            guesses.source_wait(source, START + Duration::minutes(6)),
            None
        );
    }
}
