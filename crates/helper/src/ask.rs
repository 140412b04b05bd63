//! What becomes of each request.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use stockade_api::helper::{
    Answer, Authority, Refusal, Refused, Request, Socket, Status, Tried, Weight,
};

use crate::device::Device;
use crate::events::By;
use crate::mend::Tell;
use crate::refusal::{failed, refused};

/// Who asks: nobody else gets this far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    Root,
    Agent,
}

impl Caller {
    fn by(self) -> By {
        match self {
            Self::Root => By::Root,
            Self::Agent => By::Agent,
        }
    }
}

impl Device {
    /// Answers a request; a socket may come with the answer.
    pub(crate) fn answer(
        self: &Arc<Self>,
        request: Request,
        caller: Caller,
        tell: Tell<'_>,
    ) -> (Answer, Option<OwnedFd>) {
        // These two note by themselves what came of them: the gateway reads it.
        let notes = matches!(
            request,
            Request::InstallProfile { .. } | Request::Command { .. }
        );
        let came = match request {
            Request::Listen { what } => match self.listen(what) {
                Ok(socket) => return (Answer::Listening, Some(socket)),
                Err(why) => Err(why),
            },
            request => self.dispatch(request, caller, tell),
        };
        let answer = came.unwrap_or_else(|why| {
            if !notes && worth_noting(why.kind) {
                self.note(Weight::Warning, caller.by(), "refused", &why.why);
            }
            Answer::Refused(why)
        });
        (answer, None)
    }

    fn dispatch(
        self: &Arc<Self>,
        request: Request,
        caller: Caller,
        tell: Tell<'_>,
    ) -> Result<Answer, Refused> {
        match request {
            Request::Status => Ok(Answer::Status(self.status())),
            Request::Assess { again } => {
                let looked = self.look(again)?;
                Ok(Answer::Report {
                    report: looked.report.clone(),
                    age: looked.age().as_secs(),
                })
            }
            Request::Plan => {
                let looked = self.look(true)?;
                Ok(Answer::Plan {
                    plan: looked.plan.clone(),
                    digest: looked.digest.clone(),
                })
            }
            Request::Apply { digest, authority } => {
                let by = self.authorised(&authority, caller)?;
                self.apply(Some(&digest), by, tell)
            }
            Request::Undo { which, authority } => {
                let by = self.authorised(&authority, caller)?;
                self.undo(which, by, tell)
            }
            Request::LogIn { password } => {
                let right = self.checked(&password)?;
                Ok(Answer::LoggedIn {
                    must_change: right.first,
                })
            }
            Request::ChangePassword { old, new } => {
                let now = self.now();
                self.keeper().change(&old, &new, now)?;
                let says = "The administrator's password was changed";
                self.note(Weight::Change, By::Owner, "password", says);
                Ok(Answer::Done)
            }
            Request::ResetPassword if caller == Caller::Root => {
                let password = self.keeper().reset()?;
                let says = "The administrator has a new first password";
                self.note(Weight::Change, By::Root, "password", says);
                Ok(Answer::Password { password })
            }
            Request::UpnpOn {
                password,
                interface,
                seconds,
            } => self.upnp_on(&password, &interface, seconds),
            Request::UpnpOff => self.upnp_off(caller.by()),
            Request::InstallProfile { signed } => {
                let came = self.install_profile(&signed.0, caller.by());
                came.inspect_err(|why| self.note_refused_profile(&signed.0, why, caller.by()))
            }
            Request::Command { signed } => self.command(&signed.0, caller.by(), tell),
            Request::Evidence { nonce } => self.evidence(nonce, false),
            Request::Admit { put, gone } => self.admit(&put, &gone).map(|()| Answer::Done),
            Request::Connected => self.connected().map(|()| Answer::Done),
            Request::Update { what, authority } => {
                let by = self.authorised(&authority, caller)?;
                self.update(what, by)
            }
            Request::Urgent { after } if !self.wait_for_urgent(after) => Ok(Answer::Done),
            Request::Urgent { after } | Request::Events { after } => {
                let (events, oldest) = self.events().after(after).map_err(|why| failed(&why))?;
                Ok(Answer::Events { events, oldest })
            }
            Request::ClearTamper { reason } if caller == Caller::Root => {
                self.clear_tamper(&reason, By::Root)
            }
            Request::Ports => self.ports_state().map(Answer::Ports),
            Request::KeepPorts { authority } => {
                let by = self.authorised(&authority, caller)?;
                self.keep_ports(by).map(|()| Answer::Done)
            }
            // A socket's answer is made elsewhere.
            Request::ResetPassword | Request::ClearTamper { .. } | Request::Listen { .. } => {
                Err(only_root())
            }
        }
    }

