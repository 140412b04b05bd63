//! A case that is opened, in a real kernel: the line flutters, rises, stays; how soon the gateway knows is measured; two sensors erase
//! the keys; a restart forgets nothing; an operator, and root, clear it with a reason.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use stockade_e2e::Gateway;
use stockade_e2e::tools::{built, eventually, say, succeed, without};
use stockade_e2e::vmlab::{Guest, lab};

/// How long a step may take: the guest's processor is simulated, and its programs are those of a debug build.
const PATIENCE: Duration = Duration::from_mins(4);

/// A switch of an input device that says whether the cover is on: 1 until `/run/cover` is told otherwise.
const COVER: &str = r"
import fcntl, os, struct
fd = os.open('/dev/uinput', os.O_WRONLY)
fcntl.ioctl(fd, 0x40045564, 5)      # UI_SET_EVBIT, EV_SW
fcntl.ioctl(fd, 0x4004556d, 0x10)   # UI_SET_SWBIT, SW_MACHINE_COVER
os.write(fd, struct.pack('80sHHHHI', b'cover', 3, 1, 1, 1, 0) + bytes(1024))
fcntl.ioctl(fd, 0x5501)             # UI_DEV_CREATE
def put(closed):
    os.write(fd, struct.pack('llHHi', 0, 0, 5, 0x10, closed) + struct.pack('llHHi', 0, 0, 0, 0, 0))
put(1)
os.mkfifo('/run/cover')
while True:
    put(int(open('/run/cover').read()))
";

/// A line that goes to and fro for some seconds, and is where it was. No rest is as long as the line takes to settle.
const FLUTTER: &str = r"
import os, time
line = os.open('/run/gpio/CASE_OPEN', os.O_WRONLY)
end = time.monotonic() + 4
while time.monotonic() < end:
    for pull in (b'pull-up', b'pull-down'):
        os.pwrite(line, pull, 0)
        time.sleep(0.005)
";

/// Everything of the device that lasts is on its disk; what is started by an init elsewhere is started by the test.
const DISK: &str = r"
modprobe -a ext4 nf_tables nft_ct nft_limit nft_log nft_reject_inet nft_fib_inet
# Flows are followed from the start, so that the first rules do not cut the first session.
nft 'add table inet follow; add chain inet follow out { type filter hook output priority 0; }; add rule inet follow out ct state new accept'
[ -e /lab/made ] || mkfs.ext4 -q /dev/vda
touch /lab/made
mkdir -p /state
mount /dev/vda /state
mkdir -p /state/var /state/etc
mount --bind /state/var /var/lib/stockade
mount --bind /state/etc /etc/stockade
number=990
for name in agent keys upnp; do
    echo stockade-$name:x:$number:$number::/nonexistent:/usr/sbin/nologin >>/etc/passwd
    echo stockade-$name:x:$number: >>/etc/group
    number=$((number + 1))
done
mkdir -p /run/stockade
# The helper looks at every file of the device: not at all those of the machine that the guest borrows its root from.
for folder in /work /root /home /opt /usr/share /usr/src /usr/include /var/cache; do
    [ ! -d $folder ] || mount -t tmpfs none $folder
done
python3 /lab/cover.py >/lab/cover.log 2>&1 &
until [ -p /run/cover ]; do sleep 0.1; done
";

fn start(guest: &Guest) {
    let to = |name: &str| format!(">>/lab/{name}.log 2>&1");
    guest.start(&format!("exec /lab/stockade-keys {}", to("keys")));
    guest.sh("until [ -S /run/stockade/keys.sock ]; do sleep 0.1; done");
    guest.start(&format!("exec /lab/stockade-helper {}", to("helper")));
    guest.sh("until [ -S /run/stockade/helper.sock ]; do sleep 0.1; done");
    let user = "setpriv --reuid=stockade-agent --regid=stockade-agent --clear-groups";
    guest.start(&format!(
        "exec {user} /lab/stockade-agent run --allow-missing-landlock {}",
        to("agent")
    ));
}

