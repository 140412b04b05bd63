//! What the controls find, looked at now and then.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use base16ct::lower::encode_string as hex;
use stockade_api::helper::Refused;
use stockade_controls::engine::{
    CONTROLS, Case, Host as _, Own, Plan, Posture, Report, Unseen, assess,
};
use stockade_host::firewall::standing;
use stockade_host::memory;
use stockade_host::upnp::State;
use stockade_host::view::Live;

use crate::device::Device;
use crate::refusal::{failed, refused};

/// A look this fresh is not repeated because the agent asks.
const FRESH: Duration = Duration::from_secs(10);
/// A look this old is no answer any more.
const OLD: Duration = Duration::from_mins(5);
/// How long listeners are asked in one look: a thousand silent ones of a hostile program must not keep everybody waiting.
const ASKING: Duration = Duration::from_secs(30);

/// One look.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) report: Report,
    pub(crate) posture: Posture,
    pub(crate) plan: Plan,
    /// Of the plan: SHA-256 of its JSON, whose form is one as no map is in it.
    pub(crate) digest: String,
    at: Instant,
}

impl Looked {
    /// How long ago it was.
    pub(crate) fn age(&self) -> Duration {
        self.at.elapsed()
    }
}

impl Device {
    /// What was found, looked at again if it is older than wished; whoever asks meanwhile waits for the same look.
    pub(crate) fn look(&self, again: bool) -> Result<Arc<Looked>, Refused> {
        let most = if again { FRESH } else { OLD };
        self.look_since(most)
    }

    /// What is found now.
    pub(crate) fn look_now(&self) -> Result<Arc<Looked>, Refused> {
        self.look_since(Duration::ZERO)
    }

    fn look_since(&self, most: Duration) -> Result<Arc<Looked>, Refused> {
        let mut held = self
            .looked
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.changed.swap(false, Ordering::Relaxed) {
            *held = None;
        }
        if let Some(known) = held.as_ref().filter(|it| it.age() < most) {
            return Ok(Arc::clone(known));
        }
        let fresh = Arc::new(self.look_at_all()?);
        *held = Some(Arc::clone(&fresh));
        // A look takes a megabyte for half a second, in five minutes once.
        memory::give_back();
        Ok(fresh)
    }

    fn look_at_all(&self) -> Result<Looked, Refused> {
        let profile = self.need_profile()?;
        let folder = self.places.firewall_state();
        let asked_until = Instant::now() + ASKING;
        let host = Live::in_root(self.places.root())
            .map_err(|why| failed(&why))?
            .with_prober(|listener| {
                if Instant::now() > asked_until {
                    let why = "too many other listeners took too long to answer";
                    return Err(Unseen::Failed(why.to_owned()));
                }
                self.hands.ask(listener)
            })
            .with_firewall(|| standing(&folder));
        let known = self.known_of_mac(&host, &profile);
        let host = host.with_mac(known);
        let own = self.own();
        let now = self.now();
        if profile.updates.is_some() {
            self.note_waiting(&host, now);
        }
        let case = Case {
            host: &host,
            profile: &profile,
            now,
            own: &own,
        };
        let found = assess(&case, CONTROLS);
        let plan = Plan::of(&found);
        let text = serde_json::to_vec(&plan).map_err(|why| failed(&why))?;
        let digest = digest::digest(&digest::SHA256, &text);
        Ok(Looked {
            report: Report::of(&found, &profile, host.standing(), now),
            posture: Posture::of(&found, &profile, now),
            plan,
            digest: hex(digest.as_ref()),
            at: Instant::now(),
        })
    }

    fn own(&self) -> Own {
        let window = match self.upnp_state() {
            Ok(State::On { left, .. }) => Some(left.as_secs()),
            Ok(State::Off) | Err(_) => None,
        };
        Own {
            services: ["stockade-agent", "stockade-helper", "stockade-keys"]
                .map(str::to_owned)
                .to_vec(),
            users: vec![
                self.arguments.agent.0,
                self.arguments.keys.0,
                self.arguments.upnp.0,
            ],
            upnp: window,
            tamper: Some(self.case_seen()),
        }
    }
}

/// The plan was another one when it was shown.
pub(crate) fn changed() -> Refused {
    refused(
        stockade_api::helper::Refusal::Changed,
        "the device changed since the plan was shown, and the plan with it",
        "look at the new plan",
    )
}
