//! The guard's decisions: sightings, requests and the time go in, actions come out. No socket, file or clock in here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use stockade_profile::{HttpsUrl, LinkAddress, ModelName, Network, Profile};
use time::{Duration, OffsetDateTime};

use super::device::{By, Device, Origin, Place};
use super::mud::{File, MudPolicy};
use crate::events::Outcome;

/// Most devices that are remembered; the design's ceiling is 10,000.
pub const MAX_DEVICES: usize = 20_000;
/// Most devices that nobody said anything about: a flood of invented addresses ends here.
pub const MAX_UNKNOWN: usize = 1_024;
/// Most addresses of one family that are learned for one device.
pub const MAX_LEARNED: usize = 8;
/// A claimed address that was not seen for so long is free again.
const CLAIM_LIFE: Duration = Duration::hours(24);
/// A device nobody said anything about is forgotten after so long.
const UNKNOWN_LIFE: Duration = Duration::days(7);
/// The same complaint about the same device is told once in this time.
const QUIET: Duration = Duration::minutes(10);
/// Complaints remembered so that they are not repeated.
const MAX_TOLD: usize = 4_096;

/// Where the guard stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The LAN card's address.
    pub mac: LinkAddress,
    /// The interface's number.
    pub index: u32,
    /// The gateway's own addresses on the LAN.
    pub own: Vec<IpAddr>,
    /// The networks of the LAN.
    pub lan: Vec<Network>,
}

/// A model the guard has a profile of.
#[derive(Debug, Clone)]
pub struct Installed {
    /// What its devices may do.
    pub profile: Arc<Profile>,
    /// Where the profile comes from.
    pub origin: Origin,
    /// When it was installed.
    pub at: OffsetDateTime,
}

/// Something to be done, in this order. What gives rights is written down before it holds; what takes them away holds first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Packets of this pair of addresses are judged there from now on.
    Place {
        /// The device.
        mac: LinkAddress,
        /// Its address.
        address: IpAddr,
        /// Where they were judged before.
        before: Place,
        /// Where now.
        place: Place,
    },
    /// End the flows of an address that are not allowed any more.
    Cut {
        /// The address.
        address: IpAddr,
        /// Where its packets were judged before.
        before: Place,
    },
    /// Load the table anew: its models changed.
    Load,
    /// Write down a device.
    Save(LinkAddress),
    /// Write down that a device is forgotten.
    Forget(LinkAddress),
    /// Write down a model.
    SaveModel(ModelName),
    /// Write down that a model is forgotten.
    ForgetModel(ModelName),
    /// Write down what is known of a MUD file.
    SaveFile(HttpsUrl),
    /// Write down that a MUD file is forgotten.
    ForgetFile(HttpsUrl),
    /// Get a MUD file.
    Fetch(HttpsUrl),
    /// Tell people.
    Tell {
        /// What came of it.
        outcome: Outcome,
        /// The device it is about.
        mac: Option<LinkAddress>,
        /// What and why.
        text: String,
    },
}

impl Action {
    /// Whether a device may do more after it than before.
    pub(super) fn gives_rights(&self) -> bool {
        matches!(self, Self::Place { before, place, .. } if rank(place) > rank(before))
    }
}

/// Everything the guard knows and decides.
#[derive(Debug)]
pub struct Core {
    pub(super) standing: Standing,
    pub(super) policy: MudPolicy,
    pub(super) devices: BTreeMap<LinkAddress, Device>,
    /// Whose an address is: never two devices'.
    pub(super) owners: BTreeMap<IpAddr, LinkAddress>,
    pub(super) models: BTreeMap<ModelName, Installed>,
    pub(super) files: BTreeMap<Box<str>, File>,
    /// Seen since they were last written down.
    pub(super) unsaved: BTreeSet<LinkAddress>,
    /// Never written down so far: nothing is to be done on disk when they are forgotten.
    pub(super) unwritten: BTreeSet<LinkAddress>,
    told: BTreeMap<About, OffsetDateTime>,
    pub(super) new_devices: (OffsetDateTime, u32),
}

/// A complaint about a device that has to do with an address.
pub(super) type About = (LinkAddress, Complaint, IpAddr);

