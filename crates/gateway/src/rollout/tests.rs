use proptest::prelude::*;
use stockade_profile::parse;
use stockade_store::{Journal, JournalOptions, Sqlite};
use time::Duration;

use super::kept::Standing;
use super::step::Fleet;
use super::*;
use crate::events::EventLog;
use crate::evidence::EvidenceSettings;
use crate::registry::RegistrySettings;

const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::days(20_000));
const WAIT: Duration = Duration::hours(1);
const WITHIN: Duration = Duration::hours(6);
const OLD: u64 = 11;
const NEW: u64 = 12;

fn plan(stages: &str) -> Plan {
    let stages = stages.split(',').map(|it| it.parse().unwrap()).collect();
    Plan::new(stages, WAIT, WITHIN, Share::TWO_PERCENT).unwrap()
}

fn model() -> ModelName {
    ModelName::new("cam-2").unwrap()
}

fn device(number: usize) -> DeviceId {
    DeviceId::new(&format!("d{number}")).unwrap()
}

/// A fleet that does what it is told, as far as it is not said otherwise; and the roll-out through it.
struct World {
    kept: Kept,
    fleet: Fleet,
    now: OffsetDateTime,
}

impl World {
    fn new(devices: usize, stages: &str) -> Self {
        let seen = Seen {
            model: model(),
            may: true,
            quarantine: None,
            silent: false,
            came: Some(START),
            system: Some(OLD),
            wrong: BTreeSet::new(),
        };
        Self {
            kept: Kept {
                rollout: Rollout::new(1, model(), NEW, plan(stages), START),
                devices: BTreeMap::new(),
            },
            fleet: (0..devices).map(|it| (device(it), seen.clone())).collect(),
            now: START,
        }
    }

    /// A step, and who was told.
    fn step(&mut self) -> Vec<DeviceId> {
        if !matches!(self.kept.rollout.state, State::Running) {
            return Vec::new();
        }
        let step = self.kept.step(&self.fleet, self.now);
        for id in &step.order {
            self.kept.devices.get_mut(id).unwrap().to_order = false;
        }
        step.order
    }

    /// Time passes, every device says how it is, and `told` do what they were told.
    fn pass(&mut self, time: Duration, told: &[DeviceId]) {
        self.now += time;
        for (id, seen) in &mut self.fleet {
            if !seen.silent {
                seen.came = Some(self.now);
            }
            if told.contains(id) {
                seen.system = Some(NEW);
            }
        }
    }

    fn seen(&mut self, id: &DeviceId) -> &mut Seen {
        self.fleet.get_mut(id).unwrap()
    }

    fn why(&self) -> String {
        match &self.kept.rollout.state {
            State::Halted {
                why,
                by_itself: true,
                ..
            } => why.clone(),
            other => panic!("it did not halt by itself: {other:?}"),
        }
    }
}

#[test]
fn stages_are_one_percent_ten_percent_and_all_and_each_is_watched() {
    let mut world = World::new(200, "1%,10%,100%");
    let mut sizes = Vec::new();
    let first = world.step();
    sizes.push(first.len());
    assert_eq!(world.step(), [], "nobody is told twice");
    world.pass(Duration::minutes(5), &first);
    world.step();
    world.pass(WAIT - Duration::minutes(1), &[]);
    world.step();
    assert_eq!(world.kept.rollout.stage, 0, "an hour is an hour");
    for _ in 1..=2 {
        world.pass(WAIT, &[]);
        world.step();
        let told = world.step();
        sizes.push(told.len());
        world.pass(Duration::minutes(5), &told);
        world.step();
    }
    assert_eq!(sizes, [2, 18, 180]);
    world.pass(WAIT, &[]);
    world.step();
    assert!(matches!(world.kept.rollout.state, State::Done { .. }));
}

#[test]
fn a_fleet_of_one_and_a_large_one_are_told_in_whole() {
    let mut one = World::new(1, "1%,100%");
    assert_eq!(one.step().len(), 1);
    let mut many = World::new(1000, "100%");
    let mut told = BTreeSet::new();
    for _ in 0..10 {
        told.extend(many.step());
    }
    assert_eq!(told.len(), 1000);
}

