//! What is believed of what sensors say.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stockade_profile::Debounce;

/// What a sensor says of the case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// It is closed.
    Closed,
    /// It is open.
    Open,
    /// Nothing: why.
    Unseen(String),
}

impl Says {
    /// Two reasons to say nothing are the same.
    fn is(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// A line that goes to and fro for so many times the time it should settle in is taken for open.
const FLUTTER: u32 = 10;

/// The sensors. Times are since any one moment; those of one sensor do not go back.
#[derive(Debug)]
pub struct Watch {
    settle: Duration,
    sensors: BTreeMap<String, Sensor>,
}

#[derive(Debug, Default)]
struct Sensor {
    believed: Option<Says>,
    moving: Option<Moving>,
}

/// It says something else than is believed, or did a moment ago.
#[derive(Debug)]
struct Moving {
    says: Says,
    since: Duration,
    began: Duration,
    was_open: bool,
}

impl Watch {
    /// Nothing is believed of any sensor yet.
    pub fn new(debounce: Debounce) -> Self {
        Self {
            settle: debounce.duration(),
            sensors: BTreeMap::new(),
        }
    }

    /// A sensor says this now. What it is believed to say from then on comes from [`Watch::poll`], or from here if that is older
    /// than what it says now.
    pub fn handle(&mut self, sensor: &str, now: Duration, says: Says) -> Vec<Says> {
        let known = self.sensors.entry(sensor.to_owned()).or_default();
        let came = known.advance(now, self.settle);
        known.says(now, says);
        came
    }

    /// What sensors are believed to say from now on, each when it changes.
    pub fn poll(&mut self, now: Duration) -> Vec<(String, Says)> {
        let settle = self.settle;
        let mut all = Vec::new();
        for (name, sensor) in &mut self.sensors {
            let came = sensor.advance(now, settle);
            all.extend(came.into_iter().map(|says| (name.clone(), says)));
        }
        all
    }

    /// When [`Watch::poll`] has something to do again.
    pub fn next(&self) -> Option<Duration> {
        let moving = self.sensors.values().filter_map(|it| it.moving.as_ref());
        moving.map(|it| it.due(self.settle)).min()
    }

    /// What a sensor is believed to say.
    pub fn believed(&self, sensor: &str) -> Option<&Says> {
        self.sensors.get(sensor)?.believed.as_ref()
    }
}

impl Moving {
    fn settles(&self, settle: Duration) -> Duration {
        self.since.saturating_add(settle)
    }

    fn flutters(&self, settle: Duration) -> Duration {
        self.began
            .saturating_add(settle.saturating_mul(FLUTTER))
            .max(self.since)
    }

    fn due(&self, settle: Duration) -> Duration {
        if self.was_open {
            self.settles(settle).min(self.flutters(settle))
        } else {
            self.settles(settle)
        }
    }
}

impl Sensor {
    /// Brings what is believed up to now; what it changed to, in order.
    fn advance(&mut self, now: Duration, settle: Duration) -> Vec<Says> {
        let mut came = Vec::new();
        while let Some(moving) = self.moving.take_if(|it| it.due(settle) <= now) {
            let says = if moving.settles(settle) <= moving.due(settle) {
                moving.says
            } else {
                let began = moving.flutters(settle);
                self.moving = Some(Moving {
                    began,
                    was_open: false,
                    ..moving
                });
                Says::Open
            };
            if self.believed.as_ref().is_none_or(|it| !it.is(&says)) {
                self.believed = Some(says.clone());
                came.push(says);
            }
        }
        came
    }

    fn says(&mut self, now: Duration, says: Says) {
        let open = says == Says::Open;
        match &mut self.moving {
            Some(moving) => {
                if !moving.says.is(&says) {
                    moving.since = now.max(moving.since);
                }
                moving.was_open |= open;
                moving.says = says;
            }
            None if self.believed.as_ref().is_some_and(|it| it.is(&says)) => {
                self.believed = Some(says);
            }
            None => {
                self.moving = Some(Moving {
                    says,
                    since: now,
                    began: now,
                    was_open: open,
                });
            }
        }
    }
}
