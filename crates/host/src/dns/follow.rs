//! Names whose hosts come to the device: nobody here looks them up, so the forwarder does.

use std::sync::Arc;
use std::time::Duration;

use stockade_controls::firewall::names::{FLOOR, Family, GRACE, Question, Rights};
use stockade_profile::HostName;

use super::{Event, Forwarder};

/// How soon a name is asked for again when nobody could answer.
const SOON: Duration = Duration::from_secs(10);

impl Forwarder {
    /// Keeps the addresses of these names admitted; never returns.
    pub async fn follow(&self, names: Vec<HostName>, rights: Arc<Rights>) {
        if names.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let mut next = Duration::MAX;
            for name in &names {
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
                let why = super::chain(&error);
                self.tell_all(Event::NotAdmitted {
                    name: name.clone(),
                    why,
                });
                SOON
            }
        }
    }
}