#[test]
fn it_halts_by_itself_when_devices_fall_and_says_why() {
    type Falls = fn(&mut Seen);
    let cases: [(&str, Falls); 4] = [
        ("does not hold any more: firewall/in-force", |seen| {
            seen.wrong.insert("firewall/in-force".to_owned());
        }),
        ("in quarantine: too many violations", |seen| {
            seen.quarantine = Some("too many violations".to_owned());
        }),
        ("does not hold any more: updates/health", |seen| {
            seen.wrong.insert(RETURNED.to_owned());
        }),
        ("silent since it was told", |seen| seen.silent = true),
    ];
    for (why, fall) in cases {
        let mut world = World::new(300, "1%,100%");
        let told = world.step();
        world.pass(Duration::minutes(5), &told);
        fall(world.seen(&told[1]));
        world.step();
        assert_eq!(
            world.why(),
            format!("of stage 1%, 1 of 3 devices fell: {}: {why}", told[1])
        );
        assert_eq!(world.step(), [], "nobody else is told");
    }
}

#[test]
fn it_halts_when_a_device_does_not_come_up_in_time() {
    let mut world = World::new(100, "1%,100%");
    let told = world.step();
    world.pass(WITHIN, &[]);
    world.step();
    assert!(matches!(world.kept.rollout.state, State::Running));
    world.pass(Duration::seconds(1), &[]);
    world.step();
    assert_eq!(
        world.why(),
        format!(
            "of stage 1%, 1 of 1 devices fell: {}: did not come up with version 12 in time",
            told[0]
        )
    );
}

#[test]
fn two_percent_may_fall_and_not_one_more() {
    let mut world = World::new(100, "100%");
    let told = world.step();
    world.pass(Duration::minutes(5), &told);
    let fall = |world: &mut World, id: &DeviceId| {
        world.seen(id).wrong.insert("firewall/in-force".to_owned());
        world.step();
    };
    fall(&mut world, &told[0]);
    fall(&mut world, &told[1]);
    assert!(matches!(world.kept.rollout.state, State::Running));
    fall(&mut world, &told[2]);
    assert!(
        world
            .why()
            .starts_with("of stage 100%, 3 of 100 devices fell: ")
    );
}

#[test]
fn what_was_wrong_before_is_not_held_against_the_update() {
    let mut world = World::new(3, "100%");
    world
        .seen(&device(0))
        .wrong
        .insert("credentials/default-password".to_owned());
    world.seen(&device(1)).quarantine = Some("by the operator".to_owned());
    let told = world.step();
    assert_eq!(told.len(), 3);
    world.pass(Duration::minutes(5), &told);
    world.step();
    world.pass(WAIT, &[]);
    world.step();
    assert!(
        matches!(world.kept.rollout.state, State::Done { .. }),
        "{:?}",
        world.kept.rollout
    );
}

#[test]
fn the_first_stage_is_of_devices_that_can_show_something() {
    let mut world = World::new(100, "1%,100%");
    for number in 0..99 {
        let seen = world.seen(&device(number));
        match number % 3 {
            0 => seen.silent = true,
            1 => seen.quarantine = Some("x".to_owned()),
            _ => seen.came = None,
        }
    }
    assert_eq!(world.step(), [device(99)]);
    let mut nobody = World::new(2, "1%,100%");
    nobody.seen(&device(0)).silent = true;
    nobody.seen(&device(1)).silent = true;
    for _ in 0..5 {
        assert_eq!(nobody.step(), []);
        nobody.pass(WAIT, &[]);
    }
    assert_eq!(nobody.kept.rollout.stage, 0, "nothing was shown");
}

#[test]
fn a_halted_one_goes_on_only_when_told_and_tells_again_those_who_are_behind() {
    let mut world = World::new(10, "50%,100%");
    let told = world.step();
    world.pass(Duration::minutes(5), &told[..4]);
    world
        .seen(&told[0])
        .wrong
        .insert("firewall/in-force".to_owned());
    world.step();
    world.why();
    let step = world
        .kept
        .resume(&world.fleet, "a rule of the profile was wrong", world.now);
    assert_eq!(step.order, []);
    assert_eq!(world.step(), [told[4].clone()], "it had not taken it yet");
    world.pass(Duration::minutes(5), &told);
    world.step();
    assert!(
        matches!(world.kept.rollout.state, State::Running),
        "what was known does not halt it again"
    );
    world
        .seen(&told[1])
        .wrong
        .insert("mac/enforcing".to_owned());
    world.step();
    assert!(world.why().contains("mac/enforcing"), "what is new does");
}

