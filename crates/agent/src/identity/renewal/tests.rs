//! A device, a gateway and the time, simulated: with power cuts between any two effects, clocks that jump, and weeks without network.

use super::*;

const DAY: u64 = 86_400;
const LIFE: u64 = 7 * DAY;
const WINDOW: u64 = 30 * DAY;
const START: UnixSeconds = 1_800_000_000;

/// A small generator (xorshift): the same run every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The gateway, as `docs/enrol.md` says: the first use of the next certificate ends the one before.
struct Gateway {
    up: bool,
    refuses_next: bool,
    current: Certificate,
    next: Option<Certificate>,
}

impl Gateway {
    fn knows(&mut self, shown: &Certificate) -> bool {
        if self.next.as_ref() == Some(shown) {
            self.current = shown.clone();
            self.next = None;
        }
        self.current == *shown
    }

    fn reenrol(
        &mut self,
        shown: &Certificate,
        key: &[u8],
        now: UnixSeconds,
    ) -> Option<Certificate> {
        if !self.knows(shown) || now > shown.not_after + WINDOW {
            return None;
        }
        if let Some(next) = self
            .next
            .clone()
            .filter(|it| it.spki == key && now < it.not_after)
        {
            return Some(next);
        }
        self.next = Some(Certificate {
            not_before: now,
            not_after: now + LIFE,
            spki: key.to_vec(),
        });
        self.next.clone()
    }

    fn admits(&mut self, shown: &Certificate, now: UnixSeconds) -> bool {
        let next = self.next.as_ref() == Some(shown);
        !(self.refuses_next && next) && now < shown.not_after && self.knows(shown)
    }
}

/// What lasts on the device.
#[derive(Clone)]
struct Disk {
    facts: Facts,
    keys_made: u8,
}

struct World {
    random: Random,
    now: UnixSeconds,
    /// How far the device's clock is off; none of it below the floor is believed.
    clock: i64,
    gateway: Gateway,
    disk: Disk,
    full: bool,
    cuts: bool,
    /// It said that it needs a code.
    told: bool,
}

/// What ends a turn early.
enum Cut {
    Power,
    Failed(Failure),
}

impl World {
    fn new(seed: u64) -> Self {
        let first = Certificate {
            not_before: START,
            not_after: START + LIFE,
            spki: vec![0],
        };
        let facts = Facts {
            current: Some(first.clone()),
            key: Some(vec![0]),
            ..Facts::default()
        };
        Self {
            random: Random(seed + 1),
            now: START,
            clock: 0,
            gateway: Gateway {
                up: true,
                refuses_next: false,
                current: first,
                next: None,
            },
            disk: Disk {
                facts,
                keys_made: 0,
            },
            full: false,
            cuts: false,
            told: false,
        }
    }

    /// The device's time: never before its certificate began.
    fn device_time(&self) -> UnixSeconds {
        let floor = self
            .disk
            .facts
            .current
            .as_ref()
            .map_or(0, |it| it.not_before);
        self.now.saturating_add_signed(self.clock).max(floor)
    }

    /// Between two effects the power may go.
    fn point(&mut self) -> Result<(), Cut> {
        if self.cuts && self.random.below(4) == 0 {
            Err(Cut::Power)
        } else {
            Ok(())
        }
    }

    /// A TLS handshake needs the gateway, and its certificate in date by the device's clock.
    fn reach(&self) -> Result<(), Cut> {
        let right = self.device_time().abs_diff(self.now) < LIFE;
        if self.gateway.up && right {
            Ok(())
        } else {
            Err(Cut::Failed(Failure::Trouble))
        }
    }

    fn write(&self) -> Result<(), Cut> {
        if self.full {
            Err(Cut::Failed(Failure::Trouble))
        } else {
            Ok(())
        }
    }

    fn act(&mut self, step: Step) -> Result<(), Cut> {
        let refused = || Cut::Failed(Failure::Refused);
        match step {
            Step::Rest(_) | Step::NeedCode => {}
            Step::Settle => {
                self.disk.facts.current = self.disk.facts.next.take();
            }
            Step::Prove => {
                self.reach()?;
                let next = self.disk.facts.next.clone().expect("there is one");
                if !self.gateway.admits(&next, self.now) {
                    return Err(refused());
                }
                self.point()?;
                self.disk.facts.key = self.disk.facts.next_key.take();
                self.point()?;
                self.disk.facts.current = self.disk.facts.next.take();
            }
            Step::Request(slot) => {
                if self.disk.facts.next_key.is_none() {
                    self.write()?;
                    self.disk.keys_made += 1;
                    self.disk.facts.next_key = Some(vec![self.disk.keys_made]);
                }
                self.point()?;
                self.reach()?;
                let facts = &self.disk.facts;
                let shown = if slot == Slot::Device {
                    &facts.current
                } else {
                    &facts.next
                };
                let (shown, key) = (shown.clone().expect("it is held"), facts.next_key.clone());
                let key = key.expect("just made");
                let given = self
                    .gateway
                    .reenrol(&shown, &key, self.now)
                    .ok_or_else(refused)?;
                self.point()?;
                self.write()?;
                self.disk.facts.next = Some(given);
            }
            Step::Discard => {
                self.disk.facts.next_key = None;
                self.point()?;
                self.disk.facts.next = None;
            }
        }
        Ok(())
    }

