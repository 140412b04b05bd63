//! Makes the table of hostile inputs: every fuzz target of the link, and the corpus it has.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // What devours corpora is no device: its inputs have room.
    println!("cargo::rustc-link-arg-bin=hostile=--defsym=_stack_wanted=262144");
    println!("cargo::rerun-if-changed=board.ld");
    let targets = root.join("crates/link/src/fuzzing.rs");
    println!("cargo::rerun-if-changed={}", targets.display());
    let source = fs::read_to_string(targets)?;
    let mut table = String::from("&[\n");
    let mut names: Vec<String> = fs::read_dir(root.join("fuzz/corpus"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.sort();
    // Each name in that file which has a corpus is a target.
    let words: Vec<&str> = source
        .split(|letter: char| letter != '_' && !letter.is_alphanumeric())
        .collect();
    for name in names.iter().filter(|name| words.contains(&name.as_str())) {
        let folder = root.join("fuzz/corpus").join(name);
        println!("cargo::rerun-if-changed={}", folder.display());
        let mut files: Vec<PathBuf> = fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path().canonicalize()?))
            .collect::<io::Result<_>>()?;
        files.sort();
        writeln!(table, "(\"{name}\", stockade_link::fuzzing::{name}, &[")
            .map_err(io::Error::other)?;
        for file in files {
            writeln!(table, "include_bytes!({file:?}),").map_err(io::Error::other)?;
        }
        table.push_str("]),\n");
    }
    table.push(']');
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&out).join("corpus.rs"), table)
}
