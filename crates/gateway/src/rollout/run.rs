//! Roll-outs at work: looked at now and then.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Rollouts;
use crate::tls::Clock;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// Looks at what goes on until `stop`.
pub async fn run(rollouts: Arc<Rollouts>, clock: Clock, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let (worker, now) = (Arc::clone(&rollouts), clock.now());
        match tokio::task::spawn_blocking(move || worker.step(now)).await {
            Ok(Ok(())) => (),
            Ok(Err(error)) => tracing::error!(%error, "roll-outs do not go on"),
            Err(error) => tracing::error!(%error, "the step of a roll-out failed"),
        }
    }
}
