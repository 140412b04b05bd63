//! Our guard: its ruleset for the fleet, and a device added to it in each of three ways.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use stockade_controls::firewall::check::differences;
use stockade_controls::firewall::compile::{
    Change as Element, GUARD_TABLE, GuardPlan, Guarded, Model, Role, elements, guard, name_set,
};
use stockade_controls::firewall::nft::{Family as TableFamily, Ident, Ruleset, Set};
use stockade_controls::firewall::readback;
use stockade_controls::firewall::surroundings::Surroundings;
use stockade_host::netlink::keys;
use stockade_host::netlink::sets::{Change, Element as Raw, Key, SetName, Sets};
use stockade_host::nft::Nft;
use stockade_profile::{Family, LinkAddress, ModelName};

use crate::cables::GATEWAY;
use crate::fleet::{Device, Fleet, shown};
use crate::kernel::{self, Cost};
use crate::report::Row;

/// Our rules for a fleet.
pub(crate) struct Ours {
    plan: GuardPlan,
    ruleset: Ruleset,
    /// How long it took to make them, and to write them as text.
    pub(crate) compiled: Duration,
    pub(crate) text: String,
    /// The text is not ours.
    pub(crate) taken: bool,
}

impl Ours {
    pub(crate) fn new(fleet: &Fleet) -> Result<Self> {
        let around = Surroundings {
            own: vec![IpAddr::V4(GATEWAY), "100.64.0.2".parse()?],
            gateway: vec![IpAddr::V4(GATEWAY)],
            local: vec!["10.77.0.0/16".parse()?],
            forwarder: Some(5_355),
            ..Surroundings::default()
        };
        let repair = vec![8_883, 8_443, 8_444];
        let models: BTreeMap<ModelName, Model> = fleet
            .models
            .iter()
            .map(|profile| {
                let model = Model::of(profile, &around, &repair);
                (profile.device.model.clone(), model)
            })
            .collect();
        let devices = fleet
            .devices
            .iter()
            .map(|device| guarded(fleet, *device))
            .collect::<Result<_>>()?;
        let plan = GuardPlan {
            interfaces: vec!["lan".parse()?],
            around,
            models,
            devices,
            repair,
            notice: 8_443,
        };
        let begun = Instant::now();
        let ruleset = guard(&plan);
        let text = ruleset.replacing(&Ruleset { tables: Vec::new() });
        Ok(Self {
            plan,
            ruleset,
            compiled: begun.elapsed(),
            text,
            taken: false,
        })
    }

    /// Lets the names lead somewhere, as the DNS forwarder does.
    pub(crate) fn name(&self, fleet: &Fleet) -> Result<()> {
        let puts: Vec<Change> = fleet
            .names
            .iter()
            .filter_map(|(name, address)| {
                let set = name_set(name, Family::Ipv4);
                // A name that only rules about IPv6 speak of has no such set.
                self.set(TableFamily::Inet, &set)?;
                let mut element = Raw::new(Key::new().with(&address.octets()));
                element.timeout = Some(Duration::from_hours(1));
                let set = SetName {
                    family: TableFamily::Inet,
                    table: GUARD_TABLE.to_owned(),
                    set: set.as_str().to_owned(),
                };
                Some(Change::Put(set, element))
            })
            .collect();
        ensure!(!puts.is_empty(), "no name has a set");
        Sets::open()?.change(&puts)?;
        Ok(())
    }

    fn elements(&self, fleet: &Fleet, device: Device) -> Result<Vec<Element>> {
        Ok(elements(&self.plan, &guarded(fleet, device)?))
    }

    /// Our way: messages to the kernel, no program.
    pub(crate) fn add(&self, fleet: &Fleet, device: Device) -> Result<Duration> {
        let begun = Instant::now();
        let puts = self
            .elements(fleet, device)?
            .iter()
            .map(|change| self.put(change))
            .collect::<Result<Vec<_>>>()?;
        Sets::open()?.change(&puts)?;
        Ok(begun.elapsed())
    }

