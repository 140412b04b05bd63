//! What the helper needs of the network and of the system itself, in processes of their own: it asks them over a pair of
//! sockets, by a closed list.
//!
//! They are this program again, started before the helper gives the network up. They end with it, and it with them.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use stockade_api::frame::FrameError;
use stockade_controls::engine::{Listener, TlsAnswers, Transport, Unseen};
use stockade_host::local::Channel;
use stockade_host::sandbox::{Sandbox, become_id};
use stockade_host::upnp::daemon;

use crate::runner;

/// How long an errand may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a part waits for the next errand: for good, as it notices when the helper ends.
const FOR_GOOD: Duration = Duration::from_secs(u32::MAX as u64);
/// How long somebody waits for an errand of another.
const MOMENT: Duration = Duration::from_secs(3);
/// Connections that wait to be taken from a listening socket.
const BACKLOG: i32 = 64;
/// Nobody: the user that talks to listeners.
const NOBODY: u32 = 65_534;

/// Which part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Opens listening sockets and starts miniupnpd.
    Launcher,
    /// Asks listeners of this machine what they speak; it has no rights, as what answers may be hostile.
    Prober,
    /// Runs the programs that change the system itself; it has rights, and no network.
    Runner,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Errand {
    Listen(u16),
    Start(daemon::Start),
    Resolve(String),
    Ask(SocketAddr),
    Run(runner::Errand),
    Fetch(Vec<String>),
    Fetched,
}

/// How it stands with what is fetched.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fetch {
    Going,
    Done,
    Failed,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Came {
    Done,
    Addresses(Vec<IpAddr>),
    Answers(TlsAnswers),
    Unseen(Unseen),
    /// A line of what goes on; more comes.
    Line(String),
    Ran(runner::Came),
    Fetch(Fetch),
    Failed(String),
}

/// The helper's side.
#[derive(Debug)]
pub(crate) struct Hands {
    launcher: Mutex<Part>,
    prober: Mutex<Part>,
    runner: Mutex<Part>,
}

/// The way to a part. Errands have numbers, so that an answer that comes too late is not taken for the next one's.
#[derive(Debug)]
struct Part {
    channel: Channel,
    number: u64,
}

impl Hands {
    /// Starts the parts. The helper has one thread still.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            launcher: Mutex::new(Part::start("launcher")?),
            prober: Mutex::new(Part::start("prober")?),
            runner: Mutex::new(Part::start("runner")?),
        })
    }

    /// A listening socket on all addresses.
    pub(crate) fn listen(&self, port: u16) -> io::Result<OwnedFd> {
        let mut launcher = lock(&self.launcher);
        launcher.send(&Errand::Listen(port))?;
        let gone = || io::Error::other("no socket came");
        launcher.channel.take_descriptor().ok_or_else(gone)
    }

    /// Starts miniupnpd.
    pub(crate) fn start_upnp(&self, start: &daemon::Start) -> io::Result<()> {
        lock(&self.launcher)
            .send(&Errand::Start(start.clone()))
            .map(|_| ())
    }

    /// The gateway's addresses.
    pub(crate) fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        match lock(&self.launcher).send(&Errand::Resolve(name.to_owned()))? {
            Came::Addresses(found) => Ok(found),
            other => Err(strange(&other)),
        }
    }

    /// Starts to fetch updates.
    pub(crate) fn fetch(&self, arguments: Vec<String>) -> io::Result<()> {
        let errand = Errand::Fetch(arguments);
        lock(&self.launcher).send(&errand).map(|_| ())
    }

    /// How it stands with that.
    pub(crate) fn fetched(&self) -> io::Result<Fetch> {
        match lock(&self.launcher).send(&Errand::Fetched)? {
            Came::Fetch(how) => Ok(how),
            other => Err(strange(&other)),
        }
    }

    /// Has an errand run, and hears of its progress. One runs at a time: whoever comes meanwhile waits a moment, and is told.
    pub(crate) fn run(
        &self,
        errand: runner::Errand,
        line: &mut dyn FnMut(&str),
    ) -> io::Result<runner::Came> {
        let until = Instant::now() + MOMENT;
        let mut runner = loop {
            match self.runner.try_lock() {
                Ok(held) => break held,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::park_timeout(MOMENT / 100);
                }
                Err(TryLockError::WouldBlock) => {
                    let busy = "something else runs on this device, and takes long";
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, busy));
                }
            }
        };
        // The runner stops its program by itself: it is waited for a little longer.
        let patience = errand.patience() + PATIENCE;
        match runner.send_for(&Errand::Run(errand), patience, line)? {
            Came::Ran(came) => Ok(came),
            other => Err(strange(&other)),
        }
    }

    /// Which versions of TLS a listener takes.
    pub(crate) fn ask(&self, listener: &Listener) -> Result<TlsAnswers, Unseen> {
        if listener.transport != Transport::Tcp {
            return Err(Unseen::Failed("only TCP is asked".to_owned()));
        }
        let failed = |why: io::Error| Unseen::Failed(why.to_string());
        let errand = Errand::Ask(listener.address);
        match lock(&self.prober).send(&errand).map_err(failed)? {
            Came::Answers(answers) => Ok(answers),
            Came::Unseen(why) => Err(why),
            other => Err(failed(strange(&other))),
        }
    }
}

