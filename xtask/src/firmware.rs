//! `cargo xtask firmware`: the constrained device of `firmware/`, for a Cortex-M4.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::command::{capture, cargo, program, root, succeed, target};
use crate::out;

const PROCESSOR: &str = "thumbv7em-none-eabihf";
/// Where the block that makes a device an individual lies, and its length: firmware/board.ld.
const PROVISIONING: (u32, usize) = (0x0008_0000, 2048);
/// Bytes of the seed at the page's end.
const SEED: usize = 32;
/// Where memory that can be written begins.
const RAM: u32 = 0x2000_0000;
/// Debian's compiler, and the source of `core` that goes with it.
const DEBIAN: [&str; 2] = ["/usr/bin/rustc", "/usr/lib/rustlib/src/rust/library/core"];

/// Builds the firmware; with `--provision FILE OUT` also writes the sensor with that block in it, with `--where` says where the images
/// are.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let (mut provision, mut tell) = (None, false);
    match arguments {
        [] => {}
        [option] if option == "--where" => tell = true,
        [option, file, out] if option == "--provision" => {
            provision = Some((Path::new(file), Path::new(out)));
        }
        _ => bail!("`firmware` takes nothing, --where, or --provision FILE OUT"),
    }
    if let Some((file, out)) = provision {
        let mut image = fs_err::read(sensor()?.join("sensor"))?;
        patch(&mut image, &fs_err::read(file)?)
            .with_context(|| format!("cannot put {} into the sensor", file.display()))?;
        fs_err::write(out, image)?;
        return Ok(ExitCode::SUCCESS);
    }
    let images = build()?;
    if tell {
        out::line(&images.display().to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![
        ["image", "flash", "more than empty", "RAM without stack"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let empty = size(&fs_err::read(images.join("empty"))?)?;
    for entry in fs_err::read_dir(root().join("firmware/src/bin"))? {
        let source = entry?.path();
        let name = source.file_stem().context("a file has a name")?;
        let its = size(&fs_err::read(images.join(name))?)?;
        rows.push(vec![
            name.to_string_lossy().into_owned(),
            its.flash.to_string(),
            its.flash.saturating_sub(empty.flash).to_string(),
            its.ram.to_string(),
        ]);
    }
    out::table(&rows);
    Ok(ExitCode::SUCCESS)
}

/// Builds all of it; where the images are.
pub(crate) fn build() -> Result<PathBuf> {
    // What devours corpora knows everything, a device what it speaks; what is measured beside others, what they have.
    for few in [
        ["--features=hostile", "--bin=hostile"].as_slice(),
        &["--no-default-features", "--bin=measure", "--bin=empty"],
    ] {
        compile(cargo(&["build", "--release", "--locked"]).args(few))?;
    }
    sensor()
}

/// Bytes of flash of what is measured, with what grants need beside. Leaves that image behind: [`build`] makes the other again.
pub(crate) fn flash_with_signatures() -> Result<u64> {
    let mut command = cargo(&["build", "--release", "--locked", "--bin=measure"]);
    flash(&compile(&mut command)?.join("measure"))
}

/// Builds the device alone; where its image is.
fn sensor() -> Result<PathBuf> {
    compile(&mut cargo(&[
        "build",
        "--release",
        "--locked",
        "--bin=sensor",
    ]))
}

/// What the link is measured beside, for the same board; where its image is.
pub(crate) fn build_peer() -> Result<PathBuf> {
    let gcc = capture(program("arm-none-eabi-gcc").arg("-print-file-name=include"))?;
    // Its C has Debian's headers for processors without a system.
    let clang = format!(
        "--target={PROCESSOR} -I{} -I/usr/include/newlib",
        gcc.trim()
    );
    let mut command = cargo(&["build", "--release", "--locked", "--bin", "m4"]);
    command
        .args(["--features", "m4", "--manifest-path", "peer/Cargo.toml"])
        .env("BINDGEN_EXTRA_CLANG_ARGS", clang);
    Ok(compile(&mut command)?.join("m4"))
}

/// Bytes of flash that an image takes.
pub(crate) fn flash(image: &Path) -> Result<u64> {
    Ok(size(&fs_err::read(image)?)?.flash.into())
}

/// The board, emulated, to run an image that speaks by semihosting.
pub(crate) fn emulator(image: &Path) -> Command {
    let mut qemu = program("qemu-system-arm");
    qemu.args(["-M", "mps2-an386", "-display", "none", "-monitor", "none"])
        .args(["-serial", "null", "-semihosting-config"])
        .args(["enable=on,target=native", "-kernel"])
        .arg(image)
        .stdin(Stdio::null());
    qemu
}

/// Instructions and stack of each step, as an image tells them.
pub(crate) type Steps = BTreeMap<String, (u64, u64)>;

/// Runs a firmware where each instruction takes a nanosecond, and reads what it tells.
pub(crate) fn steps(image: &Path) -> Result<Steps> {
    let mut emulator = emulator(image);
    let output = emulator
        .args(["-icount", "shift=0"])
        .output()
        .context("cannot run qemu-system-arm")?;
    ensure!(
        output.status.success(),
        "{} ended with {}",
        image.display(),
        output.status
    );
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let steps = said.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, "instructions", instructions, "stack", stack] = *words else {
            return None;
        };
        Some((
            name.to_owned(),
            (instructions.parse().ok()?, stack.parse().ok()?),
        ))
    });
    Ok(steps.collect())
}

