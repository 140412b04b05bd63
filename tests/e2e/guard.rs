//! The LAN guard met by real devices: real DHCP, real LLDP, real packets, each machine in a network namespace.

#[path = "guard/lan.rs"]
mod lan;

use std::net::{IpAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lan::{CLOUD, GATEWAY, Lan, RESOLVER, UPLINK, carries, echo, https, mac, reaches, resolves};
use stockade_e2e::netlab::space::{ip, unable};
use stockade_e2e::tools::{eventually, finish, text};

const PROGRAMS: [&str; 4] = ["nft", "ip", "dnsmasq", "python3"];

/// A camera that talks to its cloud, and may be looked at by devices of the model `screen`.
const CAMERA: &str = "\
[[firewall.out]]\nto = \"93.184.216.34\"\nprotocol = \"tcp\"\nport = 8000\n\
[[firewall.in]]\nfrom = \"model:screen\"\nprotocol = \"tcp\"\nport = 554\n";

/// A screen that may look at cameras, and talks to its cloud by name.
const SCREEN: &str = "\
[[firewall.out]]\nto = \"model:camera\"\nprotocol = \"tcp\"\nport = 554\n\
[[firewall.out]]\nto = \"cloud.example.com\"\nprotocol = \"tcp\"\nport = 8000\n";

/// A home whose cloud answers on three ports.
fn home(devices: u8) -> Result<Lan> {
    let lan = Lan::new(devices)?;
    lan.world.enter()?;
    for port in [8000, 8001, 443] {
        if port != 443 {
            echo(&format!("{CLOUD}:{port}"))?;
        }
    }
    Ok(lan)
}

/// Lets a device have an address and makes it one of a model.
fn settle(lan: &Lan, number: u8, model: &str) -> Result<IpAddr> {
    lan.cli(&["guard", "add", &mac(number), "--model", model])?;
    let address = IpAddr::from(lan.lease(number, &[])?);
    lan.bound(number, address)?;
    lan.enter(number)?;
    Ok(address)
}

#[test]
fn a_device_is_held_to_its_profile_and_nothing_else_on_the_lan() -> Result<()> {
    if unable(&PROGRAMS) {
        return Ok(());
    }
    let mut lan = home(3)?;
    lan.guard("")?;
    // Nobody knows the first device yet: it gets an address, and can do nothing with it.
    let camera = lan.lease(1, &["--hostname", r#"$(reboot)`id`"';\x1b]0;x\x07"#])?;
    lan.bound(1, camera.into())?;
    lan.told(1, "a device nobody knows")?;
    lan.enter(1)?;
    ensure!(
        !reaches(&format!("{CLOUD}:8000")),
        "an unknown device reaches the world"
    );
    // What it calls itself is shown, and does nothing.
    let list = lan.cli(&["guard", "list"])?;
    ensure!(list.contains(r"$(reboot)`id`"), "{list}");
    ensure!(
        !list.contains(['\u{1b}', '\u{7}']),
        "a name steers the terminal: {list:?}"
    );

    lan.install("camera", 1, CAMERA)?;
    lan.install("screen", 1, SCREEN)?;
    lan.cli(&["guard", "add", &mac(1), "--model", "camera"])?;
    lan.enter(1)?;
    echo(&format!("{camera}:554"))?;
    echo(&format!("{camera}:22"))?;
    ensure!(
        reaches(&format!("{CLOUD}:8000")),
        "what the profile allows is refused"
    );
    ensure!(!reaches(&format!("{CLOUD}:8001")), "another port");
    ensure!(!reaches(&format!("{GATEWAY}:22")), "the gateway itself");

    // Device to device: both profiles have to say so.
    let screen = settle(&lan, 2, "screen")?;
    echo(&format!("{screen}:80"))?;
    ensure!(
        reaches(&format!("{camera}:554")),
        "what both profiles allow is refused"
    );
    ensure!(
        !reaches(&format!("{camera}:22")),
        "a port that no profile names"
    );
    lan.enter(1)?;
    ensure!(
        !reaches(&format!("{screen}:80")),
        "a camera opens connections to a screen"
    );
    let stranger = lan.lease(3, &[])?;
    lan.enter(3)?;
    ensure!(
        !reaches(&format!("{camera}:554")),
        "an unknown device reaches a camera at {stranger}"
    );

    // A name: the answer comes when the rules know the address.
    lan.enter(2)?;
    ensure!(
        !reaches(&format!("{CLOUD}:8000")),
        "before the name was looked up"
    );
    ensure!(resolves(GATEWAY, "cloud.example.com")? == Some(CLOUD.parse()?));
    ensure!(
        reaches(&format!("{CLOUD}:8000")),
        "after the name was looked up"
    );
    ensure!(resolves(GATEWAY, "elsewhere.example.com")?.is_none());
    lan.told(2, "elsewhere.example.com")?;

    let (code, text) = lan.ends(&["guard", "check"])?;
    ensure!(code == Some(0), "{text}");
    Ok(())
}

#[test]
fn who_takes_the_address_of_another_gets_nothing() -> Result<()> {
    if unable(&PROGRAMS) {
        return Ok(());
    }
    let mut lan = home(2)?;
    lan.guard("")?;
    lan.install("camera", 1, CAMERA)?;
    let camera = settle(&lan, 1, "camera")?;
    ensure!(reaches(&format!("{CLOUD}:8000")), "the camera itself");
    // Another card with the camera's address.
    lan.enter(2)?;
    ip(&format!(
        "addr add {camera}/24 dev eth0\nroute add default via {GATEWAY}"
    ))?;
    ensure!(!reaches(&format!("{CLOUD}:8000")), "a stolen address");
    lan.told(2, "uses ")?;
    // The camera goes on: nobody took over what is its own.
    lan.enter(1)?;
    ensure!(
        reaches(&format!("{CLOUD}:8000")),
        "the camera lost its rights to a thief"
    );
    // An address that nobody leased.
    ip(&format!(
        "addr del {camera}/24 dev eth0\naddr add 10.77.0.200/24 dev eth0\nroute add default via {GATEWAY}"
    ))?;
    ensure!(
        !reaches(&format!("{CLOUD}:8000")),
        "the camera with an address of its own choice"
    );
    lan.told(1, "without a lease")?;
    Ok(())
}

#[test]
fn quarantine_cuts_a_live_connection_within_a_second_and_no_other() -> Result<()> {
    if unable(&PROGRAMS) {
        return Ok(());
    }
    let mut lan = home(2)?;
    lan.guard("")?;
    lan.install("camera", 1, CAMERA)?;
    settle(&lan, 1, "camera")?;
    let mut first = TcpStream::connect((CLOUD, 8000))?;
    settle(&lan, 2, "camera")?;
    let mut second = TcpStream::connect((CLOUD, 8000))?;
    ensure!(carries(&mut first) && carries(&mut second));
    // What any command takes to start is not the guard's doing.
    let began = Instant::now();
    lan.cli(&["guard", "show", &mac(1)])?;
    let start = began.elapsed();
    let began = Instant::now();
    lan.cli(&["guard", "quarantine", &mac(1), "--reason", "odd traffic"])?;
    let took = began.elapsed().saturating_sub(start);
    ensure!(took < Duration::from_secs(1), "took {took:?}");
    ensure!(!carries(&mut first), "a quarantined device still talks");
    ensure!(carries(&mut second), "another device was cut, too");
    lan.enter(1)?;
    ensure!(
        !reaches(&format!("{CLOUD}:8000")),
        "a quarantined device opens connections"
    );
    let shown = lan.cli(&["guard", "show", &mac(1)])?;
    ensure!(
        shown.contains("quarantined") && shown.contains("odd traffic"),
        "{shown}"
    );
    lan.cli(&["guard", "release", &mac(1)])?;
    lan.enter(1)?;
    ensure!(reaches(&format!("{CLOUD}:8000")), "after the release");
    Ok(())
}

#[test]
fn the_rules_outlive_the_guard_and_off_gives_everything_back() -> Result<()> {
    if unable(&PROGRAMS) {
        return Ok(());
    }
    let mut lan = home(2)?;
    let read = |lan: &Lan, name: &str| -> Result<String> {
        lan.gateway.enter()?;
        Ok(fs_err::read_to_string(format!(
            "/proc/sys/net/ipv4/conf/{name}"
        ))?)
    };
    let before = read(&lan, "br0/proxy_arp_pvlan")?;
    lan.guard("")?;
    ensure!(read(&lan, "br0/proxy_arp_pvlan")? == "1\n");
    lan.install("camera", 1, CAMERA)?;
    settle(&lan, 1, "camera")?;
    lan.lease(2, &[])?;
    lan.kill_guard()?;
    lan.enter(1)?;
    ensure!(
        reaches(&format!("{CLOUD}:8000")),
        "allowed before, refused without the guard"
    );
    ensure!(
        !reaches(&format!("{CLOUD}:8001")),
        "refused before, allowed without the guard"
    );
    lan.enter(2)?;
    ensure!(
        !reaches(&format!("{CLOUD}:8000")),
        "an unknown device is free without the guard"
    );
    // It comes back with what it knew.
    lan.guard("")?;
    let shown = lan.json(&["guard", "show", &mac(1)])?;
    ensure!(
        shown["role"] == "camera" && shown["state"] == "active",
        "{shown}"
    );
    lan.enter(1)?;
    ensure!(reaches(&format!("{CLOUD}:8000")));
    // Somebody else's hand in the rules is found, and the way back is one command.
    lan.gateway.enter()?;
    let spoil = Command::new("nft")
        .args([
            "insert",
            "rule",
            "inet",
            "stockade_guard",
            "forward",
            "accept",
        ])
        .status()?;
    ensure!(spoil.success());
    let (code, text) = lan.ends(&["guard", "check"])?;
    ensure!(code == Some(1), "{code:?} {text}");
    lan.cli(&["guard", "reload"])?;
    let (code, text) = lan.ends(&["guard", "check"])?;
    ensure!(code == Some(0), "{code:?} {text}");
    lan.cli(&["guard", "off"])?;
    lan.guard_ended()?;
    ensure!(read(&lan, "br0/proxy_arp_pvlan")? == before);
    let tables = Command::new("nft").args(["list", "tables"]).output()?;
    ensure!(!String::from_utf8_lossy(&tables.stdout).contains("stockade"));
    lan.enter(2)?;
    ensure!(
        reaches(&format!("{CLOUD}:8001")),
        "after off everything is as without a guard"
    );
    Ok(())
}

#[test]
fn rules_that_somebody_flushed_are_back_within_seconds_and_it_is_told() -> Result<()> {
    if unable(&PROGRAMS) {
        return Ok(());
    }
    let mut lan = home(1)?;
    lan.guard("")?;
    lan.lease(1, &[])?;
    lan.gateway.enter()?;
    let flushed = Command::new("nft").args(["flush", "ruleset"]).status()?;
    ensure!(flushed.success());
    eventually("the rules are back", Duration::from_secs(20), || {
        let (code, _) = lan.ends(&["guard", "check"])?;
        Ok((code == Some(0)).then_some(()))
    })?;
    lan.enter(1)?;
    ensure!(
        !reaches(&format!("{CLOUD}:8000")),
        "an unknown device is free after somebody flushed the rules"
    );
    eventually("it is told", Duration::from_secs(20), || {
        let events = lan.cli(&["guard", "events"])?;
        Ok(events.contains("took the guard's rules out").then_some(()))
    })
}

#[test]
fn a_host_comes_in_by_its_name_though_no_device_ever_asks_for_it() -> Result<()> {
    if unable(&PROGRAMS) {
        return Ok(());
    }
    let mut lan = home(1)?;
    lan.guard("")?;
    let bell = "[[firewall.in]]\nfrom = \"cloud.example.com\"\nprotocol = \"tcp\"\nport = 9000\n";
    lan.install("bell", 1, bell)?;
    let address = settle(&lan, 1, "bell")?;
    for port in [9000, 9001] {
        echo(&format!("{address}:{port}"))?;
    }
    lan.world.enter()?;
    ip(&format!("route add 10.77.0.0/24 via {UPLINK} src {CLOUD}"))?;
    eventually(
        "the host that has the name comes in",
        Duration::from_secs(30),
        || Ok(reaches(&format!("{address}:9000")).then_some(())),
    )?;
    ensure!(!reaches(&format!("{address}:9001")), "by a port of nobody");
    ip(&format!(
        "route replace 10.77.0.0/24 via {UPLINK} src {RESOLVER}"
    ))?;
    ensure!(!reaches(&format!("{address}:9000")), "a stranger comes in");
    Ok(())
}

/// Adds devices over the socket, 1,000 with 5 addresses each: more than is loaded at once where nothing was before.
const CROWD: &str = "
import json, socket, struct, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
for n in range(1000):
    ask = {'request': 'add', 'mac': '02:00:00:01:%02x:%02x' % (n >> 8, n & 255), 'model': 'camera',
           'addresses': ['10.76.%d.%d' % (a * 8 + n // 200, 1 + n % 200) for a in range(5)]}
    b = json.dumps(ask).encode(); s.sendall(struct.pack('>I', len(b)) + b)
    size, = struct.unpack('>I', s.recv(4, socket.MSG_WAITALL)); answer = s.recv(size, socket.MSG_WAITALL)
    if b'refused' in answer: sys.exit(answer.decode())
";

/// Connects without end until its input does; a packet that is lost is sent again after a second only.
const KNOCK: &str = "
import select, socket, sys
done = lost = leaked = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    s = socket.socket(); s.settimeout(0.7)
    try: s.connect((sys.argv[1], 8000)); done += 1
    except OSError: lost += 1
    s.close(); s = socket.socket(); s.settimeout(0.01)
    try: s.connect((sys.argv[1], 8001)); leaked += 1
    except OSError: pass
    s.close()
print(done > 100, lost, leaked)
";

#[test]
fn loading_many_devices_anew_interrupts_none_and_lets_nothing_through() -> Result<()> {
    if unable(&PROGRAMS) {
        return Ok(());
    }
    let mut lan = home(1)?;
    lan.gateway.enter()?;
    ip("addr add 10.76.255.1/16 dev br0")?;
    lan.guard("")?;
    lan.install("camera", 1, CAMERA)?;
    settle(&lan, 1, "camera")?;
    let socket = lan.data().join("guard/guard.sock");
    let mut crowd = Command::new("python3");
    let added = finish(
        crowd.args(["-c", CROWD]).arg(socket),
        Duration::from_mins(2),
    )?;
    ensure!(added.status.success(), "{}", text(&added));
    lan.enter(1)?;
    let mut knocking = Command::new("python3")
        .args(["-c", KNOCK, CLOUD])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    for version in 2..5 {
        lan.cli(&["guard", "reload"])?;
        lan.install("camera", version, CAMERA)?;
    }
    // And a guard that dies and comes back over its own rules.
    lan.kill_guard()?;
    lan.guard("")?;
    drop(knocking.stdin.take());
    let told = knocking.wait_with_output()?;
    assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), "True 0 0");
    let (code, said) = lan.ends(&["guard", "check"])?;
    ensure!(code == Some(0), "{said}");
    Ok(())
}

#[test]
fn blocked_packets_are_told_with_the_rule_that_would_have_to_exist() -> Result<()> {
    if unable(&PROGRAMS) {
        return Ok(());
    }
    let mut lan = home(1)?;
    lan.guard("")?;
    lan.install("camera", 1, CAMERA)?;
    settle(&lan, 1, "camera")?;
    lan.gateway.enter()?;
    let mut watch = Command::new(stockade_e2e::tools::stockade()?)
        .arg("--data")
        .arg(lan.data())
        .args(["guard", "watch", "--count", "1"])
        .stdout(Stdio::piped())
        .spawn()?;
    lan.enter(1)?;
    let said = eventually("watch tells", Duration::from_secs(20), || {
        // Until the watch listens nobody hears of it.
        ensure!(!reaches(&format!("{CLOUD}:8001")));
        Ok(watch.try_wait()?.map(drop))
    });
    drop(watch.kill());
    let output = watch.wait_with_output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    said.with_context(|| told.clone())?;
    for part in [&mac(1), "[[firewall.out]]", "port = 8001", "93.184.216.34"] {
        ensure!(told.contains(part), "{part} is not in {told}");
    }
    Ok(())
}

/// A camera's MUD file: its cloud on port 8000.
fn mud_file(url: &str) -> String {
    format!(
        r#"{{ "ietf-mud:mud": {{ "mud-version": 1, "mud-url": "{url}", "last-update": "2026-01-02T03:04:05+00:00",
        "cache-validity": 48, "is-supported": true, "systeminfo": "A camera", "mfg-name": "Acme", "model-name": "mudcam",
        "from-device-policy": {{ "access-lists": {{ "access-list": [ {{ "name": "from" }} ] }} }},
        "to-device-policy": {{ "access-lists": {{ "access-list": [] }} }} }},
      "ietf-access-control-list:acls": {{ "acl": [ {{ "name": "from", "type": "ipv4-acl-type", "aces": {{ "ace": [
        {{ "name": "cloud", "matches": {{ "ipv4": {{ "destination-ipv4-network": "93.184.216.34/32", "protocol": 6 }},
          "tcp": {{ "ietf-mud:direction-initiated": "from-device", "destination-port": {{ "operator": "eq", "port": 8000 }} }} }},
          "actions": {{ "forwarding": "accept" }} }} ] }} }} ] }} }}"#
    )
}

