//! `UPnP` in a lab: a device with miniupnpd between a LAN and the outside, an independent client, and attackers on both sides.
//!
//! Everything is real: the rules in a kernel, the daemon, packets, `upnpc`.

#[path = "upnp/lab.rs"]
#[expect(
    clippy::unused_self,
    reason = "what is done in the lab is asked of the lab"
)]
mod lab;

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use stockade_e2e::netlab::space::unable;
use stockade_e2e::tools::{eventually, pause};
use stockade_host::firewall::{FirewallError, How, Settled};
use stockade_host::upnp::{State, UpnpError, daemon};

use lab::{LAN, Lab, OUTSIDE, STRANGER, control, daemon_user, ruleset};

/// For what must not come.
const SOON: Duration = Duration::from_millis(400);
/// For what must come, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn missing() -> bool {
    unable(&["nft", "ip", "miniupnpd", "upnpc", "curl"])
}

/// Whether anything of the device answers, seen from one side.
fn answers(lab: &Lab, inside: bool, more: &[u16]) -> Result<Vec<String>> {
    let device = if inside { LAN.device } else { OUTSIDE.device };
    lab.at(inside, || {
        let mut heard = Vec::new();
        let asker = UdpSocket::bind("0.0.0.0:0")?;
        asker.set_read_timeout(Some(SOON))?;
        let search = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n";
        // The group, the device itself; NAT-PMP and PCP (RFC 6886 §3.1, RFC 6887 §7.1).
        for to in ["239.255.255.250:1900".to_owned(), format!("{device}:1900")] {
            asker.send_to(search.as_bytes(), &to)?;
        }
        for (port, question) in [(5350, &[0_u8, 0][..]), (5351, &[0, 0]), (5351, &[2, 0])] {
            asker.send_to(question, (device, port))?;
        }
        let mut answer = [0; 2048];
        if let Ok((length, from)) = asker.recv_from(&mut answer) {
            let text = String::from_utf8_lossy(answer.get(..length).unwrap_or_default());
            heard.push(format!("udp {from}: {}", text.lines().next().unwrap_or_default()));
        }
        for port in [1900, 2869, 5000, 5351, 5431, 49152].iter().chain(more) {
            let to = format!("{device}:{port}").parse()?;
            // Refused would be an answer too.
            match TcpStream::connect_timeout(&to, SOON) {
                Err(why) if why.kind() == std::io::ErrorKind::TimedOut => (),
                other => heard.push(format!("tcp {port}: {other:?}")),
            }
        }
        Ok(heard)
    })
}

#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
#[test]
fn while_it_is_on_the_lan_gets_the_profiles_mappings_and_afterwards_nothing_is_left() -> Result<()>
{
    if missing() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let upnp = lab.upnp()?;
    let before = ruleset()?;
    for inside in [true, false] {
        assert_eq!(answers(&lab, inside, &[])?, Vec::<String>::new(), "before");
    }

    let mut child = lab.open(&upnp, 60)?;
    let port = control(&upnp)?;
    let heard = eventually("it is found by a search", PATIENCE, || {
        let heard = answers(&lab, true, &[port])?;
        let found = heard
            .iter()
            .any(|it| it.starts_with("udp 192.168.7.1:1900: HTTP/1.1 200 OK"));
        Ok(found.then_some(heard))
    })?;
    assert!(
        heard
            .iter()
            .any(|it| it.starts_with(&format!("tcp {port}: Ok"))),
        "{heard:?}"
    );
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert_eq!(
        answers(&lab, false, &[port])?,
        Vec::<String>::new(),
        "during"
    );
    // Found by asking, as a client does.
    let found = lab.upnpc(None, &["-l"])?;
    assert!(
        found.contains(&format!(
            "Found valid IGD : http://192.168.7.1:{port}/ctl/IPConn"
        )),
        "{found}"
    );

    let ask = |arguments: &[&str]| lab.upnpc(Some(port), arguments);
    let given = ask(&["-a", LAN.client, "443", "40001", "TCP", "120"])?;
    assert!(
        given.contains("40001 TCP is redirected to internal 192.168.7.20:443"),
        "{given}"
    );
    for (why, arguments) in [
        (
            "somebody else's address",
            ["-a", "192.168.7.21", "443", "40002", "TCP", "120"],
        ),
        (
            "a port inside that the profile does not have",
            ["-a", LAN.client, "80", "40002", "TCP", "120"],
        ),
        (
            "a port outside that the profile does not have",
            ["-a", LAN.client, "443", "40004", "TCP", "120"],
        ),
        (
            "the device's own address",
            ["-a", LAN.device, "443", "40002", "TCP", "120"],
        ),
        (
            "a port of the device",
            ["-a", LAN.client, "443", "22", "TCP", "120"],
        ),
    ] {
        let refused = ask(&arguments)?;
        assert!(refused.contains("failed with code"), "{why}: {refused}");
    }
    // As many as the profile has ports, and no more.
    let all: Vec<String> = (40_000..40_020)
        .map(|outer| ask(&["-a", LAN.client, "443", &outer.to_string(), "TCP", "120"]))
        .collect::<Result<_>>()?;
    assert_eq!(
        all.iter().filter(|it| it.contains("is redirected")).count(),
        4,
        "{all:#?}"
    );
    // The daemon does not tell TCP from UDP; the table does.
    ask(&["-a", LAN.client, "443", "40003", "UDP", "120"])?;
    let State::On {
        left,
        running,
        mappings,
        ..
    } = upnp.state()?
    else {
        anyhow::bail!("it is off");
    };
    assert!(running && left <= Duration::from_mins(1), "{left:?}");
    let tcp: Vec<_> = mappings.iter().filter(|it| it.protocol == 6).collect();
    assert_eq!(tcp.len(), 4, "{mappings:?}");
    assert!(
        mappings.iter().all(|it| it.owner.to_string() == LAN.client),
        "{mappings:?}"
    );
    let listed = ask(&["-l"])?;
    assert!(listed.contains("TCP 40001->192.168.7.20:443"), "{listed}");
    ask(&["-d", "40002", "TCP"])?;
    assert!(!ask(&["-l"])?.contains("40002->"));

    // What comes by a mapping arrives, and nothing else.
    let (served, mut caller) = lab.through(40_001)?.context("the mapping leads nowhere")?;
    assert!(lab.through(40_002)?.is_none(), "a mapping that was deleted");
    assert!(lab.through(443)?.is_none(), "what was never mapped");
    assert!(
        !lab.udp_through(40_003)?,
        "a transport that the profile does not have"
    );
    assert!(
        !lab.straight()?,
        "past the mapping, to the client's own address"
    );
    ensure!(caller.write(b"hello")? == 5);

    // Off, with a flow open.
    upnp.close()?.context("it was on")?;
    child.wait()?;
    assert_eq!(ruleset()?, before, "the very rules from before");
    assert!(lab.flows(40_001)?.is_empty(), "{:?}", lab.flows(40_001)?);
    assert_eq!(upnp.state()?, State::Off);
    drop(caller.write(b" again"));
    assert!(hears(served)? == "hello", "what was open is cut");
    assert!(lab.through(40_001)?.is_none());
    for inside in [true, false] {
        assert_eq!(
            answers(&lab, inside, &[port])?,
            Vec::<String>::new(),
            "after"
        );
    }
    Ok(())
}