fn lock(part: &Mutex<Part>) -> std::sync::MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

fn strange(came: &Came) -> io::Error {
    io::Error::other(format!("an answer that makes no sense: {came:?}"))
}

impl Part {
    fn start(role: &str) -> anyhow::Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a pair of sockets")?;
        Command::new("/proc/self/exe")
            .args(["--role", role])
            // Users that a part has nothing to do with, and need not look up.
            .args(["--agent", "0", "--keys", "0", "--upnp", "0"])
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start the {role}"))?;
        Ok(Self {
            channel: Channel::new(ours, PATIENCE),
            number: 0,
        })
    }

    /// Sends an errand and waits for what came of it. A part that is gone can not be started again from in here, where there
    /// is no network: the helper ends too, and the init system starts all of it anew.
    fn send(&mut self, errand: &Errand) -> io::Result<Came> {
        self.send_for(errand, PATIENCE, &mut |_| ())
    }

    fn send_for(
        &mut self,
        errand: &Errand,
        patience: Duration,
        line: &mut dyn FnMut(&str),
    ) -> io::Result<Came> {
        match self.exchange(errand, patience, line) {
            Ok(Came::Failed(why)) => Err(io::Error::other(why)),
            Ok(came) => Ok(came),
            Err(FrameError::Broken(why)) if is_late(&why) => Err(why),
            Err(why) => {
                let mut log = io::stderr();
                drop(writeln!(
                    log,
                    "stockade-helper: a part of it is gone ({why}): it ends"
                ));
                std::process::abort()
            }
        }
    }

    fn exchange(
        &mut self,
        errand: &Errand,
        patience: Duration,
        line: &mut dyn FnMut(&str),
    ) -> Result<Came, FrameError> {
        self.number += 1;
        self.channel.extend(patience);
        self.channel.send(&(self.number, errand))?;
        loop {
            let gone = || FrameError::Broken(io::ErrorKind::UnexpectedEof.into());
            let (number, came) = self.channel.receive::<(u64, Came)>()?.ok_or_else(gone)?;
            match came {
                _ if number != self.number => (),
                Came::Line(said) => line(&said),
                came => return Ok(came),
            }
        }
    }
}

