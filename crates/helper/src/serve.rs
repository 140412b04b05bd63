//! Who is listened to, and how much of it.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use stockade_api::helper::{Answer, Progress, Refusal, Request};
use stockade_host::local::{self, Channel};

use crate::ask::Caller;
use crate::blocked;
use crate::device::Device;
use crate::refusal::refused;
use crate::{mac, ports, tamper, update};

/// How long a caller may take to ask, and to take each message of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many conversations each user may have at a time: the agent can not take root's.
const CONVERSATIONS: usize = 8;
/// How many requests the agent may make in a while, and how long that is.
const REQUESTS: u32 = 200;
const WHILE: Duration = Duration::from_secs(10);
/// How often the device is looked at, whoever asks.
const LOOK: Duration = Duration::from_mins(5);
/// Enough for the controls.
const STACK: usize = 512 * 1024;

/// What a user has open and made of late.
#[derive(Debug)]
struct Use {
    open: usize,
    since: Instant,
    requests: u32,
}

type Uses = Arc<Mutex<BTreeMap<u32, Use>>>;

/// Answers for good.
pub(crate) fn serve(device: &Arc<Device>, listener: &UnixListener) -> anyhow::Result<()> {
    let looking = Arc::clone(device);
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            loop {
                // What goes wrong is told to whoever asks.
                drop(looking.look(false));
                std::thread::park_timeout(LOOK);
            }
        })
        .context("cannot start a thread")?;
    let watching = Arc::clone(device);
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || blocked::watch(&watching))
        .context("cannot start a thread")?;
    let watching = Arc::clone(device);
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || ports::watch(&watching))
        .context("cannot start a thread")?;
    let watching = Arc::clone(device);
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || tamper::watch(&watching))
        .context("cannot start a thread")?;
    let learning = Arc::clone(device);
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || mac::learn(&learning))
        .context("cannot start a thread")?;
    let updating = Arc::clone(device);
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || update::watch(&updating))
        .context("cannot start a thread")?;
    let uses = Uses::default();
    loop {
        let (stream, _) = listener.accept().context("cannot accept a connection")?;
        // Whoever went away already has asked nothing.
        let Ok(peer) = local::Caller::of(&stream) else {
            continue;
        };
        let caller = match peer.user {
            0 => Caller::Root,
            user if user == device.arguments.agent.0 => Caller::Agent,
            _ => continue,
        };
        if !admitted(&uses, peer.user, caller) {
            let busy = refused(
                Refusal::Busy,
                "too many requests at once",
                "try again later",
            );
            // It fits into the socket's buffer: nobody is waited for.
            let _gone =
                Channel::new(stream, Duration::from_millis(50)).send(&Answer::Refused(busy));
            continue;
        }
        let (device, done) = (Arc::clone(device), Arc::clone(&uses));
        let started = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || {
                converse(stream, caller, &device);
                over(&done, peer.user);
            });
        if started.is_err() {
            over(&uses, peer.user);
        }
    }
}

fn admitted(uses: &Uses, user: u32, caller: Caller) -> bool {
    let mut uses = uses.lock().unwrap_or_else(PoisonError::into_inner);
    let used = uses.entry(user).or_insert_with(|| Use {
        open: 0,
        since: Instant::now(),
        requests: 0,
    });
    if used.since.elapsed() > WHILE {
        used.since = Instant::now();
        used.requests = 0;
    }
    let fits = caller == Caller::Root || used.requests < REQUESTS;
    if used.open >= CONVERSATIONS || !fits {
        return false;
    }
    used.open += 1;
    used.requests += 1;
    true
}

fn over(uses: &Uses, user: u32) {
    let mut uses = uses.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(used) = uses.get_mut(&user) {
        used.open = used.open.saturating_sub(1);
    }
}

/// One request, its progress and its answer; a caller that breaks off is nobody's loss, and what was begun goes on.
fn converse(stream: UnixStream, caller: Caller, device: &Arc<Device>) {
    let mut channel = Channel::new(stream, PATIENCE);
    let request = match channel.receive::<Request>() {
        Ok(Some(request)) => request,
        Ok(None) => return,
        Err(why) => {
            let refused = refused(Refusal::Failed, why.to_string(), "");
            channel.extend(PATIENCE);
            let _gone = channel.send(&Answer::Refused(refused));
            return;
        }
    };
    let mut tell = |progress: Progress| {
        channel.extend(PATIENCE);
        let _gone = channel.send(&Answer::Progress(progress));
    };
    let (answer, socket) = device.answer(request, caller, &mut tell);
    channel.extend(PATIENCE);
    let _gone = match socket {
        Some(socket) => channel.send_with(&answer, socket.as_fd()),
        None => channel.send(&answer),
    };
}