/// Runs a build of `firmware/` for its processor; where the images are.
fn compile(command: &mut Command) -> Result<PathBuf> {
    let to = target().join("firmware");
    command
        .current_dir(root().join("firmware"))
        .arg("--target-dir")
        .arg(&to);
    let rustc = |arguments: &[&str]| {
        capture(program("rustc").args(arguments)).map(|text| text.trim().to_owned())
    };
    let library = rustc(&["--print", "target-libdir", "--target", PROCESSOR])?;
    if !Path::new(&library).is_dir() {
        ensure!(
            DEBIAN.iter().all(|path| Path::new(path).exists()),
            "there is no toolchain for {PROCESSOR}: `rustup target add {PROCESSOR}`, or on Debian `apt install rustc-web \
             rust-web-src`"
        );
        // Debian's compiler brings no linker for it; the one beside ours does.
        let linker = Path::new(&rustc(&["--print", "sysroot"])?)
            .join("lib/rustlib")
            .join(host(&rustc(&["-vV"])?)?)
            .join("bin/rust-lld");
        command
            .env("RUSTC", DEBIAN[0])
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER", linker)
            .args([
                "-Zbuild-std=core",
                "-Zbuild-std-features=compiler-builtins-mem",
            ])
            .arg("--config")
            .arg(format!(
                "target.{PROCESSOR}.rustflags=[\"-Clinker-flavor=ld.lld\"]"
            ));
    }
    succeed(command)?;
    Ok(to.join(PROCESSOR).join("release"))
}

/// What `rustc -vV` says it runs on.
fn host(version: &str) -> Result<&str> {
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("`rustc -vV` names no host")
}

/// Bytes an image needs.
struct Size {
    flash: u32,
    ram: u32,
}

/// A part of an image that is loaded: where in the file, to where in memory, how much, and how much it becomes.
struct Segment {
    offset: usize,
    address: u32,
    length: u32,
    memory: u32,
    writable: bool,
}

fn size(image: &[u8]) -> Result<Size> {
    let mut size = Size { flash: 0, ram: 0 };
    for segment in segments(image)? {
        if segment.address != PROVISIONING.0 {
            size.flash = size.flash.saturating_add(segment.length);
        }
        if segment.writable {
            size.ram = size.ram.saturating_add(segment.memory);
        }
    }
    Ok(size)
}

/// Puts a block where the device looks for it: its length in two bytes, it, and at the end of the page a fresh seed for the emulated
/// board, which has no randomness of its own. The rest stays as erased flash is.
fn patch(image: &mut [u8], block: &[u8]) -> Result<()> {
    let (address, length) = PROVISIONING;
    let segment = segments(image)?
        .into_iter()
        .find(|segment| segment.address == address)
        .context("the image has no place for it")?;
    let page = image
        .get_mut(segment.offset..)
        .and_then(|rest| rest.get_mut(..length))
        .context("the image is cut off")?;
    page.fill(0xFF);
    let (room, seed) = page.split_at_mut(length - SEED);
    ensure!(
        block.len() + 2 <= room.len(),
        "it has more than {} bytes",
        room.len() - 2
    );
    let (head, room) = room.split_at_mut(2);
    head.copy_from_slice(&u16::try_from(block.len())?.to_be_bytes());
    room[..block.len()].copy_from_slice(block);
    fs_err::File::open("/dev/urandom")?.read_exact(seed)?;
    Ok(())
}

/// The loaded segments of a 32-bit little-endian ELF file ("ELF", Tool Interface Standard 1.2, part 1).
fn segments(image: &[u8]) -> Result<Vec<Segment>> {
    ensure!(
        image.starts_with(b"\x7fELF\x01\x01"),
        "it is no ELF file of a 32-bit processor"
    );
    let word = |at: usize| {
        image
            .get(at..)
            .and_then(|rest| rest.first_chunk::<4>())
            .map(|bytes| u32::from_le_bytes(*bytes))
            .context("the image is cut off")
    };
    let start = usize::try_from(word(28)?)?;
    let count = usize::try_from(word(44)? & 0xFFFF)?;
    let mut all = Vec::new();
    for number in 0..count {
        let at = start + 32 * number;
        if word(at)? == 1 {
            all.push(Segment {
                offset: usize::try_from(word(at + 4)?)?,
                address: word(at + 12)?,
                length: word(at + 16)?,
                memory: word(at + 20)?,
                writable: word(at + 24)? & 2 != 0 && word(at + 8)? >= RAM,
            });
        }
    }
    Ok(all)
}