/// A profile that lets the device speak to its gateway, watches a line and a switch, and erases for both together.
fn profile(gateway: &Gateway) -> Result<String> {
    let rules: Result<String> = ["mqtt", "est"]
        .iter()
        .map(|face| {
            let port = gateway.address(face)?.port();
            Ok(format!(
                "[[firewall.out]]\nto = \"gateway\"\nprotocol = \"tcp\"\nport = {port}\n"
            ))
        })
        .collect();
    Ok(format!(
        "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"lab-box\"\nversion = 1\nclass = \"linux\"\n\
         [comms]\nkey = \"file\"\n{}\
         [[firewall.out]]\nto = \"any\"\nprotocol = \"udp\"\nport = 9\n\
         [tamper]\nresponse = [\"report\", \"isolate\", \"erase-keys\"]\ninputs = [\n\
         {{ kind = \"gpio\", line = \"CASE_OPEN\", active = \"high\" }},\n\
         {{ kind = \"switch\", name = \"machine-cover\", active = \"low\" }},\n]\n",
        rules?
    ))
}

/// The programs without what a debugger needs, where the guest sees them.
fn programs(share: &Path) -> Result<()> {
    for name in [
        "stockade",
        "stockade-agent",
        "stockade-helper",
        "stockade-keys",
    ] {
        let target = share.join(name);
        succeed(
            Command::new("strip")
                .arg("-o")
                .arg(&target)
                .arg(built()?.join(name)),
        )?;
    }
    fs_err::write(share.join("cover.py"), COVER)?;
    fs_err::write(share.join("flutter.py"), FLUTTER)?;
    Ok(())
}

/// Installs the device by what the gateway says of it, and starts it.
fn install(gateway: &Gateway, guest: &Guest) -> Result<()> {
    let (mqtt, est) = (gateway.address("mqtt")?, gateway.address("est")?);
    let told = gateway.json(&["device", "add", "--model", "lab-box", "porch"])?;
    let text = |name: &str| told[name].as_str().context("text").map(str::to_owned);
    // Another name of the same root: nothing here starts services.
    let install = format!(
        "/lab/stockade-agent install --root /proc/self/root --init systemd --gateway 10.0.2.2:{} --id porch --code {} --ca-fingerprint {}",
        est.port(),
        text("code")?,
        text("ca_fingerprint")?,
    );
    // On a busy machine the guest may be slower than the gateway waits for a handshake.
    eventually("it is installed", PATIENCE, || {
        Ok((guest.run(&install).code == 0).then_some(()))
    })?;
    let place = "/etc/stockade/agent.toml";
    guest.sh(&format!(
        "sed -i 's/^mqtt-port.*/mqtt-port = {}/' {place} && grep mqtt-port {place}",
        mqtt.port()
    ));
    start(guest);
    Ok(())
}

fn logs(guest: &Guest) -> String {
    let tail = guest.run("tail -n 20 /lab/*.log; cat /var/lib/stockade/helper/events.log");
    tail.text
}

/// Waits for an event of the device at the gateway; how many there are.
fn event(gateway: &Gateway, guest: &Guest, text: &str) -> Result<usize> {
    eventually(&format!("the gateway hears `{text}`"), PATIENCE, || {
        let count = count(gateway, text)?;
        Ok((count > 0).then_some(count))
    })
    .with_context(|| logs(guest))
}

fn count(gateway: &Gateway, text: &str) -> Result<usize> {
    let told = gateway.json(&["events", "--limit", "1000"])?;
    let all = told["events"].as_array().context("events")?;
    let says = all
        .iter()
        .filter(|it| it["reason"].as_str().is_some_and(|it| it.contains(text)));
    Ok(says.count())
}

fn state(gateway: &Gateway, guest: &Guest, wanted: &str) -> Result<()> {
    eventually(&format!("the device is {wanted}"), PATIENCE, || {
        Ok((gateway.state("porch")? == wanted).then_some(()))
    })
    .with_context(|| logs(guest))
}

