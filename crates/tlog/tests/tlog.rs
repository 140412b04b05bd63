//! The log against others' vectors, against the definition written plainly, and against whoever changes it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use proptest::prelude::*;
use stockade_tlog::{
    Audit, Audited, Checkpoint, Difference, Ed25519, Edge, Files, Hash, Kind, Nodes, Note,
    NoteError, Tile, VerifierKey, audit, bundle, consistency, cosigned_text, inclusion, root_at,
    unbundle, verify_consistency, verify_inclusion,
};

struct Dalek;

impl Ed25519 for Dalek {
    fn good(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(key)
            .is_ok_and(|key| key.verify_strict(message, &signature.into()).is_ok())
    }
}

/// A log in memory, with all its files.
#[derive(Clone)]
struct Kept {
    edge: Edge,
    last: Vec<Vec<u8>>,
    files: BTreeMap<String, Vec<u8>>,
    key: SigningKey,
    public: VerifierKey,
}

impl Kept {
    fn of(entries: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = VerifierKey::new("log.test", Kind::Log, key.verifying_key().to_bytes());
        let mut kept = Self {
            edge: Edge::default(),
            last: Vec::new(),
            files: BTreeMap::new(),
            key,
            public: public.unwrap(),
        };
        for entry in entries {
            kept.push(entry);
        }
        kept.sign();
        kept
    }

    fn numbered(count: u32) -> Self {
        Self::of((0..count).map(|n| n.to_be_bytes().to_vec()))
    }

    fn push(&mut self, entry: Vec<u8>) {
        let files = &mut self.files;
        self.edge.push(Hash::leaf(&entry), |tile, nodes| {
            files.insert(tile.path(), Tile::bytes(nodes));
        });
        self.last.push(entry);
        if self.last.len() == 256 {
            let index = self.edge.size() / 256 - 1;
            let tile = Tile {
                level: 0,
                index,
                width: 256,
            };
            files.insert(tile.bundle_path(), bundle(&self.last).unwrap());
            self.last.clear();
        }
    }

    /// Writes what is not full, and a checkpoint; what that replaces is gone.
    fn sign(&mut self) {
        self.files.retain(|path, _| !path.contains(".p/"));
        for (tile, nodes) in self.edge.partial() {
            self.files.insert(tile.path(), Tile::bytes(nodes));
            if tile.level == 0 {
                let bytes = bundle(&self.last).unwrap();
                self.files.insert(tile.bundle_path(), bytes);
            }
        }
        let text = Checkpoint {
            origin: "log.test".to_owned(),
            size: self.edge.size(),
            root: self.edge.root(),
        }
        .text();
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        let note = Note::new(text).signed(&self.public, &signature).bytes();
        self.files.insert("checkpoint".to_owned(), note);
    }

    fn audit(&mut self, old: Option<&[u8]>) -> Result<Audited, Difference> {
        self.audit_with(old, &[])
    }

    fn audit_with(
        &mut self,
        old: Option<&[u8]>,
        witnesses: &[VerifierKey],
    ) -> Result<Audited, Difference> {
        let public = self.public.clone();
        let with = Audit {
            key: &public,
            witnesses,
            old,
        };
        audit(self, &with, &Dalek, |_, _| {})
    }
}

impl Files for Kept {
    fn read(
        &mut self,
        path: &str,
        most: usize,
    ) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        let bytes = self.files.get(path).ok_or("there is none")?;
        assert!(bytes.len() <= most);
        Ok(bytes.clone())
    }
}

impl Nodes for Kept {
    type Error = String;

    fn nodes(&mut self, tile: Tile) -> Result<Vec<Hash>, String> {
        let bytes = self.files.get(&tile.path()).ok_or_else(|| tile.path())?;
        tile.nodes(bytes).ok_or_else(|| tile.path())
    }
}

/// RFC 6962 section 2.1, as it stands there.
fn naive_root(entries: &[Vec<u8>]) -> Hash {
    match entries {
        [] => Hash::empty(),
        [entry] => Hash::leaf(entry),
        _ => {
            let (left, right) = entries.split_at(naive_split(entries.len()));
            Hash::node(&naive_root(left), &naive_root(right))
        }
    }
}

fn naive_split(count: usize) -> usize {
    let mut k = 1;
    while 2 * k < count {
        k *= 2;
    }
    k
}

/// Section 2.1.1.
fn naive_path(m: usize, entries: &[Vec<u8>]) -> Vec<Hash> {
    if entries.len() == 1 {
        return Vec::new();
    }
    let k = naive_split(entries.len());
    let (left, right) = entries.split_at(k);
    if m < k {
        [naive_path(m, left), vec![naive_root(right)]].concat()
    } else {
        [naive_path(m - k, right), vec![naive_root(left)]].concat()
    }
}

