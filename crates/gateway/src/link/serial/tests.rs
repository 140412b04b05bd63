//! The serial bearer on a pseudo-terminal and on sockets, with a device that speaks slipmux at the other end.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::net::TcpListener;

use super::super::bearer::bench::{Running, WAIT};
use super::super::status::Standing;
use super::*;

pub(in crate::link) fn start(text: &str) -> Running {
    let settings = text.parse().unwrap();
    Running::start(|port| run(settings, 3, port))
}

/// A line of this host, and its far end.
pub(in crate::link) fn pair() -> (String, Ends) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap();
    rustix::io::ioctl_fionbio(&master, true).unwrap();
    let other = master.try_clone().unwrap();
    let read = pipe::Receiver::from_file_unchecked(master.into()).unwrap();
    let write = pipe::Sender::from_file_unchecked(other.into()).unwrap();
    (
        path.into_string().unwrap(),
        (Box::new(read), Box::new(write)),
    )
}

/// A device at the other end of the line.
struct Device {
    read: Box<dyn AsyncRead + Send + Unpin>,
    write: Box<dyn AsyncWrite + Send + Unpin>,
    early: Vec<u8>,
}

impl Device {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = tokio::time::timeout(WAIT, listener.accept())
            .await
            .unwrap()
            .unwrap();
        let (read, write) = stream.into_split();
        Self {
            read: Box::new(read),
            write: Box::new(write),
            early: Vec::new(),
        }
    }

    async fn send(&mut self, kind: Kind, bytes: &[u8]) {
        let frame: Vec<u8> = encode(kind, bytes).collect();
        self.write.write_all(&frame).await.unwrap();
    }

    async fn next(&mut self) -> (Kind, Vec<u8>) {
        let mut buffer = [0; FRAME_MAX];
        let mut decoder = Decoder::new(&mut buffer);
        loop {
            while !self.early.is_empty() {
                if let Some(frame) = decoder.push(self.early.remove(0)) {
                    return (frame.kind, frame.bytes.to_vec());
                }
            }
            let read = self.read.read_buf(&mut self.early);
            assert_ne!(tokio::time::timeout(WAIT, read).await.unwrap().unwrap(), 0);
        }
    }
}

fn at(peer: u64) -> Place {
    Place::Near { bearer: 3, peer }
}