/// Whether a packet that the profile allows, and isolation does not, leaves the device.
fn reaches(guest: &Guest) -> bool {
    let ports = "nft list ruleset | grep -c 'dport 9 '";
    guest.run(ports).text.trim() != "0"
}

#[test]
fn an_opened_case_is_told_isolated_erased_and_not_forgotten() -> Result<()> {
    let Some(lab) = lab("an opened case") else {
        return Ok(());
    };
    if !lab.has_gpio() || without(&["strip", "python3", "nft", "setpriv", "mkfs.ext4"]) {
        return Ok(());
    }
    let gateway = Gateway::start_with("[gateway]\nnames = [\"10.0.2.2\"]\n")?;
    let text = gateway.folder().join("lab-box.toml");
    fs_err::write(&text, profile(&gateway)?)?;
    gateway.install(&text)?;
    let disk = lab.disk("state", 64);
    let machine = lab
        .guest("device")
        .gpio(&["CASE_OPEN"])
        .modules(&["uinput", "evdev"])
        .disk(&disk)
        .net();
    let guest = machine.boot();
    programs(&guest.share())?;
    guest.sh(DISK);
    install(&gateway, &guest)?;
    event(&gateway, &guest, "rules hold for good")?;
    state(&gateway, &guest, "active")?;
    ensure!(reaches(&guest), "{}", guest.sh("nft list ruleset"));

    flutters(&gateway, &guest)?;
    let key = guest.sh("od -An -v -tx1 /var/lib/stockade/keys/device.p8 | tr -d ' \\n'");
    rises(&gateway, &guest)?;
    let guest = restarts(&gateway, guest)?;
    erases(&gateway, &guest)?;
    clears_here(&guest)?;
    drop(guest.power_off());
    let raw = fs_err::read(&disk)?;
    let key: Vec<u8> = key
        .trim()
        .as_bytes()
        .chunks(2)
        .map(|two| Ok(u8::from_str_radix(std::str::from_utf8(two)?, 16)?))
        .collect::<Result<_>>()?;
    let inner = &key[30..70];
    ensure!(
        !raw.windows(inner.len()).any(|it| it == inner),
        "the key is still on the disk"
    );
    say(&format!(
        "the {} bytes of the key are nowhere on the disk",
        key.len()
    ));
    Ok(())
}

/// A line that goes to and fro for seconds is one opening, and is told once; the operator clears it.
fn flutters(gateway: &Gateway, guest: &Guest) -> Result<()> {
    guest.sh("python3 /lab/flutter.py");
    event(
        gateway,
        guest,
        "Its case was opened: line CASE_OPEN (by helper",
    )?;
    state(gateway, guest, "quarantined")?;
    event(gateway, guest, "Nothing but the gateway is reached")?;
    let told = count(gateway, "Its case was opened: line CASE_OPEN (by helper")?;
    ensure!(told == 1, "it was told {told} times: {}", logs(guest));
    ensure!(!reaches(guest), "{}", guest.sh("nft list ruleset"));
    ensure!(
        guest.run("test -s /var/lib/stockade/keys/device.p8").code == 0,
        "one sensor erased"
    );
    gateway.cli(&[
        "device",
        "clear-tamper",
        "porch",
        "--reason",
        "a loose wire",
    ])?;
    state(gateway, guest, "active")?;
    event(gateway, guest, "is cleared: a loose wire")?;
    eventually("the profile's rules are back", PATIENCE, || {
        Ok(reaches(guest).then_some(()))
    })
    .with_context(|| logs(guest))?;
    state(gateway, guest, "active")
}

