//! What a device serves, found out from outside: real servers of others on a device in a namespace, each row of the table right;
//! `UPnP` daemons, safe and not; and peers that stall, babble and lie.

#[path = "audit_services/hostile.rs"]
mod hostile;
#[path = "audit_services/lab.rs"]
mod lab;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::{DEVICE, Lab, findings, libraries, options, print};
use stockade_controls::engine::{Severity, Verdict};
use stockade_e2e::netlab::space::{run, unable};
use stockade_e2e::tools::{eventually, succeed};
use stockade_probe::host::{HostFacts, Kind, Ports, State};
use stockade_probe::judge;
use stockade_probe::upnp::Came;

const PROGRAMS: [&str; 11] = [
    "busybox",
    "dropbear",
    "vsftpd",
    "mosquitto",
    "lighttpd",
    "snmpd",
    "in.tftpd",
    "coap-server-notls",
    "dnsmasq",
    "avahi-daemon",
    "ss",
];

/// What each port of TCP is, and whether it lets anybody in.
const ROWS: [(u16, Kind, Option<bool>); 13] = [
    (21, Kind::Ftp, Some(true)),
    (22, Kind::Ssh, None),
    (23, Kind::Telnet, None),
    (53, Kind::Dns, None),
    (80, Kind::Http, None),
    // SMUX of snmpd: nothing here knows it, and that is said.
    (199, Kind::Unknown, None),
    (1883, Kind::Mqtt, Some(true)),
    (1884, Kind::Mqtt, Some(false)),
    // Services on ports of others.
    (4321, Kind::Telnet, None),
    (4322, Kind::Mqtt, Some(true)),
    (4323, Kind::Ssh, None),
    (4324, Kind::Telnet, Some(true)),
    (4325, Kind::Modbus, Some(true)),
];

fn start_brokers(lab: &mut Lab) -> Result<()> {
    let open = lab.file(
        "open.conf",
        "listener 1883 0.0.0.0\nallow_anonymous true\nlistener 4322 0.0.0.0\nallow_anonymous true\n",
    )?;
    let shut = lab.path("shut.passwords");
    let shut = shut.to_str().context("a path")?.to_owned();
    succeed(Command::new("mosquitto_passwd").args(["-b", "-c", &shut, "porch", "x9!kQ-2"]))?;
    let shut = lab.file(
        "shut.conf",
        &format!("listener 1884 0.0.0.0\nallow_anonymous false\npassword_file {shut}\nuser root\n"),
    )?;
    for file in [&open, &shut] {
        lab.start("mosquitto", &["-c", file])?;
    }
    Ok(())
}

fn start_services(lab: &mut Lab, libraries: &Path) -> Result<()> {
    lab.python(libraries, "modbus.py", &["4325"])?;
    for port in ["23", "4321"] {
        lab.start(
            "busybox",
            &["telnetd", "-F", "-p", port, "-l", "/bin/false"],
        )?;
    }
    lab.start("busybox", &["telnetd", "-F", "-p", "4324", "-l", "/bin/sh"])?;
    let key = lab.path("rsa");
    let key = key.to_str().context("a path")?.to_owned();
    // Never /dev/null: whoever ends takes its file away.
    let pid = lab.path("pid");
    let pid = pid.to_str().context("a path")?.to_owned();
    succeed(Command::new("dropbearkey").args(["-t", "rsa", "-s", "1024", "-f", &key]))?;
    for port in ["22", "4323"] {
        lab.start(
            "dropbear",
            &["-F", "-E", "-p", port, "-r", &key, "-P", &pid],
        )?;
    }
    let home = lab.path("ftp");
    fs_err::create_dir_all(&home)?;
    let ftp = lab.file(
        "vsftpd.conf",
        &format!(
            "listen=YES\nanonymous_enable=YES\nlocal_enable=NO\nseccomp_sandbox=NO\n\
             secure_chroot_dir={}\nanon_root={}\nbackground=NO\nnopriv_user=nobody\n",
            home.display(),
            home.display()
        ),
    )?;
    lab.start("vsftpd", &[&ftp])?;
    start_brokers(lab)?;
    let users = lab.file("users", "admin:admin\n")?;
    let web = lab.file(
        "lighttpd.conf",
        &format!(
            "server.document-root = \"/var/empty\"\nserver.port = 80\nserver.bind = \"0.0.0.0\"\n\
             server.modules = ( \"mod_auth\", \"mod_authn_file\" )\nauth.backend = \"plain\"\n\
             auth.backend.plain.userfile = \"{users}\"\n\
             auth.require = ( \"/\" => ( \"method\" => \"basic\", \"realm\" => \"cam\", \"require\" => \"valid-user\" ) )\n"
        ),
    )?;
    lab.start("lighttpd", &["-D", "-f", &web])?;
    let snmp = lab.file(
        "snmpd.conf",
        "agentAddress udp:161\nrocommunity public\nsysDescr Acme cam-2\n",
    )?;
    lab.start("snmpd", &["-f", "-Lo", "-C", "-c", &snmp, "-p", &pid])?;
    let shelf = home.to_str().context("a path")?.to_owned();
    lab.start("in.tftpd", &["-L", "-a", "0.0.0.0:69", "-s", &shelf])?;
    lab.start("coap-server-notls", &["-A", DEVICE])?;
    let names = lab.file("dnsmasq.conf", "")?;
    lab.start(
        "dnsmasq",
        &[
            "-k",
            "-C",
            &names,
            "--port=53",
            "--pid-file=",
            "--no-hosts",
            "--no-resolv",
            "--server=10.78.0.3",
        ],
    )?;
    let avahi = lab.file(
        "avahi.conf",
        "[server]\nhost-name=porch\nenable-dbus=no\nallow-interfaces=lan0\n[publish]\npublish-workstation=yes\n",
    )?;
    // It keeps its number under /run.
    let avahi = format!(
        "mount -t tmpfs run /run && exec avahi-daemon -f {avahi} --no-drop-root --no-chroot --no-rlimits"
    );
    lab.start("unshare", &["-m", "sh", "-c", &avahi])?;
    lab.wait(&[
        "udp:5353", "tcp:21", "tcp:22", "tcp:23", "tcp:80", "tcp:1883", "tcp:1884", "tcp:4321",
        "tcp:4322", "tcp:4323", "tcp:4324", "tcp:4325", "udp:53", "udp:69", "udp:161", "udp:5683",
    ])?;
    // It listens before it knows that its name is its own, and is silent until then.
    lab.wait_for_word("Server startup complete")
}

