//! Names as destinations, with a real kernel between: a device and the world, each in a namespace, and the forwarder between
//! a client and a resolver.
#![cfg(feature = "dns")]

mod common;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{ip, listed, namespace, run};
use stockade_controls::firewall::names::{Rights, Why};
use stockade_host::admit::{Admission, Admit as _};
use stockade_host::dns::{Doors, Event, Forwarder, Settings};
use stockade_host::firewall::{Firewall, How, Names, Plan, Wanted};
use stockade_host::netlink::flows::{Flow, Flows};
use stockade_host::surroundings::Told;
use stockade_wire::dns::{Data, INTERNET, Message, Question, Record, kind, rcode};

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "clock-1"
version = 1
class = "linux"

[[firewall.out]]
to = "pool.example.com"
protocol = "tcp"
port = 443

[[firewall.out]]
to = "pool.example.com"
protocol = "udp"
port = 123

[[firewall.out]]
to = "45.0.0.0/8"
protocol = "tcp"
port = 8080
"#;

/// The same, and any web server.
const BROAD: &str = r#"
[[firewall.out]]
to = "0.0.0.0/0"
protocol = "tcp"
port = 443
"#;

/// The resolver in the world.
const RESOLVER: &str = "192.0.2.1";
/// Where the forwarder listens on the device.
const PORT: u16 = 5_353;

/// What happens in the world.
#[derive(Default)]
struct World {
    /// The next address that the name gets.
    next: AtomicU32,
    /// Which names were asked for, and at which of the world's addresses.
    asked: Mutex<BTreeSet<(String, IpAddr)>>,
    /// The port that the last question came from.
    port: AtomicU16,
}

struct Lab {
    world: Arc<World>,
    events: Arc<Mutex<Vec<Event>>>,
    /// For the tests' own files.
    folder: tempfile::TempDir,
    /// The firewall's.
    state: std::path::PathBuf,
}

impl Lab {
    /// A device with these rules in force and its forwarder running; the calling thread is the device.
    fn new(profile: &str) -> Option<Self> {
        if !namespace() {
            return None;
        }
        let world = Arc::new(World::default());
        join(&world);
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let told = Told {
            gateway: vec![RESOLVER.parse().expect("an address")],
            resolver: vec![RESOLVER.parse().expect("an address")],
            forwarder: Some(PORT),
            ..Told::default()
        };
        let parsed = stockade_profile::parse(profile).expect("a profile");
        let plan = Plan::of(&parsed, &told).expect("the surroundings");
        let wanted = Wanted {
            profile: parsed,
            text: profile.to_owned(),
            told,
            session: None,
        };
        let firewall = Firewall::at(&state).expect("nft");
        firewall.apply(&wanted, How::AtOnce).expect("applied");
        let events = Arc::new(Mutex::new(Vec::new()));
        let rights = Arc::new(Rights::of(&plan.policy));
        let names = Arc::new(Names::open(&state).expect("the kernel"));
        forward(rights, names, Arc::clone(&events));
        Some(Self {
            world,
            events,
            folder,
            state,
        })
    }

    fn names(&self) -> Names {
        Names::open(&self.state).expect("the kernel")
    }
}

/// Runs the forwarder in the calling thread's namespace.
fn forward(rights: Arc<Rights>, names: Arc<Names>, events: Arc<Mutex<Vec<Event>>>) {
    let (ready, opened) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let settings = Settings {
                rate: 100_000,
                patience: Duration::from_millis(500),
                ..Settings::new(vec![SocketAddr::new(
                    RESOLVER.parse().expect("an address"),
                    53,
                )])
            };
            let forwarder = Forwarder::new(
                settings,
                Box::new(move |_| Some(Arc::clone(&rights))),
                names,
                Box::new(move |event| events.lock().expect("a lock").push(event)),
            )
            .expect("a forwarder");
            let doors = Doors::open(&[SocketAddr::from(([127, 0, 0, 1], PORT))]).expect("doors");
            ready.send(()).expect("a listener");
            forwarder.serve(doors).await.expect("open doors");
        });
    });
    opened.recv().expect("the forwarder");
}

