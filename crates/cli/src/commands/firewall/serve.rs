//! `stockade firewall run`: the rules kept up to date, and names answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use stockade_controls::firewall::names::{Refused, Rights, Why};
use stockade_host::dns::{DnsError, Doors, Event, Following, Forwarder, Settings};
use stockade_host::firewall::{Firewall, FirewallError, How, Names, Plan, StateError, Wanted};
use stockade_host::surroundings::Told;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::text;
use crate::out::Out;

/// How often it is looked whether this machine stands elsewhere now: another address, a service started anew.
const LOOK: Duration = Duration::from_secs(2);
/// Events that wait to be told.
const QUEUE: usize = 256;
/// The port of name servers.
const DNS: u16 = 53;

/// Puts the profile into force, then answers names and keeps the rules up to date until it is told to end. The rules stay
/// when it ends.
pub(super) async fn run(
    out: Out,
    json: bool,
    state: &Path,
    wanted: Option<Wanted>,
    told: Told,
) -> anyhow::Result<()> {
    let firewall = Firewall::at(state)?;
    match wanted {
        Some(wanted) => {
            let applied = firewall.apply(&wanted, How::AtOnce)?;
            out.line(&if json {
                text::applied_json(&applied).to_string()
            } else {
                text::applied(&applied, true)
            });
        }
        None => match firewall.refresh()? {
            None => bail!("no profile was ever confirmed on this machine: name one"),
            Some(_) if json => out.line(&json!({ "result": "in-force" }).to_string()),
            Some(_) => out.line("the rules are in force"),
        },
    }
    let (plan, _) = firewall.in_force()?.context("the rules are gone again")?;
    let shared = Arc::new(RwLock::new(Arc::new(Rights::of(&plan.policy))));
    let (tell, mut events) = mpsc::channel(QUEUE);
    let desk = Desk {
        state: state.to_owned(),
        told,
        shared,
        tell,
    };
    let mut answering = desk.open(&plan)?;
    if answering.resolvers.is_empty() {
        out.line(
            "no name server is known yet, so no name has an address (or name one with --resolver)",
        );
    }
    let mut end = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = end.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            ended = &mut answering.task => {
                ended??;
                bail!("the DNS forwarder has ended; the rules stay in force");
            }
            Some(event) = events.recv() => out.line(&event_line(json, &event)),
            _ = look.tick() => {
                let folder = state.to_owned();
                let looked = tokio::task::spawn_blocking(move || keep(&folder)).await?;
                match looked {
                    Ok(Some((plan, changed))) => {
                        if let Err(error) = desk.keep(&mut answering, &plan).await {
                            out.line(&failed_line(json, &error));
                        }
                        if changed {
                            out.line(&changed_line(json));
                        }
                    }
                    // Or somebody else applies, confirms or looks just now: the next time.
                    Ok(None) | Err(FirewallError::State(StateError::Busy)) => (),
                    Err(error) => out.line(&failed_line(json, &anyhow::Error::from(error))),
                }
            }
        }
    }
}

/// The forwarder at work, for the resolvers that were known when it began.
struct Answering {
    resolvers: Vec<IpAddr>,
    following: Option<(Forwarder, Following)>,
    task: JoinHandle<Result<(), DnsError>>,
}

/// What every forwarder here has in common.
struct Desk {
    state: PathBuf,
    told: Told,
    shared: Arc<RwLock<Arc<Rights>>>,
    tell: mpsc::Sender<Event>,
}

impl Desk {
    fn open(&self, plan: &Plan) -> anyhow::Result<Answering> {
        let tell = self.tell.clone();
        let opened = serve(plan, &self.told, &self.state, &self.shared, tell)?;
        let resolvers = plan.around.resolvers.clone();
        let Some((forwarder, doors)) = opened else {
            return Ok(Answering {
                resolvers,
                following: None,
                task: tokio::spawn(std::future::pending()),
            });
        };
        let following = Following::new(&forwarder, Arc::new(Rights::of(&plan.policy)));
        let serving = forwarder.clone();
        Ok(Answering {
            resolvers,
            following: Some((forwarder, following)),
            task: tokio::spawn(async move { serving.serve(doors).await }),
        })
    }

