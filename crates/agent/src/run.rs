//! `stockade-agent run`: the story of the process that talks to the network and has no rights.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use rustls::version::TLS13;
use stockade_api::helper::{Answer, Request, Socket, Status};
use stockade_api::{Places, Settings};
use stockade_host::local::Channel;
use stockade_host::sandbox::{Entered, Sandbox};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::alarm::Alarm;
use crate::certificate::Certificate;
use crate::door;
use crate::front;
use crate::helper::Helper;
use crate::identity::{Around, Identity};
use crate::link::{Link, Peer};
use crate::outbox::{MOST, Outbox};
use crate::page::Page;
use crate::standing::Standing;

/// How long the helper may take for one answer at the start.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether the profile has other fronts by now.
const LOOK: Duration = Duration::from_mins(1);
/// Memory of a thread that waits for something.
const STACK: usize = 256 * 1024;

/// The listening sockets, which the helper opens: the agent may open none below 1024.
struct Sockets {
    page: StdListener,
    fronts: Vec<(StdListener, SocketAddr)>,
}

/// Runs until it is told to end, or until the profile has other fronts: then it is started anew by the init system.
pub fn run(places: &Places, allow_missing_landlock: bool) -> anyhow::Result<()> {
    let settings = Settings::parse(&fs_err::read_to_string(places.settings())?)?;
    let names = names(&settings);
    let certificate = Arc::new(Certificate::open(&places.agent_state(), &names)?);
    let status = status(places)?;
    let sockets = Sockets::ask(places, &status)?;
    let fronts = sockets.fronts.iter().map(|(_, to)| to.port());
    let reach = [settings.mqtt_port, settings.est_port]
        .into_iter()
        .chain(fronts);
    match Sandbox::agent(places, reach.collect()).enter(allow_missing_landlock)? {
        Entered::Whole | Entered::Partly => {}
        Entered::WithoutLandlock => say("this kernel has no Landlock: going on without, as told"),
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_stack_size(STACK)
        .build()?;
    runtime.block_on(Box::pin(everything(
        places,
        &settings,
        names,
        certificate,
        (sockets, status),
    )))
}

async fn everything(
    places: &Places,
    settings: &Settings,
    names: Vec<String>,
    certificate: Arc<Certificate>,
    (sockets, status): (Sockets, Status),
) -> anyhow::Result<()> {
    let standing = Arc::new(Standing::default());
    standing.note(|it| it.gateway = format!("{}:{}", settings.gateway, settings.mqtt_port));
    let helper = || Helper::at(places.helper_socket());
    let identity = Arc::new(Identity::new(places, settings));
    let around = Around {
        renew: Arc::default(),
        changed: Arc::default(),
        page: Arc::clone(&certificate),
        standing: Arc::clone(&standing),
    };
    let link = Link {
        peer: Peer {
            gateway: settings.gateway.clone(),
            port: settings.mqtt_port,
            device: settings.device.clone(),
        },
        identity: {
            let identity = Arc::clone(&identity);
            Box::new(move || identity.client())
        },
        helper: Arc::new(helper()),
        standing: Arc::clone(&standing),
        outbox: outbox(places)?,
        renew: Arc::clone(&around.renew),
        changed: Arc::clone(&around.changed),
        urgent: Arc::default(),
    };
    let alarm = Alarm {
        helper: helper(),
        urgent: Arc::clone(&link.urgent),
        page: Arc::clone(&certificate),
        own: (places.agent_state(), names.clone()),
    };
    let mut work = JoinSet::new();
    let page = Arc::new(Page::new(helper(), standing, names));
    let config = door::tls(&[&TLS13], &[b"http/1.1"], Arc::clone(&certificate) as _)?;
    work.spawn(page.serve(listener(sockets.page)?, config));
    let config = door::tls(&[&TLS13], &[], certificate)?;
    for (socket, to) in sockets.fronts {
        work.spawn(front::serve(listener(socket)?, Arc::clone(&config), to));
    }
    work.spawn(identity.keep(around));
    work.spawn(alarm.run());
    let mut end = signal(SignalKind::terminate())?;
    let look = other_fronts(helper(), &status);
    tokio::select! {
        _ = end.recv() => Ok(()),
        () = look => Ok(()),
        never = Box::pin(link.run()) => match never {},
        _ = work.join_next() => bail!("a part of the agent ended by itself"),
    }
}

fn outbox(places: &Places) -> anyhow::Result<Outbox> {
    let mut log = [0; 8];
    aws_lc_rs::rand::fill(&mut log).map_err(|_| anyhow!("no random numbers"))?;
    let path = places.agent_state().join("outbox");
    Ok(Outbox::open(path, u64::from_le_bytes(log), MOST)?)
}

/// Returns when the profile has other fronts than those that are served: their sockets and what Landlock lets us reach are of the
/// start.
async fn other_fronts(helper: Helper, before: &Status) {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Ok(Answer::Status(now)) = helper.ask(&Request::Status).await
            && now.fronts != before.fronts
        {
            return;
        }
    }
}

fn listener(socket: StdListener) -> std::io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

fn ask(places: &Places, request: &Request) -> anyhow::Result<(Answer, Channel)> {
    let mut channel = Channel::connect(&places.helper_socket(), PATIENCE)?;
    match channel.call(request)? {
        Answer::Refused(refused) => bail!("the helper refused: {} {}", refused.why, refused.next),
        answer => Ok((answer, channel)),
    }
}

fn status(places: &Places) -> anyhow::Result<Status> {
    match ask(places, &Request::Status).context("cannot ask stockade-helper")? {
        (Answer::Status(status), _) => Ok(status),
        _ => bail!("the helper gave another answer than was asked for"),
    }
}

impl Sockets {
    fn ask(places: &Places, status: &Status) -> anyhow::Result<Self> {
        let mut fronts = Vec::new();
        for (number, (port, to)) in status.fronts.iter().enumerate() {
            let to: SocketAddr = to
                .parse()
                .with_context(|| format!("`{to}` is no address"))?;
            // The helper says no more than the profile does; this is checked for the day it would.
            anyhow::ensure!(
                to.ip().is_loopback(),
                "the front at {port} leads out of the device"
            );
            fronts.push((socket(places, Socket::Front(number))?, to));
        }
        let page = socket(places, Socket::Page)?;
        Ok(Self { page, fronts })
    }
}

fn socket(places: &Places, what: Socket) -> anyhow::Result<StdListener> {
    let (answer, mut channel) = ask(places, &Request::Listen { what })?;
    match (answer, channel.take_descriptor()) {
        (Answer::Listening, Some(descriptor)) => Ok(descriptor.into()),
        _ => bail!("the helper opened no socket for {what:?}"),
    }
}

/// The names under which this device's page is asked for: its id, its host name, and both as multicast DNS has them.
fn names(settings: &Settings) -> Vec<String> {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let mut names = vec![settings.device.clone(), host];
    names.dedup();
    let local: Vec<_> = names.iter().map(|name| format!("{name}.local")).collect();
    names.extend(local);
    names.push("localhost".to_owned());
    names
}

/// A line for whoever keeps the log of the process.
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    drop(writeln!(std::io::stderr(), "stockade-agent: {text}"));
}