/// What is told about a device once in a while, not at every packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Complaint {
    GatewaysAddress,
    ForgedArp,
    OthersAddress,
    NoLease,
    TooMany,
    OffLink,
    BadMud,
    Mud,
    OtherMud,
    /// About nobody in particular.
    ManyMud,
}

impl Core {
    /// A guard that knows nothing yet.
    pub fn new(standing: Standing, policy: MudPolicy) -> Self {
        Self {
            standing,
            policy,
            devices: BTreeMap::new(),
            owners: BTreeMap::new(),
            models: BTreeMap::new(),
            files: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            told: BTreeMap::new(),
            new_devices: (OffsetDateTime::UNIX_EPOCH, 0),
        }
    }

    /// Takes over what was written down. An address of two devices stays with the first.
    pub fn restore(
        &mut self,
        devices: impl IntoIterator<Item = Device>,
        models: impl IntoIterator<Item = Installed>,
        files: impl IntoIterator<Item = File>,
    ) {
        for model in models {
            self.models
                .insert(model.profile.device.model.clone(), model);
        }
        for mut device in devices {
            device
                .addresses
                .retain(|binding| match self.owners.entry(binding.address) {
                    std::collections::btree_map::Entry::Vacant(free) => {
                        free.insert(device.mac);
                        true
                    }
                    std::collections::btree_map::Entry::Occupied(_) => false,
                });
            self.devices.insert(device.mac, device);
        }
        for file in files {
            self.files.insert(file.url.as_str().into(), file);
        }
    }