#[test]
fn a_bearers_text_is_read_strictly() {
    let host = |path: &str, baud| Line::Host {
        path: path.into(),
        baud,
    };
    let good = [
        ("/dev/ttyACM0", host("/dev/ttyACM0", 115_200), None),
        ("/dev/ttyUSB1@9600", host("/dev/ttyUSB1", 9600), None),
        (
            "/dev/ttyS0,frames=127",
            host("/dev/ttyS0", 115_200),
            Some(127),
        ),
        (
            "tcp:[::1]:3001",
            Line::Server("[::1]:3001".to_owned()),
            None,
        ),
        (
            "tcp:ser2net.lan:3001,frames=80",
            Line::Server("ser2net.lan:3001".to_owned()),
            Some(80),
        ),
    ];
    for (text, line, frames) in good {
        assert_eq!(
            text.parse::<Settings>().unwrap(),
            Settings { line, frames },
            "{text}"
        );
    }
    let bad = [
        "",
        "ttyACM0",
        "/dev/ttyACM0@",
        "/dev/ttyACM0@fast",
        "/dev/ttyACM0@0",
        "/dev/ttyACM0,",
        "/dev/ttyACM0,frames=2",
        "/dev/ttyACM0,frames=9999",
        "/dev/ttyACM0,parity=odd",
        "tcp:",
        "tcp:host",
        "tcp::3001",
        "tcp:host:0",
        "tcp:host:70000",
    ];
    for text in bad {
        let error = text.parse::<Settings>().unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("`{text}` is not a bearer: ")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn messages_cross_a_terminal_and_noise_does_not() {
    let (path, (read, write)) = pair();
    let mut running = start(&format!("{path}@57600"));
    let mut device = Device {
        read,
        write,
        early: Vec::new(),
    };
    // The line is raw when the first message went through unchanged; before, what is sent may be echoed.
    running.send(at(0), b"hello").await;
    assert_eq!(device.next().await, (Kind::Message, b"hello".to_vec()));
    let every_byte: Vec<u8> = (0..=255).chain(0..=255).collect();
    device
        .write
        .write_all(b"boot: 3 2 1\r\n\xc0\x0alog line\xc0")
        .await
        .unwrap();
    let mut damaged: Vec<u8> = encode(Kind::Message, b"damaged").collect();
    damaged[4] ^= 1;
    device.write.write_all(&damaged).await.unwrap();
    device.send(Kind::Radio, b"12345678\xc0no radio here").await;
    device.send(Kind::Message, &every_byte).await;
    let expected = Datagram {
        place: at(0),
        bytes: every_byte.clone(),
    };
    assert_eq!(running.next().await, expected);
    running.send(at(7), b"for another connection").await;
    running.send(at(0), &[0; MESSAGE_MAX + 1]).await;
    running.send(at(0), &every_byte).await;
    assert_eq!(device.next().await, (Kind::Message, every_byte));
    running.end().await;
}

#[tokio::test]
async fn a_line_that_comes_back_is_another_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut running = start(&format!("tcp:{address}"));
    let mut device = Device::accept(&listener).await;
    device.send(Kind::Message, b"first").await;
    assert_eq!(running.next().await.place, at(0));
    assert_eq!(running.status.standing(), Standing::Works);
    drop((device, listener));
    let failed = async {
        while !matches!(running.status.standing(), Standing::Failed(_)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT, failed).await.unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    let mut device = Device::accept(&listener).await;
    device.send(Kind::Message, b"second").await;
    let second = running.next().await;
    assert_eq!(running.status.standing(), Standing::Works);
    assert_ne!(second.place, at(0));
    running.send(at(0), b"late").await;
    running.send(second.place, b"answer").await;
    assert_eq!(device.next().await.1, b"answer");
    running.end().await;
}

#[tokio::test]
async fn many_peers_of_one_radio_are_kept_apart_and_strangers_bounded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut running = start(&format!(
        "tcp:{},frames=100",
        listener.local_addr().unwrap()
    ));
    let mut radio = Device::accept(&listener).await;
    let peers = [1_u64, 0xc0db_c0db_0000_0007, u64::MAX];
    let message = |peer: u64| -> Vec<u8> {
        (0..1000)
            .map(|at: u64| (at ^ peer).to_le_bytes()[0])
            .collect()
    };
    let mut cutters = [const { Cutter::new() }; 3];
    let mut pieces: Vec<_> = peers
        .iter()
        .zip(&mut cutters)
        .map(|(peer, cutter)| {
            let message = message(*peer);
            let pieces = cutter.cut(&message, 100).unwrap();
            let frames: Vec<_> = pieces
                .map(|(header, piece)| [&peer.to_be_bytes(), &[header][..], piece].concat())
                .collect();
            frames.into_iter()
        })
        .collect();
    while pieces.iter().any(|it| it.len() > 0) {
        for frames in &mut pieces {
            if let Some(frame) = frames.next() {
                radio.send(Kind::Radio, &frame).await;
            }
        }
    }
    for peer in peers {
        let expected = Datagram {
            place: at(peer),
            bytes: message(peer),
        };
        assert_eq!(running.next().await, expected);
        running.send(expected.place, &expected.bytes).await;
    }
    for peer in peers {
        let mut assembler = Assembler::new(vec![0; MESSAGE_MAX]);
        let whole = loop {
            let (kind, frame) = radio.next().await;
            assert!(kind == Kind::Radio && frame.len() <= 108 && frame[..8] == peer.to_be_bytes());
            if let Some(message) = assembler.push(&frame[8..], 0) {
                break message.to_vec();
            }
        };
        assert_eq!(whole, message(peer));
    }
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn strangers_at_a_radio_have_a_bound_and_pass() {
    let mut radio = Radio {
        size: 100,
        started: Instant::now(),
        peers: BTreeMap::new(),
    };
    let frame = |peer: u64, header: u8| [&peer.to_be_bytes()[..], &[header, 1]].concat();
    let mut receive = |peer, header| {
        let bytes = frame(peer, header);
        radio
            .receive(
                Frame {
                    kind: Kind::Radio,
                    bytes: &bytes,
                },
                at(0),
            )
            .is_some()
    };
    for stranger in 1..100_000 {
        assert!(!receive(stranger, 0x80), "a first piece is no message");
    }
    assert!(!receive(0, 0xc0), "no room while all are new");
    tokio::time::advance(Duration::from_millis(PAUSE_MAX + 1)).await;
    assert!(receive(0, 0xc0), "room when the oldest can not go on");
    assert_eq!(radio.peers.len(), PEERS);
}
