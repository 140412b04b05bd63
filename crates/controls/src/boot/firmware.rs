//! What the firmware checked and measured: Secure Boot, the TPM's registers, the logs that lead to them.

use std::collections::BTreeMap;

use stockade_attest::log::{EventLog, LONGEST};
use stockade_attest::{Algorithm, ima};

use super::rules::{EVENT_LOG, IMA, MEASURED, SECURE_BOOT, SETUP_MODE};
use super::{State, demanded, is_there, text};
use crate::engine::{Case, Finding, HostPath, Judged, Standing, Unseen};

/// The registers that firmware and boot loader alone extend (PC Client PFP §3.3.4); the system may extend others later.
const STATIC: std::ops::RangeInclusive<u8> = 0..=7;
/// The longest variable of the firmware that is read.
const LONGEST_VARIABLE: usize = 64;

pub(super) fn judge(case: &Case<'_>, judged: &mut Judged) {
    let asked = case.profile.boot.secure_boot;
    demanded(judged, &SECURE_BOOT, asked, || {
        switch(case, "SecureBoot", 1, "Secure Boot is on", || {
            Finding::of(&SECURE_BOOT, "firmware", "Secure Boot is off")
        })
    });
    demanded(judged, &SETUP_MODE, asked, || {
        switch(case, "SetupMode", 0, "setup mode is over", || {
            let what = "the firmware is in setup mode: any program may enrol its key";
            Finding::of(&SETUP_MODE, "firmware", what)
        })
    });
    measured(case, judged);
}

/// A variable of the firmware that is 0 or 1 (UEFI 2.10 §3.3), after four bytes of attributes (efivarfs).
fn switch(
    case: &Case<'_>,
    name: &str,
    right: u8,
    good: &str,
    bad: impl FnOnce() -> Finding,
) -> State {
    if case.host.standing() == Standing::Offline {
        return State::unseen("the firmware's variables", &Unseen::Offline);
    }
    let path = format!("/sys/firmware/efi/efivars/{name}-8be4df61-93ca-11d2-aa0d-00e098032b8c");
    let read = HostPath::from_bytes(path.as_bytes())
        .map_err(|why| Unseen::Damaged(why.to_string()))
        .and_then(|path| case.host.read(&path, LONGEST_VARIABLE));
    match read.as_deref() {
        Ok([_, _, _, _, value]) if *value == right => State::Good(good.to_owned()),
        Ok([_, _, _, _, value]) => State::Bad(bad().seen(path, value.to_string())),
        Ok(_) => State::Unknown(format!("{path} has not the length that it should have")),
        Err(Unseen::Absent) => {
            match is_there(case.host, &HostPath::of("/sys/firmware/efi/efivars")) {
                Ok(true) => State::Bad(bad().seen(path, "it is not there")),
                Ok(false) => State::Unknown(
                    "there is no UEFI: whether the boot loader checks signatures can not be seen from here"
                        .to_owned(),
                ),
                Err(why) => State::unseen("the firmware's variables", &why),
            }
        }
        Err(why) => State::unseen(&path, why),
    }
}

/// Registers, event log and list of files.
fn measured(case: &Case<'_>, judged: &mut Judged) {
    let asked = case.profile.boot.measured;
    if asked.is_empty() {
        for rule in [&MEASURED, &EVENT_LOG, &IMA] {
            judged.does_not_apply(rule, "the profile names no registers");
        }
        return;
    }
    let there = match text(case, &HostPath::of("/sys/class/tpm/tpm0/tpm_version_major")) {
        Err(why) => Err(format!("the TPM: {why}")),
        Ok(Some(version)) if version != "2" => Err(format!("a TPM of version {version}")),
        Ok(version) => Ok(version.is_some()),
    };
    match there {
        Err(why) => {
            for rule in [&MEASURED, &EVENT_LOG, &IMA] {
                judged.cannot_tell(rule, why.as_str(), Vec::new());
            }
        }
        Ok(false) => {
            let what = "there is no TPM: the device can not prove what it started";
            let finding = Finding::of(&MEASURED, "TPM", what);
            judged.judged(&MEASURED, "", vec![finding]);
            for rule in [&EVENT_LOG, &IMA] {
                judged.cannot_tell(rule, "there is no TPM", Vec::new());
            }
        }
        Ok(true) => {
            // Registers first: the list of files may grow meanwhile.
            let registers = registers(case, Algorithm::Sha256);
            extended(case, &registers, judged);
            event_log(case, &registers, judged);
            files(case, &registers, judged);
        }
    }
}

type Registers = Result<BTreeMap<u8, Vec<u8>>, Unseen>;