/// Makes the world, and a cable to it.
fn join(world: &Arc<World>) {
    let (tell, told) = mpsc::sync_channel(1);
    let (go, wait) = mpsc::sync_channel::<()>(1);
    let (ready, done) = mpsc::sync_channel(1);
    let world = Arc::clone(world);
    thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
        tell.send(nix::unistd::gettid()).expect("a listener");
        wait.recv().expect("the cable");
        ip("link set lo up");
        ip("addr add 192.0.2.1/24 dev wor0");
        ip("link set wor0 up");
        // Every address of the internet is one of ours.
        ip("route add local 45.0.0.0/8 dev lo");
        ip("route add local 1.1.1.0/24 dev lo");
        serve_world(&world);
        ready.send(()).expect("a listener");
        loop {
            thread::park();
        }
    });
    let other = told.recv().expect("the world");
    ip("link add dev0 type veth peer name wor0");
    ip(&format!("link set wor0 netns {other}"));
    ip("addr add 192.0.2.10/24 dev dev0");
    ip("link set dev0 up");
    go.send(()).expect("the world");
    done.recv().expect("the world");
    ip("route add default via 192.0.2.1");
}

/// Servers on every address of the world: a resolver, and what a device may want to reach.
fn serve_world(world: &Arc<World>) {
    for port in [443, 8_080, 853] {
        let listener = TcpListener::bind(("0.0.0.0", port)).expect("a port");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || echo(stream));
            }
        });
    }
    for place in [RESOLVER, "45.0.0.53"] {
        let socket = UdpSocket::bind((place, 53)).expect("a port");
        let world = Arc::clone(world);
        thread::spawn(move || {
            let here = socket.local_addr().expect("an address").ip();
            let mut buffer = [0; 2_048];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let asked = Message::read(&buffer[..length]).expect("a question");
                world.port.store(peer.port(), Ordering::SeqCst);
                let reply = world.resolve(&asked, here);
                socket.send_to(&reply.write(1_232), peer).expect("sent");
            }
        });
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 512];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

impl World {
    fn resolve(&self, asked: &Message, here: IpAddr) -> Message {
        let question = &asked.questions[0];
        let name = question.name.to_string();
        self.asked.lock().expect("a lock").insert((name, here));
        let mut answers = Vec::new();
        if question.kind == kind::A {
            // Never the same address twice.
            let turn = self.next.fetch_add(1, Ordering::SeqCst);
            let address = Ipv4Addr::from(0x2d01_0000 + turn);
            let inside = Ipv4Addr::new(192, 168, 1, 1);
            for address in [address, inside] {
                answers.push(Record {
                    name: question.name.clone(),
                    class: INTERNET,
                    ttl: 1,
                    data: Data::A(address),
                });
            }
        }
        Message {
            response: true,
            recursion_available: true,
            answers,
            edns: None,
            ..asked.clone()
        }
    }
}

/// Asks whatever server is at `place`; silence is none.
fn ask(place: &str, name: &str, kind: u16) -> Option<Message> {
    ask_from(0, place, name, kind)
}

fn ask_from(port: u16, place: &str, name: &str, kind: u16) -> Option<Message> {
    let message = Message {
        id: 7,
        recursion_desired: true,
        questions: vec![Question {
            name: name.parse().expect("a name"),
            kind,
            class: INTERNET,
        }],
        ..Message::default()
    };
    let socket = UdpSocket::bind(("0.0.0.0", port)).expect("a socket");
    let patience = Some(Duration::from_secs(5));
    socket.set_read_timeout(patience).expect("a timeout");
    socket.connect((place, 53)).expect("a route");
    socket.send(&message.write(512)).expect("sent");
    let mut buffer = [0; 2_048];
    let length = socket.recv(&mut buffer).ok()?;
    Some(Message::read(&buffer[..length]).expect("a message"))
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    let address = |record: &Record| match record.data {
        Data::A(v4) => Some(IpAddr::from(v4)),
        _ => None,
    };
    message.answers.iter().filter_map(address).collect()
}

/// Whether the first packet of a connection gets through: the second would be sent after a second.
fn connects(address: IpAddr, port: u16) -> bool {
    connect(address, port).is_some()
}