/// All that comes in a second.
fn hears(mut served: TcpStream) -> Result<String> {
    served.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut all = Vec::new();
    // The end is a time-out: nobody closes what was cut.
    let _end = served.read_to_end(&mut all);
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// Subscribes to events with callbacks to where an attacker wants them (CVE-2020-12695); who was called, until there is enough of it or
/// the time is over.
fn call_strangers(
    lab: &Lab,
    port: u16,
    patience: Duration,
    enough: impl Fn(&[String]) -> bool,
) -> Result<(Vec<String>, Vec<String>)> {
    let near = lab.ear(true, 8099)?;
    let far = lab.ear(false, 9099)?;
    let mut codes = Vec::new();
    for callback in [
        format!("http://{}:8099/here", LAN.client),
        format!("http://{STRANGER}:9099/there"),
        format!(
            "http://{}:8099/here><http://{}:9099/there",
            LAN.client, STRANGER
        ),
        format!("http://{}:8099@{}:9099/", LAN.client, STRANGER),
        "http://127.0.0.1:22/".to_owned(),
    ] {
        codes.push(lab.subscribe(port, &callback)?);
    }
    let ears = [("near", near), ("far", far)];
    for (_, ear) in &ears {
        ear.set_nonblocking(true)?;
    }
    let (mut called, until) = (Vec::new(), Instant::now() + patience);
    loop {
        for (name, ear) in &ears {
            while let Ok((_, from)) = ear.accept() {
                called.push(format!("{name} from {}", from.ip()));
            }
        }
        if enough(&called) || Instant::now() >= until {
            return Ok((codes, called));
        }
        pause(Duration::from_millis(50));
    }
}

#[test]
fn a_subscriber_gets_no_event_sent_anywhere() -> Result<()> {
    if missing() {
        return Ok(());
    }
    let lab = Lab::new()?;
    // A daemon that nobody holds does call, so the ears hear.
    let mut plain = lab.plain_daemon()?;
    let calls = |called: &[String]| called.iter().any(|it| it == "near from 192.168.7.1");
    let (codes, called) = call_strangers(&lab, 61_999, PATIENCE, calls)?;
    plain.kill()?;
    plain.wait()?;
    assert!(calls(&called), "{codes:?} {called:?}");
    lab.apply(&lab::profile(lab::ALLOWED), How::AtOnce)?;

    let upnp = lab.upnp()?;
    let mut child = lab.open(&upnp, 60)?;
    let two = Duration::from_secs(2);
    let (codes, called) = call_strangers(&lab, control(&upnp)?, two, |_| false)?;
    assert_eq!(called, Vec::<String>::new(), "{codes:?}");
    // Nor if it could make the call: its user opens no connection, whatever the profile lets others do.
    for to in [
        format!("{STRANGER}:9099"),
        format!("{}:8099", LAN.client),
        "127.0.0.1:22".to_owned(),
    ] {
        assert!(!lab.connects_as(daemon_user(), &to)?, "{to}");
    }
    let _ear = lab.ear(false, 9099)?;
    eventually("the profile lets others", PATIENCE, || {
        let connects = lab.connects_as(1000, &format!("{STRANGER}:9099"))?;
        Ok(connects.then_some(()))
    })?;
    upnp.close()?;
    child.wait()?;
    Ok(())
}

#[test]
fn it_ends_by_its_time_whatever_has_died() -> Result<()> {
    if missing() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let upnp = lab.upnp()?;
    let before = ruleset()?;
    let mut child = lab.open(&upnp, 12)?;
    let port = control(&upnp)?;
    lab.upnpc(
        Some(port),
        &["-a", LAN.client, "443", "40001", "TCP", "600"],
    )?;
    let (served, mut caller) = lab.through(40_001)?.context("the mapping leads nowhere")?;
    caller.write_all(b"hello")?;
    // From here on nobody of ours does anything: as if all had died.
    pause(Duration::from_secs(12));
    let ended = eventually("the daemon ends", Duration::from_secs(5), || {
        Ok(child.try_wait()?)
    })?;
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&ended),
        Some(14),
        "{ended}"
    );
    assert!(lab.through(40_001)?.is_none(), "the mapping is dead");
    drop(caller.write(b" again"));
    assert_eq!(hears(served)?, "hello", "and so is what was open");
    for inside in [true, false] {
        assert_eq!(answers(&lab, inside, &[port])?, Vec::<String>::new());
    }
    // Whoever comes back finds it over, and tidies up.
    assert_eq!(upnp.state()?, State::Off);
    assert_eq!(ruleset()?, before);
    assert!(lab.flows(40_001)?.is_empty());

    // The daemon dies with whoever started it, and after any death `close` leaves nothing.
    let started = std::thread::scope(|scope| {
        let opener = scope.spawn(|| -> Result<()> {
            lab.enter()?;
            lab.open(&upnp, 60).map(drop)
        });
        opener.join().ok().context("it ends")?
    });
    started?;
    let State::On { .. } = upnp.state()? else {
        anyhow::bail!("it is off");
    };
    eventually("the daemon ends", PATIENCE, || {
        Ok(matches!(upnp.state()?, State::On { running: false, .. }).then_some(()))
    })?;
    lab.upnp()?.close()?;
    assert_eq!(ruleset()?, before);
    Ok(())
}

