//! RAUC (rauc(1)), by its command line: it has its own configuration, its own key, and its own way to the boot loader.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use stockade_api::update::Slot;
use stockade_host::program::{find, succeed};

use super::{Seen, SlotError};

/// How long RAUC may take to say something.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to install.
const LONG: Duration = Duration::from_hours(1);

fn ask(arguments: &[&str], patience: Duration) -> Result<Vec<u8>, SlotError> {
    let mut command = Command::new(find("rauc")?);
    command.args(arguments);
    Ok(succeed(command, patience)?)
}

/// Installs a bundle; RAUC checks its signature again, writes the slot that does not run, and makes it the next one.
pub(crate) fn install(bundle: &Path) -> Result<(), SlotError> {
    ask(&["install", &bundle.display().to_string()], LONG).map(|_| ())
}

pub(super) fn look() -> Result<Seen, SlotError> {
    let said = ask(&["status", "--output-format=json"], PATIENCE)?;
    seen(&said)
}

pub(super) fn mark(how: &str, slot: Slot) -> Result<(), SlotError> {
    let running = look()?.running;
    let which = if running == slot { "booted" } else { "other" };
    ask(&["status", &format!("mark-{how}"), which], PATIENCE).map(|_| ())
}

/// What `rauc status --output-format=json` says (rauc(1)). Of the slots that can be booted there are two; the first by its
/// boot loader's name is A.
pub(super) fn seen(said: &[u8]) -> Result<Seen, SlotError> {
    let wrong = |why: &str| SlotError::Rauc(why.to_owned());
    let status: Value =
        serde_json::from_slice(said).map_err(|why| SlotError::Rauc(why.to_string()))?;
    let text = |key: &str| status.get(key).and_then(Value::as_str);
    let slots = status.get("slots").and_then(Value::as_array);
    let mut bootable: Vec<(&str, &str, bool)> = slots
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .flatten()
        .filter_map(|(name, slot)| {
            let bootname = slot.get("bootname")?.as_str()?;
            let good = slot.get("boot_status").and_then(Value::as_str) == Some("good");
            Some((bootname, name.as_str(), good))
        })
        .collect();
    bootable.sort_unstable();
    let [a, b] = bootable[..] else {
        return Err(wrong("it has other than two slots that can be booted"));
    };
    let slot = |which: Option<&str>| {
        let which = which?;
        let is = |it: &(&str, &str, bool)| it.0 == which || it.1 == which;
        if is(&a) {
            Some(Slot::A)
        } else {
            is(&b).then_some(Slot::B)
        }
    };
    Ok(Seen {
        running: slot(text("booted")).ok_or(SlotError::Running)?,
        first: slot(text("boot_primary"))
            .ok_or_else(|| wrong("it does not say what is started first"))?,
        good: [a.2, b.2],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rauc_says_is_understood() {
        // As rauc 1.8 prints it.
        let said = br#"{"compatible":"cam-2","variant":"","booted":"B","boot_primary":"rootfs.1","slots":[
            {"rootfs.1":{"class":"rootfs","device":"/dev/vdb","type":"raw","bootname":"B","state":"booted","parent":null,"mountpoint":null,"boot_status":"good"}},
            {"appfs.0":{"class":"appfs","device":"/dev/vdd","type":"raw","bootname":null,"state":"inactive","parent":null,"mountpoint":null,"boot_status":null}},
            {"rootfs.0":{"class":"rootfs","device":"/dev/vda","type":"raw","bootname":"A","state":"inactive","parent":null,"mountpoint":null,"boot_status":"bad"}}]}"#;
        let expected = Seen {
            running: Slot::B,
            first: Slot::B,
            good: [false, true],
        };
        assert_eq!(seen(said).unwrap(), expected);
        for wrong in [&b"{}"[..], b"[]", b"", br#"{"booted":"A","slots":[]}"#] {
            assert!(seen(wrong).is_err());
        }
    }
}
