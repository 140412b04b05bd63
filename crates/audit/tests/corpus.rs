//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_audit::fuzzing;

targets! {
    audit_file: 1, 2400;
    audit_text: 1, 900;
    audit_report: 1, 300;
}

/// Files that are full of beginnings: each is looked at as long as it is, and no longer.
#[test]
fn a_file_full_of_beginnings_takes_no_more_than_its_length() {
    let full = |of: &[u8]| of.repeat((16 << 10) / of.len());
    for of in [
        &b"-----BEGIN "[..],
        b"-----BEGIN PRIVATE KEY-----\n",
        b"-----BEGIN PUBLIC KEY-----\n",
        b"\x30\x82\xff\xff\x02\x01\x00\x02\x82\x01\x01\x00",
        b"IKCFG_ST\x1f\x8b\x08\0\0\0\0\0\0\x03",
        b"$1$abcdefgh$/ehdsgh6T85pypwniuldr1\0",
        b"a://b:c1d2@",
        b"eyJ0.eyJ0.",
        b"bootdelay=",
    ] {
        fuzzing::audit_file(&full(of));
    }
    for of in [
        &b"iptables -F\n"[..],
        b"curl -k http://a\n",
        b"server = /bin/sh\n",
        b"sh stream tcp nowait root /bin/sh\n",
        b"a|b;c&&d$(`{\n",
        b"password=\"ab1cd2ef\"\n",
        b"\"'#\\ #\n",
    ] {
        fuzzing::audit_text(&full(of));
    }
}
