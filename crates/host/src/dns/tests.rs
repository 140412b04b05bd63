use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use stockade_controls::firewall::names::{Families, MOST_ADDRESSES, Why};
use stockade_controls::firewall::policy::{Policy, Side};
use stockade_controls::firewall::surroundings::Surroundings;
use stockade_wire::dns::{Data, INTERNET, Message, Question as Asked, Record, kind, rcode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::*;

const NAME: &str = "pool.ntp.org";
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 4);

fn question(id: u16, name: &str) -> Message {
    Message {
        id,
        recursion_desired: true,
        questions: vec![Asked {
            name: name.parse().unwrap(),
            kind: kind::A,
            class: INTERNET,
        }],
        ..Message::default()
    }
}

fn answer(asked: &Message, addresses: impl IntoIterator<Item = Ipv4Addr>) -> Message {
    let name = asked.questions[0].name.clone();
    let record = |address| Record {
        name: name.clone(),
        class: INTERNET,
        ttl: 60,
        data: Data::A(address),
    };
    Message {
        response: true,
        edns: None,
        answers: addresses.into_iter().map(record).collect(),
        ..asked.clone()
    }
}

/// What a resolver of the tests has seen.
type Seen = Arc<Mutex<Vec<(SocketAddr, u16)>>>;

/// A resolver that answers over both transports as it is told; nothing to send is silence.
async fn resolver(
    behave: impl Fn(&Message, Transport) -> Vec<Message> + Send + Sync + 'static,
) -> (SocketAddr, Seen) {
    let (socket, address, listener) = loop {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        // The port may be taken for streams.
        if let Ok(listener) = TcpListener::bind(address).await {
            break (socket, address, listener);
        }
    };
    let (behave, seen) = (Arc::new(behave), Seen::default());
    let (behave_too, noted) = (Arc::clone(&behave), Arc::clone(&seen));
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let asked = Message::read(&buffer[..length]).unwrap();
            lock(&noted).push((peer, asked.id));
            for answer in behave_too(&asked, Transport::Udp) {
                let _gone = socket.send_to(&answer.write(1_232), peer).await;
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut bytes = vec![0; length.into()];
            stream.read_exact(&mut bytes).await.unwrap();
            for answer in behave(&Message::read(&bytes).unwrap(), Transport::Tcp) {
                let bytes = answer.write(65_535);
                stream
                    .write_u16(u16::try_from(bytes.len()).unwrap())
                    .await
                    .unwrap();
                stream.write_all(&bytes).await.unwrap();
            }
        }
    });
    (address, seen)
}

/// A port of this machine on which nobody answers: bound, never read.
fn silent() -> (std::net::UdpSocket, SocketAddr) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// The kernel of the tests: a list, which can be slow or refuse.
#[derive(Default)]
struct Kernel {
    held: Mutex<BTreeSet<(String, IpAddr)>>,
    slow: AtomicBool,
    broken: AtomicBool,
}

impl Admit for Kernel {
    fn admit(&self, put: &[Admission], gone: &[(HostName, IpAddr)]) -> Result<(), AdmitError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(AdmitError::NoRule(put[0].name.clone()));
        }
        while self.slow.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let mut held = lock(&self.held);
        for admission in put {
            assert!(admission.keep >= Duration::from_secs(90));
            held.insert((admission.name.to_string(), admission.address));
        }
        for (name, address) in gone {
            held.remove(&(name.to_string(), *address));
        }
        Ok(())
    }
}

struct Bench {
    door: SocketAddr,
    kernel: Arc<Kernel>,
    events: Arc<Mutex<Vec<Event>>>,
    forwarder: Forwarder,
}

impl Bench {
    fn new(upstreams: &[SocketAddr]) -> Self {
        Self::with(Settings::new(upstreams.to_vec()))
    }

