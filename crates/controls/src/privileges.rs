//! `privileges`: no more rights than needed.

mod confine;
mod files;
mod guard;
mod places;
mod root;
mod rules;
mod seen;
mod sudoers;

use stockade_profile::Control;

use crate::engine::{Case, Check, Judged, Rule};
use crate::services;

pub(crate) use confine::{TRIAL_SECONDS, health};
use guard::Guard;
pub(crate) use root::processes_of;
pub(crate) use seen::look;

/// The control `privileges`.
#[derive(Debug)]
pub struct Privileges;

impl Check for Privileges {
    fn control(&self) -> Control {
        Control::Privileges
    }

    fn rules(&self) -> &'static [&'static Rule] {
        rules::ALL
    }

    fn judge(&self, case: &Case<'_>) -> Judged {
        let mut judged = Judged::default();
        let services = services::list(case.host);
        match &services {
            Ok(services) => {
                root::judge(case, services, &mut judged);
                confine::judge(case, services, &mut judged);
            }
            Err(why) => {
                for rule in [&rules::ROOT_SERVICE, &rules::UNCONFINED] {
                    judged.unseen(rule, "the services", why);
                }
            }
        }
        let services = services.unwrap_or_default();
        // What is told by one rule is not told by the next.
        let mut guard = Guard::new(case);
        sudoers::judge(&mut guard, &mut judged);
        places::start(&mut guard, &services);
        guard.done(&rules::UNIT, &mut judged);
        places::cron(&mut guard);
        guard.done(&rules::CRON, &mut judged);
        places::root_path(&mut guard);
        guard.done(&rules::ROOT_PATH, &mut judged);
        places::preload(&mut guard);
        guard.done(&rules::PRELOAD, &mut judged);
        places::login(&mut guard);
        guard.done(&rules::LOGIN_SCRIPT, &mut judged);
        files::judge(case, &guard.told, &mut judged);
        judged
    }
}

/// Takes the data as a file of sudoers and as a crontab.
pub(crate) fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = sudoers::parse(&text);
    for grant in &read.grants {
        assert!(grant.line >= 1, "lines are counted from one");
    }
    for line in text.lines() {
        for path in places::jobs(line, true) {
            assert!(path.as_bytes().len() <= line.len(), "a part of the line");
        }
    }
    assert!(!files::capability_names(data).is_empty(), "always said");
}
