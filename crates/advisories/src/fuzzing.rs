//! The bodies of the fuzz targets; the committed corpus runs through them in the tests too.

use std::cmp::Ordering;

use crate::db::Ready;
use crate::{Purl, Scheme, archive, claims, cyclonedx, read};

const SCHEMES: [Scheme; 6] = [
    Scheme::Debian,
    Scheme::Rpm,
    Scheme::Apk,
    Scheme::Semver,
    Scheme::Python,
    Scheme::Generic,
];

/// Any bytes as data of any form, and as files that such data comes in; what is read is asked, too.
pub fn advisory_data(data: &[u8]) {
    if let Some(document) = read::document(data, "debian.csv") {
        for (form, advisory) in document.advisories {
            drop(Ready::of(form, &advisory));
            for affected in &advisory.affected {
                for version in ["0", "1.1.1n", "1:2-3~deb12u1", "2.0-1.el9"] {
                    for scheme in SCHEMES {
                        affected.asks(version, scheme);
                    }
                }
            }
        }
    }
    let entries = archive::zip(data).unwrap_or_default();
    for entry in entries.iter().chain(&archive::tar(data).0).take(16) {
        drop(entry.open(data));
    }
    // What is small cannot become too large.
    if data.len() < 4096 {
        drop(archive::gunzip(data));
    }
}

/// Lines as versions: of three that are compared, the order is one.
pub fn advisory_versions(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let (Some(a), Some(b), Some(c)) = (lines.next(), lines.next(), lines.next()) else {
        return;
    };
    for scheme in SCHEMES {
        let order = scheme.compare(a, b);
        assert_eq!(
            order.map(Ordering::reverse),
            scheme.compare(b, a),
            "an order"
        );
        if let (Some(ab), Some(bc), Some(ac)) = (order, scheme.compare(b, c), scheme.compare(a, c))
        {
            let rises = ab != Ordering::Greater && bc != Ordering::Greater;
            assert!(!rises || ac != Ordering::Greater, "an order");
        }
    }
}

/// Any bytes as a bill of materials, as a VEX document, and as a package URL; what is read is written.
pub fn advisory_bill(data: &[u8]) {
    if let Ok(inventory) = cyclonedx::read(data, "a bill") {
        let text = cyclonedx::write(&cyclonedx::Subject::default(), &inventory, None);
        assert!(
            cyclonedx::read(text.as_bytes(), "ours").is_ok(),
            "what is written is read"
        );
    }
    drop(claims(data, "a document"));
    if let Ok(purl) = String::from_utf8_lossy(data).parse::<Purl>() {
        assert_eq!(
            purl.to_string().parse(),
            Ok(purl),
            "what is written is read"
        );
    }
}

/// Any bytes as a database of rpm, and as a program with versions in it.
pub fn inventory_file(data: &[u8]) {
    crate::inventory::fuzz(data);
}