    fn with(mut settings: Settings) -> Self {
        settings.mark = None;
        settings.patience = Duration::from_millis(200);
        settings.total = Duration::from_secs(1);
        let rights = Rights::new([(NAME.parse().unwrap(), Families::BOTH)], []);
        let rights = Arc::new(rights);
        let kernel = Arc::new(Kernel::default());
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        let forwarder = Forwarder::new(
            settings,
            Box::new(move |client| {
                (client == IpAddr::from([127, 0, 0, 1])).then(|| Arc::clone(&rights))
            }),
            Arc::clone(&kernel) as Arc<dyn Admit + Send + Sync>,
            Box::new(move |event| lock(&told).push(event)),
        )
        .unwrap();
        let doors = Doors::open(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let door = doors.addresses().next().unwrap();
        let serving = forwarder.clone();
        tokio::spawn(async move { serving.serve(doors).await });
        Self {
            door,
            kernel,
            events,
            forwarder,
        }
    }

    async fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.door).await.unwrap();
        socket
    }

    async fn ask(&self, name: &str) -> Message {
        let client = self.client().await;
        client.send(&question(7, name).write(512)).await.unwrap();
        receive(&client).await
    }

    fn events(&self) -> Vec<Event> {
        lock(&self.events).clone()
    }
}

async fn receive(client: &UdpSocket) -> Message {
    let mut buffer = [0; 2_048];
    let received = timeout(Duration::from_secs(5), client.recv(&mut buffer));
    let length = received.await.expect("no reply").unwrap();
    let message = Message::read(&buffer[..length]).unwrap();
    assert_eq!(message.id, 7);
    message
}

fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    let address = |record: &Record| match record.data {
        Data::A(v4) => Some(v4),
        _ => None,
    };
    message.answers.iter().filter_map(address).collect()
}

fn name() -> HostName {
    NAME.parse().unwrap()
}

#[tokio::test]
async fn the_reply_waits_until_the_kernel_has_the_address() {
    let (upstream, _) = resolver(|asked, _| vec![answer(asked, [FIRST])]).await;
    let bench = Bench::new(&[upstream]);
    bench.kernel.slow.store(true, Ordering::SeqCst);
    let client = bench.client().await;
    client.send(&question(7, NAME).write(512)).await.unwrap();
    let mut buffer = [0; 512];
    let early = timeout(Duration::from_millis(400), client.recv(&mut buffer)).await;
    assert!(early.is_err(), "the reply came before the kernel was done");
    bench.kernel.slow.store(false, Ordering::SeqCst);
    let reply = receive(&client).await;
    assert_eq!(addresses(&reply), [FIRST]);
    let held = lock(&bench.kernel.held).clone();
    assert_eq!(held, BTreeSet::from([(NAME.to_owned(), FIRST.into())]));
    assert_eq!(bench.forwarder.held(), [(name(), FIRST.into())]);
}

