//! What a device started, judged by our own program in a real kernel: Secure Boot, a TPM's registers with the logs that lead to
//! them, and checked volumes that were changed after they were made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use stockade_attest::log::EventLog;
use stockade_attest::reference::{Reference, compare};
use stockade_attest::{Algorithm, ima, unhex};
use stockade_controls::boot::Boot;
use stockade_controls::engine::{Case, Own, Report, Standing, assess};
use stockade_e2e::vmlab::lab;
use stockade_host::view::Live;

/// A debug build on a simulated processor.
const PATIENCE: Duration = Duration::from_mins(4);

const PROFILE: &str = r#"schema = 1
[device]
manufacturer = "Acme"
model = "probe-vm"
version = 1
class = "linux"
[boot]
secure-boot = "required"
measured = ["0-7", 10, 11]
verity = "reported"
lockdown = "required"
module-signatures = "required"
bootloader-locked = "required"
"#;

/// Three volumes with the same content: as it was made, with one byte changed, opened by another root hash.
const PREPARE: &str = "set -e
cp PROGRAM /run/look
cd /run
head -c 4194304 /dev/urandom >good
veritysetup format good hashes >made
hash=$(sed -n 's/^Root hash:[[:space:]]*//p' made)
cp good flipped
printf XXXXXXXX | dd of=flipped bs=1 seek=2101234 conv=notrunc status=none
veritysetup open good good hashes $hash
veritysetup open flipped flipped hashes $hash
veritysetup open good wrong hashes $(echo $hash | tr 0-9a-f 1-9a-f0)
cat /sys/kernel/security/tpm0/binary_bios_measurements >/lab/log
for pcr in $(seq 0 23); do cat /sys/class/tpm/tpm0/pcr-sha256/$pcr; done >/lab/registers
cat /sys/kernel/security/ima/binary_runtime_measurements >/lab/files
LOOK=/lab /run/look --ignored --exact what_the_other_test_runs_in_its_guest
";

/// One control alone: a look by all of them walks this whole machine, over 9p.
#[test]
#[ignore = "it judges the guest that the other test starts"]
fn what_the_other_test_runs_in_its_guest() -> Result<()> {
    let Some(share) = std::env::var_os("LOOK") else {
        return Ok(());
    };
    let profile = stockade_profile::parse(PROFILE).ok().context("a profile")?;
    let case = Case {
        host: &Live::open()?,
        profile: &profile,
        now: 1_800_000_000,
        own: &Own::default(),
    };
    let report = Report::of(&assess(&case, &[&Boot]), &profile, Standing::Live, case.now);
    let text = serde_json::to_string(&report)?;
    Ok(fs_err::write(PathBuf::from(share).join("report"), text)?)
}

#[test]
fn a_changed_volume_and_another_root_hash_are_found_and_every_log_leads_to_its_register()
-> Result<()> {
    let Some(lab) = lab("protected boot") else {
        return Ok(());
    };
    let (Some(uefi), Some(tpm)) = (lab.uefi("firmware"), lab.tpm("tpm")) else {
        return Ok(());
    };
    let machine = lab
        .guest("device")
        .uefi(&uefi)
        .tpm(&tpm)
        .modules(&["loop", "dm_mod", "dm_verity"])
        .cmdline("ima_policy=tcb module.sig_enforce=1");
    let image = fs_err::read(uefi.sign(&machine.unified()))?;
    fs_err::create_dir_all(machine.share())?;
    let guest = machine.boot();
    let program = std::env::current_exe()?;
    let prepare = PREPARE.replace("PROGRAM", &program.to_string_lossy());
    let prepared = guest.run_within(&prepare, PATIENCE);
    assert_eq!(prepared.code, 0, "{}", prepared.text);

    let share = guest.share();
    let report = fs_err::read(share.join("report"))?;
    let report: serde_json::Value = serde_json::from_slice(&report)?;
    let rules = report["rules"].as_array().context("rules")?;
    let of_boot = rules.iter().filter_map(|rule| {
        let id = rule["id"].as_str()?.strip_prefix("boot/")?;
        Some((id, (rule["state"].as_str()?, rule)))
    });
    let of_boot: BTreeMap<_, _> = of_boot.collect();
    for (id, expected) in [
        ("secure-boot", "passed"),
        ("setup-mode", "passed"),
        ("measured", "passed"),
        ("event-log", "passed"),
        ("ima", "passed"),
        ("lockdown", "passed"),
        ("module-signatures", "passed"),
        ("kexec", "passed"),
        ("bootloader-locked", "passed"),
        // The guest's root is a layer in memory.
        ("verity", "cannot-tell"),
        ("verity-intact", "broken"),
    ] {
        assert_eq!(of_boot[id].0, expected, "{id}: {}", of_boot[id].1);
    }
    let findings = &of_boot["verity-intact"].1["findings"];
    let found: Vec<_> = findings
        .as_array()
        .context("findings")?
        .iter()
        .filter_map(|it| it["what"].as_str())
        .collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("volume flipped: the block at byte 2097152 "),
        "{found:?}"
    );
    assert!(
        found[1].contains("volume wrong: its first block "),
        "{found:?}"
    );

    // The gateway's half: logs, registers and the image agree.
    let bytes = fs_err::read(share.join("log"))?;
    let log = EventLog::read(&bytes)?;
    let told = fs_err::read_to_string(share.join("registers"))?;
    let registers: BTreeMap<u8, [u8; 32]> = (0..)
        .zip(told.lines())
        .filter_map(|(pcr, line)| Some((pcr, unhex(line)?.try_into().ok()?)))
        .collect();
    assert_eq!(registers.len(), 24, "{told}");
    for (pcr, value) in log.replay(Algorithm::Sha256) {
        assert_eq!(registers[&pcr].as_slice(), value, "register {pcr}");
    }
    let reference = Reference::of_uki("probe-vm", "1", &image)?;
    assert_eq!(compare(&reference, &log, &registers, [11]), []);
    let files = fs_err::read(share.join("files"))?;
    let entries = ima::read(&files)?;
    assert!(entries.iter().all(ima::is_whole));
    let proved = ima::leads_to(&entries, Algorithm::Sha256, &registers[&ima::REGISTER]);
    assert!(proved.is_some_and(|count| count > 10), "{proved:?}");
    guest.power_off();
    Ok(())
}