/// Section 2.1.2.
fn naive_proof(m: usize, entries: &[Vec<u8>], whole: bool) -> Vec<Hash> {
    if m == entries.len() {
        return if whole {
            Vec::new()
        } else {
            vec![naive_root(entries)]
        };
    }
    let k = naive_split(entries.len());
    let (left, right) = entries.split_at(k);
    if m <= k {
        [naive_proof(m, left, whole), vec![naive_root(right)]].concat()
    } else {
        [naive_proof(m - k, right, false), vec![naive_root(left)]].concat()
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|it| u8::try_from(it.to_digit(16).unwrap()).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| 16 * pair[0] + pair[1])
        .collect()
}

fn hashes(texts: &[&str]) -> Vec<Hash> {
    texts
        .iter()
        .map(|it| Hash(hex(it).try_into().unwrap()))
        .collect()
}

/// The leaves of the tests of Certificate Transparency's reference implementation (`merkle_tree_test.cc`).
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn the_tree_is_that_of_certificate_transparency() {
    assert_eq!(
        Edge::default().root().to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    let mut edge = Edge::default();
    for (leaf, root) in LEAVES.iter().zip(ROOTS) {
        edge.push(Hash::leaf(&hex(leaf)), |_, _| {});
        assert_eq!(edge.root().to_string(), root);
    }
    let mut log = Kept::of(LEAVES.iter().map(|it| hex(it)));
    let path = hashes(&[
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]);
    assert_eq!(inclusion(&mut log, 0, 8).unwrap().unwrap(), path);
    assert_eq!(consistency(&mut log, 1, 8).unwrap().unwrap(), path);
    let proof = hashes(&[
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]);
    assert_eq!(consistency(&mut log, 6, 8).unwrap().unwrap(), proof);
}

/// Everything about a pair of sizes, and that no proof serves for anything else.
fn agree(entries: &[Vec<u8>], log: &mut Kept, old: usize, index: usize) {
    let size = entries.len();
    let root = naive_root(entries);
    assert_eq!(log.edge.root(), root);
    let (n, m) = (size as u64, old as u64);
    let before = naive_root(&entries[..old]);
    assert_eq!(root_at(log, n, m), Ok(Some(before)));
    if index < size {
        let i = index as u64;
        let proof = inclusion(log, i, n).unwrap().unwrap();
        assert_eq!(proof, naive_path(index, entries));
        let leaf = Hash::leaf(&entries[index]);
        assert!(verify_inclusion(i, n, leaf, root, &proof).is_ok());
        assert!(verify_inclusion(i, n, root, leaf, &proof).is_err() || size == 1);
        assert!(verify_inclusion(n, n, leaf, root, &proof).is_err());
        for spoilt in spoilt(&proof) {
            assert!(verify_inclusion(i, n, leaf, root, &spoilt).is_err());
        }
    }
    let proof = consistency(log, m, n).unwrap().unwrap();
    if old > 0 {
        assert_eq!(proof, naive_proof(old, entries, true));
    }
    assert!(verify_consistency((m, before), (n, root), &proof).is_ok());
    for spoilt in spoilt(&proof) {
        assert!(verify_consistency((m, before), (n, root), &spoilt).is_err());
    }
    if old != size {
        assert!(verify_consistency((m, root), (n, root), &proof).is_err());
        assert!(verify_consistency((n, root), (m, before), &proof).is_err());
    }
}

/// The proof with each of its hashes changed or left out, and with one more.
fn spoilt(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = vec![[proof, &[Hash([9; 32])]].concat()];
    for at in 0..proof.len() {
        let mut less = proof.to_vec();
        less.remove(at);
        let mut other = proof.to_vec();
        other[at].0[31] ^= 1;
        all.extend([less, other]);
    }
    all
}

fn some(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| n.to_le_bytes()[..4].to_vec()).collect()
}

#[test]
fn every_small_tree_agrees_with_the_definition() {
    for size in 0..=33 {
        let entries = some(size);
        let mut log = Kept::of(entries.clone());
        for old in 0..=size {
            agree(&entries, &mut log, old, old);
        }
    }
}

