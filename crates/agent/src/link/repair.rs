//! What the gateway sends: each thing is handed to the helper, one after the other, and done at most once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Digest, SHA256, digest};
use stockade_api::Blob;
use stockade_api::helper::{Answer, Refusal, Request};
use stockade_api::signed::{Command, SignedError};
use stockade_profile::sign1::OpenError;
use tokio::sync::{Notify, mpsc};

use crate::helper::{Helper, HelperError};

/// Things that wait their turn: more than the gateway has waiting for one device.
const WAITING: usize = 32;
/// Things that wait or are over, and need not be looked at again.
const KNOWN: usize = 2 * WAITING;

/// What came of one thing, for the link.
#[derive(Debug)]
pub(super) enum Repaired {
    /// Something may have changed: evidence tells what.
    Changed,
    /// Evidence that the gateway asked for.
    Evidence(Vec<u8>),
}

/// The way to the task that hands things to the helper: that may take minutes, and the session has to live on meanwhile.
#[derive(Debug)]
pub(super) struct Repairs {
    to: mpsc::Sender<Vec<u8>>,
    known: Arc<Known>,
}

#[derive(Debug, Default)]
struct Known(Mutex<VecDeque<Vec<u8>>>);

impl Known {
    fn all(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Repairs {
    pub(super) fn start(
        helper: Arc<Helper>,
        renew: Arc<Notify>,
    ) -> (Self, mpsc::Receiver<Repaired>) {
        let (to, mut things) = mpsc::channel::<Vec<u8>>(WAITING);
        let (done, repaired) = mpsc::channel(WAITING);
        let known = Arc::<Known>::default();
        let mine = Arc::clone(&known);
        tokio::spawn(async move {
            while let Some(signed) = things.recv().await {
                let name = name(&signed);
                let signed = Blob(signed);
                let command = is_command(&signed.0);
                let request = if command {
                    Request::Command { signed }
                } else {
                    Request::InstallProfile { signed }
                };
                let said = match helper.follow(&request, |_step| ()).await {
                    Ok(Answer::Evidence { signed }) => Repaired::Evidence(signed.0),
                    Ok(Answer::Renew) => {
                        renew.notify_one();
                        Repaired::Changed
                    }
                    Ok(_) => Repaired::Changed,
                    Err(HelperError::Refused(refused)) if is_over(refused.kind, command) => {
                        Repaired::Changed
                    }
                    Err(_later) => {
                        // It was not done, and may be done when it comes again.
                        mine.all().retain(|it| it != name.as_ref());
                        continue;
                    }
                };
                if done.send(said).await.is_err() {
                    return;
                }
            }
        });
        (Self { to, known }, repaired)
    }

    /// Hands one thing over, unless it is known or too many wait.
    pub(super) fn hand_over(&self, signed: Vec<u8>) {
        let name = name(&signed);
        let mut known = self.known.all();
        if known.iter().any(|it| it == name.as_ref()) {
            return;
        }
        // What finds no room is sent again by the gateway, as long as evidence does not say that it is done.
        if self.to.try_send(signed).is_ok() {
            if known.len() == KNOWN {
                known.pop_front();
            }
            known.push_back(name.as_ref().to_vec());
        }
    }
}

fn name(signed: &[u8]) -> Digest {
    digest(&SHA256, signed)
}

/// Whether it is a command by its form; whether it is to be believed, the helper says.
fn is_command(signed: &[u8]) -> bool {
    let by_nobody = Command::verify(signed, &[]);
    matches!(by_nobody, Err(SignedError::Open(OpenError::UnknownKey(_))))
}

/// Whether asking again would give the same answer. A command that failed is used up; a profile that failed (a full disk) is
/// not, and the gateway sends the same bytes again.
fn is_over(kind: Refusal, command: bool) -> bool {
    match kind {
        Refusal::Stale | Refusal::Signature | Refusal::Profile => true,
        Refusal::Failed => command,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use stockade_api::signed::Order;
    use stockade_profile::SigningKey;

    use super::*;

    #[test]
    fn a_profile_that_failed_is_tried_again_and_a_command_is_not() {
        assert!(is_over(Refusal::Failed, true));
        assert!(!is_over(Refusal::Failed, false));
        for command in [true, false] {
            assert!(is_over(Refusal::Stale, command));
            assert!(!is_over(Refusal::Busy, command));
        }
    }

    #[test]
    fn a_command_is_told_from_a_profile_by_its_form_whoever_signed_it() {
        let key = SigningKey::generate(&SystemRandom::new()).unwrap();
        let command = Command {
            form: Command::FORM,
            device: "porch".to_owned(),
            number: 1,
            issued: 1,
            expires: 2,
            order: Order::Apply,
        };
        assert!(is_command(&command.sign(&key)));
        let source = include_str!("../../../../profiles/cam-2.toml");
        let profile = stockade_profile::parse(source).unwrap();
        assert!(!is_command(&stockade_profile::sign(&profile, &key)));
        assert!(!is_command(b"anything"));
    }
}
