//! How bad a vulnerability is.

use cvss::Cvss;
use stockade_controls::engine::Severity;

/// A score, and the vector that it is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// CVSS's version: 4, 3 or 2; the newest counts.
    pub version: u8,
    /// In tenths: 98 is 9.8.
    pub tenths: u16,
    /// The vector.
    pub vector: String,
}

impl Score {
    /// The score of the newest form of CVSS among these; of those the highest.
    pub(crate) fn of<'a>(vectors: impl Iterator<Item = &'a String>) -> Option<Self> {
        vectors.filter_map(|it| Self::read(it)).max()
    }

    fn read(vector: &str) -> Option<Self> {
        // Version 2 stands in brackets in old records.
        let vector = vector.trim().trim_matches(['(', ')']);
        if vector.len() > 512 {
            return None;
        }
        let read: Cvss = vector.parse().ok()?;
        let (version, needed): (u8, &[&str]) = match read {
            Cvss::CvssV20(_) => (2, &["AV", "AC", "Au", "C", "I", "A"]),
            Cvss::CvssV30(_) | Cvss::CvssV31(_) => {
                (3, &["AV", "AC", "PR", "UI", "S", "C", "I", "A"])
            }
            Cvss::CvssV40(_) => (
                4,
                &[
                    "AV", "AC", "AT", "PR", "UI", "VC", "VI", "VA", "SC", "SI", "SA",
                ],
            ),
            _ => return None,
        };
        // Without all base metrics there is no score.
        let has = |metric: &&str| {
            let mut parts = vector.split('/').filter_map(|it| it.split_once(':'));
            parts.any(|(name, _)| name == *metric)
        };
        if !needed.iter().all(has) {
            return None;
        }
        Some(Self {
            version,
            tenths: tenths(read.score())?,
            vector: vector.to_owned(),
        })
    }

    /// CVSS's words (v3.1 and v4.0, "Qualitative Severity Rating Scale").
    pub const fn severity(&self) -> Severity {
        match self.tenths {
            90.. => Severity::Critical,
            70..90 => Severity::High,
            40..70 => Severity::Medium,
            1..40 => Severity::Low,
            0 => Severity::Info,
        }
    }

    /// `9.8`
    pub fn text(&self) -> String {
        let (whole, part) = (self.tenths / 10, self.tenths % 10);
        format!("{whole}.{part}")
    }
}

fn tenths(score: f64) -> Option<u16> {
    let text = format!("{score:.1}");
    let (whole, part) = text.split_once('.')?;
    format!("{whole}{part}")
        .parse()
        .ok()
        .filter(|it| *it <= 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_form_counts_and_of_it_the_highest() {
        let read = |all: &[&str]| {
            let all: Vec<String> = all.iter().map(|it| (*it).to_owned()).collect();
            Score::of(all.iter()).map(|it| (it.version, it.text(), it.severity()))
        };
        let two = "AV:N/AC:L/Au:N/C:P/I:P/A:P";
        let three = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H";
        let other = "CVSS:3.0/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N";
        let four = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:L/VI:L/VA:L/SC:N/SI:N/SA:N";
        assert_eq!(read(&[two]), Some((2, "7.5".to_owned(), Severity::High)));
        assert_eq!(
            read(&[other, two, three]),
            Some((3, "9.8".to_owned(), Severity::Critical))
        );
        assert_eq!(read(&[four, three]).map(|it| it.0), Some(4));
        assert_eq!(
            read(&["", "CVSS:3.1/AV:N", "CVSS:9.9/AV:N", "high", "AV:N/AC:L"]),
            None
        );
    }
}