#[test]
fn a_tree_with_tiles_above_tiles_agrees_with_the_definition() {
    let entries = some(65_536 + 300);
    let mut log = Kept::of(entries.clone());
    assert!(log.files.contains_key("tile/2/000.p/1"));
    for old in [1, 255, 65_536, 65_537, 65_700] {
        agree(&entries, &mut log, old, old - 1);
    }
    let audited = log.audit(None).unwrap();
    let files: Vec<_> = log.files.keys().cloned().collect();
    let mut read = audited.files;
    read.sort();
    assert_eq!(read, files);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn trees_with_full_tiles_agree_with_the_definition(size in 1_usize..1_400, old: prop::sample::Index, index: prop::sample::Index) {
        let entries = some(size);
        agree(&entries, &mut Kept::of(entries.clone()), old.index(size + 1), index.index(size));
    }

    #[test]
    fn an_edge_that_was_loaded_goes_on_as_the_one_before(size in 0_u32..1_400, more in 0_u32..300) {
        let mut whole = Kept::numbered(size);
        let mut loaded = Edge::load(u64::from(size), |tile| whole.nodes(tile)).unwrap();
        prop_assert_eq!(&loaded, &whole.edge);
        for n in 0..more {
            let leaf = Hash::leaf(&n.to_be_bytes());
            loaded.push(leaf, |_, _| {});
            whole.edge.push(leaf, |_, _| {});
        }
        prop_assert_eq!(loaded.root(), whole.edge.root());
    }

    #[test]
    fn paths_of_tiles_read_back(level in 0_u8..8, index: u64, width in 1_u16..=256) {
        let tile = Tile { level, index, width };
        prop_assert_eq!(Tile::parse(&tile.path()), Some((tile, false)));
        let tile = Tile { level: 0, ..tile };
        prop_assert_eq!(Tile::parse(&tile.bundle_path()), Some((tile, true)));
    }

    #[test]
    fn bundles_read_back(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..256)) {
        let bytes = bundle(&entries).unwrap();
        let count = u16::try_from(entries.len()).unwrap();
        prop_assert_eq!(unbundle(&bytes, count).unwrap(), entries);
        prop_assert!(unbundle(&bytes, count + 1).is_err());
        prop_assert!(count == 0 || unbundle(&bytes, count - 1).is_err());
    }
}

#[test]
fn tiles_are_named_as_the_specification_names_them() {
    let path = |level, index, width| {
        Tile {
            level,
            index,
            width,
        }
        .path()
    };
    assert_eq!(path(0, 1_234_067, 256), "tile/0/x001/x234/067");
    assert_eq!(path(1, 0, 5), "tile/1/000.p/5");
    for wrong in [
        "tile/0/1",
        "tile/0/x000/001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/05",
        "tile/00/000",
        "tile/8/000",
        "tile/0/../000",
        "tile/entries/x001",
        "tile/0/+00",
        "checkpoint",
    ] {
        assert_eq!(Tile::parse(wrong), None, "{wrong}");
    }
}

/// The example of golang.org/x/mod/sumdb/note.
const NEUMANN: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const SAYING: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

#[test]
fn notes_and_keys_are_those_of_others() {
    let sum = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
    assert_eq!(VerifierKey::parse(sum).unwrap().text(), sum);
    let key = VerifierKey::parse(NEUMANN).unwrap();
    let open = |text: &str| {
        Note::parse(text.as_bytes())
            .unwrap()
            .open(&key, &[], &Dalek)
    };
    // Signed it is; a checkpoint it is not.
    assert!(matches!(open(SAYING), Err(NoteError::Checkpoint(_))));
    let other = SAYING.replace("answer", "Answer");
    assert_eq!(
        open(&other),
        Err(NoteError::Forged("PeterNeumann".to_owned()))
    );
    let stranger = SAYING.replace("\u{2014} PeterNeumann", "\u{2014} Somebody");
    assert_eq!(
        open(&stranger),
        Err(NoteError::Unsigned("PeterNeumann".to_owned()))
    );
}

