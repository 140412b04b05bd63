//! What of the link needs a build of its own: the differential with lakers, and the firmware.

use anyhow::{Context as _, Result, ensure};

use super::Counts;
use crate::command::{capture, cargo, root, succeed, target};
use crate::prepare::Missing;
use crate::{firmware, out};

/// What a device pays for EDHOC, OSCORE and CoAP, in bytes (DESIGN, section 8).
const FLASH: u64 = 50 * 1024;
const STACK: u64 = 10 * 1024;

/// Handshakes with an independent implementation, both ways.
pub(super) fn lakers(_: &Missing) -> Result<Counts> {
    let manifest = root().join("tests/lakers/Cargo.toml");
    succeed(
        cargo(&["run", "--locked", "--quiet", "--release", "--manifest-path"])
            .arg(manifest)
            .arg("--target-dir")
            .arg(target().join("lakers")),
    )?;
    Ok(Counts {
        passed: 1,
        ..Counts::default()
    })
}

/// The firmware is built, survives the corpus of every fuzz target, and fits.
pub(super) fn firmware(missing: &Missing) -> Result<Counts> {
    let needed = ["qemu-system-arm", "/usr/bin/rustc"];
    if let Some(name) = missing
        .names()
        .split(',')
        .find(|name| needed.contains(name))
    {
        out::line(&format!("no {name}: the firmware is not built"));
        return Ok(Counts {
            skipped: 1,
            ..Counts::default()
        });
    }
    let images = firmware::build()?;
    let said = capture(&mut firmware::emulator(&images.join("hostile")))?;
    out::line(said.trim());
    let measure = images.join("measure");
    let flash = firmware::flash(&measure)?.saturating_sub(firmware::flash(&images.join("empty"))?);
    let steps = firmware::steps(&measure)?;
    let (_, stack) = steps.get("whole").context("it tells no stack")?;
    out::line(&format!(
        "EDHOC of both roles, OSCORE and CoAP: {flash} bytes of flash, {stack} of stack"
    ));
    ensure!(flash <= FLASH, "more than {FLASH} bytes of flash");
    ensure!(*stack <= STACK, "more than {STACK} bytes of stack");
    Ok(Counts {
        passed: 3,
        ..Counts::default()
    })
}
