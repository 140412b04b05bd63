//! Volumes that are checked as they are read (dm-verity): whether the system is on one, and whether each is what it should be.

use super::rules::{VERITY, VERITY_INTACT};
use super::{State, demanded, text};
use crate::engine::{Case, Finding, HostPath, Judged, Standing, Unseen};

/// How much is read in one look, of all volumes together: 16 MiB in five minutes are nothing to an eMMC.
const BUDGET: u64 = 16 * 1024 * 1024;
/// How much is read at once.
const PIECE: u64 = 1024 * 1024;
/// dm-verity checks blocks of this length, or of less.
const BLOCK: u64 = 4096;
/// How often a device is looked at, in seconds: each time another part is read, by the clock alone, so that nothing need be
/// remembered.
const OFTEN: u64 = 300;
/// The most volumes.
const MOST_VOLUMES: usize = 16;

pub(super) fn judge(case: &Case<'_>, judged: &mut Judged) {
    demanded(judged, &VERITY, case.profile.boot.verity, || system(case));
    intact(case, judged);
}

/// A path that is put together.
fn path(text: &str) -> Result<HostPath, Unseen> {
    HostPath::from_bytes(text.as_bytes()).map_err(|why| Unseen::Damaged(why.to_string()))
}

/// Whether a device, by its numbers or its name below a folder of /sys, is a volume of dm-verity.
fn is_checked(case: &Case<'_>, device: &str) -> Result<bool, Unseen> {
    match text(case, &path(&format!("{device}/dm/uuid"))?)? {
        // libcryptsetup and systemd give their volumes such a name.
        Some(uuid) if uuid.starts_with("CRYPT-VERITY-") => Ok(true),
        // The kernel makes a volume without a name by its command line (Documentation/admin-guide/device-mapper/dm-init.rst).
        Some(uuid) if uuid.is_empty() => {
            let line = text(case, &HostPath::of("/proc/cmdline"))?.unwrap_or_default();
            Ok(line
                .split_once("dm-mod.create=")
                .is_some_and(|(_, rest)| rest.contains(" verity ")))
        }
        _ => Ok(false),
    }
}

/// The system's own files are on such a volume: the root, or /usr where all programs are in it.
fn system(case: &Case<'_>) -> State {
    let mounts = match text(case, &HostPath::of("/proc/self/mountinfo")) {
        Ok(Some(mounts)) => mounts,
        Ok(None) => return State::unseen("what is mounted", &Unseen::Absent),
        Err(why) => return State::unseen("what is mounted", &why),
    };
    let mut over = false;
    for place in ["/", "/usr"] {
        // proc_pid_mountinfo(5): the third word is the device, the fifth where it is mounted; the last one counts.
        let mount = mounts.lines().rev().find_map(|line| {
            let mut words = line.split(' ').skip(2);
            let (device, at) = (words.next()?, words.nth(1)?);
            let (_, kind) = line.split_once(" - ")?;
            (at == place).then_some((device, kind.split(' ').next()?))
        });
        let Some((device, kind)) = mount else {
            continue;
        };
        over |= kind == "overlay";
        match is_checked(case, &format!("/sys/dev/block/{device}")) {
            Ok(true) => return State::Good(format!("{place} is on a volume of dm-verity")),
            Ok(false) => (),
            Err(why) => return State::unseen(&format!("the device of {place}"), &why),
        }
    }
    if over {
        return State::Unknown(
            "the system is a layer over another file system, which can not be seen".to_owned(),
        );
    }
    let what = "the system's files are on no volume of dm-verity";
    State::Bad(Finding::of(&VERITY, "/", what))
}