#[test]
fn what_is_no_note_and_no_key_is_refused() {
    let note = |text: &str| Note::parse(text.as_bytes()).unwrap_err().to_string();
    for (text, why) in [
        ("", "is no signed note: no empty line before the signatures"),
        (
            "a\n",
            "is no signed note: no empty line before the signatures",
        ),
        (
            "a\n\n\u{2014} x AAAAAAA=",
            "is no signed note: the last line has no end",
        ),
        (
            "a\n\nx AAAAAAA=\n",
            "is no signed note: a line is no signature",
        ),
        (
            "a\n\n\u{2014} x AAAA\n",
            "is no signed note: a line is no signature",
        ),
        (
            "a\r\n\n\u{2014} x AAAAAAA=\n",
            "is no signed note: control characters",
        ),
    ] {
        assert_eq!(note(text), why, "{text:?}");
    }
    let many = format!("a\n\n{}", "\u{2014} x AAAAAAA=\n".repeat(101));
    assert_eq!(note(&many), "is no signed note: more than 100 signatures");
    for wrong in [
        "",
        "a+b",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+AhpcAA==",
    ] {
        assert!(VerifierKey::parse(wrong).is_err(), "{wrong}");
    }
    for wrong in [
        "a\n1\n",
        "a\n01\nx\n",
        "\n1\nx\n",
        "a\n-1\nx\n",
        "a\n1\nAAAA\n",
    ] {
        assert!(Checkpoint::parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn one_bit_changed_in_any_file_is_found_and_the_file_is_named() {
    let log = Kept::numbered(600);
    assert_eq!(log.files.len(), 8);
    for (path, bytes) in &log.files {
        for bit in (0..bytes.len() * 8).step_by(8 * bytes.len() / 40 + 7) {
            let mut other = log.clone();
            other.files.get_mut(path).unwrap()[bit / 8] ^= 1 << (bit % 8);
            let told = other.audit(None).unwrap_err().to_string();
            // A bundle is told by the tile over it, which a changed entry no longer matches.
            let tile = path.replace("entries", "0");
            assert!(
                told.contains(path) || told.contains(&tile),
                "{path} {bit}: {told}"
            );
        }
    }
}

#[test]
fn a_log_that_was_cut_forked_or_replaced_is_told_by_an_older_checkpoint() {
    let mut log = Kept::numbered(300);
    let mut older = log.clone();
    let old = log.files["checkpoint"].clone();
    for n in 300_u32..700 {
        log.push(n.to_be_bytes().to_vec());
    }
    log.sign();
    assert_eq!(log.audit(Some(&old)).unwrap().old, Some(300));
    let new = log.files["checkpoint"].clone();
    assert_eq!(
        older.audit(Some(&new)).unwrap_err().to_string(),
        "the log has 300 entries and had 700: it was cut short, or an old copy put in its place"
    );
    // Whoever has the key can sign another history, but not this one.
    let mut fork = Kept::of((0_u32..700).map(|n| (n ^ u32::from(n == 99)).to_be_bytes().to_vec()));
    assert!(fork.audit(None).is_ok());
    let told = fork.audit(Some(&old)).unwrap_err().to_string();
    assert!(
        told.starts_with("the first 300 entries have the root"),
        "{told}"
    );
    let told = fork.audit(Some(&new)).unwrap_err().to_string();
    assert!(
        told.starts_with("the first 700 entries have the root"),
        "{told}"
    );
    let mut missing = log.clone();
    missing.files.remove("tile/entries/001");
    let told = missing.audit(None).unwrap_err().to_string();
    assert_eq!(told, "tile/entries/001: could not be read");
}

#[test]
fn a_witness_that_is_asked_for_must_have_signed() {
    let mut log = Kept::numbered(10);
    let witness = SigningKey::from_bytes(&[3; 32]);
    let public = witness.verifying_key().to_bytes();
    let key = VerifierKey::new("witness.test", Kind::Witness, public).unwrap();
    let told = |log: &mut Kept| {
        let audited = log.audit_with(None, std::slice::from_ref(&key));
        audited.map_err(|error| error.to_string())
    };
    assert_eq!(
        told(&mut log).unwrap_err(),
        "checkpoint is not signed by witness.test"
    );
    let note = Note::parse(&log.files["checkpoint"]).unwrap();
    let text = String::from_utf8(log.files["checkpoint"].clone()).unwrap();
    let (body, _) = text.rsplit_once("\n\n").unwrap();
    let at = 1_795_370_400_u64;
    let signed = witness.sign(cosigned_text(at, &format!("{body}\n")).as_bytes());
    let cosignature = [&at.to_be_bytes()[..], &signed.to_bytes()].concat();
    let both = note.clone().signed(&key, &cosignature).bytes();
    log.files.insert("checkpoint".to_owned(), both);
    let cosigned = told(&mut log).unwrap().cosigned;
    assert_eq!(
        (cosigned[0].witness.as_str(), cosigned[0].at_unix),
        ("witness.test", at)
    );
    // Another time than was signed.
    let later = [&(at + 1).to_be_bytes()[..], &signed.to_bytes()].concat();
    let both = note.signed(&key, &later).bytes();
    log.files.insert("checkpoint".to_owned(), both);
    assert_eq!(
        told(&mut log).unwrap_err(),
        "checkpoint the signature of witness.test is not good"
    );
}
