//! What can be plugged in, in a real kernel: sticks, keyboards, devices that lie, a radio, a spare network interface; and the trial
//! of a plan that takes away what somebody works with.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use stockade_api::helper::{Answer, Authority, PortsState, Request};
use stockade_api::{Blob, frame};
use stockade_e2e::tools::{built, eventually, root, say, without};
use stockade_e2e::vmlab::{Guest, lab};
use stockade_profile::{SigningKey, check, sign};

/// How long a step may take: the guest's processor is simulated, and its programs are those of a debug build.
const PATIENCE: Duration = Duration::from_mins(3);

/// A Debian of its own is the device; two interfaces that lead nowhere, over one of which the default route goes.
const PREPARE: &str = r#"set -e
R=/run/device
mkdir -p /run/layer $R
mount -t tmpfs tmpfs /run/layer
mkdir /run/layer/upper /run/layer/work
mount -t overlay overlay -o lowerdir=DEBIAN,upperdir=/run/layer/upper,workdir=/run/layer/work $R
nft=$(command -v nft)
cp "$nft" $R/usr/sbin/
ldd "$nft" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | while read -r library; do
    [ -e "$R/usr/lib/x86_64-linux-gnu/${library##*/}" ] || cp -L "$library" $R/usr/lib/x86_64-linux-gnu/
done
mount --rbind /sys $R/sys
mount --rbind /dev $R/dev
mount -t tmpfs tmpfs $R/run
mkdir -p $R/etc/stockade/trust $R/usr/lib/stockade
cp BUILT/stockade-helper $R/usr/lib/stockade/
cp /lab/agent.toml $R/etc/stockade/
cp /lab/maker.pub $R/etc/stockade/trust/
for name in spare way; do ip link add $name type dummy; ip link set $name up; done
ip addr add 192.0.2.1/24 dev way
ip route add default via 192.0.2.2
echo 438 >/proc/sys/kernel/sysrq
"#;

/// Sends a request to the helper, and takes all that it answers: by what a Debian has, as no other program may run on the device,
/// and within its processes, as the helper answers nobody whom it cannot see.
const ASK: &str = r#"nsenter --pid --target $(pidof -s stockade-helper) chroot /run/device perl -MIO::Socket::UNIX -e '
    my $helper = IO::Socket::UNIX->new("/run/stockade/helper.sock") or die "$!";
    local $/;
    print $helper <STDIN>;
    $helper->flush;
    while (sysread($helper, my $part, 65536)) { syswrite(STDOUT, $part) }
' </lab/ask >/lab/answer"#;

/// The interfaces are the lab's own for the network of the guest.
const PORTS: &str = "serial-console = \"on\"\nstorage = \"allow\"\n";
const ALLOWED: &str = "usb = { allow = [\"0627:0001 class:03 serial:KEYS\", \"46f4:0001 serial:GOOD\", \"1209:0001\", \
                       \"1209:0002 class:03\"] }\n";

struct Device {
    guest: Guest,
    key: SigningKey,
}

impl Device {
    fn start(&self) -> Result<()> {
        self.guest.start(
            "exec unshare --pid --fork sh -c 'mount -t proc proc /run/device/proc && exec chroot /run/device \
             /usr/lib/stockade/stockade-helper --agent 990 --keys 991 --upnp 992' >>/lab/helper.log 2>&1",
        );
        eventually("the helper answers", PATIENCE, || {
            Ok(self.ask(&Request::Status).ok().map(drop))
        })
        .with_context(|| self.logs())
    }

    /// The last answer to a request.
    fn ask(&self, request: &Request) -> Result<Answer> {
        let share = self.guest.share();
        fs_err::write(share.join("ask"), &*frame::encode(request)?)?;
        let asked = self.guest.run_within(ASK, PATIENCE);
        ensure!(asked.code == 0, "{}", asked.text);
        let answers = fs_err::read(share.join("answer"))?;
        let mut rest = answers.as_slice();
        let mut last = None;
        while let Some(answer) = frame::read::<Answer>(&mut rest)? {
            last = Some(answer);
        }
        match last.context("no answer")? {
            Answer::Refused(why) => bail!("{why:?}"),
            answer => Ok(answer),
        }
    }

    fn install(&self, version: u32, ports: &str) -> Result<()> {
        // The Debian of the test `device`, with its programs: there is little to plan but for this.
        let porch = fs_err::read_to_string(root().join("tests/profiles/porch.toml"))?;
        let (head, _) = porch.split_once("[ports]").context("its last section")?;
        let head = head.replace("version = 1\n", &format!("version = {version}\n"));
        let text = format!("{head}[ports]\n{PORTS}{ports}");
        let checked = check(&text);
        let profile = checked
            .profile
            .with_context(|| format!("{:?}", checked.faults))?;
        let signed = Blob(sign(&profile, &self.key));
        self.ask(&Request::InstallProfile { signed }).map(drop)
    }

