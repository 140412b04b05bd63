//! Through the helper of this device.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use stockade_api::helper::{
    Answer, Authority, Outcome, PortsState, Progress, Refused, Request, UpdateRequest,
    UpdateStatus, Which,
};
use stockade_api::{Places, Secret};
use stockade_host::local::Channel;

use super::Look;

/// How long a look may take, and how long a step.
const LOOK: Duration = Duration::from_mins(2);
const STEP: Duration = Duration::from_mins(10);

/// The helper, by its socket.
pub(super) struct Helper {
    socket: PathBuf,
}

impl Helper {
    pub(super) fn below(root: Option<&Path>) -> Self {
        let places = root.map_or_else(Places::default, Places::below);
        Self {
            socket: places.helper_socket(),
        }
    }

    fn open(&self, patience: Duration) -> anyhow::Result<Channel> {
        Channel::connect(&self.socket, patience).context(
            "the helper of this device can not be asked: run this as root, on a device where `stockade-agent install` was run; \
             or judge without it: --profile FILE",
        )
    }

    pub(super) fn look(&self) -> anyhow::Result<Look> {
        let mut channel = self.open(LOOK)?;
        let (plan, digest) = match channel.call(&Request::Plan)? {
            Answer::Plan { plan, digest } => (plan, digest),
            other => bail!(unexpected(other)),
        };
        match self.open(LOOK)?.call(&Request::Assess { again: false })? {
            Answer::Report { report, .. } => Ok(Look {
                report,
                plan,
                digest,
            }),
            other => bail!(unexpected(other)),
        }
    }

    pub(super) fn apply(
        &self,
        digest: &str,
        progress: &mut dyn FnMut(&Progress),
    ) -> anyhow::Result<Outcome> {
        let digest = digest.to_owned();
        self.follow(
            &Request::Apply {
                digest,
                authority: Authority::Root,
            },
            progress,
        )
    }

    pub(super) fn undo(
        &self,
        which: Which,
        progress: &mut dyn FnMut(&Progress),
    ) -> anyhow::Result<Outcome> {
        self.follow(
            &Request::Undo {
                which,
                authority: Authority::Root,
            },
            progress,
        )
    }

    pub(super) fn ports(&self) -> anyhow::Result<PortsState> {
        match self.open(LOOK)?.call(&Request::Ports)? {
            Answer::Ports(state) => Ok(state),
            other => bail!(unexpected(other)),
        }
    }

    pub(super) fn keep_ports(&self) -> anyhow::Result<()> {
        let authority = Authority::Root;
        match self.open(LOOK)?.call(&Request::KeepPorts { authority })? {
            Answer::Done => Ok(()),
            other => bail!(unexpected(other)),
        }
    }

    /// Begins an update; it goes on after the answer.
    pub(super) fn update(&self, what: UpdateRequest) -> anyhow::Result<()> {
        let authority = Authority::Root;
        match self
            .open(LOOK)?
            .call(&Request::Update { what, authority })?
        {
            Answer::Done => Ok(()),
            other => bail!(unexpected(other)),
        }
    }

    /// How updates stand.
    pub(super) fn updates(&self) -> anyhow::Result<UpdateStatus> {
        match self.open(LOOK)?.call(&Request::Status)? {
            Answer::Status(status) => status.updates.context(
                "the profile of this device takes no updates: it has no section [updates]",
            ),
            other => bail!(unexpected(other)),
        }
    }

    pub(super) fn reset_password(&self) -> anyhow::Result<Secret> {
        match self.open(LOOK)?.call(&Request::ResetPassword)? {
            Answer::Password { password } => Ok(password),
            other => bail!(unexpected(other)),
        }
    }

    pub(super) fn clear_tamper(&self, reason: &str) -> anyhow::Result<()> {
        let reason = reason.to_owned();
        match self.open(LOOK)?.call(&Request::ClearTamper { reason })? {
            Answer::Done => Ok(()),
            other => bail!(unexpected(other)),
        }
    }

    /// Asks, and follows the steps to the end.
    fn follow(
        &self,
        request: &Request,
        progress: &mut dyn FnMut(&Progress),
    ) -> anyhow::Result<Outcome> {
        let mut channel = self.open(STEP)?;
        channel.send(request)?;
        loop {
            let answer = channel.receive()?;
            match answer.context(
                "the helper ended in the middle; `stockade device status` tells how it stands",
            )? {
                Answer::Progress(step) => progress(&step),
                Answer::Applied(outcome) => return Ok(outcome),
                other => bail!(unexpected(other)),
            }
            channel.extend(STEP);
        }
    }
}

fn unexpected(answer: Answer) -> String {
    match answer {
        Answer::Refused(Refused { why, next, .. }) if next.is_empty() => why,
        Answer::Refused(Refused { why, next, .. }) => format!("{why}: {next}"),
        _ => "the helper answers something else: is it of the same version?".to_owned(),
    }
}
