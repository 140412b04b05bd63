//! Kills the gateway at random times: nothing it acknowledged may be lost, and nothing at QoS 2 may come twice.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stockade_e2e::session::{Publisher, Subscriber};
use stockade_e2e::tools::{eventually, pause, say, without};
use stockade_e2e::{Device, Gateway};

/// How often it is killed.
const ROUNDS: u32 = 50;
/// Publishers at QoS 1, and as many at QoS 2.
const PUBLISHERS: u8 = 2;

/// Tells the clients where the gateway is, and when to stop.
#[derive(Debug, Default)]
struct Stage {
    /// Changes with every start of the gateway.
    port: Mutex<u16>,
    last_round: AtomicBool,
    over: AtomicBool,
}

impl Stage {
    fn move_to(&self, device: &mut Device) {
        device.port = self.port.lock().map_or(0, |port| *port);
    }
}

#[test]
fn what_was_acknowledged_survives_fifty_kills_and_nothing_at_qos_2_comes_twice() -> Result<()> {
    if without(&["openssl", "curl"]) {
        return Ok(());
    }
    let mut gateway = Gateway::with_probe()?;
    let seed = std::process::id();
    say(&format!("the times of the kills come from seed {seed}"));
    let stage = Arc::new(Stage::default());
    let publishers = (0..PUBLISHERS * 2)
        .map(|label| {
            Ok((
                label,
                gateway.enrol("probe", &format!("publisher-{label}"))?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let filters: Vec<String> = publishers
        .iter()
        .map(|(_, device)| format!("probe/{}/report", device.id))
        .collect();
    let mut subscriber = Subscriber::new(gateway.enrol("probe", "subscriber")?, &filters);
    subscriber.subscribe()?;
    set_port(&stage, &gateway)?;
    let publishing: Vec<_> = publishers
        .into_iter()
        .map(|(label, device)| publish(label, device, &stage))
        .collect();
    let receiving = receive(subscriber, &stage);

    let mut random = Random(u64::from(seed) | 1);
    for round in 0..ROUNDS {
        pause(Duration::from_millis(100 + random.below(500)));
        gateway.kill()?;
        gateway.up()?;
        set_port(&stage, &gateway)?;
        if publishing.iter().any(std::thread::JoinHandle::is_finished) {
            say(&format!("a publisher gave up in round {round}"));
            break;
        }
    }
    stage.last_round.store(true, Ordering::SeqCst);
    let mut published = Vec::new();
    for thread in publishing {
        published.push(
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a publisher panicked"))??,
        );
    }
    // Whatever is still under way to the subscriber: until nothing has come for a while.
    let received = settle(&receiving)?;
    stage.over.store(true, Ordering::SeqCst);
    drop(receiving.thread.join());
    verdict(&published, &received)
}

fn set_port(stage: &Stage, gateway: &Gateway) -> Result<()> {
    let port = gateway.address("mqtt")?.port();
    if let Ok(mut shared) = stage.port.lock() {
        *shared = port;
    }
    Ok(())
}

/// What one publisher knows at the end.
struct Published {
    label: u8,
    qos: u8,
    acknowledged: BTreeSet<u32>,
}

fn publish(
    label: u8,
    device: Device,
    stage: &Arc<Stage>,
) -> std::thread::JoinHandle<Result<Published>> {
    let stage = Arc::clone(stage);
    std::thread::spawn(move || {
        let qos = if label < PUBLISHERS { 1 } else { 2 };
        let topic = format!("probe/{}/report", device.id);
        let mut publisher = Publisher::new(device, &topic, label, qos);
        let mut failing = Instant::now();
        loop {
            publisher.at(|device| stage.move_to(device));
            let before = publisher.acknowledged.len();
            match publisher.run(|| stage.last_round.load(Ordering::SeqCst)) {
                Ok(()) => {
                    return Ok(Published {
                        label,
                        qos,
                        acknowledged: publisher.acknowledged,
                    });
                }
                Err(error) => {
                    if publisher.acknowledged.len() > before {
                        failing = Instant::now();
                    }
                    // The gateway is away for seconds at most; a session it forgot is a fault at once.
                    let hopeless = failing.elapsed() > Duration::from_mins(1)
                        || format!("{error:#}").contains("forgot");
                    ensure!(!hopeless, "publisher {label}: {error:#}");
                    pause(Duration::from_millis(30));
                }
            }
        }
    })
}

/// The subscriber's thread, and a look at what it has.
struct Receiving {
    subscriber: Arc<Mutex<Subscriber>>,
    thread: std::thread::JoinHandle<()>,
    forgot: Arc<AtomicBool>,
}

type Received = std::collections::BTreeMap<(u8, u32), u32>;

fn receive(subscriber: Subscriber, stage: &Arc<Stage>) -> Receiving {
    let subscriber = Arc::new(Mutex::new(subscriber));
    let forgot = Arc::new(AtomicBool::new(false));
    let (own, stage, tell) = (
        Arc::clone(&subscriber),
        Arc::clone(stage),
        Arc::clone(&forgot),
    );
    let thread = std::thread::spawn(move || {
        while !stage.over.load(Ordering::SeqCst) {
            let Ok(mut subscriber) = own.lock() else {
                return;
            };
            subscriber.at(|device| stage.move_to(device));
            // A turn at a time, so that others can look in between.
            let until = Instant::now() + Duration::from_secs(2);
            if let Err(error) = subscriber.run(|| Instant::now() >= until)
                && format!("{error:#}").contains("forgot")
            {
                tell.store(true, Ordering::SeqCst);
                return;
            }
            drop(subscriber);
            pause(Duration::from_millis(30));
        }
    });
    Receiving {
        subscriber,
        thread,
        forgot,
    }
}

fn settle(receiving: &Receiving) -> Result<Received> {
    let mut last = (0, Instant::now());
    eventually(
        "the subscriber has everything",
        Duration::from_secs(90),
        || {
            ensure!(
                !receiving.forgot.load(Ordering::SeqCst),
                "the gateway forgot the subscriber's session"
            );
            let Ok(subscriber) = receiving.subscriber.lock() else {
                return Ok(None);
            };
            if subscriber.received.len() != last.0 {
                last = (subscriber.received.len(), Instant::now());
            }
            Ok((last.1.elapsed() > Duration::from_secs(6)).then(|| subscriber.received.clone()))
        },
    )
}

fn verdict(published: &[Published], received: &Received) -> Result<()> {
    for one in published {
        let count = |number: &u32| received.get(&(one.label, *number)).copied().unwrap_or(0);
        let lost: Vec<u32> = one
            .acknowledged
            .iter()
            .copied()
            .filter(|number| count(number) == 0)
            .collect();
        say(&format!(
            "QoS {}: {} acknowledged, {} lost",
            one.qos,
            one.acknowledged.len(),
            lost.len()
        ));
        ensure!(
            one.acknowledged.len() > 1_000,
            "only {} were acknowledged: no test",
            one.acknowledged.len()
        );
        ensure!(
            lost.is_empty(),
            "publisher {}: {} lost, the first are {:?}",
            one.label,
            lost.len(),
            lost.first()
        );
        if one.qos == 2 {
            let twice = received
                .iter()
                .find(|((label, _), count)| *label == one.label && **count > 1);
            ensure!(
                twice.is_none(),
                "publisher {}: delivered more than once at QoS 2: {twice:?}",
                one.label
            );
        }
    }
    Ok(())
}

/// Enough randomness to choose moments with, repeatable from its seed (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
