//! Whether what boot loaders start is signed and whole, by what the parts of an image say of themselves. Whether a boot loader
//! looks, its own configuration says, which is built into it: what is not signed cannot be looked at.

use stockade_controls::engine::{
    Confidence, Evidence, Finding, Outcome, Rule, Severity, Verdict, rules,
};

use crate::PartRow;

rules! {
    Boot "boot";
    WHOLE = "image-hash", Critical, "What a boot loader starts is what its own hashes say",
        "Somebody changed it after it was made, or it broke: whoever takes it takes anything.",
        "Build the image anew, and find out who could change it.",
        ["EN 303 645 5.7-1", "EN 303 645 5.3-9", "CRA I.I(2)(f)", "IEC 62443-4-2 EDR 3.14", "ISVS 3.1.5"];
    SIGNED = "image-signature", High, "What a boot loader starts is signed",
        "Whoever can write the flash or the disk once puts a kernel of his own below everything that could notice.",
        "FIT: sign each configuration (`mkimage -k … -r`), and switch CONFIG_LEGACY_IMAGE_FORMAT off; EFI: sign with the maker's own key; Android: `avbtool`.",
        ["EN 303 645 5.7-1", "EN 303 645 5.3-9", "CRA I.I(2)(f)", "IEC 62443-4-2 EDR 3.14", "ISVS 3.1.5"];
}

/// Types of U-Boot's old images that run.
const RUN: [&str; 6] = [
    "kernel",
    "kernel_noload",
    "multi",
    "script",
    "firmware",
    "standalone",
];
/// The most that a finding names.
const MOST_NAMED: usize = 10;

/// The rules, in the order of a report.
pub(crate) fn rules() -> &'static [&'static Rule] {
    ALL
}

/// Judges all parts of an image.
pub(crate) fn judge(parts: &[PartRow]) -> Vec<Outcome> {
    // With images of the newer kind there is a way to sign, and that judges.
    let newer = parts.iter().any(is_fit);
    let mut seen = Seen::default();
    for part in parts {
        seen.part(part, newer);
    }
    let outcome = |rule, asked: &[String], findings: Vec<Finding>| Outcome {
        rule,
        verdict: match asked {
            [] => {
                Verdict::DoesNotApply("no images of boot loaders of this kind are in it".to_owned())
            }
            _ if !findings.is_empty() => Verdict::Broken(findings),
            named => Verdict::Passed(named.get(..MOST_NAMED).unwrap_or(named).join(", ")),
        },
    };
    vec![
        outcome(&WHOLE, &seen.hashed, seen.broken),
        outcome(&SIGNED, &seen.asked, seen.open),
    ]
}

/// What was asked, and what is wrong.
#[derive(Default)]
struct Seen {
    hashed: Vec<String>,
    broken: Vec<Finding>,
    asked: Vec<String>,
    open: Vec<Finding>,
}

impl Seen {
    fn part(&mut self, part: &PartRow, newer: bool) {
        let note = |key: &str| {
            let found = part.notes.iter().find(|(it, _)| it == key);
            found.map(|(_, said)| said.as_str())
        };
        let wrong = match part.format.as_str() {
            "device tree" if is_fit(part) => return self.fit(part),
            "device tree" => return self.keys(part),
            "U-Boot image" if note("type").is_some_and(|it| RUN.contains(&it)) => {
                (!newer).then_some("is an image of U-Boot's old kind, which cannot be signed")
            }
            "PE" | "Linux kernel" => match note("signature") {
                Some("none") => Some("is a program of EFI, and nobody signed it"),
                Some(said) if said.starts_with("there") => None,
                _ => return,
            },
            "Android boot image" => (note("verified boot") == Some("none"))
                .then_some("has nothing of Android Verified Boot behind it"),
            _ => return,
        };
        let place = part.place.as_str();
        self.asked.push(place.to_owned());
        self.open.extend(wrong.map(|wrong| {
            // It may be checked by something else that is not seen here.
            let finding = Finding::of(&SIGNED, place, format!("{place} {wrong}"));
            let finding = finding.seen(format!("{place}:{:#x}", part.at), "no signature");
            finding.with(Severity::Medium, Confidence::Medium)
        }));
    }

    fn fit(&mut self, part: &PartRow) {
        let place = part.place.as_str();
        self.asked.push(place.to_owned());
        let hashes = || {
            let notes = part.notes.iter();
            notes.filter(|(it, _)| it.starts_with("image ") && it.contains(", hash"))
        };
        if hashes().next().is_some() {
            self.hashed.push(place.to_owned());
        }
        let wrong = hashes().filter(|(_, said)| said.ends_with(", wrong"));
        let what = "has a hash that is not that of its content";
        self.broken.extend(finding(&WHOLE, place, what, wrong));
        let configurations = || {
            let notes = part.notes.iter();
            notes.filter(|(it, _)| it.starts_with("configuration "))
        };
        if configurations().next().is_none() {
            let what = format!("{place} has no configuration that could be signed");
            self.open
                .push(Finding::of(&SIGNED, place, what).seen(place, "images only"));
        }
        let open = configurations().filter(|(_, said)| said.starts_with("not signed"));
        let what = "has a configuration that nobody signed";
        self.open.extend(finding(&SIGNED, place, what, open));
    }