/// A part that is only slow, as one that looks up a name while no resolver answers.
fn is_late(why: &io::Error) -> bool {
    matches!(
        why.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

/// The life of a part: until the helper is gone.
pub fn run(role: Role) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    match role {
        Role::Launcher => {
            let _whole = Sandbox::launcher().enter(true)?;
        }
        Role::Prober => {
            become_id(NOBODY, NOBODY)?;
            let _whole = Sandbox::prober().enter(true)?;
        }
        Role::Runner => {
            let apart = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_ok();
            let _whole = Sandbox::runner(apart).enter(true)?;
        }
    }
    let mut channel = Channel::new(stream, FOR_GOOD);
    let mut children: Vec<Child> = Vec::new();
    let mut fetching = None;
    loop {
        channel.extend(FOR_GOOD);
        let Some((number, errand)) = channel.receive::<(u64, Errand)>()? else {
            return Ok(());
        };
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        channel.extend(PATIENCE);
        let came = match (role, errand) {
            (Role::Launcher, Errand::Listen(port)) => match listen(port) {
                Ok(socket) => {
                    channel.send_with(&(number, Came::Done), socket.as_fd())?;
                    continue;
                }
                Err(why) => Came::Failed(format!("port {port}: {why}")),
            },
            (Role::Launcher, Errand::Start(start)) => match daemon::spawn(&start) {
                Ok(child) => {
                    children.push(child);
                    Came::Done
                }
                Err(why) => Came::Failed(why.to_string()),
            },
            (Role::Launcher, Errand::Resolve(name)) => match (name.as_str(), 0).to_socket_addrs() {
                Ok(found) => Came::Addresses(found.map(|it| it.ip()).collect()),
                Err(why) => Came::Failed(why.to_string()),
            },
            (Role::Launcher, Errand::Fetch(arguments)) => match fetch(&mut fetching, arguments) {
                Ok(()) => Came::Done,
                Err(why) => Came::Failed(why.to_string()),
            },
            (Role::Launcher, Errand::Fetched) => match fetching.as_mut().map(Child::try_wait) {
                Some(Ok(None)) => Came::Fetch(Fetch::Going),
                Some(Ok(Some(how))) if how.success() => Came::Fetch(Fetch::Done),
                _ => Came::Fetch(Fetch::Failed),
            },
            (Role::Prober, Errand::Ask(address)) => match ask(address) {
                Ok(answers) => Came::Answers(answers),
                Err(why) => Came::Unseen(why),
            },
            (Role::Runner, Errand::Run(errand)) => {
                let mut line = |said: String| {
                    channel.extend(PATIENCE);
                    // The helper is gone, and this part with it.
                    let _gone = channel.send(&(number, Came::Line(said)));
                };
                match errand.carry_out(&mut line) {
                    Ok(came) => Came::Ran(came),
                    Err(why) => Came::Failed(why),
                }
            }
            (_, errand) => Came::Failed(format!("not an errand of this part: {errand:?}")),
        };
        channel.extend(PATIENCE);
        channel.send(&(number, came))?;
    }
}

fn ask(address: SocketAddr) -> Result<TlsAnswers, Unseen> {
    stockade_host::tls::ask(&Listener {
        transport: Transport::Tcp,
        address,
        user: 0,
        processes: Vec::new(),
    })
}

/// Starts the program that fetches updates, which becomes a user of its own. One at a time: one before it is ended.
fn fetch(fetching: &mut Option<Child>, arguments: Vec<String>) -> io::Result<()> {
    if let Some(mut before) = fetching.take() {
        drop(before.kill());
        before.wait()?;
    }
    let child = Command::new(crate::update::program()?)
        .args(arguments)
        .args(["--user", "stockade-update"])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    *fetching = Some(child);
    Ok(())
}

/// On both families where the kernel has both.
fn listen(port: u16) -> io::Result<Socket> {
    if let Ok(socket) = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)) {
        socket.set_only_v6(false)?;
        return bound(socket, (Ipv6Addr::UNSPECIFIED, port).into());
    }
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    bound(socket, (Ipv4Addr::UNSPECIFIED, port).into())
}

fn bound(socket: Socket, address: SocketAddr) -> io::Result<Socket> {
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