fn udp(facts: &HostFacts, kind: Kind) -> State {
    let found = facts.udp.iter().find(|it| it.kind == kind);
    found.map_or(State::Silent, |it| it.state)
}

#[test]
fn each_service_is_known_for_what_it_is_whatever_its_port() -> Result<()> {
    if unable(&PROGRAMS) {
        return Ok(());
    }
    let libraries = libraries()?;
    let mut lab = Lab::new()?;
    start_services(&mut lab, &libraries)?;
    let mut options = options();
    options.try_credentials = true;
    let Ports::These(mut ports) = "1-200,1883-1884,8000-8010".parse().ok().context("ports")? else {
        anyhow::bail!("a list");
    };
    ports.extend(4321..=4325);
    options.ports = Ports::These(ports);
    let facts = lab.audit(DEVICE, &options)?;
    print("a device with thirteen servers of others:", &facts);
    let found: Vec<_> = facts
        .tcp
        .iter()
        .map(|it| {
            let service = it.service.as_ref().expect("a service");
            (it.port, service.kind, service.open)
        })
        .collect();
    let rows: Vec<_> = ROWS.to_vec();
    assert_eq!(found, rows);
    for kind in [Kind::Tftp, Kind::Snmp, Kind::Coap, Kind::Dns, Kind::Mdns] {
        assert_eq!(udp(&facts, kind), State::Open, "{kind}");
    }
    for kind in [Kind::Ntp, Kind::NatPmp, Kind::WsDiscovery] {
        assert_eq!(udp(&facts, kind), State::Closed, "{kind}");
    }
    let outcomes = judge(&facts, None);
    let count = |rule| findings(&outcomes, rule).len();
    assert_eq!(count("comms/anonymous-mqtt"), 2);
    assert_eq!(
        count("programs/plain-server"),
        5,
        "telnet three times, FTP and TFTP"
    );
    assert_eq!(count("credentials/host-key"), 2, "1024 bits");
    let default = findings(&outcomes, "credentials/default-password");
    assert_eq!(default.len(), 1);
    assert_eq!(default[0].subject, format!("tcp {DEVICE}:80 admin"));
    assert_eq!(count("firewall/open-resolver"), 1);
    assert_eq!(count("firewall/discovery"), 1, "multicast DNS");
    assert_eq!(count("upnp/listener"), 0);
    let tried = facts
        .tcp
        .iter()
        .filter_map(|it| it.logins.as_ref())
        .map(|it| it.tried);
    assert!(tried.max().is_some_and(|it| it <= 3));
    Ok(())
}