    /// On whose word, if it counts.
    fn authorised(&self, authority: &Authority, caller: Caller) -> Result<By, Refused> {
        match (authority, caller) {
            (Authority::Root, Caller::Root) => Ok(By::Root),
            (Authority::Root, Caller::Agent) => Err(only_root()),
            (Authority::Password(password), _) => self.owner(password).map(|()| By::Owner),
        }
    }

    /// It is the owner, with a password that is not the one from the label.
    pub(crate) fn owner(&self, password: &Tried) -> Result<(), Refused> {
        if self.checked(password)?.first {
            let why = "the password from the label has to be changed first";
            return Err(refused(Refusal::MustChange, why, ""));
        }
        Ok(())
    }

    fn checked(&self, password: &Tried) -> Result<crate::password::Right, Refused> {
        let now = self.now();
        let checked = self.keeper().check(password, now);
        if let Err(why) = &checked
            && why.kind == Refusal::Password
        {
            self.note(Weight::Warning, By::Agent, "log-in-refused", &why.why);
        }
        checked
    }

    fn listen(&self, what: Socket) -> Result<OwnedFd, Refused> {
        let port = match what {
            Socket::Page => self.page_port(),
            Socket::Front(number) => {
                let profile = self.need_profile()?;
                let front = profile.protocols.fronts.get(number);
                let none = || refused(Refusal::Profile, "the profile has no such front", "");
                front.ok_or_else(none)?.listen.get()
            }
        };
        self.hands.listen(port).map_err(|why| failed(&why))
    }

    /// A front of the profile goes before the page.
    pub(crate) fn page_port(&self) -> u16 {
        let wished = self.settings.page_port;
        let taken = self.profile().is_some_and(|profile| {
            let fronts = &profile.protocols.fronts;
            fronts.iter().any(|front| front.listen.get() == wished)
        });
        if taken { 4443 } else { wished }
    }

    fn status(&self) -> Status {
        let profile = self.profile();
        let fronts = profile.as_ref().map(|profile| {
            let fronts = profile.protocols.fronts.iter();
            fronts
                .map(|it| (it.listen.get(), it.to.to_string()))
                .collect()
        });
        Status {
            device: self.settings.device.clone(),
            model: self.settings.model.clone(),
            profile_version: profile.map(|it| it.device.version),
            must_change: self.keeper().must_change(),
            upnp: self.upnp_now(),
            trial: self.trial(),
            last_event: self.events().last(),
            done: self.numbers().command,
            fronts: fronts.unwrap_or_default(),
            offer: self.upnp_offer(),
            troubles: self.troubles(),
            tamper: self.tamper_status(),
            updates: self.update_status(),
        }
    }
}

fn only_root() -> Refused {
    refused(
        Refusal::Forbidden,
        "only root on the device may ask for that",
        "",
    )
}

/// What somebody should hear of: not what an impatient owner makes, nor a log-in, which has an event of its own.
pub(crate) fn worth_noting(kind: Refusal) -> bool {
    matches!(
        kind,
        Refusal::Forbidden | Refusal::Signature | Refusal::Stale | Refusal::Profile
    )
}