fn connect(address: IpAddr, port: u16) -> Option<TcpStream> {
    let patience = Duration::from_millis(900);
    TcpStream::connect_timeout(&SocketAddr::new(address, port), patience).ok()
}

/// The race that other tools lose: a client that connects the moment it has the answer.
#[test]
fn the_first_packet_after_an_answer_passes_a_thousand_times() {
    let Some(lab) = Lab::new(PROFILE) else { return };
    let start = Instant::now();
    let mut seen = BTreeSet::new();
    for turn in 0..1_000 {
        let reply = ask(RESOLVER, "pool.example.com", kind::A).expect("an answer");
        let [address] = addresses(&reply)[..] else {
            panic!("turn {turn}: {reply:?}");
        };
        assert!(connects(address, 443), "turn {turn}: {address} was refused");
        seen.insert(address);
        if turn % 100 == 99 {}
    }
    println!(
        "1000 names' addresses, 1000 first packets passed, 0 refused, {:?}",
        start.elapsed()
    );
    assert_eq!(seen.len(), 1_000, "the addresses did not rotate");
    // The name holds its newest addresses, and no more than its share.
    let text = listed("-j list table inet stockade");
    let held = text.matches("45.1.").count();
    assert!((200..=256).contains(&held), "{held} addresses are held");
    assert!(!connects("45.1.0.0".parse().expect("an address"), 443));
    drop(lab);
}

#[test]
fn an_address_opens_nothing_but_what_the_rule_says() {
    let Some(lab) = Lab::new(PROFILE) else { return };
    let before: IpAddr = "45.1.0.0".parse().expect("an address");
    assert!(!connects(before, 443), "open before anyone asked");
    let reply = ask(RESOLVER, "Pool.Example.COM", kind::A).expect("an answer");
    assert_eq!(addresses(&reply), [before]);
    assert!(connects(before, 443));
    assert!(!connects(before, 853));
    assert!(!connects("45.1.0.1".parse().expect("an address"), 443));
    drop(lab);
}

#[test]
fn an_address_that_runs_out_closes_for_new_flows_and_not_for_live_ones() {
    let Some(lab) = Lab::new(PROFILE) else { return };
    let address: IpAddr = "45.2.0.1".parse().expect("an address");
    let admission = Admission {
        name: "pool.example.com".parse().expect("a name"),
        address,
        keep: Duration::from_secs(1),
    };
    lab.names().admit(&[admission], &[]).expect("admitted");
    let mut live = connect(address, 443).expect("open for now");
    let end = Instant::now() + Duration::from_secs(10);
    while connects(address, 443) {
        assert!(Instant::now() < end, "it never ran out");
    }
    live.write_all(b"still there").expect("sent");
    let patience = Some(Duration::from_secs(2));
    live.set_read_timeout(patience).expect("a timeout");
    let mut heard = [0; 11];
    live.read_exact(&mut heard).expect("the live flow goes on");
    assert_eq!(&heard, b"still there");
}

#[test]
fn a_name_outside_and_a_name_that_points_inside_are_refused_and_told() {
    let Some(lab) = Lab::new(PROFILE) else { return };
    let refused = ask(RESOLVER, "evil.example", kind::A).expect("an answer");
    assert_eq!(refused.rcode, rcode::REFUSED);
    let refused = ask(RESOLVER, "data.pool.example.com", kind::TXT).expect("an answer");
    assert_eq!(refused.rcode, rcode::REFUSED);
    // The world's resolver adds 192.168.1.1 to every answer.
    let reply = ask(RESOLVER, "pool.example.com", kind::A).expect("an answer");
    let inside: IpAddr = "192.168.1.1".parse().expect("an address");
    assert!(!addresses(&reply).contains(&inside));
    assert!(!listed("list table inet stockade").contains("192.168.1.1"));
    let events = lab.events.lock().expect("a lock");
    let refused = |event: &Event| match event {
        Event::Refused { refused, .. } => Some((refused.name.clone(), refused.why)),
        _ => None,
    };
    let told: Vec<_> = events.iter().filter_map(refused).collect();
    let expected = [
        ("evil.example".to_owned(), Why::Outside),
        ("data.pool.example.com".to_owned(), Why::Outside),
    ];
    assert_eq!(told, expected);
    let rebinding = events
        .iter()
        .any(|event| matches!(event, Event::Rebinding { addresses, .. } if *addresses == [inside]));
    assert!(rebinding, "{events:?}");
    // Nothing of what was refused left the device.
    let asked = lab.world.asked.lock().expect("a lock");
    assert_eq!(asked.len(), 1, "{asked:?}");
}