#[test]
fn a_mud_file_announced_by_dhcp_is_fetched_once_and_taken_when_the_operator_says_so() -> Result<()>
{
    if unable(&PROGRAMS) {
        return Ok(());
    }
    let mut lan = home(2)?;
    let url = "https://mud.example.com/mudcam.json";
    let files = tempfile::tempdir()?;
    fs_err::write(files.path().join("mudcam.json"), mud_file(url))?;
    let _server = https(&lan, "mud.example.com", files.path())?;
    lan.guard("[guard.mud]\nhttps-roots = [\"https-root.pem\"]\n")?;
    let address = lan.lease(1, &["--mud", url])?;
    lan.bound(1, address.into())?;
    lan.told(1, "waits for you")?;
    lan.enter(1)?;
    ensure!(
        !reaches(&format!("{CLOUD}:8000")),
        "before anybody said yes"
    );
    // The same file of another device is not fetched again.
    lan.lease(2, &["--mud", url])?;
    lan.told(2, "waits for you")?;
    let asked = fs_err::read_to_string(lan.folder.path().join("https.log"))?;
    ensure!(asked.lines().count() == 1, "{asked}");
    lan.cli(&["guard", "accept", &mac(1)])?;
    lan.enter(1)?;
    ensure!(
        reaches(&format!("{CLOUD}:8000")),
        "what the MUD file allows"
    );
    ensure!(!reaches(&format!("{CLOUD}:8001")), "what it does not");
    let shown = lan.cli(&["guard", "show", &mac(1)])?;
    ensure!(
        shown.contains("1 of 1 rules") && shown.contains(url),
        "{shown}"
    );
    // It can not become another model by saying so.
    lan.ask_lease(1, &["--mud", "https://mud.example.com/other.json"])?;
    lan.told(1, "now announces another MUD file")?;
    lan.enter(1)?;
    ensure!(!reaches(&format!("{CLOUD}:8001")));
    Ok(())
}