#[test]
fn who_is_gone_does_not_hold_it_up_and_other_models_are_left_alone() {
    let mut world = World::new(4, "100%");
    world.seen(&device(0)).model = ModelName::new("siren-1").unwrap();
    let told = world.step();
    assert_eq!(told.len(), 3);
    assert!(!told.contains(&device(0)));
    world.fleet.remove(&told[0]);
    world.seen(&told[1]).may = false;
    world.pass(Duration::minutes(5), &told[2..]);
    world.step();
    world.pass(WAIT, &[]);
    world.step();
    assert!(matches!(world.kept.rollout.state, State::Done { .. }));
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let share = |text: &str| text.parse::<Share>();
    assert_eq!(share("0.5%").unwrap().to_string(), "0.5%");
    assert_eq!(share("12.25%").unwrap().to_string(), "12.25%");
    for wrong in [
        "", "1", "%", "0%", "101%", "-1%", "1.234%", "1.%%", "100.01%", "0.00%",
    ] {
        assert!(share(wrong).is_err(), "{wrong}");
    }
    let new = |stages: &[&str], wait, within| {
        let stages = stages.iter().map(|it| share(it).unwrap()).collect();
        Plan::new(stages, wait, within, Share::TWO_PERCENT)
    };
    for wrong in [&[][..], &["10%"], &["10%", "10%", "100%"], &["100%", "1%"]] {
        assert_eq!(
            new(wrong, WAIT, WITHIN),
            Err(WrongPlan::Stages),
            "{wrong:?}"
        );
    }
    assert_eq!(
        new(&["100%"], WAIT, Duration::ZERO),
        Err(WrongPlan::Time("within", 1))
    );
    assert_eq!(
        new(&["100%"], -WAIT, WITHIN),
        Err(WrongPlan::Time("wait", 0))
    );
    assert!(new(&["100%"], Duration::ZERO, WITHIN).is_ok());
}

/// Whatever devices do, and in whatever order.
#[derive(Debug, Clone)]
enum Happens {
    Step,
    Obeys(usize),
    Breaks(usize),
    Mends(usize),
    Gone(usize),
    Passes(i64),
}

fn happens() -> impl Strategy<Value = Happens> {
    let who = 0..40_usize;
    prop_oneof![
        6 => Just(Happens::Step),
        6 => who.clone().prop_map(Happens::Obeys),
        1 => who.clone().prop_map(Happens::Breaks),
        1 => who.clone().prop_map(Happens::Mends),
        1 => who.prop_map(Happens::Gone),
        3 => (1..90_i64).prop_map(Happens::Passes),
    ]
}

proptest! {
    #[test]
    fn never_are_more_told_than_the_stage_allows_and_none_after_it_halted(
        devices in 1..40_usize,
        all in proptest::collection::vec(happens(), 1..200),
    ) {
        let mut world = World::new(devices, "5%,30%,100%");
        let mut told = BTreeSet::new();
        for one in all {
            let may = world.kept.rollout.plan.stages[world.kept.rollout.stage].of(devices);
            match one {
                Happens::Step => {
                    let halted = !matches!(world.kept.rollout.state, State::Running);
                    let more = world.step();
                    prop_assert!(!halted || more.is_empty());
                    told.extend(more);
                    let there = world.kept.devices.values().filter(|it| it.standing != Standing::Gone);
                    prop_assert!(there.count() <= may, "{} of {devices}", may);
                }
                Happens::Obeys(number) => {
                    let id = device(number);
                    if told.contains(&id) && world.fleet.contains_key(&id) {
                        world.seen(&id).system = Some(NEW);
                    }
                }
                Happens::Breaks(number) => {
                    if let Some(seen) = world.fleet.get_mut(&device(number)) {
                        seen.wrong.insert("firewall/in-force".to_owned());
                    }
                }
                Happens::Mends(number) => {
                    if let Some(seen) = world.fleet.get_mut(&device(number)) {
                        seen.wrong.clear();
                    }
                }
                Happens::Gone(number) => drop(world.fleet.remove(&device(number))),
                Happens::Passes(minutes) => world.pass(Duration::minutes(minutes), &[]),
            }
        }
    }
}