#[test]
fn no_other_resolver_is_reached_in_clear_or_encrypted() {
    let Some(lab) = Lab::new(&format!("{PROFILE}{BROAD}")) else {
        return;
    };
    // A question to somebody else's server is answered by the forwarder.
    let refused = ask("45.0.0.53", "evil.example", kind::A).expect("an answer");
    assert_eq!(refused.rcode, rcode::REFUSED);
    let reply = ask("45.0.0.53", "pool.example.com", kind::A).expect("an answer");
    assert_eq!(addresses(&reply).len(), 1);
    let elsewhere: IpAddr = "45.0.0.53".parse().expect("an address");
    let asked = lab.world.asked.lock().expect("a lock");
    assert!(
        asked.iter().all(|(_, here)| *here != elsewhere),
        "{asked:?}"
    );
    drop(asked);
    // The broad rule opens every web server but the known resolvers.
    assert!(connects("45.9.9.9".parse().expect("an address"), 443));
    assert!(!connects("1.1.1.1".parse().expect("an address"), 443));
    assert!(!connects("45.9.9.9".parse().expect("an address"), 853));
}

#[test]
fn the_forwarders_own_way_to_the_resolver_is_shut_behind_it() {
    let Some(lab) = Lab::new(PROFILE) else { return };
    for _ in 0..20 {
        ask(RESOLVER, "pool.example.com", kind::A).expect("an answer");
        // The port that a question just went out from: its flow must be gone when the answer is there.
        let port = lab.world.port.load(Ordering::SeqCst);
        let refused = ask_from(port, RESOLVER, "evil.example", kind::A).expect("an answer");
        assert_eq!(refused.rcode, rcode::REFUSED);
    }
    let resolver: IpAddr = RESOLVER.parse().expect("an address");
    let flows = Flows::open().and_then(|mut flows| flows.list());
    let flows = flows.expect("the flows");
    let open = |flow: &&Flow| flow.original.destination == resolver;
    let open: Vec<_> = flows.iter().filter(open).collect();
    assert!(!open.is_empty(), "the clients' questions are flows too");
    let led = |flow: &&Flow| flow.reply.source.is_loopback();
    assert!(open.iter().all(led), "{open:?}");
    let asked = lab.world.asked.lock().expect("a lock");
    assert_eq!(asked.len(), 1, "{asked:?}");
}

#[test]
fn the_c_library_gets_its_addresses_through_the_forwarder() {
    let Some(lab) = Lab::new(PROFILE) else { return };
    // /etc/resolv.conf is this machine's; a private copy says where to ask.
    let conf = lab.folder.path().join("resolv.conf");
    fs_err::write(&conf, format!("nameserver {RESOLVER}\nsearch lan\n")).expect("written");
    let program = lab.folder.path().join("client.py");
    fs_err::write(
        &program,
        "import socket, sys\n\
         s = socket.create_connection(('pool.example.com', 443), 0.9)\n\
         s.sendall(b'hello'); assert s.recv(5) == b'hello'\n\
         for name in ('evil.example', 'nothing'):\n\
         \x20   try:\n\
         \x20       socket.getaddrinfo(name, 443)\n\
         \x20       sys.exit(name + ' has an address')\n\
         \x20   except socket.gaierror: pass\n\
         print('done')\n",
    )
    .expect("written");
    let script = format!(
        "set -e\nmount --bind {} /etc/resolv.conf\nexec python3 {}\n",
        conf.display(),
        program.display()
    );
    let printed = run("unshare", "-m sh -s", &script);
    assert_eq!(printed.trim(), "done");
}
