//! What has to be known of a certificate (RFC 5280 §4.1): how long it is good, and for which key. Nothing is verified here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::engine::UnixSeconds;

/// The longest certificate that is read, in bytes.
const MOST: usize = 16 * 1024;
/// The most certificates that are read from one file.
const MOST_IN_A_FILE: usize = 16;

// X.690 §8, X.680 §8.6: tags.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// A certificate, as far as it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// From when on it is good.
    pub not_before: UnixSeconds,
    /// Until when.
    pub not_after: UnixSeconds,
    /// Its key: a `SubjectPublicKeyInfo` in DER.
    pub spki: Vec<u8>,
}

impl Certificate {
    /// Reads a certificate in DER; none if it is no certificate.
    pub fn read(der: &[u8]) -> Option<Self> {
        if der.len() > MOST {
            return None;
        }
        let mut outer = Reader(der);
        let (certificate, _) = outer.expect(SEQUENCE)?;
        if !outer.0.is_empty() {
            return None;
        }
        // TBSCertificate: version [0], serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo …
        let mut tbs = Reader(Reader(certificate).expect(SEQUENCE)?.0);
        tbs.expect(VERSION)?;
        tbs.expect(INTEGER)?;
        tbs.expect(SEQUENCE)?;
        tbs.expect(SEQUENCE)?;
        let mut validity = Reader(tbs.expect(SEQUENCE)?.0);
        let (not_before, not_after) = (validity.moment()?, validity.moment()?);
        tbs.expect(SEQUENCE)?;
        let (_, spki) = tbs.expect(SEQUENCE)?;
        Some(Self {
            not_before,
            not_after,
            spki: spki.to_vec(),
        })
    }

    /// How long it is good in all.
    pub fn life(&self) -> u64 {
        self.not_after.saturating_sub(self.not_before)
    }

    /// When it is renewed: at two thirds of its life.
    pub fn renew_at(&self) -> UnixSeconds {
        let third = self.life().checked_div(3).unwrap_or_default();
        self.not_after.saturating_sub(third)
    }
}

/// The certificates of a PEM file in DER (RFC 7468 §5), in its order; none if any of them can not be read.
pub fn from_pem(text: &str) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN CERTIFICATE-----") {
        let (body, after) = after.split_once("-----END CERTIFICATE-----")?;
        if found.len() == MOST_IN_A_FILE || body.len() > MOST.saturating_mul(2) {
            return None;
        }
        let dense: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        found.push(STANDARD.decode(dense).ok()?);
        rest = after;
    }
    Some(found)
}

/// Reads DER elements one after the other (X.690 §8.1, §10.1).
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element, which must have this tag: its content, and the whole of it.
    fn expect(&mut self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let all = self.0;
        let (&found, rest) = all.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Longer than MOST needs no third byte.
            0x81 | 0x82 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let number = |n: usize, byte: &u8| n.wrapping_shl(8) | usize::from(*byte);
                (bytes.iter().fold(0, number), rest)
            }
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = all.get(..all.len().checked_sub(after.len())?)?;
        self.0 = after;
        (found == tag).then_some((content, whole))
    }

    /// RFC 5280 §4.1.2.5: `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` from then on.
    fn moment(&mut self) -> Option<UnixSeconds> {
        let tag = *self.0.first()?;
        let (text, _) = self.expect(tag)?;
        let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = text.split_at_checked(2)?;
                let year = year.parse::<u64>().ok()?;
                let century = if year < 50 { 2000 } else { 1900 };
                (year.checked_add(century)?, rest)
            }
            GENERALIZED_TIME => {
                let (year, rest) = text.split_at_checked(4)?;
                (year.parse().ok()?, rest)
            }
            _ => return None,
        };
        if rest.len() != 10 {
            return None;
        }
        let mut parts = [0_u64; 5];
        for (part, digits) in parts.iter_mut().zip(rest.as_bytes().chunks(2)) {
            *part = std::str::from_utf8(digits).ok()?.parse().ok()?;
        }
        let [month, day, hour, minute, second] = parts;
        let fits = (1..=12).contains(&month) && (1..=31).contains(&day);
        let fits = fits && hour < 24 && minute < 60 && second < 60;
        let days = fits.then(|| days(year, month, day)).flatten()?;
        let minutes = days.checked_mul(24)?.checked_add(hour)?.checked_mul(60)?;
        minutes
            .checked_add(minute)?
            .checked_mul(60)?
            .checked_add(second)
    }
}

/// Days since 1970-01-01 in the Gregorian calendar: years begin in March, so that the leap day is the last.
pub(crate) fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 {
        (year, month.checked_sub(3)?)
    } else {
        (year.checked_sub(1)?, month.checked_add(9)?)
    };
    let leap = year.checked_div(4)?.checked_sub(year.checked_div(100)?)?;
    let leap = leap.checked_add(year.checked_div(400)?)?;
    let in_year = month.checked_mul(153)?.checked_add(2)?.checked_div(5)?;
    let all = year
        .checked_mul(365)?
        .checked_add(leap)?
        .checked_add(in_year)?;
    // 719 469 days lie between 0000-03-01, less a day, and 1970-01-01.
    all.checked_add(day)?.checked_sub(719_469)
}

/// Any bytes as a certificate, and as a PEM file.
pub(crate) fn fuzz(data: &[u8]) {
    if let Some(read) = Certificate::read(data) {
        assert!(data.windows(read.spki.len()).any(|part| part == read.spki));
        assert!(read.renew_at() <= read.not_after);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(from_pem(text).is_none_or(|all| all.len() <= MOST_IN_A_FILE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        for (year, month, day, expected) in [
            (1970, 1, 1, 0),
            (1972, 3, 1, 790),
            (2000, 2, 29, 11_016),
            (2026, 11, 23, 20_780),
            (2050, 1, 1, 29_220),
            (2100, 3, 1, 47_541),
        ] {
            assert_eq!(
                days(year, month, day),
                Some(expected),
                "{year}-{month}-{day}"
            );
        }
    }

    #[test]
    fn no_prefix_of_a_certificate_passes_for_one() {
        let pem = include_str!("fixture.pem");
        let [der] = from_pem(pem).expect("PEM").try_into().expect("one");
        let read = Certificate::read(&der).expect("a certificate");
        assert_eq!(read.life(), 7 * 86_400);
        assert_eq!(read.renew_at(), read.not_after - 7 * 86_400 / 3);
        assert_eq!(read.spki.len(), 91);
        for end in 0..der.len() {
            assert_eq!(Certificate::read(&der[..end]), None, "{end}");
        }
    }
}
