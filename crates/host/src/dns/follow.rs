//! Names whose hosts come to the device: nobody here looks them up, so the forwarder does.

use std::sync::Arc;
use std::time::Duration;

use stockade_controls::firewall::names::{FLOOR, Family, GRACE, Question, Rights};
use stockade_profile::HostName;
use tokio::task::JoinHandle;

use super::{Event, Forwarder};

/// How soon a name is asked for again when nobody could answer.
const SOON: Duration = Duration::from_secs(10);

/// The names that come to a device by its rules, followed until the value is dropped.
#[derive(Debug)]
pub struct Following {
    rights: Arc<Rights>,
    task: Option<JoinHandle<()>>,
}

impl Following {
    /// Begins to follow.
    pub fn new(forwarder: &Forwarder, rights: Arc<Rights>) -> Self {
        let mut following = Self {
            rights: Arc::default(),
            task: None,
        };
        following.keep(forwarder, rights);
        following
    }

    /// Follows what the rules say by now; what is followed already is not asked for anew.
    pub fn keep(&mut self, forwarder: &Forwarder, rights: Arc<Rights>) {
        if self.rights == rights {
            return;
        }
        self.end();
        self.rights = Arc::clone(&rights);
        if !rights.followed().is_empty() {
            let forwarder = forwarder.clone();
            self.task = Some(tokio::spawn(async move { forwarder.follow(rights).await }));
        }
    }

    fn end(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.end();
    }
}

impl Forwarder {
    /// Keeps the addresses of these names admitted; never returns.
    async fn follow(&self, rights: Arc<Rights>) {
        loop {
            let mut next = Duration::MAX;
            for name in rights.followed() {
                for family in [Family::V4, Family::V6] {
                    next = next.min(self.follow_one(name, family, &rights).await);
                }
            }
            tokio::time::sleep(next).await;
        }
    }

    /// Looks a name up once; gives back after how long it is to be asked for again.
    async fn follow_one(&self, name: &HostName, family: Family, rights: &Rights) -> Duration {
        let Some(question) = Question::of_our_own(name.clone(), family, rights) else {
            return Duration::MAX;
        };
        let Some(answer) = self.fetch_together(&question).await else {
            self.tell_all(Event::Unanswered { name: name.clone() });
            return SOON;
        };
        let judged = question.judge(&answer, rights);
        match self.admit(name, judged.admit, judged.lifetime).await {
            // Asked again while the addresses still hold.
            Ok(()) => judged.lifetime.saturating_sub(GRACE).max(FLOOR / 2),
            Err(error) => {
                let why = crate::chain(&error);
                self.tell_all(Event::NotAdmitted {
                    name: name.clone(),
                    why,
                });
                SOON
            }
        }
    }
}
