//! Forgetting a device: from the broker's memory, and from the files of the journal.

use std::time::Duration;

use stockade_store::BusError;

use super::{MqttHandle, Shared};
use crate::broker::{Broker, Forgetting, Forgotten, Output, Whose};
use crate::name::DeviceName;

/// The longest time that it may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long others have to take what they still need from the files that are to go.
const TAKING: Duration = Duration::from_secs(3);
/// Between two looks at something that is under way.
const PAUSE: Duration = Duration::from_millis(5);

/// Why not all of a device is forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// The journal does not take that it is to be forgotten.
    #[error(transparent)]
    Journal(#[from] BusError),
    /// The journal is too slow.
    #[error("the journal took more than {} s to forget", PATIENCE.as_secs())]
    Slow,
}

impl MqttHandle {
    /// Ends the sessions of a device, and removes what it published and what is on its topics: retained messages, what waits
    /// for whomever, wills. Once this returns none of it comes back, and the journal was written anew without it.
    pub async fn forget(&self, device: &DeviceName) -> Result<Forgotten, ForgetError> {
        match tokio::time::timeout(PATIENCE, self.shared.forget(device)).await {
            Ok(forgotten) => Ok(forgotten?),
            Err(_) => Err(ForgetError::Slow),
        }
    }
}

impl Shared {
    async fn forget(&self, device: &DeviceName) -> Result<Forgotten, BusError> {
        let mut forgetting = Forgetting::new(self.whose(device));
        while !self
            .insist(|broker, out| broker.forget(&mut forgetting, out))
            .await?
        {
            tokio::task::yield_now().await;
        }
        let bus = &self.around.bus;
        let last = bus.last();
        let mut durable = bus.durable();
        // A bus that is gone takes no more either, which is told below.
        let _reached = durable.wait_for(|reached| *reached >= last).await.is_ok();
        // All that the journal has of it is in the files up to here, and what is still true is written anew behind them.
        bus.part();
        self.insist(Broker::begin_round).await?;
        let step = |broker: &mut Broker, out: &mut Output| {
            broker.compact(out);
            broker.is_compact()
        };
        while !self.turn(step) {
            tokio::time::sleep(PAUSE).await;
        }
        let freed = async {
            while bus.first() <= last {
                tokio::time::sleep(PAUSE).await;
            }
        };
        Ok(Forgotten {
            cleared: tokio::time::timeout(TAKING, freed).await.is_ok(),
            ..forgetting.gone
        })
    }

    /// Topics count as the device's own only while no other model's has its id.
    fn whose(&self, device: &DeviceName) -> Whose {
        let registry = &self.around.registry;
        let known = registry.get(&device.id, self.around.clock.now());
        let profile = match known {
            Some(known) if known.name.model != device.model => None,
            _ => registry.profile(&device.model),
        };
        Whose::new(device.clone(), profile.as_deref())
    }

    /// A turn of the core, again while the journal's buffer is full.
    async fn insist<T>(
        &self,
        mut turn: impl FnMut(&mut Broker, &mut Output) -> Result<T, BusError>,
    ) -> Result<T, BusError> {
        loop {
            match self.turn(&mut turn) {
                Err(BusError::Full) => tokio::time::sleep(PAUSE).await,
                done => return done,
            }
        }
    }
}