/// The line rises and stays: how soon the gateway has the device in quarantine is printed. A device that has no session just then,
/// as after a release, is waited for.
fn rises(gateway: &Gateway, guest: &Guest) -> Result<()> {
    let began = Instant::now();
    guest.gpio_line("CASE_OPEN", true);
    let raised = began.elapsed();
    state(gateway, guest, "quarantined")?;
    let known = began.elapsed();
    say(&format!(
        "from the line to the quarantine at the gateway: {known:.2?} (raising it took {raised:.2?} of that)"
    ));
    event(gateway, guest, "Nothing but the gateway is reached")?;
    // It can not be cleared while it is open.
    let open = guest.run("/lab/stockade device clear-tamper --reason closed");
    ensure!(
        open.code != 0 && open.text.contains("the case is open"),
        "{}",
        open.text
    );
    Ok(())
}

/// The power goes and comes back, with the case closed again: everything stands.
fn restarts(gateway: &Gateway, guest: Guest) -> Result<Guest> {
    guest.gpio_line("CASE_OPEN", false);
    let guest = guest.cut().boot();
    guest.sh(DISK);
    start(&guest);
    event(gateway, &guest, "The helper has started")?;
    eventually(
        "the rules are those of an isolated device",
        PATIENCE,
        || {
            let up = guest.run("nft list ruleset | grep -q 'policy drop'").code == 0;
            Ok((up && !reaches(&guest)).then_some(()))
        },
    )
    .with_context(|| logs(&guest))?;
    ensure!(gateway.state("porch")? == "quarantined");
    Ok(guest)
}

/// The second sensor erases the keys; the page goes on with another.
fn erases(gateway: &Gateway, guest: &Guest) -> Result<()> {
    let shown = "openssl s_client -connect 127.0.0.1:443 </dev/null 2>/dev/null | openssl x509 -noout -fingerprint";
    let before = eventually("the page is there", PATIENCE, || {
        let page = guest.run(shown);
        Ok((page.code == 0).then_some(page.text))
    })
    .with_context(|| logs(guest))?;
    guest.sh("echo 0 >/run/cover");
    // Without its keys the device can not tell the gateway: what it did is in its own log.
    eventually("the keys are erased", PATIENCE, || {
        let log = guest.sh("cat /var/lib/stockade/helper/events.log");
        let says = [
            "Its case was opened: switch machine-cover",
            "The keys were erased",
        ];
        Ok(says.iter().all(|it| log.contains(it)).then_some(()))
    })
    .with_context(|| logs(guest))?;
    let left = guest.sh("ls -A /var/lib/stockade/keys");
    ensure!(!left.contains("device.p8"), "{left}");
    let page = eventually("the page has another key", PATIENCE, || {
        let now = guest.run(shown);
        Ok((now.code == 0 && now.text != before).then_some(now.text))
    })
    .with_context(|| logs(guest))?;
    say(&format!(
        "the page had {} and has {}",
        before.trim(),
        page.trim()
    ));
    // What was signed before can not be signed now: the device is out until it is enrolled anew.
    let mine = "openssl s_client -connect 127.0.0.1:443 </dev/null 2>/dev/null | grep 'Verify return code: 18'";
    ensure!(guest.run(mine).code == 0, "not signed by itself");
    ensure!(gateway.state("porch")? == "quarantined");
    Ok(())
}

/// Root clears it on the device, with a reason; the switch is back on its place.
fn clears_here(guest: &Guest) -> Result<()> {
    guest.sh("echo 1 >/run/cover");
    let empty = guest.run("/lab/stockade device clear-tamper --reason ' '");
    ensure!(empty.code != 0, "without a reason");
    // Until the switch has said the same for a while, it is open.
    eventually("it is cleared", PATIENCE, || {
        let done = guest.run("/lab/stockade device clear-tamper --reason 'battery changed'");
        ensure!(
            done.code == 0 || done.text.contains("the case is open"),
            "{}",
            done.text
        );
        Ok((done.code == 0).then_some(()))
    })
    .with_context(|| logs(guest))?;
    let again = guest.run("/lab/stockade device clear-tamper --reason again");
    ensure!(again.text.contains("nothing to clear"), "{}", again.text);
    ensure!(
        guest
            .sh("cat /var/lib/stockade/helper/events.log")
            .contains("battery changed"),
        "{}",
        logs(guest)
    );
    Ok(())
}