    /// Has the plan carried out; what was told beside.
    fn apply(&self) -> Result<String> {
        let Answer::Plan { digest, plan } = self.ask(&Request::Plan)? else {
            bail!("a plan is answered with a plan");
        };
        let authority = Authority::Root;
        match self.ask(&Request::Apply { digest, authority }) {
            Ok(Answer::Applied(outcome)) => Ok(outcome.failed.join("\n")),
            other => bail!("{other:?}\n{plan:#?}"),
        }
    }

    fn ports(&self) -> Result<PortsState> {
        match self.ask(&Request::Ports)? {
            Answer::Ports(state) => Ok(state),
            other => bail!("{other:?}"),
        }
    }

    /// Waits for an event.
    fn says(&self, text: &str) -> Result<()> {
        eventually(&format!("an event `{text}`"), PATIENCE, || {
            Ok(self.logs().contains(text).then_some(()))
        })
        .with_context(|| self.logs())
    }

    fn logs(&self) -> String {
        self.guest
            .run("tail -n 20 /lab/helper.log; cat /run/device/var/lib/stockade/helper/events.log")
            .text
    }

    /// What is open: settings of the kernel, interfaces that are up, the radio.
    fn open(&self) -> String {
        self.guest.sh(
            "cat /proc/sys/kernel/sysrq; cat /sys/bus/usb/devices/usb1/authorized_default; cat /sys/class/rfkill/*/soft; \
             for name in spare way; do sed 's/.*\\(.\\)/\\1/' /sys/class/net/$name/flags; done | tr -d '\\n'",
        )
        .replace('\n', " ")
    }
}

#[test]
fn what_is_plugged_in_is_kept_out_unless_it_is_allowed_and_nobody_is_locked_out() -> Result<()> {
    let Some(lab) = lab("what is plugged in") else {
        return Ok(());
    };
    if without(&["python3", "nft", "btvirt", "nsenter"]) {
        return Ok(());
    }
    let debian = built()?.join("../labs/systemd");
    if !debian.join("lib/systemd").exists() {
        say("skipped: what is plugged in: no Debian is laid down yet (the test `device` does it)");
        return Ok(());
    }
    let modules = [
        "hci_vhci",
        "vhci_hcd",
        "dummy",
        "overlay",
        "nf_tables",
        "nft_ct",
        "nft_limit",
        "nft_log",
        "nft_reject_inet",
        "nft_fib_inet",
    ];
    let guest = lab.guest("ports").usb().modules(&modules).boot();
    let key = SigningKey::generate(&aws_lc_rs::rand::SystemRandom::new())?;
    let share = guest.share();
    fs_err::write(share.join("maker.pub"), key.verifying_key().to_pem())?;
    fs_err::write(
        share.join("agent.toml"),
        "gateway = \"192.0.2.2\"\ntrust-domain = \"t.example\"\ndevice = \"porch\"\nmodel = \"porch-cam\"\n",
    )?;
    let prepare = PREPARE
        .replace("DEBIAN", &fs_err::canonicalize(&debian)?.to_string_lossy())
        .replace("BUILT", &fs_err::canonicalize(built()?)?.to_string_lossy());
    guest.start("btvirt -l1");
    let prepared = guest.run_within(&prepare, PATIENCE);
    ensure!(prepared.code == 0, "{}", prepared.text);
    let device = Device { guest, key };
    device.start()?;
    only_told(&device)?;
    trials(&device)?;
    keeps_out(&device)?;
    lies(&device)?;
    device.guest.power_off();
    Ok(())
}

/// With `mode = "audit"` a stick works, and the log says what a list would have made of it.
fn only_told(device: &Device) -> Result<()> {
    device.install(1, "usb = { mode = \"audit\" }\n")?;
    let stick = device.guest.plug_usb_storage("BAD");
    device.says("would be kept out: no entry allows its class 08")?;
    disk(device, "BAD", true)?;
    let state = device.ports()?;
    ensure!(
        !state.enforced && state.usb.iter().any(|it| it.works && !it.allowed),
        "{state:?}"
    );
    device.guest.unplug(&stick);
    disk(device, "BAD", false)
}

