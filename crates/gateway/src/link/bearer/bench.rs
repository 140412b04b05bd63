//! A bearer as its tests run it: a task, and the core's ends of its channels.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Arc, BearerStatus, Datagram, Place, Port, mpsc};

#[path = "../../../../../fuzz/random.rs"]
pub(in crate::link) mod random;

pub(in crate::link) const WAIT: Duration = Duration::from_secs(30);

pub(in crate::link) struct Running {
    received: mpsc::Receiver<Datagram>,
    to_send: mpsc::Sender<Datagram>,
    pub(in crate::link) status: Arc<BearerStatus>,
    task: JoinHandle<()>,
}

impl Running {
    pub(in crate::link) fn start<F>(run: impl FnOnce(Port) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let status = BearerStatus::new("tested".to_owned(), Arc::default());
        let (in_sender, received) = mpsc::channel(256);
        let (to_send, out_receiver) = mpsc::channel(256);
        let port = Port {
            received: in_sender,
            to_send: out_receiver,
            status: Arc::clone(&status),
        };
        let task = tokio::spawn(run(port));
        Self {
            received,
            to_send,
            status,
            task,
        }
    }

    pub(in crate::link) async fn next(&mut self) -> Datagram {
        let next = tokio::time::timeout(WAIT, self.received.recv()).await;
        next.expect("a datagram in time").expect("the bearer runs")
    }

    pub(in crate::link) async fn send(&self, place: Place, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        self.to_send
            .send(Datagram { place, bytes })
            .await
            .expect("the bearer runs");
    }

    /// The core is gone: so is the bearer.
    pub(in crate::link) async fn end(self) {
        drop((self.received, self.to_send));
        let ended = tokio::time::timeout(WAIT, self.task).await;
        ended.expect("an end in time").expect("no panic");
    }
}