/// The TPM's registers as the kernel shows them; empty if it has none of this algorithm.
fn registers(case: &Case<'_>, algorithm: Algorithm) -> Registers {
    let mut all = BTreeMap::new();
    for pcr in 0..24_u8 {
        let path = format!("/sys/class/tpm/tpm0/pcr-{}/{pcr}", algorithm.name());
        let wrong = || Unseen::Damaged(path.clone());
        let at = HostPath::from_bytes(path.as_bytes()).map_err(|_| wrong())?;
        let Some(digits) = text(case, &at)? else {
            continue;
        };
        let value = stockade_attest::unhex(&digits).filter(|it| it.len() == algorithm.size());
        all.insert(pcr, value.ok_or_else(wrong)?);
    }
    Ok(all)
}

/// The registers that the profile names were extended.
fn extended(case: &Case<'_>, registers: &Registers, judged: &mut Judged) {
    let registers = match registers {
        Ok(registers) => registers,
        Err(why) => return judged.unseen(&MEASURED, "the TPM's registers", why),
    };
    let asked = case.profile.boot.measured;
    if registers.is_empty() {
        let what = "the TPM keeps no SHA-256 registers, or the kernel does not show them";
        return judged.judged(&MEASURED, "", vec![Finding::of(&MEASURED, "TPM", what)]);
    }
    let never = |pcr: &u8| {
        let value = registers.get(pcr);
        value.is_none_or(|it| it.iter().all(|byte| *byte == 0) || it.iter().all(|it| *it == 0xff))
    };
    let findings = asked.iter().filter(never).map(|pcr| {
        let what = format!("nothing was measured to register {pcr}");
        Finding::of(&MEASURED, format!("register {pcr}"), what)
    });
    judged.judged(&MEASURED, format!("registers {asked}"), findings.collect());
}

/// The event log leads to the registers.
fn event_log(case: &Case<'_>, registers: &Registers, judged: &mut Judged) {
    let path = HostPath::of("/sys/kernel/security/tpm0/binary_bios_measurements");
    let bytes = match case.host.read(&path, LONGEST) {
        Ok(bytes) => bytes,
        Err(why) => return judged.unseen(&EVENT_LOG, "the event log", &why),
    };
    let log = match EventLog::read(&bytes) {
        Ok(log) => log,
        Err(why) => return judged.cannot_tell(&EVENT_LOG, why.to_string(), Vec::new()),
    };
    let registers = match registers {
        Ok(registers) if log.algorithms.contains(&Algorithm::Sha256) => registers,
        Ok(_) => {
            let why = "the event log has no SHA-256";
            return judged.cannot_tell(&EVENT_LOG, why, Vec::new());
        }
        Err(why) => return judged.unseen(&EVENT_LOG, "the TPM's registers", why),
    };
    let replayed = log.replay(Algorithm::Sha256);
    let differs = STATIC.filter(|pcr| {
        let start = || log.start(*pcr, Algorithm::Sha256);
        let expected = replayed.get(pcr).cloned().unwrap_or_else(start);
        registers.get(pcr) != Some(&expected)
    });
    let findings = differs.map(|pcr| {
        let what = format!("register {pcr} is not what the event log leads to");
        Finding::of(&EVENT_LOG, format!("register {pcr}"), what)
            .seen(path.to_string(), format!("{} events", log.events.len()))
    });
    judged.judged(
        &EVENT_LOG,
        format!("{} events, registers 0 to 7", log.events.len()),
        findings.collect(),
    );
}

/// The list of measured files leads to register 10, if the profile names it.
fn files(case: &Case<'_>, registers: &Registers, judged: &mut Judged) {
    if !case.profile.boot.measured.contains(ima::REGISTER) {
        return judged.does_not_apply(&IMA, "the profile does not name register 10");
    }
    let register = match registers {
        Ok(registers) => registers.get(&ima::REGISTER).cloned().unwrap_or_default(),
        Err(why) => return judged.unseen(&IMA, "the TPM's registers", why),
    };
    let path = HostPath::of("/sys/kernel/security/ima/binary_runtime_measurements");
    let bytes = match case.host.read(&path, ima::LONGEST) {
        Ok(bytes) => bytes,
        Err(Unseen::Absent) => {
            let what = "the kernel keeps no list of the files that it measured";
            return judged.judged(&IMA, "", vec![Finding::of(&IMA, "list of files", what)]);
        }
        Err(why) => return judged.unseen(&IMA, "the list of files", &why),
    };
    let entries = match ima::read(&bytes) {
        Ok(entries) => entries,
        Err(why) => return judged.cannot_tell(&IMA, why.to_string(), Vec::new()),
    };
    let mut findings = Vec::new();
    if ima::leads_to(&entries, Algorithm::Sha256, &register).is_none() {
        let what = "the list of measured files does not lead to what register 10 holds";
        findings.push(Finding::of(&IMA, "list of files", what));
    }
    let changed = entries.iter().filter(|it| !ima::is_whole(it));
    findings.extend(changed.take(16).map(|entry| {
        let what = format!("the list's entry for {} was changed", entry.path);
        Finding::of(&IMA, entry.path.as_str(), what)
    }));
    judged.judged(&IMA, format!("{} files", entries.len()), findings);
}
