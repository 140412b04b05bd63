//! What the firewall refused, as events: each kind once at first, then ever more seldom with a count.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use stockade_api::helper::Weight;
use stockade_host::netlink::NetlinkError;
use stockade_host::netlink::packets::Heard;
use stockade_host::watch::{Blocked, DEVICE_GROUP, Ground, Watch, explain};
use stockade_profile::{Direction, LinkAddress};

use crate::device::Device;
use crate::events::By;

/// How long packets are waited for before what was counted is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// The rules are looked at again for packets that come so much later.
const FRESH: Duration = Duration::from_secs(10);
/// How long it takes until the group can be listened to, if it can not be now.
const AGAIN: Duration = Duration::from_mins(1);
/// The shortest time between two events about the same; it doubles up to the longest.
const SHORTEST: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
/// As many events in an hour: whoever sends to the device can make them, and the log has a bound.
const HOURLY: u32 = 20;
/// As many kinds are told apart.
const KINDS: usize = 256;

/// Notes what is refused, for good.
pub(crate) fn watch(device: &Device) {
    loop {
        let Err(why) = listen(device);
        device.trouble(
            "blocked",
            &format!("what the firewall refuses is not noted: {why}"),
        );
        std::thread::park_timeout(AGAIN);
    }
}

fn listen(device: &Device) -> Result<Infallible, NetlinkError> {
    let mut watch = Watch::start(DEVICE_GROUP)?;
    device.mended("blocked");
    let mut tally = Tally::new(Instant::now());
    let mut ground = Ground::default();
    let mut looked = None::<Instant>;
    let note = |weight, says: &str| device.note(weight, By::Helper, "blocked", says);
    loop {
        match watch.hear(LOOK)? {
            Heard::Lost => tally.untold += 1,
            Heard::Packets(packets) => {
                let stale = looked.is_none_or(|it| it.elapsed() > FRESH);
                if stale && !packets.is_empty() {
                    // While somebody changes the rules, the ones before explain as well as any.
                    let now = device.rules().and_then(|firewall| Ground::here(&firewall));
                    ground = now.unwrap_or(ground);
                    looked = Some(Instant::now());
                }
                for packet in &packets {
                    let blocked = explain(&ground, packet);
                    let (kind, says) = told(&blocked);
                    if tally.is_news(&kind, &says, Instant::now()) {
                        note(weight(blocked.direction), &says);
                    }
                }
            }
        }
        for says in tally.due(Instant::now()) {
            note(Weight::Note, &says);
        }
    }
}

/// What goes out comes from the device itself: a rule is missing, or a program does what it should not.
fn weight(direction: Direction) -> Weight {
    match direction {
        Direction::In => Weight::Note,
        Direction::Out => Weight::Warning,
    }
}

/// Which packets are of the same kind, and the sentence about one of them.
fn told(packet: &Blocked) -> (String, String) {
    let side = match packet.direction {
        Direction::In => "from",
        Direction::Out => "to",
    };
    let peer = match (&packet.name, packet.peer, packet.link) {
        (Some(name), Some(address), _) => format!("{name} ({address})"),
        (None, Some(address), _) => address.to_string(),
        (_, None, Some(link)) => LinkAddress::new(link).to_string(),
        (_, None, None) => "an unknown sender".to_owned(),
    };
    let whose = match (&packet.owner, packet.user) {
        (Some(owner), _) => format!(", program {}", owner.name.escape_debug()),
        (None, Some(user)) => format!(", a program of the user {user}"),
        (None, None) => String::new(),
    };
    let kind = format!("{} {side} {peer}", packet.what);
    let mut says = format!("Refused {kind}{whose}: {}", packet.why);
    if let Some(rule) = &packet.rule {
        says.push_str("; this rule would allow it: ");
        says.push_str(&rule.replace('\n', ", ").replace("]], ", "]] "));
    }
    (kind, says)
}

/// What was refused of late.
#[derive(Debug)]
pub(crate) struct Tally {
    kinds: BTreeMap<String, Kind>,
    hour: Instant,
    /// Events of this hour.
    told: u32,
    /// Packets of this hour that are in no event.
    untold: u64,
}

#[derive(Debug)]
struct Kind {
    says: String,
    since: Instant,
    pause: Duration,
    more: u64,
}