    /// Every device.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = &Device> {
        self.devices.values()
    }

    /// One device.
    pub fn device(&self, mac: LinkAddress) -> Option<&Device> {
        self.devices.get(&mac)
    }

    /// Whose an address is.
    pub fn owner(&self, address: IpAddr) -> Option<&Device> {
        self.device(*self.owners.get(&address)?)
    }

    /// Every model.
    pub fn models(&self) -> &BTreeMap<ModelName, Installed> {
        &self.models
    }

    /// A MUD file that some device announced.
    pub fn file(&self, url: &str) -> Option<&File> {
        self.files.get(url)
    }

    /// Where the guard stands.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The gateway's addresses changed.
    pub fn moved(&mut self, standing: Standing) -> Vec<Action> {
        if self.standing == standing {
            return Vec::new();
        }
        self.standing = standing;
        vec![Action::Load]
    }

    /// Puts a device back as it was, because what was to follow from its change failed.
    pub fn put_back(&mut self, mac: LinkAddress, before: Option<Device>) {
        if let Some(now) = self.devices.remove(&mac) {
            for binding in now.addresses {
                self.owners.remove(&binding.address);
            }
        }
        if let Some(before) = before {
            for binding in &before.addresses {
                self.owners.insert(binding.address, mac);
            }
            self.devices.insert(mac, before);
        }
    }

    /// Once in a while: what ran out, and what was only seen and not written down yet.
    pub fn handle_tick(&mut self, now: OffsetDateTime) -> Vec<Action> {
        let mut actions = Vec::new();
        self.told.retain(|_, at| now - *at < QUIET);
        let mut gone = Vec::new();
        let mut ended = Vec::new();
        for device in self.devices.values() {
            if !device.is_settled() && now - device.last_seen > UNKNOWN_LIFE {
                gone.push(device.mac);
            }
            for binding in &device.addresses {
                let over = match binding.by {
                    By::Hand => false,
                    By::Lease { until } => until < now,
                    By::Claim => now - binding.seen > CLAIM_LIFE,
                };
                if over {
                    ended.push((device.mac, binding.address));
                }
            }
        }
        for (mac, address) in ended {
            self.change(mac, &mut actions, |device| {
                device.addresses.retain(|b| b.address != address);
            });
        }
        for mac in gone {
            self.forget(mac, &mut actions);
        }
        for mac in std::mem::take(&mut self.unsaved) {
            if self.devices.contains_key(&mac) && !actions.contains(&Action::Save(mac)) {
                self.unwritten.remove(&mac);
                actions.push(Action::Save(mac));
            }
        }
        self.refresh_files(now, &mut actions);
        actions
    }

    pub(super) fn unknown(&self) -> impl Iterator<Item = &Device> {
        self.devices.values().filter(|device| !device.is_settled())
    }

    pub(super) fn forget(&mut self, mac: LinkAddress, actions: &mut Vec<Action>) {
        let fresh = self.unwritten.remove(&mac);
        self.change(mac, actions, |device| {
            *device = Device::new(mac, device.first_seen);
        });
        actions.retain(|action| *action != Action::Save(mac));
        self.devices.remove(&mac);
        self.unsaved.remove(&mac);
        if !fresh {
            actions.push(Action::Forget(mac));
        }
    }

    pub(super) fn complain(
        &mut self,
        about: About,
        now: OffsetDateTime,
        actions: &mut Vec<Action>,
        text: impl FnOnce() -> String,
    ) {
        if !self.repeats(about, now) {
            tell(actions, Outcome::Refused, Some(about.0), text());
        }
    }

    pub(super) fn repeats(&mut self, about: About, now: OffsetDateTime) -> bool {
        let (mac, complaint, _) = about;
        // With a full memory only what is in it is known to be a repetition; the events have their own bound.
        if self.told.len() >= MAX_TOLD {
            self.told.retain(|_, at| now - *at < QUIET);
            if self.told.len() >= MAX_TOLD {
                return true;
            }
        }
        // One address is enough for a device that walks through all of them.
        let walks = self
            .told
            .range((mac, complaint, IpAddr::V4(Ipv4Addr::UNSPECIFIED))..)
            .take_while(|((of, kind, _), _)| *of == mac && *kind == complaint)
            .count()
            >= 4;
        let before = self.told.get(&about).copied();
        let quiet = before.is_some_and(|at| now - at < QUIET);
        if !quiet && !walks {
            self.told.insert(about, now);
        }
        quiet || walks
    }

    /// Changes a device and works out what follows for the kernel and the disk.
    pub(super) fn change(
        &mut self,
        mac: LinkAddress,
        actions: &mut Vec<Action>,
        change: impl FnOnce(&mut Device),
    ) {
        let Some(device) = self.devices.get_mut(&mac) else {
            return;
        };
        let before = device.clone();
        change(device);
        if *device == before {
            return;
        }
        let (was, is) = (before.place(), device.place());
        let mut moves = Vec::new();
        for old in &before.addresses {
            if !device.addresses.iter().any(|b| b.address == old.address) {
                self.owners.remove(&old.address);
                moves.push((old.address, was.clone(), Place::Unknown));
            }
        }
        for new in &device.addresses {
            let known = before.addresses.iter().any(|b| b.address == new.address);
            self.owners.insert(new.address, mac);
            let from = if known { was.clone() } else { Place::Unknown };
            moves.push((new.address, from, is.clone()));
        }
        moves.retain(|(_, from, to)| from != to);
        let loosens = moves.iter().all(|(_, from, to)| rank(to) >= rank(from));
        let follows = moves.into_iter().flat_map(|(address, before, place)| {
            // What nobody judged before can not have flows that were allowed.
            let cut = (before != Place::Unknown).then(|| Action::Cut {
                address,
                before: before.clone(),
            });
            let place = Action::Place {
                mac,
                address,
                before,
                place,
            };
            std::iter::once(place).chain(cut)
        });
        if loosens {
            actions.push(Action::Save(mac));
            actions.extend(follows);
        } else {
            actions.extend(follows);
            actions.push(Action::Save(mac));
        }
        self.unsaved.remove(&mac);
        self.unwritten.remove(&mac);
    }
}

/// How much a place lets through, roughly: enough to know what to write first.
fn rank(place: &Place) -> u8 {
    match place {
        Place::Unknown => 0,
        Place::Quarantine(_) => 1,
        Place::Model(_) => 2,
        Place::Trusted => 3,
    }
}

pub(super) fn tell(
    actions: &mut Vec<Action>,
    outcome: Outcome,
    mac: Option<LinkAddress>,
    text: String,
) {
    actions.push(Action::Tell { outcome, mac, text });
}