    /// Lets the device run for a while.
    fn run(&mut self, days: u64) {
        let end = self.now + days * DAY;
        let mut renewal = Renewal::default();
        while self.now < end {
            self.disk.facts.now = self.device_time();
            let last = renewal.next(&self.disk.facts);
            let pause = match self.act(last) {
                Ok(()) => match last {
                    Step::Rest(pause) => {
                        renewal.rested();
                        pause
                    }
                    Step::NeedCode => {
                        self.told = true;
                        renewal.rested();
                        REST
                    }
                    step => {
                        renewal.done(step);
                        Duration::from_secs(1)
                    }
                },
                Err(Cut::Failed(why)) => renewal.failed(why, 1.0),
                Err(Cut::Power) => {
                    renewal = Renewal::default();
                    Duration::from_mins(2)
                }
            };
            self.now += pause.as_secs().max(1);
        }
    }

    /// The device is let in with what it holds.
    fn is_in(&mut self) -> bool {
        let facts = &self.disk.facts;
        let held = facts
            .current
            .clone()
            .filter(|it| Some(&it.spki) == facts.key.as_ref());
        held.is_some_and(|held| self.gateway.admits(&held, self.now))
    }
}

#[test]
fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_not_before() {
    let mut world = World::new(1);
    world.run(4);
    assert_eq!(world.disk.keys_made, 0);
    world.run(1);
    assert_eq!(world.disk.keys_made, 1);
    world.run(60);
    assert!(
        world.is_in() && world.disk.keys_made < 16,
        "{}",
        world.disk.keys_made
    );
}

#[test]
fn power_may_go_between_any_two_effects() {
    for seed in 0..200 {
        let mut world = World::new(seed);
        world.cuts = true;
        world.run(40);
        world.cuts = false;
        world.run(1);
        assert!(world.is_in(), "seed {seed}");
    }
}

#[test]
fn weeks_offline_within_the_window_cost_nothing_and_after_it_a_code_is_asked_for() {
    let mut world = World::new(1);
    world.gateway.up = false;
    world.run(36);
    world.gateway.up = true;
    world.run(1);
    assert!(world.is_in(), "expired for 29 days: it comes back");
    world.gateway.up = false;
    world.run(60);
    world.gateway.up = true;
    assert!(!world.told);
    world.run(2);
    assert!(
        world.told && !world.is_in(),
        "expired for 53 days: it says that it needs a code"
    );
}

#[test]
fn sixty_days_offline_with_a_wide_window_end_with_the_device_in_again() {
    let mut world = World::new(1);
    // In the middle of a renewal: the next certificate is there, and was never shown.
    world.run(4);
    while world.disk.facts.next.is_none() {
        world.disk.facts.now = world.device_time();
        world.now += 600;
        let step = Renewal::default().next(&world.disk.facts);
        assert!(world.act(step).is_ok());
    }
    world.gateway.up = false;
    world.run(36);
    world.gateway.up = true;
    world.run(1);
    assert!(world.is_in(), "it comes back with the newer of the two");
}

#[test]
fn a_clock_that_jumps_by_years_breaks_nothing() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        for _ in 0..20 {
            let years = i64::try_from(world.random.below(61)).expect("small") - 30;
            world.clock = years * 365 * i64::try_from(DAY).expect("small");
            world.run(1);
            world.clock = 0;
            world.run(2);
        }
        assert!(world.is_in(), "seed {seed}");
    }
}

#[test]
fn a_gateway_that_refuses_the_new_certificate_leaves_the_old_in_use() {
    let mut world = World::new(1);
    world.gateway.refuses_next = true;
    world.run(6);
    assert!(world.is_in(), "by the first certificate");
    assert_eq!(world.disk.facts.key, Some(vec![0]));
    assert!(
        world.disk.keys_made < 60,
        "it does not make keys all the time: {}",
        world.disk.keys_made
    );
    world.gateway.refuses_next = false;
    world.run(3);
    assert!(world.is_in());
}

#[test]
fn a_full_disk_costs_the_renewal_and_not_the_identity() {
    let mut world = World::new(1);
    world.full = true;
    world.run(6);
    assert!(world.is_in(), "by the first certificate");
    world.full = false;
    world.run(2);
    assert!(world.is_in());
}

#[test]
fn pauses_grow_to_an_hour_and_no_further() {
    let mut renewal = Renewal::default();
    let pauses: Vec<_> = (0..10)
        .map(|_| renewal.failed(Failure::Trouble, 1.0).as_secs())
        .collect();
    assert_eq!(
        pauses,
        [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]
    );
}