    /// By the rules that are in force now; other resolvers (a lease has come, at last) are asked by another forwarder.
    async fn keep(&self, answering: &mut Answering, plan: &Plan) -> anyhow::Result<()> {
        let fresh = Arc::new(Rights::of(&plan.policy));
        *self.shared.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        if answering.resolvers == plan.around.resolvers {
            if let Some((forwarder, following)) = &mut answering.following {
                following.keep(forwarder, fresh);
            }
            return Ok(());
        }
        answering.task.abort();
        let _stopped = (&mut answering.task).await;
        // If the doors are not free yet, the next look tries again.
        *answering = Answering {
            resolvers: Vec::new(),
            following: None,
            task: tokio::spawn(std::future::pending()),
        };
        *answering = self.open(plan)?;
        Ok(())
    }
}

/// Brings the rules up to date; the plan that is in force then.
fn keep(state: &Path) -> Result<Option<(Plan, bool)>, FirewallError> {
    let firewall = Firewall::at(state)?;
    let changed = firewall.refresh()?.unwrap_or(false);
    Ok(firewall.in_force()?.map(|(plan, _)| (plan, changed)))
}

fn serve(
    plan: &Plan,
    told: &Told,
    state: &Path,
    shared: &Arc<RwLock<Arc<Rights>>>,
    tell: mpsc::Sender<Event>,
) -> anyhow::Result<Option<(Forwarder, Doors)>> {
    let port = plan.around.forwarder.or(told.forwarder);
    let port = port.context("no port for the DNS forwarder")?;
    let upstreams = plan.around.resolvers.iter();
    let upstreams: Vec<SocketAddr> = upstreams.map(|it| SocketAddr::new(*it, DNS)).collect();
    if upstreams.is_empty() {
        return Ok(None);
    }
    let whose = Arc::clone(shared);
    let forwarder = Forwarder::new(
        Settings::new(upstreams),
        // Whatever asks on this machine asks by its profile.
        Box::new(move |_client| {
            Some(Arc::clone(
                &*whose.read().unwrap_or_else(PoisonError::into_inner),
            ))
        }),
        Arc::new(Names::open(state)?),
        // What can not be told in time is not told.
        Box::new(move |event| drop(tell.try_send(event))),
    )?;
    // The rules send every question of this machine here; a machine without IPv6 has no door there.
    let at = |address: IpAddr| SocketAddr::new(address, port);
    let (v4, v6) = (
        at(Ipv4Addr::LOCALHOST.into()),
        at(Ipv6Addr::LOCALHOST.into()),
    );
    let doors = Doors::open(&[v4, v6]).or_else(|_| Doors::open(&[v4]))?;
    Ok(Some((forwarder, doors)))
}

fn event_line(json: bool, event: &Event) -> String {
    let (kind, told) = spoken(event);
    if json {
        return json!({ "event": kind, "text": told }).to_string();
    }
    told
}

fn spoken(event: &Event) -> (&'static str, String) {
    match event {
        Event::Refused { refused, .. } => ("refused", refused_text(refused)),
        Event::Rebinding {
            name, addresses, ..
        } => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            let addresses = addresses.join(", ");
            (
                "rebinding",
                format!("{name} points inside ({addresses}): left out"),
            )
        }
        Event::TooMany { name } => (
            "too-many",
            format!("{name} has more addresses than a name may have"),
        ),
        Event::NotAdmitted { name, why } => {
            ("not-admitted", format!("{name} was not answered: {why}"))
        }
        Event::Unanswered { name } => ("unanswered", format!("no resolver answered for {name}")),
        Event::Forged { name, resolver } => (
            "forged",
            format!("answers for {name} came that are not those of {resolver}"),
        ),
        Event::Flood { .. } => (
            "flood",
            "more questions than a program may ask: dropped".to_owned(),
        ),
        Event::Muted { .. } => (
            "muted",
            "more to tell than anyone would read: quiet for a minute".to_owned(),
        ),
        Event::Overload => (
            "overload",
            "more questions than can wait: dropped".to_owned(),
        ),
    }
}

fn refused_text(refused: &Refused) -> String {
    let why = match refused.why {
        Why::Outside => "the profile does not name it",
        Why::Resolver => "a public name server, a way past this one",
        Why::Type => "only addresses can be asked for",
        Why::Client => "nobody knows who asks",
    };
    format!(
        "refused the question for {} ({}): {why}",
        refused.name, refused.record
    )
}

fn changed_line(json: bool) -> String {
    if json {
        return json!({ "event": "changed" }).to_string();
    }
    "this machine stands elsewhere now, or a service started anew: the rules are up to date again"
        .to_owned()
}

fn failed_line(json: bool, error: &anyhow::Error) -> String {
    let told =
        format!("the rules could not be brought up to date, and are as they were: {error:#}");
    if json {
        return json!({ "event": "failed", "text": told }).to_string();
    }
    told
}
