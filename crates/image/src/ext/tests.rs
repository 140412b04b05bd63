use std::path::Path;

use super::*;
use crate::Limits;
use crate::fuzzing::Random;

/// All that is told of it, but for contents and long links, which have no checksums; none if something could not be read.
fn told(image: Vec<u8>) -> Option<Vec<String>> {
    let meter = Meter::new(Limits::default());
    let opened = open(&Bytes::memory(image), &meter).ok()?;
    let Inside::Tree(tree) = opened.content else {
        return None;
    };
    let nodes = tree.nodes.iter().map(|(path, node)| {
        let link = node.link.as_ref().filter(|it| it.len() < 60);
        let (entry, device) = (node.entry, node.device);
        format!("{path} {entry:?} {link:?} {device:?} {:?}", node.attributes)
    });
    tree.unread.is_empty().then(|| nodes.collect())
}

#[test]
fn damage_under_a_checksum_is_never_silent() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/image_ext");
    let mut random = Random(5);
    for name in ["ext4", "ext4-tree"] {
        let original = fs_err::read(folder.join(name)).unwrap();
        let whole = told(original.clone()).unwrap();
        let mut noticed = 0;
        for _ in 0..1500 {
            match told(random.mutated(&original)) {
                None => noticed += 1,
                Some(other) => assert_eq!(other, whole, "{name}"),
            }
        }
        assert!(noticed > 300, "{name}: {noticed}");
    }
}
