//! Commands of the gateway: each once, in their order, in time, for this device.

use std::sync::Arc;

use stockade_api::events::Came;
use stockade_api::helper::{Answer, Refusal, Refused, UpdateRequest, Weight, Which};
use stockade_api::signed::{Command, Order, SignedError};

use crate::ask::worth_noting;
use crate::device::Device;
use crate::events::By;
use crate::mend::Tell;
use crate::refusal::refused;

/// A gateway's clock may be this much ahead, in seconds.
const AHEAD: u64 = 24 * 60 * 60;

impl Device {
    /// Does what a signed command says. Its number is on disk before anything is done; what came of it is an event.
    pub(crate) fn command(
        self: &Arc<Self>,
        signed: &[u8],
        by: By,
        tell: Tell<'_>,
    ) -> Result<Answer, Refused> {
        let Command { number, order, .. } = self.take_command(signed).inspect_err(|why| {
            if worth_noting(why.kind) {
                self.note(Weight::Warning, by, "refused", &why.why);
            }
        })?;
        let says = format!("Command {number}: {}", spoken(&order));
        self.note(Weight::Change, By::Gateway, "command", &says);
        // These go on after the answer.
        let begins = matches!(order, Order::Update { .. } | Order::Renew);
        let came = self.obey(order, tell);
        if let Some((done, says)) = outcome(&came, begins) {
            self.note_came(&Came::Command { number, done, says }, By::Gateway);
        }
        came
    }

    /// The command, if it is one for this device that was not taken before.
    fn take_command(&self, signed: &[u8]) -> Result<Command, Refused> {
        let command = Command::verify(signed, &self.trusted()?)
            .map_err(|why: SignedError| refused(Refusal::Signature, why.to_string(), ""))?;
        if command.device != self.settings.device {
            let why = format!("this command is for `{}`", command.device.escape_debug());
            return Err(refused(Refusal::Signature, why, ""));
        }
        // While something else goes on it can not be done: its number must not be used up by that.
        if matches!(
            command.order,
            Order::Apply | Order::Undo | Order::UpnpOff | Order::ClearTamper { .. }
        ) {
            drop(self.work()?);
        }
        let now = self.now();
        self.count(|numbers| {
            if command.number <= numbers.command {
                let why = format!("command {} was done before", command.number);
                return Err(refused(Refusal::Stale, why, ""));
            }
            if command.expires <= now {
                let why = format!("command {} is out of date", command.number);
                return Err(refused(Refusal::Stale, why, ""));
            }
            if command.expires < command.issued || command.expires - command.issued > MOST_LIFE {
                let why = format!("command {} would be good for too long", command.number);
                return Err(refused(Refusal::Stale, why, ""));
            }
            numbers.command = command.number;
            // Who may sign may say what time it is, within reason.
            numbers.seen = numbers
                .seen
                .max(command.issued.min(now.saturating_add(AHEAD)));
            Ok(())
        })?;
        Ok(command)
    }

    fn obey(self: &Arc<Self>, order: Order, tell: Tell<'_>) -> Result<Answer, Refused> {
        match order {
            Order::Apply => self.apply(None, By::Gateway, tell),
            Order::Undo => self.undo(Which::Last, By::Gateway, tell),
            Order::AssessNow { nonce } => self.evidence(Some(nonce), true),
            Order::UpnpOff => self.upnp_off(By::Gateway),
            Order::Renew => Ok(Answer::Renew),
            Order::ClearTamper { reason } => self.clear_tamper(&reason, By::Gateway),
            Order::Update { version } => {
                let version = Some(version);
                self.update(UpdateRequest::Install { version }, By::Gateway)
            }
        }
    }
}

/// The longest life of a command, in seconds: weeks offline, and back.
const MOST_LIFE: u64 = 90 * 24 * 60 * 60;

/// Whether it was carried out, and in which words; nothing where the answer itself goes to the gateway.
fn outcome(came: &Result<Answer, Refused>, begins: bool) -> Option<(bool, String)> {
    let says = match came {
        Err(why) => return Some((false, why.why.clone())),
        Ok(Answer::Evidence { .. }) => return None,
        Ok(Answer::Applied(outcome)) => {
            let steps = match outcome.done {
                0 => "there was nothing to do".to_owned(),
                1 => "1 step".to_owned(),
                more => format!("{more} steps"),
            };
            match &outcome.failed[..] {
                [] => steps,
                [first, ..] => return Some((false, format!("{steps}; {first}"))),
            }
        }
        Ok(_) if begins => "it begins".to_owned(),
        Ok(_) => "it is done".to_owned(),
    };
    Some((true, says))
}

fn spoken(order: &Order) -> &'static str {
    match order {
        Order::Apply => "mend what is found",
        Order::Undo => "take back what was applied last",
        Order::AssessNow { .. } => "look again and send evidence",
        Order::UpnpOff => "switch UPnP off",
        Order::Renew => "renew the certificate",
        Order::ClearTamper { .. } => "clear that its case was opened",
        Order::Update { .. } => "update the system",
    }
}
