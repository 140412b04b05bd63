//! The camera's own system: a small tree with faults in it, which the device looks at, has judged and mends, as any device does.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rcgen::KeyPair;
use stockade_agent::enrol::Identity;
use stockade_api::events::Batch;
use stockade_api::helper::{Event, Weight};
use stockade_api::signed::{Command, Evidence, Order};
use stockade_controls::credentials::{Credentials, new_hash};
use stockade_controls::engine::{Assessment, Case, Own, Plan, Posture, assess};
use stockade_controls::programs::Programs;
use stockade_gateway::evidence::OPENED;
use stockade_host::apply::{self, Applier, Moment, Unfinished, Which};
use stockade_host::view::Offline;
use stockade_profile::{Profile, VerifyingKey};
use time::OffsetDateTime;

use super::fleet::camera;
use crate::args::DemoDevice;

/// The system and what the device knows of its gateway.
#[derive(Debug)]
pub(super) struct System {
    id: String,
    identity: Identity,
    signer: VerifyingKey,
    profile: Profile,
    root: PathBuf,
    /// Where what is undone is kept, beside the tree.
    undo: PathBuf,
    /// The number of the last command, which is done once.
    last: PathBuf,
    /// Its case: this file is there while the case is open, in the place of the line of a chip.
    case: PathBuf,
    /// The case was opened: what is remembered until an operator clears it.
    latch: PathBuf,
    log: u64,
    told: u64,
}

impl System {
    /// Lays the tree down if it is not there.
    pub(super) async fn of(told: &DemoDevice, identity: Identity) -> anyhow::Result<Self> {
        let signer = identity.signer(told.est).await?;
        let root = told.keys.join("root");
        if !root.exists() {
            let fresh = root.with_extension("new");
            lay(&fresh)?;
            fs_err::rename(&fresh, &root)?;
        }
        Ok(Self {
            id: told.id.clone(),
            identity,
            signer: VerifyingKey::from_pem(std::str::from_utf8(&signer)?)?,
            profile: camera()?,
            root,
            undo: told.keys.join("undo"),
            last: told.keys.join("last-command"),
            case: told.keys.join("CASE_OPEN"),
            latch: told.keys.join("case-was-opened"),
            log: millis()?,
            told: 0,
        })
    }

    /// Judges the tree. It does not run and belongs to whoever runs the demo: what listens, and what belongs to root, is not asked.
    fn look(&self) -> anyhow::Result<Assessment> {
        let case = Case {
            host: &Offline::open(&self.root)?,
            profile: &self.profile,
            now: millis()? / 1000,
            own: &Own::default(),
        };
        Ok(assess(&case, &[&Credentials, &Programs]))
    }

    /// What is found, signed.
    pub(super) fn evidence(&self, nonce: Option<String>) -> anyhow::Result<Vec<u8>> {
        let number = millis()?;
        let evidence = Evidence {
            form: Evidence::FORM,
            device: self.id.clone(),
            number,
            at: number / 1000,
            nonce,
            done: self.last()?,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            system: None,
            posture: Posture::of(&self.look()?, &self.profile, number / 1000),
            attestation: None,
        };
        Ok(self.identity.evidence(&evidence)?)
    }

    /// Mends what is found. A batch of what was done, for the gateway; none if there was nothing to do.
    pub(super) fn mend(&mut self, by: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let plan = Plan::of(&self.look()?);
        let mut done = Vec::new();
        self.applier()?.apply(&plan, &mut |moment: &Moment<'_>| {
            note(moment, &mut done);
        })?;
        self.batch(by, done)
    }

    /// Takes back what was mended last.
    pub(super) fn undo(&mut self, by: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let mut done = Vec::new();
        self.applier()?
            .undo(Which::Last, &mut |moment: &Moment<'_>| {
                note(moment, &mut done);
            })?;
        self.batch(by, done)
    }

    /// With what was cut short taken back.
    fn applier(&self) -> anyhow::Result<Applier> {
        let mut applier = Applier::open(&self.root, &self.undo)?;
        applier.recover(Unfinished::TakeBack, &mut |_: &Moment<'_>| ())?;
        Ok(applier)
    }

    fn batch(&mut self, by: &str, says: Vec<String>) -> anyhow::Result<Option<Vec<u8>>> {
        let events = says.into_iter();
        let events = events.map(|says| self.event(Weight::Change, by, "applied", says));
        let events = events.collect::<Result<Vec<_>, _>>()?;
        Ok((!events.is_empty()).then(|| Batch::new(self.log, 0, events).write()))
    }

    fn event(
        &mut self,
        weight: Weight,
        by: &str,
        kind: &str,
        says: String,
    ) -> anyhow::Result<Event> {
        self.told += 1;
        Ok(Event {
            number: self.told,
            at: millis()? / 1000,
            weight,
            by: by.to_owned(),
            kind: kind.to_owned(),
            says,
        })
    }

    /// An alarm for the gateway, once, if the case is open: it is remembered first.
    pub(super) fn opened(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        if !self.case.exists() || self.latch.exists() {
            return Ok(None);
        }
        fs_err::write(&self.latch, "")?;
        let says = format!("{OPENED}: CASE_OPEN");
        let event = self.event(Weight::Warning, "the camera", "tamper-opened", says)?;
        Ok(Some(Batch::new(self.log, 0, vec![event]).write()))
    }

    /// An operator closed the case.
    pub(super) fn close(&self) -> anyhow::Result<()> {
        for file in [&self.case, &self.latch] {
            match fs_err::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => (),
            }
        }
        Ok(())
    }

    /// What a command of the gateway says, if it is to be done: its number is on disk then.
    pub(super) fn command(&self, signed: &[u8]) -> anyhow::Result<Order> {
        let command = Command::verify(signed, std::slice::from_ref(&self.signer))?;
        ensure!(
            command.device == self.id,
            "the command is for another device"
        );
        ensure!(
            command.number > self.last()?,
            "command {} was done",
            command.number
        );
        ensure!(
            command.expires > millis()? / 1000,
            "command {} is out of date",
            command.number
        );
        fs_err::write(&self.last, command.number.to_string())?;
        Ok(command.order)
    }

    fn last(&self) -> anyhow::Result<u64> {
        match fs_err::read_to_string(&self.last) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            text => Ok(text?.parse()?),
        }
    }
}

