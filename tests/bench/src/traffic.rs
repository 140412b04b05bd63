//! What a ruleset costs packets: the same packets through each of them.

use anyhow::{Result, ensure};

use crate::cables::Cables;
use crate::flood::Flow;
use crate::kernel;

/// How much is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    /// First packets of flows in a round; the kernel tracks 262,144 at most, as it comes.
    pub(crate) flows: usize,
    /// Packets of open flows in a round.
    pub(crate) packets: usize,
    /// Rounds, of which the middle one counts.
    pub(crate) rounds: usize,
}

/// How many flows are open while their packets are counted.
pub(crate) const OPEN: usize = 1_000;

/// Packets a second that came out at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) new: f64,
    pub(crate) open: f64,
}

/// Sends one round through the ruleset that is in force; each packet must come out.
pub(crate) fn through(cables: &Cables, flows: &[Flow], amount: Amount) -> Result<Rates> {
    kernel::forget();
    let new = rate(cables, flows, amount.flows)?;
    kernel::forget();
    let open = opened(cables, flows, amount.packets)?;
    kernel::forget();
    Ok(Rates { new, open })
}

fn rate(cables: &Cables, flows: &[Flow], count: usize) -> Result<f64> {
    let (_, before) = cables.came_out()?;
    let took = cables.lan.first_packets(flows, count, cables.lan_mac)?;
    let (_, after) = cables.came_out()?;
    let arrived = after - before;
    ensure!(
        arrived >= u64::try_from(count)? * 99 / 100,
        "of {count} packets, {arrived} came out: this ruleset does not let them through"
    );
    Ok(per_second(arrived, took))
}

/// Flows whose first packets were answered; then their packets again and again.
fn opened(cables: &Cables, flows: &[Flow], packets: usize) -> Result<f64> {
    let flows = flows.get(..OPEN.min(flows.len())).unwrap_or(flows);
    cables
        .lan
        .first_packets(flows, flows.len(), cables.lan_mac)?;
    let (before, _) = cables.came_out()?;
    cables
        .world
        .answers(flows, flows.len(), cables.world_mac, Cables::ROUTER)?;
    let (after, _) = cables.came_out()?;
    ensure!(
        after - before >= u64::try_from(flows.len())? * 99 / 100,
        "of {} answers, {} came back",
        flows.len(),
        after - before
    );
    let (_, before) = cables.came_out()?;
    let mut took = std::time::Duration::ZERO;
    for _ in 0..packets / flows.len() {
        took += cables
            .lan
            .first_packets(flows, flows.len(), cables.lan_mac)?;
    }
    let (_, after) = cables.came_out()?;
    Ok(per_second(after - before, took))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of packets are far below 2^53"
)]
fn per_second(packets: u64, took: std::time::Duration) -> f64 {
    packets as f64 / took.as_secs_f64()
}

/// The one in the middle.
pub(crate) fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
