//! Which ports of TCP are asked, and how each stands.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::line::Line;
use crate::services::udp::State;

/// Ports that devices of the Internet of things are found on.
const USUAL: [u16; 107] = [
    7, 9, 13, 19, 21, 22, 23, 25, 37, 53, 79, 80, 81, 82, 83, 84, 85, 88, 102, 110, 111, 113, 119,
    135, 139, 143, 161, 389, 443, 445, 502, 512, 513, 514, 515, 548, 554, 587, 593, 631, 873, 990,
    993, 995, 1080, 1099, 1433, 1521, 1723, 1883, 1884, 1900, 1911, 2000, 2022, 2049, 2222, 2323,
    2375, 2404, 2601, 2869, 3000, 3128, 3260, 3306, 3389, 3702, 4443, 4567, 4786, 4840, 4911, 5000,
    5060, 5061, 5357, 5432, 5555, 5683, 5684, 5900, 5985, 6000, 6379, 6668, 7547, 8000, 8001, 8008,
    8009, 8080, 8081, 8088, 8123, 8443, 8554, 8883, 8888, 9000, 9100, 9999, 20000, 37777, 44818,
    47808, 49152,
];
/// Those by which a host is known to be there.
const SIGNS: [u16; 8] = [80, 443, 22, 23, 1883, 8080, 554, 8883];
/// How long a port has that says nothing, once it is known how fast the host answers, and before.
const SOONEST: Duration = Duration::from_millis(150);
const UNKNOWN: Duration = Duration::from_millis(500);
/// Silent ports that are asked a second time, with more patience.
const AGAIN: usize = 8;
const PATIENT: Duration = Duration::from_secs(1);

/// Which ports are asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ports {
    /// The usual ones, and those of the profile.
    #[default]
    Usual,
    /// All 65535.
    All,
    /// These.
    These(Vec<u16>),
}

impl std::str::FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "usual" => return Ok(Self::Usual),
            "all" => return Ok(Self::All),
            _ => (),
        }
        let wrong = || format!("`{text}` are no ports: `usual`, `all`, or like `22,80,8000-8010`");
        let mut all = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u16>().ok().filter(|it| *it > 0);
            let (first, last) = (
                number(first).ok_or_else(wrong)?,
                number(last).ok_or_else(wrong)?,
            );
            if first > last {
                return Err(wrong());
            }
            all.extend(first..=last);
        }
        all.sort_unstable();
        all.dedup();
        Ok(Self::These(all))
    }
}

impl Ports {
    /// The ports, with those of a profile where they are not named one by one.
    pub(crate) fn list(&self, of_profile: impl Iterator<Item = u16>) -> Vec<u16> {
        let mut all: Vec<u16> = match self {
            Self::Usual => USUAL
                .iter()
                .copied()
                .chain([49_000, 49_153, 62_078])
                .chain(of_profile)
                .collect(),
            Self::All => (1..=u16::MAX).collect(),
            Self::These(these) => these.clone(),
        };
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// How each of these ports stands; few silent ones are asked again, with more patience. What is not in the answer was not asked: the
/// time was over.
pub(crate) fn scan(
    line: &Line,
    host: SocketAddr,
    ports: &[u16],
    workers: usize,
) -> Result<BTreeMap<u16, State>> {
    let pace = Pace::default();
    let mut found = round(line, host, ports, workers, &|| pace.time(), &pace)?;
    let silent: Vec<u16> = found
        .iter()
        .filter(|(_, state)| **state == State::Silent)
        .map(|(port, _)| *port)
        .collect();
    if silent.len() <= AGAIN && !line.is_over() {
        found.extend(round(line, host, &silent, workers, &|| PATIENT, &pace)?);
    }
    Ok(found)
}

/// Whether any of the ports by which hosts are known is there, open or closed.
pub(crate) fn is_there(line: &Line, host: SocketAddr) -> Result<bool> {
    let pace = Pace::default();
    let found = round(line, host, &SIGNS, 1, &|| pace.time(), &pace)?;
    Ok(found.values().any(|it| *it != State::Silent))
}

/// How fast a host answers: the slowest answer so far, in microseconds; 0 while there is none.
#[derive(Default)]
struct Pace(AtomicU64);

impl Pace {
    fn answered(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_max(micros.max(1), Ordering::Relaxed);
    }

    /// Ten times as long as its slowest answer took.
    fn time(&self) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            0 => UNKNOWN,
            micros => Duration::from_micros(micros.saturating_mul(10)).clamp(SOONEST, PATIENT),
        }
    }
}

fn round(
    line: &Line,
    host: SocketAddr,
    ports: &[u16],
    workers: usize,
    patience: &(dyn Fn() -> Duration + Sync),
    pace: &Pace,
) -> Result<BTreeMap<u16, State>> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let work = || {
        while let Some(port) = ports.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut to = host;
            to.set_port(*port);
            match state(line, to, patience(), pace) {
                Ok(Some(state)) => {
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.insert(*port, state);
                }
                Ok(None) => return,
                Err(why) => {
                    failed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(why);
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers.clamp(1, 64) {
            scope.spawn(work);
        }
        work();
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(why) => Err(why),
        None => Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

/// How a port stands; none if the time is over.
fn state(line: &Line, to: SocketAddr, patience: Duration, pace: &Pace) -> Result<Option<State>> {
    let start = Instant::now();
    let state = match line.connect_within(to, patience) {
        Ok(_) => State::Open,
        Err(why) => match why.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => State::Closed,
            ErrorKind::TimedOut if line.is_over() => return Ok(None),
            // Somebody on the way says no, or nobody says anything.
            ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::PermissionDenied => State::Silent,
            _ => return Err(why),
        },
    };
    if state != State::Silent && start.elapsed() < PATIENT {
        pace.answered(start.elapsed());
    }
    Ok(Some(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_people_write_them() {
        assert_eq!("all".parse(), Ok(Ports::All));
        assert_eq!(
            "80,22-24,80".parse(),
            Ok(Ports::These(vec![22, 23, 24, 80]))
        );
        for text in ["", "0", "9-1", "70000", "a", "1,"] {
            assert!(text.parse::<Ports>().is_err(), "{text}");
        }
        let usual = Ports::Usual.list([23, 4242].into_iter());
        assert!(usual.contains(&4242) && usual.contains(&2323) && usual.len() == 111);
        assert!(usual.is_sorted());
    }
}
