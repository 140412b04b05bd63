//! The NFC bearer by the real pcscd, whose reader is vsmartcard's vpcd; the cards in it are ours. All in namespaces of their own,
//! because vpcd listens on every address.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use stockade_link::bearer::apdu::{Card as Chip, Step};

use super::super::bearer::bench::random::Random;
use super::super::bearer::bench::{Running, WAIT};
use super::*;

/// Ports of vpcd's two readers.
const READERS: [u16; 2] = [35963, 35964];

/// Its processes end with it.
pub(in crate::link) struct Pcscd(Child);

impl Drop for Pcscd {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Pcscd {
    /// Starts it; none where it or the right to namespaces is missing.
    pub(in crate::link) fn start() -> Option<Self> {
        let script = "ip link set lo up && mount -t tmpfs tmpfs /run && mkdir /run/pcscd && exec pcscd --foreground";
        let driver = std::path::Path::new("/usr/lib/pcsc/drivers/serial/libifdvpcd.so").exists();
        let child = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", script])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let pcscd = child.ok().map(Self);
        let until = Instant::now() + WAIT;
        if let Some(mut pcscd) = pcscd.filter(|_| driver) {
            while Instant::now() < until && pcscd.0.try_wait().is_ok_and(|it| it.is_none()) {
                if pcscd.socket().exists() {
                    return Some(pcscd);
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
        println!("skipped: pcscd with vpcd does not start here (cargo xtask prepare; root)");
        None
    }

    pub(in crate::link) fn socket(&self) -> PathBuf {
        format!("/proc/{}/root{SOCKET}", self.0.id()).into()
    }

    /// Puts a card into a reader: a program that answers, and gives the messages it was sent. Taken out again by closing the socket.
    pub(in crate::link) fn insert(
        &self,
        reader: usize,
        mut device: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
        speaks: bool,
    ) -> TcpStream {
        let space = fs_err::File::open(format!("/proc/{}/ns/net", self.0.id())).unwrap();
        let connect = move || {
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let until = Instant::now() + WAIT;
            loop {
                match TcpStream::connect(("127.0.0.1", READERS[reader])) {
                    Ok(stream) => return stream,
                    Err(error) => assert!(Instant::now() < until, "vpcd: {error}"),
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        };
        let stream = std::thread::spawn(connect).join().unwrap();
        let mut socket = stream.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; MESSAGE_MAX];
            let mut chip = Chip::new(&mut buffer);
            let mut response = [0; RESPONSE_MAX];
            loop {
                let mut length = [0; 2];
                if socket.read_exact(&mut length).is_err() {
                    return;
                }
                let mut command = vec![0; usize::from(u16::from_be_bytes(length))];
                if socket.read_exact(&mut command).is_err() {
                    return;
                }
                let answer = match command.as_slice() {
                    // Its answer to reset: a contactless card (PC/SC part 3 §3.1.3.2.3).
                    [4] => b"\x3b\x80\x80\x01\x01",
                    [_] => continue,
                    _ if !speaks => b"\x6a\x82".as_slice(),
                    _ => {
                        let length = match chip.command(&command, &mut response) {
                            Step::Respond(length) => length,
                            Step::Message(length) => {
                                let reply = device(chip.message(length));
                                chip.reply(&reply, &mut response)
                            }
                        };
                        &response[..length]
                    }
                };
                let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                let answer = [&length, answer].concat();
                if socket.write_all(&answer).is_err() {
                    return;
                }
            }
        });
        stream
    }
}

pub(in crate::link) fn start(socket: PathBuf) -> Running {
    let reader = "Virtual PCD".to_owned();
    let settings = Settings { reader, socket };
    Running::start(|port| run(settings, 5, port))
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_speak_first_answer_and_come_back() {
    let Some(pcscd) = Pcscd::start() else { return };
    let mut running = start(pcscd.socket());
    // A card of somebody else lies there all the time, and is in nobody's way.
    let _stranger = pcscd.insert(0, |_| Vec::new(), false);
    let long: Vec<u8> = (0..MESSAGE_MAX).map(|at| at.to_le_bytes()[0]).collect();
    for (round, text) in [(1, "first"), (2, "again")] {
        let (heard, at_device) = std::sync::mpsc::sync_channel(16);
        let mut says = vec![long.clone(), text.as_bytes().to_vec()];
        let device = move |message: &[u8]| {
            if message.is_empty() {
                return says.pop().unwrap_or_default();
            }
            heard.send(message.to_vec()).unwrap();
            // The answer comes with the same exchange.
            let answer = [b"heard ", message].concat();
            answer.into_iter().take(MESSAGE_MAX).collect()
        };
        let card = pcscd.insert(1, device, true);
        let first = running.next().await;
        assert_eq!(first.bytes, text.as_bytes());
        let Place::Near { bearer: 5, peer } = first.place else {
            panic!("{:?}", first.place);
        };
        assert!(peer >= round, "counted up: {peer}");
        let second = running.next().await;
        assert_eq!((second.place, second.bytes), (first.place, long.clone()));
        let stale = Place::Near {
            bearer: 5,
            peer: peer - 1,
        };
        for bytes in [b"short", long.as_slice()] {
            running.send(stale, b"stale").await;
            running.send(first.place, bytes).await;
            let answer = running.next().await.bytes;
            assert_eq!(answer[..10], *[b"heard ", &bytes[..4]].concat());
            assert_eq!(at_device.recv_timeout(WAIT).unwrap(), bytes);
        }
        card.shutdown(Shutdown::Both).unwrap();
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pcscd_may_come_late_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let mut running = start(socket.clone());
    for text in [b"late", b"back"] {
        let Some(pcscd) = Pcscd::start() else { return };
        symlink(pcscd.socket(), &socket).unwrap();
        let _card = pcscd.insert(0, |_| text.to_vec(), true);
        while running.next().await.bytes != text {}
        fs_err::remove_file(&socket).unwrap();
    }
    running.end().await;
}

/// Whatever answers at pcscd's socket: first nothing at all, then bytes by chance, of which many look as they should.
#[tokio::test]
async fn a_pcscd_that_answers_nonsense_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let mut random = Random(5);
        for round in 0..500 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut answers = vec![0; if round == 0 { 0 } else { 3400 }];
            // Sixteen readers with a name and a card, and a length in what a card answers.
            for at in (24..2968).step_by(184) {
                if let Some(reader) = answers.get_mut(at..at + 184) {
                    reader[..3].copy_from_slice(b"abc");
                    reader[132] = 4;
                }
            }
            if let Some(length) = answers.get_mut(3152..3156) {
                length.copy_from_slice(&u32::try_from(random.below(300)).unwrap().to_ne_bytes());
            }
            let answers = if round < 2 {
                answers
            } else {
                random.mutated(&answers)
            };
            drop(stream.write_all(&answers));
            // Closed for writing alone: what is still asked does not fail by that.
            drop(stream.shutdown(Shutdown::Write));
            drop(stream.read_to_end(&mut Vec::new()));
        }
    });
    let mut far = 0;
    for round in 0..500 {
        let mut daemon = match Daemon::connect(&path).await {
            Ok(daemon) => daemon,
            Err(failure) if round == 0 => {
                assert_eq!(
                    failure.to_string(),
                    "pcscd does not let this user speak to cards"
                );
                continue;
            }
            Err(_) => continue,
        };
        let Ok(Some(reader)) = daemon.next(|it| it.card).await else {
            continue;
        };
        let Ok(card) = daemon.card(&reader.name).await else {
            continue;
        };
        let mut response = [0; RESPONSE_MAX];
        if let Ok(length) = daemon.transmit(&card, &apdu::select(), &mut response).await {
            assert!(length <= RESPONSE_MAX);
            far += 1;
        }
    }
    server.join().unwrap();
    assert!((10..490).contains(&far), "{far} came to the end");
}