const PROFILE: &str = "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"cam-2\"\nversion = 7\nclass = \"linux\"\n\
    [updates]\nsource = \"https://updates.example.org/cam-2\"\nmax-age = \"30d\"\nsecurity-within = \"72h\"\nslots = { kind = \"rauc\" }\n";

fn rollouts(dir: &std::path::Path, store: &Arc<dyn Store>) -> Rollouts {
    let journal = Journal::open(&dir.join("journal"), JournalOptions::default()).unwrap();
    let registry = Registry::open(
        Arc::clone(store),
        Arc::new(EventLog::default()),
        RegistrySettings::default(),
    );
    let registry = Arc::new(registry.unwrap());
    registry
        .install_profile(parse(PROFILE).unwrap(), START)
        .unwrap();
    let judge = Judge::open(
        Arc::clone(store),
        Arc::new(journal),
        Arc::clone(&registry),
        EvidenceSettings::default(),
        &dir.join("signer"),
        START,
    );
    Rollouts::open(Arc::clone(store), registry, Arc::new(judge.unwrap())).unwrap()
}

#[test]
fn what_was_started_and_halted_is_there_after_the_gateway_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.path().join("state")).unwrap());
    let start = |all: &Rollouts| all.start(&model(), NEW, plan("1%,100%"), START);
    {
        let all = rollouts(dir.path(), &store);
        assert_eq!(start(&all).unwrap(), 1);
        let twice = start(&all).unwrap_err();
        assert_eq!(
            twice.to_string(),
            "roll-out 1 of this model goes on; one at a time"
        );
        all.step(START).unwrap();
    }
    {
        let all = rollouts(dir.path(), &store);
        assert!(start(&all).is_err(), "it still goes on");
        all.halt(1, "the maker called", START).unwrap();
        assert!(all.halt(1, "again", START).is_err());
    }
    let all = rollouts(dir.path(), &store);
    let view = all.show(1, START).unwrap();
    assert_eq!(
        (view.state, view.why.as_deref(), view.by_itself),
        ("halted", Some("the maker called"), false)
    );
    assert_eq!(start(&all).unwrap(), 2);
    assert_eq!(
        all.resume(1, "x", START).unwrap_err().to_string(),
        "roll-out 2 of this model goes on; one at a time"
    );
    assert!(all.resume(7, "x", START).is_err());
    assert_eq!(
        all.list(START).iter().map(|it| it.id).collect::<Vec<_>>(),
        [2, 1]
    );
}

#[test]
fn a_model_that_takes_no_systems_gets_no_roll_out() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.path().join("state")).unwrap());
    let all = rollouts(dir.path(), &store);
    let text = PROFILE
        .replace("slots = { kind = \"rauc\" }\n", "")
        .replace("cam-2\"\nversion", "cam-3\"\nversion");
    all.registry
        .install_profile(parse(&text).unwrap(), START)
        .unwrap();
    let other = ModelName::new("cam-3").unwrap();
    let refused = |model: &ModelName| {
        all.start(model, NEW, plan("100%"), START)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&other).contains("names no slots"));
    assert!(refused(&ModelName::new("cam-9").unwrap()).contains("no model `cam-9`"));
}

#[test]
fn the_oldest_that_is_over_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.path().join("state")).unwrap());
    let all = rollouts(dir.path(), &store);
    for _ in 0..=MOST {
        let id = all.start(&model(), NEW, plan("100%"), START).unwrap();
        all.halt(id, "x", START).unwrap();
    }
    assert_eq!(all.list(START).len(), MOST);
    assert!(all.show(1, START).is_err());
    drop(all);
    assert_eq!(rollouts(dir.path(), &store).list(START).len(), MOST);
}