/// A step that was done or taken back, as a sentence.
fn note(moment: &Moment<'_>, done: &mut Vec<String>) {
    let word = match moment.event {
        apply::Event::Done => "done",
        apply::Event::TakenBack => "taken back",
        _ => return,
    };
    let (number, of, says) = (moment.number, moment.of, moment.says);
    done.push(format!("{word}, {number} of {of}: {says}"));
}

/// The time, which also grows from one piece of evidence to the next, and from one start to the next.
fn millis() -> anyhow::Result<u64> {
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    u64::try_from(now).context("the clock is before 1970")
}

/// What a maker in a hurry ships: an account left over with a known password, a private key that everybody can read, telnet.
fn lay(root: &Path) -> anyhow::Result<()> {
    for folder in ["etc/camera", "bin", "sbin", "usr/sbin"] {
        fs_err::create_dir_all(root.join(folder))?;
    }
    let (mut salts, mut unknown) = ([[0; 12]; 2], [0; 16]);
    aws_lc_rs::rand::fill(salts.as_flattened_mut())?;
    aws_lc_rs::rand::fill(&mut unknown)?;
    let [guest, admin] = salts;
    let (guest, admin) = (new_hash(b"guest", guest), new_hash(&unknown, admin));
    let key = KeyPair::generate()?.serialize_pem();
    let files = [
        (
            "etc/passwd",
            0o644,
            "root:x:0:0:root:/root:/bin/sh\nadmin:x:1000:1000::/:/bin/sh\nguest:x:1001:1001::/:/bin/sh\n",
        ),
        (
            "etc/shadow",
            0o600,
            &format!(
                "root:*:20000:0:99999:7:::\nadmin:{admin}:20000:0:99999:7:::\nguest:{guest}:20000:0:99999:7:::\n"
            ),
        ),
        ("etc/inittab", 0o644, "::respawn:/usr/sbin/telnetd -F\n"),
        ("etc/camera/stream.key", 0o644, &key),
        ("bin/busybox", 0o755, "#!/bin/sh\n"),
    ];
    for (name, mode, content) in files {
        let path = root.join(name);
        fs_err::write(&path, content)?;
        fs_err::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    for (name, to) in [
        ("sbin/init", "../bin/busybox"),
        ("usr/sbin/telnetd", "../../bin/busybox"),
    ] {
        let link = root.join(name);
        if link.symlink_metadata().is_err() {
            symlink(to, link)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_has_a_critical_fault_and_can_be_mended_whoever_runs_the_demo() {
        let folder = tempfile::tempdir().unwrap();
        let (root, undo) = (folder.path().join("root"), folder.path().join("undo"));
        lay(&root).unwrap();
        let profile = camera().unwrap();
        let look = || {
            let case = Case {
                host: &Offline::open(&root).unwrap(),
                profile: &profile,
                now: 1_790_000_000,
                own: &Own::default(),
            };
            assess(&case, &[&Credentials, &Programs])
        };
        let found = look();
        let rules: Vec<_> = found.findings().map(|finding| finding.rule.id).collect();
        assert_eq!(
            rules,
            [
                "credentials/default-password",
                "credentials/password-logins",
                "credentials/private-key-mode",
                "programs/plain-server",
                "programs/service",
            ]
        );
        let mut applier = Applier::open(&root, &undo).unwrap();
        let done = applier.apply(&Plan::of(&found), &mut |_: &Moment<'_>| ());
        assert_eq!(done.unwrap().done, 4);
        assert_eq!(look().findings().count(), 0);
    }
}