#[tokio::test]
async fn a_name_that_only_the_device_goes_to_is_left_to_the_device() {
    let (upstream, seen) = resolver(|asked, _| vec![answer(asked, [FIRST])]).await;
    let bench = Bench::new(&[upstream]);
    let mut following = Following::new(&bench.forwarder, rights("out"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(lock(&seen).is_empty());
    // A new profile, by which it comes in; and the same once more, which is no reason to ask again.
    following.keep(&bench.forwarder, rights("in"));
    let asked = async {
        while lock(&seen).len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(2), asked).await.unwrap();
    following.keep(&bench.forwarder, rights("in"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(lock(&seen).len(), 2, "A and AAAA, once");
}

/// The rights by a profile with one rule about the name.
fn rights(direction: &str) -> Arc<Rights> {
    let end = if direction == "in" { "from" } else { "to" };
    let profile = format!(
        "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"clock-1\"\nversion = 1\nclass = \"linux\"\n\
         [[firewall.{direction}]]\n{end} = \"{NAME}\"\nprotocol = \"tcp\"\nport = 443\n"
    );
    let profile = stockade_profile::parse(&profile).unwrap();
    let around = Surroundings {
        forwarder: Some(5_053),
        ..Surroundings::default()
    };
    Arc::new(Rights::of(&Policy::of(&profile, &around, Side::Device)))
}

#[tokio::test]
async fn an_address_that_the_kernel_refuses_is_not_given_out() {
    let (upstream, _) = resolver(|asked, _| vec![answer(asked, [FIRST])]).await;
    let bench = Bench::new(&[upstream]);
    bench.kernel.broken.store(true, Ordering::SeqCst);
    let reply = bench.ask(NAME).await;
    assert_eq!(reply.rcode, rcode::SERVER_FAILURE);
    assert!(addresses(&reply).is_empty());
    assert!(matches!(bench.events()[..], [Event::NotAdmitted { .. }]));
    assert_eq!(bench.forwarder.held(), []);
}

#[tokio::test]
async fn a_dead_resolver_is_told_in_time_and_the_next_one_asked() {
    let (_held, dead) = silent();
    let bench = Bench::new(&[dead]);
    let before = Instant::now();
    let reply = bench.ask(NAME).await;
    assert_eq!(reply.rcode, rcode::SERVER_FAILURE);
    assert!(before.elapsed() < Duration::from_millis(1_500));
    assert_eq!(bench.events(), [Event::Unanswered { name: name() }]);

    let (alive, seen) = resolver(|asked, _| vec![answer(asked, [FIRST])]).await;
    let bench = Bench::new(&[dead, alive]);
    assert_eq!(addresses(&bench.ask(NAME).await), [FIRST]);
    // From now on the one that answers is asked first.
    let before = Instant::now();
    assert_eq!(addresses(&bench.ask(NAME).await), [FIRST]);
    assert!(before.elapsed() < Duration::from_millis(150));
    assert_eq!(lock(&seen).len(), 2);
}

#[tokio::test]
async fn a_resolver_that_fails_is_not_the_last_word() {
    let (failing, _) = resolver(|asked, _| {
        vec![Message {
            rcode: rcode::SERVER_FAILURE,
            ..answer(asked, [])
        }]
    })
    .await;
    let (alive, _) = resolver(|asked, _| vec![answer(asked, [FIRST])]).await;
    let bench = Bench::new(&[failing, alive]);
    assert_eq!(addresses(&bench.ask(NAME).await), [FIRST]);
}

#[tokio::test]
async fn forged_answers_are_waited_past_and_many_of_them_lead_to_a_stream() {
    let evil = Ipv4Addr::new(198, 51, 100, 66);
    let forged = move |asked: &Message, shift: u16| Message {
        id: asked.id.wrapping_add(shift),
        ..answer(asked, [evil])
    };
    let (some, _) = resolver(move |asked, _| {
        let mut other = answer(asked, [evil]);
        other.questions[0].name = "pool.ntp.net".parse().unwrap();
        vec![forged(asked, 1), other, answer(asked, [FIRST])]
    })
    .await;
    let bench = Bench::new(&[some]);
    assert_eq!(addresses(&bench.ask(NAME).await), [FIRST]);
    assert_eq!(bench.events(), []);

    let (many, _) = resolver(move |asked, transport| match transport {
        Transport::Udp => (1..=100).map(|shift| forged(asked, shift)).collect(),
        Transport::Tcp => vec![answer(asked, [FIRST])],
    })
    .await;
    let bench = Bench::new(&[many]);
    assert_eq!(addresses(&bench.ask(NAME).await), [FIRST]);
    assert!(matches!(bench.events()[..], [Event::Forged { .. }]));
}

#[tokio::test]
async fn an_answer_of_thousands_of_addresses_comes_by_stream_and_is_bounded() {
    let (upstream, _) = resolver(|asked, transport| match transport {
        Transport::Udp => vec![Message {
            truncated: true,
            ..answer(asked, [])
        }],
        Transport::Tcp => {
            let addresses = (0..3_900).map(|n| Ipv4Addr::from(0x2d00_0000 + n));
            vec![answer(asked, addresses)]
        }
    })
    .await;
    let bench = Bench::new(&[upstream]);
    // Too much for a datagram: the client is told, and comes back with a stream.
    let reply = bench.ask(NAME).await;
    assert!(reply.truncated);
    assert!(addresses(&reply).is_empty());
    let mut stream = TcpStream::connect(bench.door).await.unwrap();
    let bytes = question(7, NAME).write(512);
    for _ in 0..3 {
        stream
            .write_u16(u16::try_from(bytes.len()).unwrap())
            .await
            .unwrap();
        stream.write_all(&bytes).await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut reply = vec![0; length.into()];
        stream.read_exact(&mut reply).await.unwrap();
        let reply = Message::read(&reply).unwrap();
        assert_eq!(addresses(&reply).len(), MOST_ADDRESSES);
        let held = lock(&bench.kernel.held).clone();
        assert_eq!(held.len(), MOST_ADDRESSES);
        let known = |address: &Ipv4Addr| held.contains(&(NAME.to_owned(), (*address).into()));
        assert!(addresses(&reply).iter().all(known));
    }
    assert_eq!(bench.events(), [Event::TooMany { name: name() }]);
}

#[tokio::test]
async fn ten_thousand_addresses_in_turn_leave_the_newest_in_the_kernel() {
    let next = Mutex::new(0x2d00_0000_u32);
    let (upstream, _) = resolver(move |asked, _| {
        let mut next = lock(&next);
        let first = *next;
        *next += 20;
        let addresses = (first..*next).map(Ipv4Addr::from);
        vec![answer(asked, addresses.collect::<Vec<_>>())]
    })
    .await;
    let bench = Bench::with(Settings {
        rate: 100_000,
        ..Settings::new(vec![upstream])
    });
    let mut last = Vec::new();
    let client = bench.client().await;
    for _ in 0..500 {
        client.send(&question(7, NAME).write(512)).await.unwrap();
        last = addresses(&receive(&client).await);
        assert_eq!(last.len(), 20);
    }
    let held = lock(&bench.kernel.held).clone();
    assert_eq!(held.len(), MOST_ADDRESSES);
    let known = |address: &Ipv4Addr| held.contains(&(NAME.to_owned(), (*address).into()));
    assert!(last.iter().all(known));
    assert_eq!(bench.events(), [Event::TooMany { name: name() }]);
}

#[tokio::test]
async fn a_stranger_and_a_name_outside_are_refused_and_told_once() {
    let (upstream, seen) = resolver(|asked, _| vec![answer(asked, [FIRST])]).await;
    let bench = Bench::new(&[upstream]);
    for _ in 0..3 {
        assert_eq!(bench.ask("evil.example").await.rcode, rcode::REFUSED);
    }
    let socket = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    socket.connect(bench.door).await.unwrap();
    socket.send(&question(7, NAME).write(512)).await.unwrap();
    assert_eq!(receive(&socket).await.rcode, rcode::REFUSED);
    let told: Vec<_> = bench
        .events()
        .into_iter()
        .map(|event| match event {
            Event::Refused { client, refused } => (client.to_string(), refused.name, refused.why),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("127.0.0.1", "evil.example", Why::Outside),
        ("127.0.0.2", NAME, Why::Client),
    ];
    let expected = expected.map(|(client, name, why)| (client.to_owned(), name.to_owned(), why));
    assert_eq!(told, expected);
    assert_eq!(lock(&seen).len(), 0, "the upstream learnt of it");
}

#[tokio::test]
async fn a_flood_is_cut_off_at_the_clients_share_and_others_are_served() {
    let (_held, dead) = silent();
    let bench = Bench::new(&[dead]);
    let client = bench.client().await;
    for n in 0..5_000_u16 {
        client.send(&question(n, NAME).write(512)).await.unwrap();
        if n % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let free = bench.forwarder.inner.waiting.available_permits();
    let taken = bench.forwarder.inner.settings.waiting_together - free;
    assert!(taken <= 64, "{taken} questions of one client wait");
    // They all wait for one question upstream.
    assert_eq!(lock(&bench.forwarder.inner.flights).len(), 1);
    let client = "127.0.0.1".parse().unwrap();
    assert!(bench.events().contains(&Event::Flood { client }));
    // Someone else gets an answer at once.
    let socket = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    socket.connect(bench.door).await.unwrap();
    socket.send(&question(7, NAME).write(512)).await.unwrap();
    assert_eq!(receive(&socket).await.rcode, rcode::REFUSED);
}

#[tokio::test]
async fn questions_at_the_same_time_share_an_answer() {
    let (upstream, seen) = resolver(|asked, _| vec![answer(asked, [FIRST])]).await;
    let bench = Bench::new(&[upstream]);
    let asking = (0..20).map(|_| bench.ask(NAME));
    for reply in futures_util::future::join_all(asking).await {
        assert_eq!(addresses(&reply), [FIRST]);
    }
    assert!(lock(&seen).len() < 20, "each question went out by itself");
    assert!(lock(&bench.forwarder.inner.flights).is_empty());
}

#[tokio::test]
async fn every_question_has_a_port_and_an_id_of_its_own() {
    let (upstream, seen) = resolver(|asked, _| vec![answer(asked, [FIRST])]).await;
    let bench = Bench::new(&[upstream]);
    for _ in 0..100 {
        bench.ask(NAME).await;
    }
    let seen = lock(&seen).clone();
    let ports: BTreeSet<u16> = seen.iter().map(|(peer, _)| peer.port()).collect();
    let ids: BTreeSet<u16> = seen.iter().map(|(_, id)| *id).collect();
    assert_eq!(seen.len(), 100);
    assert!(ports.len() > 80, "{} ports in 100 questions", ports.len());
    assert!(ids.len() > 95, "{} ids in 100 questions", ids.len());
}

#[tokio::test]
async fn streams_are_bounded_in_number_and_in_length() {
    let (upstream, _) = resolver(|asked, _| vec![answer(asked, [FIRST])]).await;
    let bench = Bench::new(&[upstream]);
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(bench.door).await.unwrap();
        // Half a length: a stream that waits for the rest.
        stream.write_all(&[0]).await.unwrap();
        streams.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut ninth = TcpStream::connect(bench.door).await.unwrap();
    let mut byte = [0];
    let end = timeout(Duration::from_secs(2), ninth.read(&mut byte)).await;
    assert!(
        !matches!(end, Ok(Ok(1)) | Err(_)),
        "the ninth stream stays open"
    );
    drop(streams);
    tokio::time::sleep(Duration::from_millis(50)).await;
    // A question of 65,535 octets is nobody's question.
    let mut long = TcpStream::connect(bench.door).await.unwrap();
    long.write_u16(u16::MAX).await.unwrap();
    let end = timeout(Duration::from_secs(2), long.read(&mut byte)).await;
    assert!(!matches!(end, Ok(Ok(1)) | Err(_)), "it is waited for");
}

#[tokio::test]
async fn a_name_that_others_come_from_is_looked_up_by_the_forwarder() {
    let (upstream, _) = resolver(|asked, _| match asked.questions[0].kind {
        kind::A => vec![answer(asked, [FIRST])],
        _ => vec![answer(asked, [])],
    })
    .await;
    let bench = Bench::new(&[upstream]);
    let _following = Following::new(&bench.forwarder, rights("in"));
    let admitted = async {
        while lock(&bench.kernel.held).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(2), admitted).await.unwrap();
    assert_eq!(bench.forwarder.held(), [(name(), FIRST.into())]);
}

#[test]
fn without_a_resolver_there_is_no_forwarder() {
    let made = Forwarder::new(
        Settings::new(Vec::new()),
        Box::new(|_| None),
        Arc::new(Kernel::default()),
        Box::new(drop),
    );
    assert!(matches!(made, Err(DnsError::NoUpstream)));
}