    fn set(&self, family: TableFamily, name: &Ident) -> Option<&Set> {
        let table = self.ruleset.table(family, GUARD_TABLE)?;
        table.sets.iter().find(|set| set.name == *name)
    }

    fn put(&self, change: &Element) -> Result<Change> {
        let set = self
            .set(change.family, &change.set)
            .context("no such set")?;
        let name = SetName {
            family: change.family,
            table: GUARD_TABLE.to_owned(),
            set: change.set.as_str().to_owned(),
        };
        let element = keys::element(&set.key, &change.element).context("odd element")?;
        Ok(Change::Put(name, element))
    }

    /// The same by `nft add element`.
    pub(crate) fn add_by_nft(&self, fleet: &Fleet, device: Device) -> Result<Duration> {
        let begun = Instant::now();
        let mut text = String::new();
        for change in self.elements(fleet, device)? {
            let set = self
                .set(change.family, &change.set)
                .context("no such set")?;
            writeln!(
                text,
                "add element {} {GUARD_TABLE} {} {{ {} }}",
                change.family,
                change.set,
                set.element_text(&change.element)
            )?;
        }
        kernel::load_text(&text)?;
        Ok(begun.elapsed())
    }

    /// What a check takes: the kernel's rules read back and held against those wanted.
    pub(crate) fn read_back(&self) -> Result<Row> {
        let nft = Nft::find()?;
        let begun = Instant::now();
        let mut found = Ruleset { tables: Vec::new() };
        for table in &self.ruleset.tables {
            let json = nft.list(table.family, GUARD_TABLE)?;
            let json = json.context("a table is not there")?;
            let mut read = readback::from_json(&json)?;
            if table.family == TableFamily::Netdev {
                let text = nft
                    .list_text(table.family, GUARD_TABLE)?
                    .unwrap_or_default();
                readback::devices(&mut read, &String::from_utf8_lossy(&text))?;
            }
            found.tables.extend(read.tables);
        }
        let listed = begun.elapsed();
        let told = differences(&self.ruleset, &found);
        let took = begun.elapsed();
        ensure!(
            told.is_empty(),
            "the kernel has other rules: {}",
            told.first().map(ToString::to_string).unwrap_or_default()
        );
        Ok(Row::new(
            "read back and compare",
            format!("{:.2} s", took.as_secs_f64()),
            &format!("{:.2} s of it nft and reading", listed.as_secs_f64()),
        ))
    }

    /// Loads all of it where nothing is, as the guard does: the tables by nft, the devices by messages of our own. A ruleset
    /// that was taken from a file comes by nft alone.
    pub(crate) fn load(&self, folder: &Path) -> Result<Cost> {
        if self.taken {
            return self.reload(folder);
        }
        let begun = Instant::now();
        let text = self.ruleset.bare().replacing(&Ruleset::default());
        let file = folder.join("bare.nft");
        fs_err::write(&file, text)?;
        let made = begun.elapsed();
        let nft = kernel::load(&file)?;
        let begun = Instant::now();
        let devices = keys::bulk(&self.ruleset).map_err(|set| anyhow!("odd element of {set}"))?;
        Sets::open()?.fill(&devices)?;
        Ok(Cost {
            time: made + nft.time + begun.elapsed(),
            ..nft
        })
    }

    /// Loads all of it over what is there, as the guard does: one transaction of nft, which interrupts nobody.
    pub(crate) fn reload(&self, folder: &Path) -> Result<Cost> {
        let file = folder.join("ours.nft");
        fs_err::write(&file, &self.text)?;
        kernel::load(&file)
    }
}

fn guarded(fleet: &Fleet, device: Device) -> Result<Guarded> {
    let model = fleet.models.get(device.model).context("no such model")?;
    let mac: LinkAddress = shown(device.mac)
        .parse()
        .map_err(|_| anyhow!("odd address"))?;
    Ok(Guarded {
        mac,
        addresses: vec![device.address.into()],
        role: Role::Model(model.device.model.clone()),
    })
}