#[test]
fn a_gateway_that_maps_ports_is_told_and_left_as_it_was() -> Result<()> {
    if unable(&["miniupnpd", "nft", "ss"]) {
        return Ok(());
    }
    let mut lab = Lab::new()?;
    lab.on_device(|| {
        let table = "add table inet filter\nadd chain inet filter miniupnpd\nadd chain inet filter prerouting_miniupnpd\n\
            add chain inet filter postrouting_miniupnpd\n";
        run("nft", &["-f", "-"], table).map(drop)
    })?;
    let file = lab.file(
        "miniupnpd.conf",
        "ext_ifname=ext0\nlistening_ip=lan0\nhttp_port=61999\nenable_upnp=yes\nenable_natpmp=yes\nsecure_mode=no\n\
         system_uptime=yes\nnotify_interval=60\nserial=12345678\nuuid=11111111-2222-3333-4444-555555555555\nipv6_disable=yes\n\
         upnp_table_name=filter\nupnp_nat_table_name=filter\nallow 1024-65535 0.0.0.0/0 1-65535\n",
    )?;
    let pid = lab.path("pid");
    let pid = pid.to_str().context("a path")?;
    lab.start("miniupnpd", &["-d", "-P", pid, "-f", &file])?;
    lab.wait(&["udp:1900", "tcp:61999", "udp:5351"])?;
    let mut options = options();
    options.active = true;
    let facts = lab.audit(DEVICE, &options)?;
    print("miniupnpd 2.3.1, with --active:", &facts);
    let upnp = facts.upnp.as_ref().context("asked")?;
    let event = upnp.events.first().context("events")?;
    assert_eq!(event.own, Came::Delivered, "events work");
    assert_eq!(event.other, Came::Refused(412), "and go nowhere else");
    let gateway = upnp
        .gateways
        .iter()
        .find(|it| it.kind.contains("WANIPConnection"));
    let gateway = gateway.context("a gateway")?;
    assert_eq!(gateway.outside.as_deref(), Some("9.9.9.1"));
    assert_eq!(
        (gateway.maps_to_asker, gateway.maps_to_others),
        (Some(true), Some(true))
    );
    assert!(gateway.left.is_empty());
    let outcomes = judge(&facts, None);
    let worst = findings(&outcomes, "upnp/port-mapping")
        .iter()
        .map(|it| it.severity)
        .max();
    assert_eq!(worst, Some(Severity::Critical));
    assert_eq!(
        findings(&outcomes, "upnp/listener").len(),
        2,
        "SSDP and NAT-PMP"
    );
    assert!(findings(&outcomes, "upnp/event-callback").is_empty());
    assert_eq!(findings(&outcomes, "firewall/amplification").len(), 1);
    // What was mapped is gone; without --active nothing is mapped at all.
    let rules = lab.on_device(|| run("nft", &["list", "ruleset"], ""))?;
    let rules = String::from_utf8(rules)?;
    assert!(!rules.contains("dnat"), "{rules}");
    options.active = false;
    let quiet = lab.audit(DEVICE, &options)?;
    let quiet = quiet.upnp.as_ref().context("asked")?;
    assert!(quiet.gateways.iter().all(|it| it.maps_to_asker.is_none()));
    Ok(())
}

#[test]
fn a_media_server_that_keeps_events_at_home_is_safe() -> Result<()> {
    if unable(&["minidlnad", "ss"]) {
        return Ok(());
    }
    let mut lab = Lab::new()?;
    let (media, db) = (lab.path("media"), lab.path("db"));
    fs_err::create_dir_all(&media)?;
    fs_err::create_dir_all(&db)?;
    let file = lab.file(
        "minidlna.conf",
        &format!(
            "port=8200\nnetwork_interface=lan0\nmedia_dir={}\ndb_dir={}\nlog_dir={}\nfriendly_name=shelf\ninotify=no\nnotify_interval=60\n",
            media.display(),
            db.display(),
            db.display()
        ),
    )?;
    let pid = lab.path("pid");
    let pid = pid.to_str().context("a path")?.to_owned();
    lab.start("minidlnad", &["-S", "-f", &file, "-P", &pid])?;
    lab.wait(&["udp:1900", "tcp:8200"])?;
    let facts = lab.audit(DEVICE, &options())?;
    print("minidlna 1.3:", &facts);
    let event = facts
        .upnp
        .as_ref()
        .and_then(|it| it.events.first())
        .context("events")?;
    // It sends the first event when it sees fit.
    assert!(!matches!(event.own, Came::Refused(_)), "{:?}", event.own);
    assert!(matches!(event.other, Came::Refused(_)), "{:?}", event.other);
    let outcomes = judge(&facts, None);
    assert!(findings(&outcomes, "upnp/event-callback").is_empty());
    assert_eq!(findings(&outcomes, "upnp/listener").len(), 1);
    Ok(())
}

