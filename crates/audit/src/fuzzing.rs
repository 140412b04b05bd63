//! The bodies of the fuzz targets; the committed corpus runs through them in the tests too.

use stockade_controls::engine::Severity;
use time::OffsetDateTime;

use crate::image::fuzz;
use crate::{Report, Waivers, output};

/// The most bytes of an input; all that is looked for is shorter.
const MOST: usize = 256 << 10;

/// Any bytes as a file of an image: keys, certificates, tokens, hashes.
pub fn audit_file(data: &[u8]) {
    fuzz(
        data.get(..MOST).unwrap_or(data),
        &["/usr/bin/x", "/etc/ssl/private/x.der"],
    );
}

/// Any bytes as scripts, tables and settings of every kind.
pub fn audit_text(data: &[u8]) {
    let places = [
        "/etc/init.d/x",
        "/etc/inittab",
        "/etc/inetd.conf",
        "/etc/xinetd.d/x",
        "/etc/systemd/system/x.service",
        "/etc/mosquitto.conf",
        "/etc/nginx/nginx.conf",
        "/etc/httpd.conf",
        "/etc/exports",
        "/default.prop",
        "/boot/extlinux/extlinux.conf",
        "/boot/boot.scr",
        "/www/x.php",
        "/etc/wpa_supplicant.conf",
        "/root/.ssh/authorized_keys",
    ];
    fuzz(data.get(..MOST).unwrap_or(data), &places);
}

/// Any bytes as an earlier report, and as waivers; what is read as a report is marked, rendered and read again.
pub fn audit_report(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data.get(..MOST).unwrap_or(data)) else {
        return;
    };
    let waivers = Waivers::parse(text).unwrap_or_default();
    let Ok(read) = Report::from_json(text) else {
        return;
    };
    let json = read.to_json().unwrap_or_default();
    assert_eq!(Report::from_json(&json).ok().as_ref(), Some(&read));
    let mut marked = read.clone();
    marked.waive(&waivers, OffsetDateTime::UNIX_EPOCH);
    if marked.against(&read).is_ok() {
        // Against itself nothing is new.
        assert_eq!(marked.gating(Some(Severity::Info)), 0);
    }
    let _xml = output::junit(&marked, Some(Severity::High));
    let _sarif = output::sarif(&marked);
    let _page = output::html(&marked);
}
