//! Who is listened to, and how the process shuts itself in before it touches a key.

use std::collections::BTreeMap;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use stockade_api::Places;
use stockade_api::keys::{Place, Request};
use stockade_host::local::{self, Channel};
use stockade_host::sandbox::{Sandbox, become_id};

use crate::ask::{Caller, answer};
use crate::store::{self, Store};

/// How long a caller may take to ask and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many connections each caller may have at a time: none takes another's.
const CONNECTIONS: usize = 4;

/// How this process is started.
#[derive(Debug)]
pub struct Settings {
    /// Where things are.
    pub places: Places,
    /// Where the keys are.
    pub place: Place,
    /// The user and group that this process becomes.
    pub own: (u32, u32),
    /// The agent's user and group.
    pub agent: (u32, u32),
    /// What a PKCS#11 module keeps its tokens in.
    pub token_directories: Vec<PathBuf>,
    /// Whether to go on where the kernel has no Landlock.
    pub allow_missing_landlock: bool,
}

/// Listens, gives up every right but that to the keys, and answers for good.
pub fn serve(settings: &Settings) -> anyhow::Result<()> {
    let places = &settings.places;
    fs_err::create_dir_all(places.run())?;
    let listener = local::listen(&places.keys_socket(), settings.agent.1)
        .context("cannot listen for the agent")?;
    let reached = store::reach(&settings.place).context("cannot reach the keys")?;
    let (user, group) = settings.own;
    become_id(user, group)?;
    // Without Landlock on request, or with an older one: users and seccomp still hold.
    let _entered = sandbox(settings).enter(settings.allow_missing_landlock)?;
    let store = store::open(&settings.place, reached, &places.keys_state())
        .context("cannot open the keys")?;
    accept(&listener, settings.agent.0, store)
}

fn sandbox(settings: &Settings) -> Sandbox {
    let mut read = Vec::new();
    if let Place::Pkcs11(token) = &settings.place {
        // A module brings libraries and settings of its own.
        read.extend(["/usr", "/lib", "/lib64", "/etc"].map(PathBuf::from));
        read.extend([token.module.clone(), token.pin.clone()]);
    }
    Sandbox::keys(&settings.places, read, settings.token_directories.clone())
}

fn accept(listener: &UnixListener, agent: u32, store: Box<dyn Store>) -> anyhow::Result<()> {
    let store = Arc::new(Mutex::new(store));
    let open: Arc<Mutex<BTreeMap<u32, usize>>> = Arc::default();
    loop {
        let (stream, _) = listener.accept().context("cannot accept a connection")?;
        // A caller that went away already is none.
        let Ok(peer) = local::Caller::of(&stream) else {
            continue;
        };
        let caller = match peer.user {
            0 => Caller::Root,
            user if user == agent => Caller::Agent,
            _ => continue,
        };
        {
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            let count = open.entry(peer.user).or_default();
            if *count >= CONNECTIONS {
                continue;
            }
            *count += 1;
        }
        let (store, open) = (Arc::clone(&store), Arc::clone(&open));
        std::thread::Builder::new()
            .stack_size(128 * 1024)
            .spawn(move || {
                converse(stream, caller, &store);
                let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(count) = open.get_mut(&peer.user) {
                    *count -= 1;
                }
            })
            .context("cannot start a thread")?;
    }
}

/// One request, one answer; a caller that breaks off is nobody's loss.
fn converse(stream: UnixStream, caller: Caller, store: &Mutex<Box<dyn Store>>) {
    let mut channel = Channel::new(stream, PATIENCE);
    if let Ok(Some(request)) = channel.receive::<Request>() {
        let answer = {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            answer(&mut **store, caller, request)
        };
        channel.extend(PATIENCE);
        let _gone = channel.send(&answer);
    }
}
