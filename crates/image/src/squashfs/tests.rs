use std::path::Path;

use super::*;
use crate::{Limits, Tree};

const EXPECTED: &str = "\
/ Directory 755 0:0 0 None None 00000000
/big File 644 0:0 0 None None fa8cefe1
/bin Directory 755 0:0 0 None None 00000000
/bin/su File 4755 1000:50 0 None None 467677b6
/link Link 777 0:0 0 None Some(\"su\") 00000000
/null Device 666 0:0 0 Some((1, 3)) None 00000000
";

fn corpus(name: &str) -> Tree {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/image_squashfs");
    let bytes = fs_err::read(folder.join(name)).unwrap();
    let meter = Meter::new(Limits::default());
    let opened = open(&Bytes::memory(bytes), &meter).unwrap();
    match opened.content {
        Inside::Tree(tree) => tree,
        other => panic!("{other:?}"),
    }
}

/// These are made by hand: no tool that makes them is left.
#[test]
fn old_versions_and_vendors_forms_are_read() {
    for name in [
        "v2-little-lzma",
        "v2-big-zlib",
        "v3-big-zlib",
        "v3-big-lzma-odd",
        "v3-little-lzma-five",
        "v3-little-stored",
    ] {
        let tree = corpus(name);
        assert_eq!(tree.unread, Vec::new(), "{name}");
        let mut all = String::new();
        for (path, node) in &tree.nodes {
            let entry = node.entry;
            let link = node.link.as_deref().map(String::from_utf8_lossy);
            let content = tree.read(path, 1 << 20).unwrap_or_default();
            let what = format!(
                "{path} {:?} {:o} {}:{} {} {:?} {:?} {:08x}\n",
                entry.kind,
                entry.mode,
                entry.owner,
                entry.group,
                entry.modified,
                node.device,
                link,
                crc32fast::hash(&content)
            );
            all.push_str(&what);
        }
        // Version 2 keeps no time of links and devices.
        let all = all.replace(" 1700000000 ", " 0 ");
        assert_eq!(all, EXPECTED, "{name}");
    }
}
