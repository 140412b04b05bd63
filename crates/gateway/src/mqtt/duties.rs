//! What goes on beside the connections: the disk, time, and the registry.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use stockade_store::Seq;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::MissedTickBehavior;

use super::Shared;
use crate::broker::Broker;
use crate::name::DeviceId;

/// How often time is told to the core.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between two looks at the summed refusals.
const SWEEP: u32 = 20;

/// Wakes the connections whose bytes waited for what is on disk now.
pub(super) async fn watch_durable(shared: Arc<Shared>, mut durable: watch::Receiver<Seq>) {
    loop {
        let reached = durable.borrow_and_update().get();
        shared.durable.store(reached, Ordering::Release);
        let waiting =
            std::mem::take(&mut *shared.parked.lock().unwrap_or_else(PoisonError::into_inner));
        let mut still = Vec::new();
        for outbox in waiting {
            if outbox.unpark(reached).is_some() {
                still.push(outbox);
            }
        }
        shared
            .parked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .append(&mut still);
        if durable.changed().await.is_err() {
            // The bus is gone: nothing becomes durable any more, and nothing is acknowledged.
            return;
        }
    }
}

/// Tells the core the time.
pub(super) async fn tick(shared: Arc<Shared>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0u32;
    loop {
        interval.tick().await;
        shared.turn(Broker::handle_tick);
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(SWEEP) {
            shared
                .refusals
                .sweep(&shared.around.events, shared.around.clock.now());
        }
    }
}

/// Applies every change of the registry to live and to sleeping sessions.
pub(super) async fn watch_registry(
    shared: Arc<Shared>,
    mut changes: broadcast::Receiver<DeviceId>,
) {
    loop {
        match changes.recv().await {
            Ok(id) => shared.turn(|broker, out| shared.apply(broker, &id, out)),
            Err(RecvError::Lagged(_)) => shared.turn(|broker, out| {
                let all: Vec<_> = broker.devices().map(|p| p.device().id.clone()).collect();
                for id in all {
                    shared.apply(broker, &id, out);
                }
            }),
            Err(RecvError::Closed) => return,
        }
    }
}