#[test]
fn a_mud_file_announced_by_lldp_is_fetched() -> Result<()> {
    if unable(&["nft", "ip", "dnsmasq", "python3", "lldpd"]) {
        return Ok(());
    }
    let mut lan = home(1)?;
    let url = "https://mud.example.com/mudcam.json";
    let files = tempfile::tempdir()?;
    fs_err::write(files.path().join("mudcam.json"), mud_file(url))?;
    let _server = https(&lan, "mud.example.com", files.path())?;
    lan.guard("[guard.mud]\nhttps-roots = [\"https-root.pem\"]\naccept = \"any\"\n")?;
    lan.enter(1)?;
    let socket = lan.folder.path().join("lldpd.socket");
    let mut daemon = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            r#"mount -t sysfs sysfs /sys; mkdir -p /run/lldpd; exec "$@""#,
            "sh",
        ])
        .args(["lldpd", "-d", "-u"])
        .arg(&socket)
        .args(["-I", "eth0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // RFC 8520 §11: the URL behind the IANA's number and the subtype 1, in hexadecimal bytes.
    let bytes: Vec<String> = url.bytes().map(|byte| format!("{byte:02x}")).collect();
    let configured = eventually("lldpd takes its TLV", Duration::from_secs(20), || {
        let done = Command::new("lldpcli")
            .arg("-u")
            .arg(&socket)
            .args([
                "configure",
                "lldp",
                "custom-tlv",
                "oui",
                "00,00,5e",
                "subtype",
                "1",
                "oui-info",
            ])
            .arg(bytes.join(","))
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        Ok(done.success().then_some(()))
    });
    let told = configured.and_then(|()| lan.told(1, "by LLDP"));
    let held = told.and_then(|()| lan.told(1, "is held to its MUD file"));
    drop(daemon.kill());
    drop(daemon.wait());
    held
}

#[test]
fn a_device_that_the_gateway_quarantines_is_isolated_on_the_lan() -> Result<()> {
    if unable(&PROGRAMS) {
        return Ok(());
    }
    let mut lan = home(1)?;
    lan.up()?;
    lan.cli(&["profile", "install", &lan.profile("camera", 1, CAMERA)?])?;
    lan.cli(&["device", "add", "--model", "camera", "porch"])?;
    // The gateway hands its profiles to the guard.
    eventually("the guard has the profile", Duration::from_secs(20), || {
        let models = lan.cli(&["guard", "models"]).unwrap_or_default();
        Ok(models.contains("camera").then_some(()))
    })?;
    lan.cli(&[
        "guard",
        "add",
        &mac(1),
        "--model",
        "camera",
        "--device",
        "porch",
    ])?;
    let address = IpAddr::from(lan.lease(1, &[])?);
    lan.bound(1, address)?;
    lan.enter(1)?;
    ensure!(reaches(&format!("{CLOUD}:8000")));
    lan.cli(&["device", "quarantine", "porch", "--reason", "odd"])?;
    lan.told(1, "isolated with porch")?;
    lan.enter(1)?;
    ensure!(
        !reaches(&format!("{CLOUD}:8000")),
        "quarantined at the gateway, free on the LAN"
    );
    ensure!(reaches(&format!("{GATEWAY}:8883")), "it can not be mended");
    let (code, text) = lan.ends(&["guard", "release", &mac(1)])?;
    ensure!(
        code != Some(0) && text.contains("stockade device release porch"),
        "{text}"
    );
    lan.cli(&["device", "release", "porch"])?;
    lan.told(1, "no longer isolated")?;
    lan.enter(1)?;
    ensure!(reaches(&format!("{CLOUD}:8000")), "after the release");
    // A gateway that dies takes its guard along, and the rules stay.
    lan.kill_guard()?;
    eventually(
        "the guard ends with its gateway",
        Duration::from_secs(20),
        || Ok(lan.cli(&["guard", "status"]).is_err().then_some(())),
    )?;
    lan.enter(1)?;
    ensure!(
        reaches(&format!("{CLOUD}:8000")),
        "allowed before, refused without the gateway"
    );
    ensure!(
        !reaches(&format!("{CLOUD}:8001")),
        "refused before, allowed without the gateway"
    );
    Ok(())
}

#[test]
fn an_interface_that_vanishes_leaves_the_rules_and_is_guarded_again_when_it_is_back() -> Result<()>
{
    if unable(&PROGRAMS) {
        return Ok(());
    }
    let mut lan = home(1)?;
    lan.guard("")?;
    lan.install("camera", 1, CAMERA)?;
    settle(&lan, 1, "camera")?;
    lan.gateway.enter()?;
    ip("link del br0")?;
    let said = |lan: &Lan, what: &str| -> Result<()> {
        eventually(what, Duration::from_secs(20), || {
            let events = lan.cli(&["guard", "events"])?;
            Ok(events.contains(what).then_some(()))
        })
    };
    said(&lan, "the rules stay in force")?;
    let tables = Command::new("nft").args(["list", "tables"]).output()?;
    ensure!(String::from_utf8_lossy(&tables.stdout).contains("inet stockade_guard"));
    ip(
        "link add br0 type bridge\nlink set br0 address 02:00:00:00:01:00\naddr add 10.77.0.1/24 dev br0\n\
        link set p1 master br0\nlink set br0 up",
    )?;
    eventually("it is guarded again", Duration::from_secs(30), || {
        let (code, _) = lan.ends(&["guard", "check"])?;
        let status = lan.cli(&["guard", "status"])?;
        Ok((code == Some(0) && !status.contains("warning")).then_some(()))
    })
    .with_context(|| lan.cli(&["guard", "status"]).unwrap_or_default())?;
    // Its ports are isolated again, and who is there is heard again.
    lan.gateway.enter()?;
    eventually("the port is isolated", Duration::from_secs(20), || {
        let shown = Command::new("bridge")
            .args(["-d", "link", "show", "dev", "p1"])
            .output()?;
        Ok(String::from_utf8_lossy(&shown.stdout)
            .contains("isolated on")
            .then_some(()))
    })?;
    eventually("the device is heard", Duration::from_secs(30), || {
        // Whether it gets an address does not matter here.
        drop(lan.ask_lease(1, &["--hostname", "heard-again"]));
        let shown = lan.cli(&["guard", "show", &mac(1)])?;
        Ok(shown.contains("heard-again").then_some(()))
    })?;
    lan.enter(1)?;
    ensure!(
        reaches(&format!("{CLOUD}:8000")),
        "allowed, but refused since"
    );
    ensure!(
        !reaches(&format!("{CLOUD}:8001")),
        "refused, but allowed since"
    );
    Ok(())
}
