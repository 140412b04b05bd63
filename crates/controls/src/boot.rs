//! The control `boot`: the device starts what its maker made, and nothing changes it afterwards.

mod firmware;
mod kernel;
mod loader;
mod rules;
pub mod uboot;
mod volumes;

use stockade_profile::{Boot as Section, Control, Demand};

pub use kernel::wrong;

use crate::engine::{Case, Check, Finding, Host, HostPath, Judged, Rule, Standing, Unseen};

/// The longest text of the kernel's that is read.
const MOST: usize = 65_536;

/// The control `boot`.
#[derive(Debug)]
pub struct Boot;

impl Check for Boot {
    fn control(&self) -> Control {
        Control::Boot
    }

    fn rules(&self) -> &'static [&'static Rule] {
        rules::ALL
    }

    fn judge(&self, case: &Case<'_>) -> Judged {
        let mut judged = Judged::default();
        if case.profile.boot == Section::default() {
            for rule in rules::ALL {
                judged.does_not_apply(rule, "the profile asks nothing of the way it starts");
            }
            return judged;
        }
        firmware::judge(case, &mut judged);
        volumes::judge(case, &mut judged);
        kernel::judge(case, &mut judged);
        loader::judge(case, &mut judged);
        judged
    }
}

/// How a protection stands.
enum State {
    /// As it should, in half a sentence.
    Good(String),
    /// Not as it should.
    Bad(Finding),
    /// Nobody can tell: why.
    Unknown(String),
}

impl State {
    fn unseen(what: &str, why: &Unseen) -> Self {
        Self::Unknown(format!("{what}: {why}"))
    }
}

/// Judges a protection by how much the profile demands of it.
fn demanded(
    judged: &mut Judged,
    rule: &'static Rule,
    demand: Option<Demand>,
    state: impl FnOnce() -> State,
) {
    let Some(demand) = demand else {
        return judged.does_not_apply(rule, "the profile does not ask for it");
    };
    match (state(), demand) {
        (State::Good(says), _) => judged.judged(rule, says, Vec::new()),
        (State::Bad(finding), Demand::Required) => judged.judged(rule, "", vec![finding]),
        (State::Bad(finding), Demand::Reported) => {
            let says = format!("{}; the profile asks to be told, and no more", finding.what);
            judged.judged(rule, says, Vec::new());
        }
        (State::Unknown(why), _) => judged.cannot_tell(rule, why, Vec::new()),
    }
}

/// A short text of the running kernel, trimmed; none if there is no such file.
fn text(case: &Case<'_>, path: &HostPath) -> Result<Option<String>, Unseen> {
    if case.host.standing() == Standing::Offline {
        return Err(Unseen::Offline);
    }
    match case.host.read(path, MOST) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
        Err(Unseen::Absent) => Ok(None),
        Err(why) => Err(why),
    }
}

/// Whether something is there.
fn is_there(host: &dyn Host, path: &HostPath) -> Result<bool, Unseen> {
    match host.entry(path) {
        Ok(_) => Ok(true),
        Err(Unseen::Absent) => Ok(false),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests;
