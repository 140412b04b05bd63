//! The board's linker script lies in the folder above.

fn main() {
    println!("cargo::rustc-link-arg-bins=-L{}/..", env!("CARGO_MANIFEST_DIR"));
}