/// The plan takes the default route away: it is taken back unless somebody keeps it, also when the helper is killed.
fn trials(device: &Device) -> Result<()> {
    device.install(2, ALLOWED)?;
    let before = device.open();
    ensure!(before == "438 1 0 33", "{before}");
    let shut = "0 0 1 22";
    let told = device.apply()?;
    ensure!(told.contains("on trial"), "{told}");
    ensure!(device.open() == shut, "{}", device.open());
    device.says("Nobody kept what was on trial")?;
    ensure!(device.open() == before, "{}", device.open());

    device.guest.sh("ip route replace default via 192.0.2.2");
    device.apply()?;
    device.guest.sh("kill -9 $(pidof stockade-helper)");
    device.start()?;
    device.says("The helper ended during a trial")?;
    ensure!(device.open() == before, "{}", device.open());

    device.guest.sh("ip route replace default via 192.0.2.2");
    device.apply()?;
    ensure!(device.ports()?.trial.is_some(), "it is on trial");
    device.ask(&Request::KeepPorts {
        authority: Authority::Root,
    })?;
    ensure!(
        device.ports()?.trial.is_none() && device.open() == shut,
        "{}",
        device.open()
    );
    Ok(())
}

fn keeps_out(device: &Device) -> Result<()> {
    let guest = &device.guest;
    guest.plug_usb_storage("BAD");
    device.says("`QEMU QEMU USB HARDDRIVE` of class 08")?;
    device.says("is kept out: no entry allows its class 08")?;
    disk(device, "BAD", false)?;
    guest.plug_usb_storage("GOOD");
    disk(device, "GOOD", true)?;

    guest.plug("usb-kbd", &[("serial", "KEYS")]);
    // At a port of its own: at the last one that is free QEMU puts a hub between, which no entry allows.
    guest.plug("usb-mouse", &[("serial", "MOUSE"), ("port", "1")]);
    driver(device, "KEYS", "usbhid")?;
    device.says("QEMU USB Mouse")?;
    driver(device, "MOUSE", "")?;
    // What a new profile allows is let in while it is plugged in.
    let more = ALLOWED.replace("\"1209:0001\"", "\"1209:0001\", \"class:08 serial:BAD\"");
    device.install(3, &more)?;
    disk(device, "BAD", true)
}

/// Descriptors that change are judged anew, and a device that changes what it is keeps out whatever an entry says.
fn lies(device: &Device) -> Result<()> {
    let guest = &device.guest;
    guest.sh(&format!(
        "cp {}/tests/clients/usb_device.py /run/",
        fs_err::canonicalize(root())?.display()
    ));
    let plugged = |words: &str| guest.start(&format!("exec python3 /run/usb_device.py {words}"));
    let gone = || guest.sh("kill $(pgrep -f usb_device.py); sleep 2");
    plugged("0001 0:ff");
    device.says("1209:0001 `Lab Changeling` of class ff at")?;
    device.says("is let in: allowed by `1209:0001`")?;
    gone();
    plugged("0001 0:03");
    device.says("it had other descriptors when it came before")?;
    ensure!(
        device
            .ports()?
            .usb
            .iter()
            .any(|it| it.what.contains("1209:0001") && !it.works)
    );
    gone();
    // A keyboard that is a stick too: only the keyboard.
    plugged("0002 0:03 1:08");
    device.says("is let in in part: only interface 0")?;
    let seen = guest.sh("for it in /sys/bus/usb/devices/*:1.*; do grep -q 1209 $it/../idVendor && cat $it/authorized; done | tr -d '\\n'");
    ensure!(seen == "10", "{seen}");
    gone();
    Ok(())
}

/// Waits until the stick of that serial number is a disk, or sees that it is none.
fn disk(device: &Device, serial: &str, there: bool) -> Result<()> {
    let disks = || {
        device
            .guest
            .sh("cat /sys/block/sd*/device/../../../../serial 2>/dev/null; true")
    };
    eventually(
        &format!("the stick {serial} is a disk: {there}"),
        PATIENCE,
        || Ok((disks().lines().any(|it| it == serial) == there).then_some(())),
    )
    .with_context(|| device.logs())
}

/// Waits until the device of that serial number has that driver; none if it is empty.
fn driver(device: &Device, serial: &str, name: &str) -> Result<()> {
    let script = format!(
        "cd /sys/bus/usb/devices; for it in *; do [ \"$(cat $it/serial 2>/dev/null)\" = {serial} ] && basename $(readlink $it/$it:1.0/driver) 2>/dev/null; done; true"
    );
    eventually(
        &format!("{serial} has the driver `{name}`"),
        PATIENCE,
        || Ok((device.guest.sh(&script).trim() == name).then_some(())),
    )
    .with_context(|| device.logs())
}