/// Reads of each volume its first block and another part at each look.
fn intact(case: &Case<'_>, judged: &mut Judged) {
    if case.host.standing() == Standing::Offline {
        return judged.unseen(&VERITY_INTACT, "volumes", &Unseen::Offline);
    }
    let volumes = match volumes(case) {
        Ok(volumes) => volumes,
        Err(why) => return judged.unseen(&VERITY_INTACT, "volumes", &why),
    };
    if volumes.is_empty() {
        return judged.does_not_apply(&VERITY_INTACT, "there is no volume of dm-verity");
    }
    let (mut findings, mut unread) = (Vec::new(), Vec::new());
    let budget = BUDGET.checked_div(u64::try_from(volumes.len()).unwrap_or(1));
    let budget = budget.unwrap_or(BUDGET);
    let mut read = 0_u64;
    for volume in &volumes {
        match volume.damage(case, budget, &mut read) {
            Ok(None) => (),
            Ok(Some(at)) => {
                let says = if at == 0 {
                    "its first block is not what the root hash says: the root hash, or the volume, is another".to_owned()
                } else {
                    format!("the block at byte {at} is not what the root hash says")
                };
                let what = format!("volume {}: {says}", volume.name);
                let finding = Finding::of(&VERITY_INTACT, format!("volume {}", volume.name), what);
                findings.push(finding.seen(volume.device.to_string(), format!("byte {at}")));
            }
            Err(why) => unread.push(format!("volume {}: {why}", volume.name)),
        }
    }
    if unread.is_empty() {
        let looked_at = format!("{} volumes, {} KiB of them", volumes.len(), read >> 10_u8);
        judged.judged(&VERITY_INTACT, looked_at, findings);
    } else {
        judged.cannot_tell(&VERITY_INTACT, unread.join("; "), findings);
    }
}

/// A length that is read at once fits in memory.
fn length(wanted: u64) -> usize {
    usize::try_from(wanted).unwrap_or(usize::MAX)
}

struct Volume {
    name: String,
    device: HostPath,
    size: u64,
}

/// All volumes of dm-verity.
fn volumes(case: &Case<'_>) -> Result<Vec<Volume>, Unseen> {
    let mut volumes = Vec::new();
    for (device, _) in case.host.list(&HostPath::of("/sys/block"))? {
        let Ok(device) = std::str::from_utf8(&device) else {
            continue;
        };
        let folder = format!("/sys/block/{device}");
        if !device.starts_with("dm-") || !is_checked(case, &folder)? {
            continue;
        }
        if volumes.len() == MOST_VOLUMES {
            return Err(Unseen::TooMuch(MOST_VOLUMES));
        }
        let name = text(case, &path(&format!("{folder}/dm/name"))?)?;
        // In sectors of 512 bytes, whatever the medium has.
        let size = text(case, &path(&format!("{folder}/size"))?)?;
        let size = size.and_then(|it| it.parse::<u64>().ok()?.checked_mul(512));
        volumes.push(Volume {
            name: name.unwrap_or_else(|| device.to_owned()),
            device: path(&format!("/dev/{device}"))?,
            size: size.ok_or_else(|| Unseen::Damaged(format!("{folder}/size")))?,
        });
    }
    Ok(volumes)
}

impl Volume {
    /// Where the first block that is wrong is, as far as this look reads.
    fn damage(&self, case: &Case<'_>, budget: u64, read: &mut u64) -> Result<Option<u64>, Unseen> {
        let mut block =
            |at: u64, wanted: u64| match case.host.device(&self.device, at, length(wanted)) {
                Ok(bytes) => {
                    let length = u64::try_from(bytes.len()).unwrap_or_default();
                    *read = read.saturating_add(length);
                    // What ends too early is damaged as well.
                    Ok(length >= wanted.min(self.size.saturating_sub(at)))
                }
                Err(Unseen::Damaged(_)) => Ok(false),
                Err(why) => Err(why),
            };
        if !block(0, BLOCK)? {
            return Ok(Some(0));
        }
        let parts = self.size.div_ceil(budget).max(1);
        let part = case
            .now
            .checked_div(OFTEN)
            .and_then(|it| it.checked_rem(parts));
        let mut at = part.unwrap_or_default().saturating_mul(budget);
        let end = at.saturating_add(budget).min(self.size);
        while at < end {
            if !block(at, PIECE)? {
                // Which block it is: whoever writes the volume anew wants to know.
                for _ in 0..PIECE.div_ceil(BLOCK) {
                    if !block(at, BLOCK)? {
                        return Ok(Some(at));
                    }
                    at = at.saturating_add(BLOCK);
                }
                return Ok(None);
            }
            at = at.saturating_add(PIECE);
        }
        Ok(None)
    }
}
