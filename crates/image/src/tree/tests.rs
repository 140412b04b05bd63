use stockade_controls::engine::Host as _;

use super::*;
use crate::Limits;

fn node(kind: Kind, mode: u32, content: &str) -> Node {
    let mut node = Node::implied();
    node.entry.kind = kind;
    node.entry.mode = mode;
    match kind {
        Kind::Link => node.link = Some(content.as_bytes().to_vec()),
        Kind::File => node.content = Content::Bytes(Bytes::memory(content.as_bytes().to_vec())),
        _ => (),
    }
    node
}

fn tree(nodes: &[(&str, Kind, u32, &str)]) -> Tree {
    let meter = Meter::new(Limits::default());
    let mut tree = Tree::new();
    for (path, kind, mode, content) in nodes {
        let node = node(*kind, *mode, content);
        tree.add(path.as_bytes(), node, &meter).unwrap();
    }
    tree
}

fn names(tree: &Tree, path: &'static str) -> Vec<String> {
    let listed = tree.list(&HostPath::of(path)).unwrap();
    let text = |name: &Name| String::from_utf8(name.to_vec()).unwrap();
    listed.iter().map(|(name, _)| text(name)).collect()
}

#[test]
fn a_directory_lists_its_own_entries_in_order_and_no_others() {
    let tree = tree(&[
        ("./a/x", Kind::File, 0o644, ""),
        ("a/x/", Kind::File, 0o644, ""),
        ("a-b", Kind::File, 0o644, ""),
        ("a.d/deep/er", Kind::File, 0o644, ""),
        ("a0", Kind::File, 0o644, ""),
        ("a/y/1", Kind::File, 0o644, ""),
        ("a/y-1", Kind::File, 0o644, ""),
        ("//a//y0", Kind::File, 0o644, ""),
        ("z", Kind::Directory, 0o700, ""),
    ]);
    assert_eq!(tree.unread, Vec::new());
    assert_eq!(names(&tree, "/"), ["a", "a-b", "a.d", "a0", "z"]);
    assert_eq!(names(&tree, "/a"), ["x", "y", "y-1", "y0"]);
    assert_eq!(names(&tree, "/a.d"), ["deep"]);
    assert_eq!(names(&tree, "/z"), [""; 0]);
    assert_eq!(tree.list(&HostPath::of("/no")), Err(Unseen::Absent));
    assert!(tree.list(&HostPath::of("/a/x")).is_err());
}

#[test]
fn links_on_the_way_are_followed_and_never_lead_out() {
    let tree = tree(&[
        ("lib", Kind::Link, 0o777, "usr/lib"),
        ("lib/a", Kind::File, 0o644, "one"),
        ("out", Kind::Link, 0o777, "../../../.."),
        ("out/b", Kind::File, 0o644, "two"),
        ("loop", Kind::Link, 0o777, "loop"),
        ("loop/c", Kind::File, 0o644, ""),
    ]);
    let read = |path| tree.read(&HostPath::of(path), 9);
    assert_eq!(read("/usr/lib/a").unwrap(), b"one");
    assert_eq!(read("/lib/a").unwrap(), b"one");
    assert_eq!(read("/b").unwrap(), b"two");
    assert_eq!(tree.unread.len(), 1, "{:?}", tree.unread);
    assert_eq!(tree.link(&HostPath::of("/lib")).unwrap(), b"usr/lib");
    assert_eq!(tree.entry(&HostPath::of("/lib")).unwrap().kind, Kind::Link);
}

#[test]
fn what_can_not_be_put_in_is_told() {
    let tree = tree(&[
        ("../x", Kind::File, 0o644, ""),
        ("a/../../x", Kind::File, 0o644, ""),
        ("a\0b", Kind::File, 0o644, ""),
        (&"x/".repeat(3000), Kind::Directory, 0o755, ""),
        ("f", Kind::File, 0o644, ""),
        ("f/g", Kind::File, 0o644, ""),
        ("d/e", Kind::File, 0o644, "here"),
        ("d", Kind::File, 0o644, ""),
        (".", Kind::File, 0o644, ""),
    ]);
    assert_eq!(tree.unread.len(), 7, "{:?}", tree.unread);
    assert_eq!(names(&tree, "/"), ["d", "f"]);
    assert_eq!(tree.read(&HostPath::of("/d/e"), 4).unwrap(), b"here");
    let short = tree.read(&HostPath::of("/d/e"), 3);
    assert_eq!(short, Err(Unseen::TooMuch(3)));
    assert_eq!(tree.inventory().unwrap().unseen.len(), 7);
}

#[test]
fn the_later_of_two_stays_and_a_hard_link_shares_what_is_in_it() {
    let mut tree = tree(&[
        ("a", Kind::File, 0o644, "old"),
        ("a", Kind::File, 0o600, "new"),
    ]);
    let meter = Meter::new(Limits::default());
    tree.also(b"b", b"./a", &meter).unwrap();
    tree.also(b"c", b"none", &meter).unwrap();
    assert_eq!(tree.read(&HostPath::of("/b"), 9).unwrap(), b"new");
    assert_eq!(tree.entry(&HostPath::of("/b")).unwrap().mode, 0o600);
    assert_eq!(tree.unread.len(), 1);
}

#[test]
fn the_inventory_has_what_the_walk_over_a_directory_has() {
    let mut with = node(Kind::File, 0o755, "");
    let attribute = b"security.capability".as_slice();
    with.attributes.insert(attribute.into(), vec![1, 2]);
    let mut tree = tree(&[
        ("tmp", Kind::Directory, 0o1777, ""),
        ("open", Kind::Directory, 0o777, ""),
        ("su", Kind::File, 0o4755, ""),
        ("plain", Kind::File, 0o755, ""),
        ("link", Kind::Link, 0o777, "su"),
        ("etc/tls.key", Kind::File, 0o600, ""),
    ]);
    let meter = Meter::new(Limits::default());
    tree.add(b"ping", with, &meter).unwrap();
    let found = tree.inventory().unwrap();
    let paths: Vec<_> = found.notable.iter().map(|it| it.path.to_string()).collect();
    assert_eq!(paths, ["/etc/tls.key", "/open", "/ping", "/su"]);
    assert_eq!(found.notable[2].capability, Some(vec![1, 2]));
}
