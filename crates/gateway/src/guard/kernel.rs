//! The guard's tables in the kernel: loaded as a whole, changed by single elements, read back and compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stockade_controls::firewall::check::differences;
use stockade_controls::firewall::compile::{
    self, GUARD_LOG_GROUP, GUARD_TABLE, GuardPlan, Guarded, elements, guard, name_set,
};
use stockade_controls::firewall::decide::World;
use stockade_controls::firewall::names::Rights;
use stockade_controls::firewall::nft::{Family, Ident, Kind, Ruleset, Set};
use stockade_controls::firewall::policy::RuleId;
use stockade_controls::firewall::readback::{self, ReadbackError};
use stockade_host::admit::{Admission, Admit, AdmitError};
use stockade_host::netlink::packets::Logged;
use stockade_host::netlink::sets::{Change, Element, Key, SetName, Sets};
use stockade_host::netlink::{NetlinkError, keys};
use stockade_host::nft::{Nft, NftError};
use stockade_host::watch::{self, Ground};
use stockade_profile::{HostName, LinkAddress};
use stockade_wire::capture::LinkType;
use stockade_wire::packet::{self, Network};

use super::blocked::Blocked;
use super::core::{Action, Core};
use super::device::{Device, Place};
use super::flows::{self, Rules};
use super::names::Names;
use super::plan;
use super::settings::GuardSettings;

/// The group that the guard's rules log to.
pub(super) const GROUP: u16 = GUARD_LOG_GROUP;

/// The families that the guard has tables of.
const FAMILIES: [Family; 3] = [Family::Inet, Family::Arp, Family::Netdev];

/// Why the kernel's rules are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// `nft`.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// The kernel.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// What is there can not be read.
    #[error("the guard's tables in the kernel can not be read: {0}")]
    Readback(#[from] ReadbackError),
    /// An element of ours can not be written as the kernel wants it.
    #[error(
        "an element of the set `{0}` can not be written for the kernel: a bug; the whole table is loaded instead"
    )]
    Element(String),
    /// What is there is not what was loaded.
    #[error("the rules that were loaded are not those that are there: {0}")]
    Differs(String),
}

/// What a comparison says.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) summary: String,
    pub(super) differences: Vec<String>,
}

/// So many elements come with their tables in one transaction of nft, even where nothing is there before.
const FEW: usize = 1_000;

/// The guard's tables, and the means to change them.
#[derive(Debug)]
pub(super) struct Kernel {
    nft: Nft,
    settings: GuardSettings,
    forwarder: Option<u16>,
    /// Held while elements change, and while tables are replaced with the elements in them.
    sets: Arc<Mutex<Sets>>,
    /// What the tables were made from; its devices are those of the last load.
    plan: Option<GuardPlan>,
    /// Each device as it is in the tables now.
    placed: BTreeMap<LinkAddress, Guarded>,
    /// What the keys of each set are made of.
    kinds: BTreeMap<(Family, Ident), Vec<Kind>>,
    warnings: Vec<String>,
}

impl Kernel {
    pub(super) fn open(settings: GuardSettings) -> Result<Self, KernelError> {
        Ok(Self {
            nft: Nft::find()?,
            settings,
            forwarder: None,
            sets: Arc::new(Mutex::new(Sets::open()?)),
            plan: None,
            placed: BTreeMap::new(),
            kinds: BTreeMap::new(),
            warnings: Vec::new(),
        })
    }

    /// Where questions to name servers are sent.
    pub(super) fn forward_to(&mut self, port: Option<u16>) {
        self.forwarder = port;
    }

    /// The way by which addresses of names come into the tables.
    pub(super) fn admit(&self) -> Arc<dyn Admit + Send + Sync> {
        Arc::new(Door(Arc::clone(&self.sets)))
    }