#[test]
fn it_is_not_on_where_it_must_not_be() -> Result<()> {
    if missing() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let upnp = lab.upnp()?;
    let refused = |lan: &str, seconds: u64| -> Result<String> {
        let before = ruleset()?;
        let opened = upnp.open(&lab::wish(lan, seconds), &mut |_| panic!("it is started"));
        assert_eq!(ruleset()?, before);
        Ok(opened.err().context("it is on")?.to_string())
    };
    insta::assert_snapshot!(refused("ext0", 60)?, @"`ext0` is this machine's way out: choose the interface of the local network");
    insta::assert_snapshot!(refused("nowhere", 60)?, @"this machine passes nothing on, so nobody could use a mapping: /proc/sys/net/ipv4/conf/nowhere/forwarding is not 1");
    insta::assert_snapshot!(refused("lan0", 3601)?, @"UPnP can not be switched on: the profile does not allow it for so long");
    insta::assert_snapshot!(refused("lan0", 1)?, @"UPnP can not be switched on: for too short a time");
    lab.apply(&lab::profile("allow-enable = false"), How::AtOnce)?;
    insta::assert_snapshot!(refused("lan0", 60)?, @"UPnP can not be switched on: the profile does not allow it");

    // A daemon that does not come up leaves nothing either.
    lab.apply(&lab::profile(lab::ALLOWED), How::AtOnce)?;
    let before = ruleset()?;
    let dead = upnp.open(&lab::wish("lan0", 60), &mut |_| {
        Err(std::io::Error::other("no"))
    });
    assert!(matches!(dead, Err(UpnpError::Daemon { .. })), "{dead:?}");
    assert_eq!(ruleset()?, before);

    // It is no trial that could be confirmed, and another profile ends it.
    let mut child = lab.open(&upnp, 60)?;
    let port = control(&upnp)?;
    let firewall = lab.firewall()?;
    assert!(matches!(firewall.confirm(), Err(FirewallError::NoTrial(_))));
    assert!(matches!(firewall.status()?.settled, Settled::Trial { .. }));
    lab.apply(&lab::profile(lab::ALLOWED), How::AtOnce)?;
    assert_eq!(answers(&lab, true, &[port])?, Vec::<String>::new());
    assert_eq!(upnp.state()?, State::Off);
    child.wait()?;
    assert!(
        daemon::spawn(&daemon::Start {
            configuration: String::new(),
            seconds: 5,
            user: 0,
            group: 0,
        })
        .is_err(),
        "as root"
    );
    Ok(())
}