impl Tally {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            kinds: BTreeMap::new(),
            hour: now,
            told: 0,
            untold: 0,
        }
    }

    /// Counts a packet; whether it is told at once.
    pub(crate) fn is_news(&mut self, kind: &str, says: &str, now: Instant) -> bool {
        if let Some(known) = self.kinds.get_mut(kind) {
            known.more += 1;
            return false;
        }
        if self.told >= HOURLY || self.kinds.len() >= KINDS {
            self.untold += 1;
            return false;
        }
        self.told += 1;
        let fresh = Kind {
            says: says.to_owned(),
            since: now,
            pause: SHORTEST,
            more: 0,
        };
        self.kinds.insert(kind.to_owned(), fresh);
        true
    }

    /// What is to be told by now of what was counted.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        if now.duration_since(self.hour) >= HOUR {
            if self.untold > 0 {
                let untold = self.untold;
                due.push(format!(
                    "{untold} more, of too many kinds to tell, in an hour"
                ));
            }
            (self.hour, self.told, self.untold) = (now, 0, 0);
        }
        let told = &mut self.told;
        self.kinds.retain(|_, kind| {
            let past = now.duration_since(kind.since);
            if kind.more == 0 {
                return past < HOUR;
            }
            if past >= kind.pause && *told < HOURLY {
                *told += 1;
                let (more, seconds) = (kind.more, past.as_secs());
                due.push(format!("{} ({more} more in {seconds} s)", kind.says));
                *kind = Kind {
                    says: std::mem::take(&mut kind.says),
                    since: now,
                    pause: kind.pause.saturating_mul(2).min(HOUR),
                    more: 0,
                };
            }
            true
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn the_same_is_told_once_and_then_ever_more_seldom_with_a_count() {
        let begun = Instant::now();
        let mut tally = Tally::new(begun);
        let mut events = Vec::new();
        // A packet a second, for half an hour.
        for second in 0..1_800 {
            let now = begun + Duration::from_secs(second);
            if tally.is_news("a", "Refused a", now) {
                events.push((second, "Refused a".to_owned()));
            }
            events.extend(tally.due(now).into_iter().map(|says| (second, says)));
        }
        let told: Vec<(u64, &str)> = events.iter().map(|(at, says)| (*at, &**says)).collect();
        assert_eq!(
            told,
            [
                (0, "Refused a"),
                (60, "Refused a (60 more in 60 s)"),
                (180, "Refused a (120 more in 120 s)"),
                (420, "Refused a (240 more in 240 s)"),
                (900, "Refused a (480 more in 480 s)"),
            ]
        );
    }

    #[test]
    fn a_stranger_who_invents_kinds_fills_neither_memory_nor_the_log() {
        let begun = Instant::now();
        let mut tally = Tally::new(begun);
        let (mut told, mut last) = (0, Vec::new());
        for second in 0..=7_200_u64 {
            let now = begun + Duration::from_secs(second);
            for port in 0..20 {
                let kind = format!("{second} {port}");
                told += u32::from(tally.is_news(&kind, &kind, now));
            }
            last.extend(tally.due(now));
        }
        assert!(tally.kinds.len() <= KINDS);
        assert_eq!(told, 2 * HOURLY);
        assert_eq!(last.len(), 2, "{last:?}");
        assert!(
            last[0].starts_with("72000 more, of too many kinds"),
            "{last:?}"
        );
    }

    #[test]
    fn the_sentence_names_the_rule_that_would_have_to_exist() {
        let packet = Blocked {
            at: SystemTime::UNIX_EPOCH,
            direction: Direction::Out,
            peer: Some("192.0.2.9".parse().unwrap()),
            name: None,
            link: None,
            what: "udp port 9999".to_owned(),
            owner: None,
            user: Some(7),
            why: "no rule allows it".to_owned(),
            rule: Some(
                "[[firewall.out]]\nto = \"192.0.2.9\"\nprotocol = \"udp\"\nport = 9999".to_owned(),
            ),
        };
        assert_eq!(
            told(&packet).1,
            "Refused udp port 9999 to 192.0.2.9, a program of the user 7: no rule allows it; this rule would allow it: \
             [[firewall.out]] to = \"192.0.2.9\", protocol = \"udp\", port = 9999"
        );
    }
}