    /// Loads all tables in one transaction, reads them back, and cuts what is not allowed any more. On failure the rules
    /// from before are in force.
    pub(super) fn load(&mut self, core: &Core, names: Option<&Names>) -> Result<(), KernelError> {
        let plan = plan::plan(core, &self.settings, self.forwarder);
        let mut wanted = guard(&plan);
        {
            let mut sets = lock(&self.sets);
            let text = self.text()?;
            // A table with something in it that is not ours is replaced as well; then nothing can be carried over.
            if let Ok(before) = self.read() {
                carry(&mut sets, &before, &mut wanted)?;
            }
            self.replace(&mut sets, &text, &wanted)?;
            let different = match self.read() {
                Ok(found) => differences(&wanted, &found),
                Err(error) => {
                    self.nft.apply(&replacing(&wanted.to_string(), &text))?;
                    return Err(error);
                }
            };
            if let Some(first) = different.first() {
                let told = first.to_string();
                self.nft.apply(&replacing(&wanted.to_string(), &text))?;
                return Err(KernelError::Differs(told));
            }
        }
        self.placed = plan.devices.iter().map(|it| (it.mac, it.clone())).collect();
        self.kinds = kinds(&wanted);
        self.warnings = unmet(&plan);
        let before = self.plan.replace(plan);
        if let (Some(before), Some(plan)) = (before, &self.plan) {
            flows::cut(&Rules {
                core,
                plan,
                world: world(core, plan, names),
                before: Some(&before),
                moved: None,
            })?;
        }
        Ok(())
    }

    /// Puts the tables in the place of those from before, in one transaction: a device that stays allowed loses no packet.
    /// Where none were before, and they would be large, the devices come after the rest, past nft: until then a device is one
    /// that nobody knows. On failure what was there before is there again. Nothing is checked beforehand: a transaction that
    /// fails changes nothing, and with many devices a check takes as long as the load.
    fn replace(&self, sets: &mut Sets, before: &str, wanted: &Ruleset) -> Result<(), KernelError> {
        let all = wanted.tables.iter().flat_map(|table| &table.sets);
        let elements: usize = all.map(|set| set.elements.len()).sum();
        if !before.is_empty() || elements <= FEW {
            self.nft.commit(&replacing(before, &wanted.to_string()))?;
            return Ok(());
        }
        let devices = keys::bulk(wanted).map_err(|set| KernelError::Element(set.to_string()))?;
        let bare = wanted.bare().to_string();
        self.nft.commit(&replacing(before, &bare))?;
        if let Err(error) = sets.fill(&devices) {
            self.nft.commit(&replacing(&bare, before))?;
            return Err(error.into());
        }
        Ok(())
    }