#[test]
fn a_media_server_that_sends_events_anywhere_is_caught_by_an_event() -> Result<()> {
    if unable(&["ss"]) {
        return Ok(());
    }
    let libraries = libraries()?;
    let mut lab = Lab::new()?;
    let shelf = lab.path("shelf");
    fs_err::create_dir_all(&shelf)?;
    let shelf = shelf.to_str().context("a path")?.to_owned();
    lab.python(&libraries, "cohen.py", &["lan0", "30020", &shelf])?;
    lab.wait(&["udp:1900", "tcp:30020"])?;
    let quick = options();
    // It listens a while before it answers.
    let facts = eventually("Cohen3 answers", Duration::from_secs(30), || {
        let facts = lab.audit(DEVICE, &quick)?;
        let answers = facts.upnp.as_ref().is_some_and(|it| !it.events.is_empty());
        Ok(answers.then_some(facts))
    })?;
    print("Cohen3 0.9.3:", &facts);
    let event = facts
        .upnp
        .as_ref()
        .and_then(|it| it.events.first())
        .context("events")?;
    assert_eq!((event.own, event.other), (Came::Delivered, Came::Delivered));
    let outcomes = judge(&facts, None);
    let found = findings(&outcomes, "upnp/event-callback");
    assert_eq!(found.first().map(|it| it.severity), Some(Severity::High));
    // Without a second address it is not proven, and said so.
    let mut alone = options();
    alone.second = None;
    let facts = lab.audit(DEVICE, &alone)?;
    let outcomes = judge(&facts, None);
    let found = findings(&outcomes, "upnp/event-callback");
    assert_eq!(found.first().map(|it| it.severity), Some(Severity::Medium));
    Ok(())
}

#[test]
fn a_host_that_drops_everything_is_never_clean() -> Result<()> {
    if unable(&["nft"]) {
        return Ok(());
    }
    let lab = Lab::new()?;
    lab.on_device(|| {
        let rules = "table inet f {\nchain i {\ntype filter hook input priority 0; policy drop;\nicmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n}\n}\n";
        run("nft", &["-f", "-"], rules).map(drop)
    })?;
    let mut options = options();
    options.ports = "22,80,443,8883".parse().ok().context("ports")?;
    for target in [DEVICE, "fd77::1"] {
        let facts = lab.audit(target, &options)?;
        assert!(!facts.answers);
        assert!(facts.ports.values().all(|it| *it == State::Silent));
        for outcome in judge(&facts, None) {
            assert!(
                !matches!(outcome.verdict, Verdict::Passed(_)),
                "{}",
                outcome.rule.id
            );
        }
    }
    Ok(())
}

#[test]
fn ipv6_is_asked_as_ipv4_is_and_closed_is_told_from_silent() -> Result<()> {
    if unable(&["mosquitto", "nft", "ss"]) {
        return Ok(());
    }
    let mut lab = Lab::new()?;
    let open = lab.file("open.conf", "listener 4242\nallow_anonymous true\n")?;
    lab.start("mosquitto", &["-c", &open])?;
    lab.wait(&["tcp:4242"])?;
    lab.on_device(|| {
        let rules =
            "table inet f {\nchain i {\ntype filter hook input priority 0;\ntcp dport 81 drop\n}\n}\n";
        run("nft", &["-f", "-"], rules).map(drop)
    })?;
    let mut options = options();
    options.ports = "80-82,4242".parse().ok().context("ports")?;
    for target in ["fd77::1", DEVICE] {
        let facts = lab.audit(target, &options)?;
        let states: Vec<_> = facts.ports.into_iter().collect();
        let wanted = [
            (80, State::Closed),
            (81, State::Silent),
            (82, State::Closed),
            (4242, State::Open),
        ];
        assert_eq!(states, wanted, "{target}");
        let kind = facts.tcp[0].service.as_ref().map(|it| it.kind);
        assert_eq!(kind, Ok(Kind::Mqtt));
    }
    let one = lab.audit(&format!("{DEVICE}:4242"), &options)?;
    assert_eq!((one.tcp.len(), one.udp.len()), (1, 0));
    assert!(one.unread.is_empty());
    let shut = lab.audit(&format!("{DEVICE}:80"), &options)?;
    assert_eq!(shut.unread.len(), 1, "a port that was named and is closed");
    let near = stockade_probe::Target::read("10.77.0.0/29")
        .ok()
        .context("a range")?;
    let (there, spent) = lab.on_auditor(|| Ok(stockade_probe::present(&near.hosts, &options)))?;
    // The device, and the auditor itself.
    assert_eq!(there, [true, true, false, false, false, false]);
    assert!(spent.connections > 0);
    Ok(())
}
