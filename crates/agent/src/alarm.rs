//! What cannot wait: the helper tells of it at once, and the gateway is told in the same second.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stockade_api::helper::{Answer, Request};
use tokio::sync::Notify;

use crate::certificate::Certificate;
use crate::helper::Helper;

/// After a helper that did not answer.
const PAUSE: Duration = Duration::from_secs(2);

/// Who listens, and who is told.
pub(crate) struct Alarm {
    /// The way to the helper; nobody else waits for it.
    pub(crate) helper: Helper,
    /// Told of what cannot wait.
    pub(crate) urgent: Arc<Notify>,
    /// The page's certificate, whose key may be erased.
    pub(crate) page: Arc<Certificate>,
    /// Where that key is kept, and its names.
    pub(crate) own: (PathBuf, Vec<String>),
}

impl Alarm {
    /// Listens, for as long as the process lives.
    pub(crate) async fn run(self) {
        let mut after = 0;
        loop {
            match self.helper.ask(&Request::Urgent { after }).await {
                Ok(Answer::Events { events, .. }) => {
                    after = events.last().map_or(0, |event| event.number);
                    self.urgent.notify_one();
                    if events.iter().any(|event| event.kind == "tamper-response") {
                        self.page_anew();
                    }
                }
                Ok(_) => (),
                Err(_away) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// The page goes on telling the truth, with a key that nobody can have read.
    fn page_anew(&self) {
        let (folder, names) = &self.own;
        if let Err(why) = self.page.anew(folder, names) {
            let why = stockade_host::chain(&why);
            crate::run::say(&format!("the page has no new key: {why}"));
        }
    }
}