    /// Does what the core says about one pair of addresses.
    pub(super) fn carry_out(
        &mut self,
        core: &Core,
        names: Option<&Names>,
        action: &Action,
    ) -> Result<(), KernelError> {
        let Some(plan) = &self.plan else {
            // What was never loaded is loaded with all that is known.
            return self.load(core, names);
        };
        match action {
            Action::Place { mac, .. } => self.place(core, *mac),
            Action::Cut { address, before } => {
                flows::cut(&Rules {
                    core,
                    plan,
                    world: world(core, plan, names),
                    before: None,
                    moved: Some((*address, before.clone())),
                })?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Brings the elements of one device to where the core has it: a few elements, whatever the number of devices.
    fn place(&mut self, core: &Core, mac: LinkAddress) -> Result<(), KernelError> {
        let Some(plan) = &self.plan else {
            return Ok(());
        };
        let now = core
            .device(mac)
            .and_then(|device| plan::guarded(device, &plan.models));
        let of = |device: Option<&Guarded>| -> BTreeSet<compile::Change> {
            device
                .map(|device| elements(plan, device).into_iter().collect())
                .unwrap_or_default()
        };
        let (old, new) = (of(self.placed.get(&mac)), of(now.as_ref()));
        let mut changes = Vec::new();
        for gone in old.difference(&new) {
            // A key that stays with another verdict is put, not removed.
            let replaced = new.iter().any(|it| same_key(it, gone));
            if !replaced {
                let (set, element) = self.element(gone)?;
                changes.push(Change::Remove(set, element));
            }
        }
        for come in new.difference(&old) {
            let (set, element) = self.element(come)?;
            changes.push(Change::Put(set, element));
        }
        lock(&self.sets).change(&changes)?;
        match now {
            Some(now) => self.placed.insert(mac, now),
            None => self.placed.remove(&mac),
        };
        Ok(())
    }

    fn element(&self, change: &compile::Change) -> Result<(SetName, Element), KernelError> {
        let kinds = self.kinds.get(&(change.family, change.set.clone()));
        let element = kinds.and_then(|kinds| keys::element(kinds, &change.element));
        let element = element.ok_or_else(|| KernelError::Element(change.set.to_string()))?;
        Ok((set_name(change.family, change.set.as_str()), element))
    }

    /// Compares what is there with what should be.
    pub(super) fn check(&self, core: &Core) -> Result<Checked, KernelError> {
        let plan = plan::plan(core, &self.settings, self.forwarder);
        let wanted = guard(&plan);
        let differences: Vec<String> = match self.read() {
            Ok(found) => differences(&wanted, &found)
                .iter()
                .map(ToString::to_string)
                .collect(),
            Err(KernelError::Readback(error)) => vec![error.to_string()],
            Err(error) => return Err(error),
        };
        let devices = plan.devices.len();
        let summary = match differences.len() {
            0 => format!(
                "the kernel's rules are as they should be: {devices} devices in force, {} models",
                plan.models.len()
            ),
            1 => "the kernel's rules differ in one place; `stockade guard reload` loads them anew"
                .to_owned(),
            n => format!(
                "the kernel's rules differ in {n} places; `stockade guard reload` loads them anew"
            ),
        };
        Ok(Checked {
            summary,
            differences,
        })
    }

    /// Whether somebody took one of the loaded tables away: `nft flush ruleset` does, and with it many a restart of another
    /// firewall. Then nothing is guarded, and nothing would say so. Asked of the kernel directly: it costs microseconds.
    pub(super) fn gone(&self) -> bool {
        let mut sets = lock(&self.sets);
        // Who can not be asked has not said that it is gone.
        let there = |family| sets.has_table(family, GUARD_TABLE).unwrap_or(true);
        self.plan.is_some() && !FAMILIES.into_iter().all(there)
    }

    /// Takes the guard's tables away.
    pub(super) fn remove(&mut self) -> Result<(), KernelError> {
        let text = self.text()?;
        if !text.is_empty() {
            self.nft.apply(&replacing(&text, ""))?;
        }
        self.plan = None;
        self.placed.clear();
        Ok(())
    }

    /// What is in force, for people.
    pub(super) fn words(&self) -> String {
        match &self.plan {
            None => "none of the guard's".to_owned(),
            Some(plan) => format!(
                "{} devices in force, {} models",
                self.placed.len(),
                plan.models.len()
            ),
        }
    }

    /// Rules of profiles that allow nothing here.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What a device may do now, in words; what its profile says and is not in force comes last.
    pub(super) fn device_words(&self, device: &Device) -> Vec<String> {
        let Some(plan) = &self.plan else {
            return vec!["no rules of the guard are in force".to_owned()];
        };
        let Some(policy) = plan::policy(plan, &device.place()) else {
            return vec!["may open connections to everybody; nobody may open one to it".to_owned()];
        };
        let (own, builtin): (Vec<_>, Vec<_>) = policy
            .allow
            .iter()
            .partition(|allow| !matches!(allow.id, RuleId::Builtin(_)));
        let mut lines: Vec<String> = own
            .iter()
            .map(|allow| format!("{:<8} {}", allow.id.to_string(), allow.why))
            .collect();
        if lines.is_empty() {
            lines.push("its profile, or its state, lets it do nothing of its own".to_owned());
        }
        lines.push("as every device, or because of its state:".to_owned());
        let mut said: Vec<&str> = builtin.iter().map(|allow| allow.why.as_str()).collect();
        said.dedup();
        lines.extend(said.into_iter().map(|why| format!("         {why}")));
        lines.extend(policy.unmet.iter().map(|unmet| {
            format!(
                "{:<8} {} - NOT IN FORCE: {}",
                unmet.id.to_string(),
                unmet.rule,
                unmet.why
            )
        }));
        lines
    }

    /// What each place may look up.
    pub(super) fn rights(&self) -> BTreeMap<Place, Arc<Rights>> {
        let mut rights = BTreeMap::new();
        for (name, model) in self.plan.iter().flat_map(|plan| &plan.models) {
            let of = |policy| Arc::new(Rights::of(policy));
            rights.insert(Place::Model(name.clone()), of(&model.policy));
            rights.insert(Place::Quarantine(Some(name.clone())), of(&model.quarantine));
        }
        rights
    }

    /// What a blocked packet was, whose, and the rule that would have to exist. Nothing of what this machine sent itself: the
    /// kernel shows it its own broadcasts.
    pub(super) fn explain(
        &self,
        core: &Core,
        names: Option<&Names>,
        logged: &Logged,
    ) -> Option<Blocked> {
        let parsed = packet::parse(LinkType::Raw, &logged.payload).ok();
        let ends = parsed.and_then(|packet| match packet.network {
            Network::Ip(ip) => Some((ip.source, ip.destination)),
            Network::Arp(_) | Network::Other(_) => None,
        });
        if ends.is_some_and(|(from, _)| core.standing().own.contains(&from)) {
            return None;
        }
        let out = logged.prefix.starts_with("stk:out");
        let known = |address: IpAddr| core.owner(address).map(|device| device.mac);
        let device = if out {
            logged.source_mac.map(LinkAddress::new)
        } else {
            ends.and_then(|(_, to)| known(to))
        };
        let place = device
            .and_then(|mac| core.device(mac))
            .map_or(Place::Unknown, Device::place);
        let policy = self
            .plan
            .as_ref()
            .and_then(|plan| plan::policy(plan, &place));
        let mut ground = Ground {
            around: self
                .plan
                .as_ref()
                .map(|plan| plan.around.clone())
                .unwrap_or_default(),
            world: names.map(Names::world).unwrap_or_default(),
            policy: None,
        };
        if let (Some(plan), Some(policy)) = (&self.plan, &policy)
            && !policy.groups().is_empty()
        {
            ground.world = plan::world(core, plan, ground.world);
        }
        ground.policy = policy;
        let told = watch::explain(&ground, logged);
        let peer = match (&told.name, told.peer) {
            (Some(name), Some(peer)) => format!(" {name} ({peer})"),
            (None, Some(peer)) => format!(" {peer}"),
            (_, None) => String::new(),
        };
        let way = if out { "to" } else { "from" };
        let spoofed = match (out, device, ends) {
            (true, Some(mac), Some((from, _))) if known(from) != Some(mac) => {
                format!(", from {from}, which is not known as its address")
            }
            _ => String::new(),
        };
        Some(Blocked {
            at: told.at.into(),
            device,
            text: format!("{way}{peer} {}{spoofed}: {}", told.what, told.why),
            rule: told
                .rule
                .filter(|_| spoofed.is_empty())
                .map(|rule| rule.lines().map(str::to_owned).collect())
                .unwrap_or_default(),
        })
    }

    fn read(&self) -> Result<Ruleset, KernelError> {
        let mut held = Ruleset::default();
        for family in FAMILIES {
            let Some(json) = self.nft.list(family, GUARD_TABLE)? else {
                continue;
            };
            let mut table = readback::from_json(&json)?;
            if family == Family::Netdev {
                let text = self.nft.list_text(family, GUARD_TABLE)?.unwrap_or_default();
                readback::devices(&mut table, &String::from_utf8_lossy(&text))?;
            }
            held.tables.extend(table.tables);
        }
        Ok(held)
    }

    /// Our tables as text only: for going back to them, even if a part of them is not ours.
    fn text(&self) -> Result<String, KernelError> {
        let mut all = String::new();
        for family in FAMILIES {
            let text = self.nft.list_text(family, GUARD_TABLE)?.unwrap_or_default();
            all.push_str(&String::from_utf8_lossy(&text));
        }
        Ok(all)
    }
}

/// Opens the guard's sets for addresses of names.
#[derive(Debug)]
struct Door(Arc<Mutex<Sets>>);

impl Admit for Door {
    fn admit(&self, put: &[Admission], gone: &[(HostName, IpAddr)]) -> Result<(), AdmitError> {
        let removed = gone.iter().map(|(name, address)| {
            Change::Remove(named(name, *address), Element::new(key(*address)))
        });
        let added = put.iter().map(|it| {
            let element = Element {
                timeout: Some(it.keep),
                ..Element::new(key(it.address))
            };
            Change::Put(named(&it.name, it.address), element)
        });
        let changes: Vec<Change> = removed.chain(added).collect();
        match (lock(&self.0).change(&changes), put.first()) {
            // The only thing that can be missing is the set: no rule names the host.
            (Err(NetlinkError::Missing { .. }), Some(first)) => {
                Err(AdmitError::NoRule(first.name.clone()))
            }
            (done, _) => Ok(done?),
        }
    }
}

fn lock(sets: &Mutex<Sets>) -> MutexGuard<'_, Sets> {
    sets.lock().unwrap_or_else(PoisonError::into_inner)
}

fn named(name: &HostName, address: IpAddr) -> SetName {
    let family = if address.is_ipv4() {
        stockade_profile::Family::Ipv4
    } else {
        stockade_profile::Family::Ipv6
    };
    set_name(Family::Inet, name_set(name, family).as_str())
}

fn set_name(family: Family, set: &str) -> SetName {
    SetName {
        family,
        table: GUARD_TABLE.to_owned(),
        set: set.to_owned(),
    }
}

fn key(address: IpAddr) -> Key {
    match address {
        IpAddr::V4(v4) => Key::new().with(&v4.octets()),
        IpAddr::V6(v6) => Key::new().with(&v6.octets()),
    }
}

fn same_key(one: &compile::Change, other: &compile::Change) -> bool {
    one.family == other.family && one.set == other.set && one.element.key == other.element.key
}

fn kinds(ruleset: &Ruleset) -> BTreeMap<(Family, Ident), Vec<Kind>> {
    let mut kinds = BTreeMap::new();
    for table in &ruleset.tables {
        for set in &table.sets {
            kinds.insert((table.family, set.name.clone()), set.key.clone());
        }
    }
    kinds
}

fn unmet(plan: &GuardPlan) -> Vec<String> {
    let mut told = Vec::new();
    for (name, model) in &plan.models {
        for unmet in &model.policy.unmet {
            told.push(format!(
                "{name}, rule {}: not in force, for {}",
                unmet.id, unmet.why
            ));
        }
    }
    told
}

fn world(core: &Core, plan: &GuardPlan, names: Option<&Names>) -> World {
    plan::world(core, plan, names.map(Names::world).unwrap_or_default())
}

/// Addresses that names have now stay in their sets when the tables are replaced.
fn carry(sets: &mut Sets, before: &Ruleset, wanted: &mut Ruleset) -> Result<(), KernelError> {
    let learned = |set: &Set| set.timeout && !set.dynamic && !set.map;
    for table in &mut wanted.tables {
        for set in &mut table.sets {
            let old = before.table(table.family, table.name.as_str());
            let old = old.and_then(|old| old.set(set.name.as_str()));
            if !learned(set) || old.is_none_or(|old| old.key != set.key) {
                continue;
            }
            let listed = sets.list(&set_name(table.family, set.name.as_str()))?;
            let kept = listed.iter().filter_map(|it| keys::listed(&set.key, it));
            set.elements = kept.collect();
            set.elements.sort();
        }
    }
    Ok(())
}

/// The transaction that puts these tables in the place of all of the guard's. A table that is deleted has to exist, so each
/// is made first; a family that neither has is left out, for a kernel may lack it.
fn replacing(before: &str, tables: &str) -> String {
    let mut transaction = String::with_capacity(before.len() + tables.len());
    for family in FAMILIES {
        let head = format!("table {family} {GUARD_TABLE} {{");
        if before.contains(&head) || tables.contains(&head) {
            // Writing to a string can not fail.
            let _written = writeln!(
                transaction,
                "table {family} {GUARD_TABLE}\ndelete table {family} {GUARD_TABLE}"
            );
        }
    }
    transaction.push_str(tables);
    transaction
}
