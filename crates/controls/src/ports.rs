//! The control `ports`: what can be plugged in, and what leads in without a plug.

mod kernel;
mod memory;
mod rules;
mod serial;
pub mod usb;
pub mod ways;

use stockade_profile::{Control, Permission, UsbMode};

use crate::engine::{
    Action, Case, Check, Confidence, Finding, Host, HostPath, Judged, Rule, Severity, Stage,
    Standing, Step, Unseen,
};
pub use memory::UsbMemory;
use rules::{STORAGE, USB, USB_DEFAULT};
pub use serial::is_serial;
use usb::Fate;

/// The control `ports`.
#[derive(Debug)]
pub struct Ports;

impl Check for Ports {
    fn control(&self) -> Control {
        Control::Ports
    }

    fn rules(&self) -> &'static [&'static Rule] {
        rules::ALL
    }

    fn judge(&self, case: &Case<'_>) -> Judged {
        let mut judged = Judged::default();
        if case.host.standing() == Standing::Offline {
            for rule in rules::ALL {
                judged.unseen(rule, "the kernel that would run", &Unseen::Offline);
            }
            serial::judge(case, &mut judged);
            return judged;
        }
        usb(case, &mut judged);
        storage(case, &mut judged);
        serial::judge(case, &mut judged);
        kernel::judge(case, &mut judged);
        ways::judge(case, &mut judged);
        judged
    }
}

/// A small file of the kernel as text; none if it is not there.
fn text(host: &dyn Host, path: &str) -> Result<Option<String>, Unseen> {
    let path = HostPath::from_bytes(path.as_bytes());
    let path = path.map_err(|why| Unseen::Damaged(why.to_string()))?;
    match host.read(&path, 64 * 1024) {
        Ok(bytes) => Ok(Some(
            String::from_utf8_lossy(bytes.trim_ascii()).into_owned(),
        )),
        Err(Unseen::Absent) => Ok(None),
        Err(why) => Err(why),
    }
}

/// The names in a directory of the kernel; none if it is not there.
fn names(host: &dyn Host, path: &'static str) -> Result<Vec<String>, Unseen> {
    match host.list(&HostPath::of(path)) {
        Ok(names) => {
            let names = names.into_iter().map(|(name, _)| name);
            Ok(names
                .map(|name| String::from_utf8_lossy(&name).into_owned())
                .collect())
        }
        Err(Unseen::Absent) => Ok(Vec::new()),
        Err(why) => Err(why),
    }
}

/// A step that sets a setting of the kernel that runs; none if there can be no such file.
fn set(stage: Stage, path: &str, value: &str, says: String, risk: Option<&str>) -> Option<Step> {
    let path = HostPath::from_bytes(path.as_bytes()).ok()?;
    let action = Action::Setting {
        path,
        value: value.to_owned(),
    };
    Some(Step {
        risk: risk.map(str::to_owned),
        ..Step::safe(stage, action, says)
    })
}

fn usb(case: &Case<'_>, judged: &mut Judged) {
    let ports = &case.profile.ports;
    let enforced = ports.usb.mode == UsbMode::Enforce;
    let found =
        usb::names(case.host).and_then(|names| Ok((usb::devices(case.host, &names)?, names)));
    let (devices, names) = match found {
        Ok(found) => found,
        Err(why) => {
            judged.unseen(&USB_DEFAULT, "the USB controllers", &why);
            return judged.unseen(&USB, "the USB devices", &why);
        }
    };
    let mut findings = Vec::new();
    for device in devices.iter().filter(|it| it.authorized) {
        let verdict = usb::decide(ports, device);
        let port = &device.port;
        if verdict.fate == Fate::Allowed || is_partly_used(case.host, port, &verdict.fate) {
            continue;
        }
        let what = format!("{} at {port} works: {}", device.what(), verdict.why);
        let finding =
            Finding::of(&USB, format!("USB device {port}"), what).seen(port, device.what());
        findings.push(if enforced {
            let path = format!("{}/{port}/authorized", usb::DEVICES);
            let says = format!("Take the USB device {} at {port} out of use", device.what());
            let risk = "whoever works with it can not any more";
            finding.mended_by(
                set(Stage::Stop, &path, "0", says, Some(risk))
                    .into_iter()
                    .collect(),
            )
        } else {
            finding.with(Severity::Low, Confidence::High)
        });
    }
    judged.judged(&USB, format!("{} devices", devices.len()), findings);
    let controllers = names.iter().filter(|name| name.starts_with("usb"));
    if !enforced {
        return judged.does_not_apply(
            &USB_DEFAULT,
            "the profile only wants to be told (`mode = \"audit\"`)",
        );
    }
    let (mut findings, mut unseen, mut count) = (Vec::new(), None, 0_usize);
    for name in controllers {
        count = count.saturating_add(1);
        let path = format!("{}/{name}/authorized_default", usb::DEVICES);
        match text(case.host, &path) {
            Ok(Some(value)) if value == "0" => (),
            Ok(value) => {
                let seen = value.unwrap_or_default();
                let what = format!("what is plugged in at the controller {name} is used at once");
                let says = format!("Use nothing at the USB controller {name} before it is judged");
                let step = set(Stage::Stop, &path, "0", says, None);
                let finding = Finding::of(&USB_DEFAULT, format!("controller {name}"), what);
                findings.push(
                    finding
                        .seen(&path, seen)
                        .mended_by(step.into_iter().collect()),
                );
            }
            Err(why) => unseen = Some(why),
        }
    }
    match unseen {
        Some(why) => judged.cannot_tell(&USB_DEFAULT, why.to_string(), findings),
        None => judged.judged(&USB_DEFAULT, format!("{count} controllers"), findings),
    }
}

/// Whether of a device only those interfaces are in use that may be.
fn is_partly_used(host: &dyn Host, port: &str, fate: &Fate) -> bool {
    let Fate::Partly(allowed) = fate else {
        return false;
    };
    let Ok(names) = usb::names(host) else {
        return false;
    };
    let mut own = names.iter().filter_map(|name| {
        let number = name
            .strip_prefix(port)?
            .strip_prefix(':')?
            .rsplit_once('.')?
            .1;
        Some((name, number.parse::<u8>().ok()))
    });
    own.all(|(name, number)| {
        let path = format!("{}/{name}/authorized", usb::DEVICES);
        let off = matches!(text(host, &path), Ok(Some(value)) if value == "0");
        off || number.is_some_and(|it| allowed.contains(&it))
    })
}

fn storage(case: &Case<'_>, judged: &mut Judged) {
    const PATH: &str = "/sys/bus/mmc/drivers_autoprobe";
    if case.profile.ports.storage == Permission::Allow {
        return judged.does_not_apply(&STORAGE, "the profile allows it");
    }
    match text(case.host, PATH) {
        Err(why) => judged.unseen(&STORAGE, PATH, &why),
        Ok(None) => judged.judged(&STORAGE, "there is no slot for cards", Vec::new()),
        Ok(Some(value)) if value == "0" => judged.judged(&STORAGE, "cards", Vec::new()),
        Ok(Some(value)) => {
            let says = "Give no driver to cards that are plugged in".to_owned();
            let step = set(Stage::Stop, PATH, "0", says, None);
            let what = "a card that is plugged in is used at once";
            let finding = Finding::of(&STORAGE, "cards", what).seen(PATH, value);
            judged.judged(
                &STORAGE,
                "cards",
                vec![finding.mended_by(step.into_iter().collect())],
            );
        }
    }
}

#[cfg(test)]
mod tests;
