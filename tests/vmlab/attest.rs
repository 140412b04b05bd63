//! Measured boot from end to end: firmware, TPM and our programs in a guest, and the gateway on this machine.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use stockade_e2e::Gateway;
use stockade_e2e::tools::{built, eventually, succeed};
use stockade_e2e::vmlab::{Guest, Machine, lab};

/// The guest looks at itself without KVM, in a debug build.
const PATIENCE: Duration = Duration::from_mins(8);

/// Registers that the firmware, the boot loader and the kernel image are measured into.
const PROFILE: &str = "schema = 1
[device]
manufacturer = \"Acme\"
model = \"probe-vm\"
version = 1
class = \"linux\"
[comms]
key = \"tpm\"
[boot]
secure-boot = \"required\"
measured = [0, 2, 4, 7, 11]
[[firewall.out]]
to = \"gateway\"
protocol = \"tcp\"
port = MQTT
[[firewall.out]]
to = \"gateway\"
protocol = \"tcp\"
port = EST
";

/// What the programs keep is on a disk; the rest of the guest is new at each start. Of this machine's files it sees those that a small device
/// has: the helper walks them all.
const START: &str = "set -e
for folder in /* /etc/* /usr/* /var/* /var/lib/* /usr/lib/* /usr/lib/x86_64-linux-gnu/*; do
    case $folder in
    /dev | /etc | /lab | /proc | /run | /sys | /tmp | /usr | /var | /usr/bin | /usr/sbin | /usr/lib | /usr/lib64 | /var/lib) ;;
    /etc/alternatives | /etc/stockade | /usr/lib/modules | /usr/lib/x86_64-linux-gnu | /var/lib/stockade) ;;
    *) [ -L $folder ] || [ ! -d $folder ] || /run/busybox mount -t tmpfs tmpfs $folder ;;
    esac
done
modprobe -a ext4 nf_tables nft_ct nft_limit nft_log nft_reject_inet nft_fib_inet 2>/dev/null || true
mount /dev/vda /mnt 2>/dev/null || { mkfs.ext4 -q /dev/vda; mount /dev/vda /mnt; mkdir /mnt/etc /mnt/var; }
mount --bind /mnt/etc /etc/stockade
mount --bind /mnt/var /var/lib/stockade
[ -e /etc/stockade/agent.toml ] || cp /lab/agent.toml /etc/stockade/agent.toml
# No init system starts the programs here: a root that is spelt otherwise leaves that to us.
/lab/stockade-agent install --root /run/.. --init systemd --gateway GATEWAY --id porch --code CODE --ca-fingerprint PRINT </dev/null
rm -f /run/stockade/*.sock
for name in keys helper; do setsid /usr/lib/stockade/stockade-$name >/run/$name.log 2>&1 </dev/null & done
for i in $(seq 200); do [ -S /run/stockade/keys.sock ] && [ -S /run/stockade/helper.sock ] && break; sleep 0.2; done
setsid setpriv --reuid stockade-agent --regid stockade-agent --clear-groups /usr/lib/stockade/stockade-agent run --allow-missing-landlock \\
    >/run/agent.log 2>&1 </dev/null &
";

#[test]
fn another_command_line_and_another_initrd_are_refused_by_name_though_they_are_signed() -> Result<()>
{
    let Some(lab) = lab("a start that is attested") else {
        return Ok(());
    };
    let (Some(uefi), Some(tpm)) = (lab.uefi("firmware"), lab.tpm("tpm")) else {
        return Ok(());
    };
    let mut gateway =
        Gateway::listening(["127.0.0.1:0"; 3], "[gateway]\nnames = [\"10.0.2.2\"]\n")?;
    gateway.up()?;
    let port = |face| gateway.address(face).map(|it| it.port().to_string());
    let (mqtt, est) = (port("mqtt")?, port("est")?);
    let profile = gateway.folder().join("profile.toml");
    fs_err::write(
        &profile,
        PROFILE.replace("MQTT", &mqtt).replace("EST", &est),
    )?;
    gateway.install(&profile)?;
    let told = gateway.json(&["device", "add", "--model", "probe-vm", "porch"])?;
    let word = |name: &str| told[name].as_str().map(str::to_owned).context("told");
    let start = START
        .replace("GATEWAY", &format!("10.0.2.2:{est}"))
        .replace("CODE", &word("code")?)
        .replace("PRINT", &word("ca_fingerprint")?);
    let machine = lab
        .guest("device")
        .uefi(&uefi)
        .tpm(&tpm)
        .net()
        .disk(&lab.disk("state", 32));
    // Without what is for debuggers, which would fill the guest's memory.
    for name in ["agent", "helper", "keys"] {
        let name = format!("stockade-{name}");
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(machine.share().join(&name));
        succeed(strip.arg(built()?.join(&name)))?;
    }
    fs_err::write(
        machine.share().join("agent.toml"),
        format!(
            "gateway = \"10.0.2.2\"\nmqtt-port = {mqtt}\nest-port = {est}\ntrust-domain = \"unknown\"\ndevice = \"porch\"\n\
             model = \"unknown\"\nkey = \"tpm\"\npage-port = 4443\n"
        ),
    )?;

    let guest = begin(&machine, &start);
    says(&gateway, &guest, "there is no reference for version -")?;
    gateway.cli(&["attest", "record", "porch"])?;
    says(&gateway, &guest, "started as it should")?;
    assert_eq!(gateway.state("porch")?, "active");
    guest.power_off();

    let guest = begin(&machine.clone().cmdline("audit=0"), &start);
    says(&gateway, &guest, "kernel command line")?;
    assert_eq!(gateway.state("porch")?, "quarantined");
    guest.power_off();

    let other = machine.clone().initrd_file("planted", b"something else");
    let guest = begin(&other, &start);
    says(&gateway, &guest, "initrd")?;
    let reasons = gateway.cli(&["device", "show", "porch"])?;
    assert!(reasons.contains("initrd"), "{reasons}");
    assert!(!reasons.contains("kernel command line"), "{reasons}");
    guest.power_off();
    Ok(())
}

#[track_caller]
fn begin(machine: &Machine, start: &str) -> Guest {
    let guest = machine.boot();
    let output = guest.run_within(start, PATIENCE);
    assert_eq!(output.code, 0, "{}", output.text);
    guest
}

/// Waits until the gateway says this of how the device started.
fn says(gateway: &Gateway, guest: &Guest, text: &str) -> Result<()> {
    let shown = || gateway.command(&["attest", "show", "porch"]).output();
    let said = eventually(&format!("`{text}`"), PATIENCE, || {
        let said = String::from_utf8_lossy(&shown()?.stdout).into_owned();
        // The registers and events below would say it too.
        let head = said.split("\nversion ").next().unwrap_or_default();
        Ok(head.contains(text).then_some(()))
    });
    said.with_context(|| {
        let shown = shown().map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
        let logs = guest.sh("tail -n 20 /run/keys.log /run/helper.log /run/agent.log");
        format!("{}\n{logs}\n{}", shown.unwrap_or_default(), gateway.said())
    })
}