    /// What U-Boot itself has: the keys that it checks by.
    fn keys(&mut self, part: &PartRow) {
        let place = part.place.as_str();
        let keys = || part.notes.iter().filter(|(it, _)| it.starts_with("key "));
        if keys().next().is_some() {
            self.asked.push(place.to_owned());
        }
        // One that is required is enough: without it nothing starts.
        if keys().all(|(_, said)| said.ends_with("required: none")) {
            let what = "requires none of the keys that it has: what is not signed starts too";
            self.open.extend(finding(&SIGNED, place, what, keys()));
        }
    }
}

/// U-Boot's images that are device trees.
fn is_fit(part: &PartRow) -> bool {
    let mut names = part.notes.iter().map(|(name, _)| name);
    part.format == "device tree"
        && names.any(|it| it.starts_with("image ") || it.starts_with("configuration "))
}

/// One finding for all that is wrong with a part in one way; none if nothing is.
fn finding<'a>(
    rule: &'static Rule,
    place: &str,
    what: &str,
    notes: impl Iterator<Item = &'a (String, String)>,
) -> Option<Finding> {
    let mut finding = Finding::of(rule, place, format!("{place} {what}"));
    let seen = notes
        .take(MOST_NAMED)
        .map(|(name, said)| Evidence::at(place, format!("{name}: {said}")));
    finding.evidence.extend(seen);
    (!finding.evidence.is_empty()).then_some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(format: &str, notes: &[(&str, &str)]) -> PartRow {
        let owned = |(name, said): &(&str, &str)| ((*name).to_owned(), (*said).to_owned());
        PartRow {
            place: "x".to_owned(),
            format: format.to_owned(),
            at: 0,
            length: None,
            files: None,
            notes: notes.iter().map(owned).collect(),
        }
    }

    /// What is said of signatures: how bad, none if it is fine.
    fn severity(parts: &[PartRow]) -> Option<Severity> {
        match &judge(parts)[1].verdict {
            Verdict::Broken(found) => found.iter().map(|it| it.severity).max(),
            Verdict::Passed(_) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_nobody_signed_is_found_and_what_is_signed_is_not() {
        let fit = |said| {
            part(
                "device tree",
                &[
                    ("configuration a", "not signed"),
                    ("configuration b, signature", said),
                ],
            )
        };
        let signed = part(
            "device tree",
            &[(
                "configuration b, signature",
                "signed by key k, sha256,rsa2048",
            )],
        );
        let old = part(
            "U-Boot image",
            &[
                ("type", "kernel"),
                ("signature", "none: the format has none"),
            ],
        );
        let key = |name, required| {
            (
                name,
                if required {
                    "sha256,rsa2048, required: conf"
                } else {
                    "sha256,rsa2048, required: none"
                },
            )
        };
        let (high, medium) = (Some(Severity::High), Some(Severity::Medium));
        assert_eq!(severity(&[fit("signed by key k, sha256,rsa2048")]), high);
        assert_eq!(
            severity(&[part("device tree", &[("image kernel", "kernel, gzip")])]),
            high
        );
        assert_eq!(severity(std::slice::from_ref(&signed)), None);
        assert_eq!(
            severity(&[part("device tree", &[key("key a", false)])]),
            high
        );
        assert_eq!(
            severity(&[part(
                "device tree",
                &[key("key a", false), key("key b", true)]
            )]),
            None
        );
        assert_eq!(severity(std::slice::from_ref(&old)), medium);
        assert_eq!(severity(&[old, signed]), None);
        assert_eq!(severity(&[part("PE", &[("signature", "none")])]), medium);
        assert_eq!(
            severity(&[part("PE", &[("signature", "there, not checked")])]),
            None
        );
        assert_eq!(
            severity(&[part("Android boot image", &[("verified boot", "none")])]),
            medium
        );
        assert_eq!(
            severity(&[part(
                "Android boot image",
                &[("verified boot", "there, not checked")]
            )]),
            None
        );
        let hardware = [
            part("device tree", &[("model", "board")]),
            part("U-Boot image", &[("type", "ramdisk")]),
        ];
        assert!(
            judge(&hardware)
                .iter()
                .all(|it| matches!(it.verdict, Verdict::DoesNotApply(_)))
        );
    }
}
