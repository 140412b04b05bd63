//! By this very process: what root may see and change, or an image that does not run.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use stockade_api::helper::{Outcome, Progress, Which};
use stockade_controls::engine::{
    Action, CONTROLS, Case, Host, HostPath, Own, Plan, Report, assess,
};
use stockade_host::apply::{self, Applier, Moment, Unfinished};
use stockade_host::console;
use stockade_host::firewall::{self, standing};
use stockade_host::tls;
use stockade_host::view::{Live, Offline};
use stockade_profile::Profile;

use super::Look;
use crate::args::mend::Subject;
use crate::commands::firewall::sound;
use crate::out::aside;

/// Where undo data is kept on a machine that has no helper.
const KEEP: &str = "/var/lib/stockade/apply";

/// A root directory and the profile that it is judged by.
pub(super) struct Here {
    /// None: this machine, which runs.
    root: Option<PathBuf>,
    keep: PathBuf,
    profile: Profile,
}

impl Here {
    pub(super) fn of(subject: &Subject, profile: &Path) -> anyhow::Result<Self> {
        let text = fs_err::read_to_string(profile)?;
        let keep = match (&subject.keep, &subject.root) {
            (Some(keep), _) => keep.clone(),
            (None, Some(root)) => beside(root)?,
            (None, None) => PathBuf::from(KEEP),
        };
        Ok(Self {
            root: subject.root.clone(),
            keep,
            profile: sound(&text, profile)?,
        })
    }

    pub(super) fn look(&self) -> anyhow::Result<Look> {
        if let Some(root) = &self.root {
            let host = Offline::open(root).with_context(|| root.display().to_string())?;
            return self.judge(&host);
        }
        let host = Live::open()?
            .with_prober(tls::ask)
            .with_firewall(|| standing(Path::new(firewall::FOLDER)));
        self.judge(&host)
    }

    fn judge(&self, host: &dyn Host) -> anyhow::Result<Look> {
        // An empty folder would have few faults.
        host.list(&HostPath::of("/etc"))
            .context("this is no root directory: there is no /etc")?;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)?
            .as_secs();
        let own = Own::default();
        let case = Case {
            host,
            profile: &self.profile,
            now,
            own: &own,
        };
        let assessment = assess(&case, CONTROLS);
        let report = Report::of(&assessment, &self.profile, host.standing(), now);
        Ok(Look {
            report,
            plan: Plan::of(&assessment),
            digest: String::new(),
        })
    }

    pub(super) fn apply(
        &self,
        plan: &Plan,
        progress: &mut dyn FnMut(&Progress),
    ) -> anyhow::Result<Outcome> {
        let mut applier = self.applier(progress)?;
        let mut plan = plan.clone();
        let all = plan.steps.len();
        plan.steps
            .retain(|planned| planned.step.action != Action::Firewall);
        if plan.steps.len() < all {
            aside("the firewall is left out: `stockade firewall apply PROFILE` loads it, on trial");
        }
        let in_use = console::in_use()?;
        let all = plan.steps.len();
        plan.steps
            .retain(|planned| !console::touches(&planned.step.action, &in_use));
        if plan.steps.len() < all {
            aside(
                "what somebody works with is left as it is: only the helper can take it away on trial",
            );
        }
        let done = applier.apply(&plan, &mut |moment: &Moment<'_>| progress(&moment.into()))?;
        Ok(done.into())
    }

    pub(super) fn undo(
        &self,
        which: Which,
        progress: &mut dyn FnMut(&Progress),
    ) -> anyhow::Result<Outcome> {
        let mut applier = self.applier(progress)?;
        let which = match which {
            Which::Last => apply::Which::Last,
            Which::All => apply::Which::All,
        };
        let undone = applier.undo(which, &mut |moment: &Moment<'_>| progress(&moment.into()))?;
        Ok(undone.into())
    }

    /// The applier, with what a crash cut short taken back.
    fn applier(&self, progress: &mut dyn FnMut(&Progress)) -> anyhow::Result<Applier> {
        let root = self.root.as_deref().unwrap_or_else(|| Path::new("/"));
        let mut applier = Applier::open(root, &self.keep)?;
        let step = &mut |moment: &Moment<'_>| progress(&moment.into());
        let recovered = applier.recover(Unfinished::TakeBack, step)?;
        if let Some(undone) = recovered.taken_back {
            aside(&format!(
                "an earlier plan was cut short: {} steps were taken back",
                undone.steps
            ));
            if let Some(left) = undone.left.first() {
                bail!("not all of it could be taken back: {left}");
            }
        }
        Ok(applier)
    }
}

/// Beside an image, never in it.
fn beside(root: &Path) -> anyhow::Result<PathBuf> {
    let root = fs_err::canonicalize(root)?;
    let mut name = root
        .file_name()
        .context("the root directory of this machine runs: leave --root out")?
        .to_owned();
    name.push(".undo");
    Ok(root.with_file_name(name))
}
