//! `cargo xtask bench link`: the link beside lakers and liboscore, at the gateway and on a Cortex-M4, in the same run.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::machine;
use crate::command::{capture, cargo, program, root, succeed, target};
use crate::firmware::{self, Steps};
use crate::{out, prepare};

/// What the bench runs, beside our own.
const PROGRAMS: [(&str, &str); 3] = [
    ("qemu-system-arm", "qemu-system-arm"),
    ("clang", "clang libclang-dev"),
    (
        "arm-none-eabi-gcc",
        "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    ),
];
/// How often rates are measured; the best counts, as other work only ever slows it down.
const ROUNDS: usize = 3;
/// The steps of a handshake that each role has.
const ROLES: [(&str, [&str; 2]); 2] = [
    (
        "initiator (the device)",
        ["initiator-message-1", "initiator-message-3"],
    ),
    ("responder", ["responder-message-2", "responder-finish"]),
];

/// Builds, measures and prints.
pub(super) fn run(arguments: &[String]) -> Result<ExitCode> {
    if !arguments.is_empty() {
        bail!("`bench link` takes no arguments");
    }
    for (name, package) in PROGRAMS {
        ensure!(
            prepare::installed(name),
            "{name} is not installed: `apt-get install {package}`"
        );
    }
    let ours = [
        "build",
        "--release",
        "--locked",
        "-p",
        "stockade-gateway",
        "--example",
        "link_speed",
    ];
    succeed(&mut cargo(&ours))?;
    let peer = root().join("firmware/peer/Cargo.toml");
    let to = target().join("firmware");
    succeed(
        cargo(&["build", "--locked", "--profile", "speed", "--bin", "host"])
            .arg("--manifest-path")
            .arg(&peer)
            .arg("--target-dir")
            .arg(&to),
    )?;
    out::line(&format!("\n{}", machine("both ends")));
    rates(
        &target().join("release/examples/link_speed"),
        &to.join("speed/host"),
    )?;
    processor()?;
    Ok(ExitCode::SUCCESS)
}

/// What a program says of itself: the best of some rounds of each number.
fn best(path: &Path) -> Result<(f64, f64, Value)> {
    let (mut handshakes, mut messages, mut last) = (0.0, 0.0, Value::Null);
    for _ in 0..ROUNDS {
        let said = capture(&mut program(&path.to_string_lossy()))?;
        last = serde_json::from_str(&said)?;
        let number = |name: &str| last[name].as_f64().with_context(|| format!("no {name}"));
        handshakes = f64::max(handshakes, number("handshakes")?);
        messages = f64::max(messages, number("messages")?);
    }
    Ok((handshakes, messages, last))
}

fn rates(ours: &Path, theirs: &Path) -> Result<()> {
    let (handshakes, messages, said) = best(ours)?;
    let (their_handshakes, their_messages, _) = best(theirs)?;
    let wire = said["wire"].as_array().context("no bytes on the wire")?;
    let sum: u64 = wire.iter().filter_map(Value::as_u64).sum();
    let wire: Vec<String> = wire.iter().map(Value::to_string).collect();
    let compared = |name: &str, ours: f64, theirs: f64| {
        vec![
            name.to_owned(),
            format!("{ours:.0}"),
            format!("{theirs:.0}"),
            format!("{:.2}", ours / theirs),
        ]
    };
    out::line("");
    out::table(&[
        [
            "at the gateway, on one core",
            "ours",
            "lakers, liboscore",
            "ratio",
        ]
        .map(str::to_owned)
        .to_vec(),
        compared(
            "handshakes a second, responder's part",
            handshakes,
            their_handshakes,
        ),
        compared(
            "OSCORE messages a second, protected and read",
            messages,
            their_messages,
        ),
    ]);
    out::line(&format!(
        "\nhandshake on the wire: {} = {sum} bytes; an OSCORE context: {} bytes",
        wire.join(" + "),
        said["context"]
    ));
    Ok(())
}

/// The Cortex-M4: flash beyond an empty firmware, instructions, stack.
fn processor() -> Result<()> {
    let with_signatures = firmware::flash_with_signatures()?;
    let images = firmware::build()?;
    let theirs = firmware::build_peer()?;
    let flash = |image: &Path| firmware::flash(image);
    let empty = flash(&images.join("empty"))?;
    let (ours_flash, their_flash) = (
        flash(&images.join("measure"))?.saturating_sub(empty),
        flash(&theirs)?.saturating_sub(empty),
    );
    let (ours, theirs) = (
        firmware::steps(&images.join("measure"))?,
        firmware::steps(&theirs)?,
    );
    let mut rows = vec![
        [
            "on a Cortex-M4, by RustCrypto",
            "ours",
            "lakers, liboscore",
            "ratio",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut compare = |name: &str, ours: u64, theirs: u64| {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a ratio of two digits needs no more"
        )]
        let ratio = ours as f64 / theirs as f64;
        rows.push(vec![
            name.to_owned(),
            ours.to_string(),
            theirs.to_string(),
            format!("{ratio:.2}"),
        ]);
    };
    compare(
        "flash, both roles and OSCORE, bytes",
        ours_flash,
        their_flash,
    );
    let stack = |steps: &Steps| steps.get("whole").map(|step| step.1).context("no stack");
    compare(
        "stack, both roles of a handshake, bytes",
        stack(&ours)?,
        stack(&theirs)?,
    );
    let instructions = |steps: &Steps, name: &str| {
        let step = steps.get(name).map(|step| step.0);
        step.with_context(|| format!("no step {name}"))
    };
    for (role, names) in ROLES {
        let sum = |steps: &Steps| {
            let mut sum = 0;
            for name in names {
                sum += instructions(steps, name)?;
            }
            anyhow::Ok(sum)
        };
        compare(&format!("instructions, {role}"), sum(&ours)?, sum(&theirs)?);
    }
    for name in ["oscore-protect-32", "oscore-unprotect-32"] {
        compare(
            &format!("instructions, {name}"),
            instructions(&ours, name)?,
            instructions(&theirs, name)?,
        );
    }
    out::line("");
    out::table(&rows);
    out::line(&format!(
        "\nwith ES256, which grants need and lakers has not: {} bytes of flash",
        with_signatures.saturating_sub(empty)
    ));
    Ok(())
}
