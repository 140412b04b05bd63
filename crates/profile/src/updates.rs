//! `[updates]`: where updates come from, and how soon.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::Control;
use crate::fault::{Faulted, Faults, Malformed};
use crate::net::HttpsUrl;
use crate::privileges::AbsolutePath;
use crate::programs::ServiceName;
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::text::choice;
use crate::units::spoken;
use crate::words::{Words, listed, ticked};

choice! {
    /// What knows the slots of a device.
    SlotsKind: "a kind of slots" {
        /// RAUC, by its own configuration.
        Rauc = "rauc",
        /// The environment of U-Boot.
        UbootEnv = "uboot-env",
    }
}

/// Where updates come from, and how soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updates {
    /// Where the device looks for updates.
    pub source: HttpsUrl,
    /// A device that has not looked for this long is in breach.
    pub max_age: Duration,
    /// Within this time a security update must be applied.
    pub security_within: Duration,
    /// Where whole systems are written to; none if the device takes packages only.
    pub slots: Option<Slots>,
    /// What a new system has to show before it stays.
    pub health: Health,
}

/// The two places for whole systems, and what says which of them starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slots {
    /// RAUC, by its own configuration.
    Rauc,
    /// The environment of U-Boot: `BOOT_ORDER`, `BOOT_A_LEFT` and `BOOT_B_LEFT`, at the place that `/etc/fw_env.config` names.
    UbootEnv {
        /// The device of slot A.
        a: AbsolutePath,
        /// The device of slot B.
        b: AbsolutePath,
    },
}

/// What a new system has to show before it stays; else the old one comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Services that run.
    pub services: Vec<ServiceName>,
    /// TCP ports of the device that take connections.
    pub tcp: Vec<NonZeroU16>,
    /// Whether the gateway is reached.
    pub gateway: bool,
    /// All of it within this time.
    pub within: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            services: Vec::new(),
            tcp: Vec::new(),
            gateway: true,
            within: Duration::from_mins(5),
        }
    }
}

const HEALTH_TIMES: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(1);
const TIMES: RangeInclusive<Duration> = Duration::from_hours(1)..=Duration::from_hours(366 * 24);

impl Form for Updates {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let source = keys.required("source", "\"https://updates.example.org/cam-2\"");
        let max_age = keys.required("max-age", "\"30d\"");
        let max_age = keys.within("max-age", max_age, &TIMES);
        let security_within = keys.required("security-within", "\"72h\"");
        let security_within = keys.within("security-within", security_within, &TIMES);
        let slots = keys.optional("slots");
        let health = keys.or_default("health");
        if matches!((&slots, &health), (Ok(None), Ok(health)) if *health != Health::default()) {
            let wrong = Malformed::new("no whole system is installed, so none is checked");
            keys.warn("health", wrong.help("name the `slots`"));
        }
        keys.finish()?;
        Ok(Self {
            source: source?,
            max_age: max_age?,
            security_within: security_within?,
            slots: slots?,
            health: health?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("source", &self.source)
            .put("max-age", &self.max_age)
            .put("security-within", &self.security_within)
            .some("slots", self.slots.as_ref())
            .unless_default("health", &self.health)
            .done()
    }
}

impl Form for Slots {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let slots = match keys.required("kind", "\"rauc\"") {
            Ok(SlotsKind::Rauc) => Ok(Self::Rauc),
            Ok(SlotsKind::UbootEnv) => {
                let a = keys.required("a", "\"/dev/mmcblk0p2\"");
                let b = keys.required("b", "\"/dev/mmcblk0p3\"");
                let same = matches!((&a, &b), (Ok(a), Ok(b)) if a == b);
                a.and_then(|a| {
                    let b = b?;
                    if same {
                        let wrong = Malformed::new("slot A and slot B are the same device");
                        return Err(keys.error("b", wrong));
                    }
                    Ok(Self::UbootEnv { a, b })
                })
            }
            Err(faulted) => {
                keys.know(&["a", "b"]);
                Err(faulted)
            }
        };
        keys.finish()?;
        slots
    }

    fn write(&self) -> Value {
        match self {
            Self::Rauc => Writer::default().put("kind", &SlotsKind::Rauc).done(),
            Self::UbootEnv { a, b } => Writer::default()
                .put("kind", &SlotsKind::UbootEnv)
                .put("a", a)
                .put("b", b)
                .done(),
        }
    }
}

impl Form for Health {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let none = Self::default();
        let services = keys.or_default("services");
        let tcp = keys.or_default("tcp");
        let gateway = keys.or("gateway", none.gateway);
        let within = keys.or("within", none.within);
        let within = keys.within("within", within, &HEALTH_TIMES);
        keys.finish()?;
        Ok(Self {
            services: services?,
            tcp: tcp?,
            gateway: gateway?,
            within: within?,
        })
    }

    fn write(&self) -> Value {
        let none = Self::default();
        Writer::default()
            .unless_default("services", &self.services)
            .unless_default("tcp", &self.tcp)
            .unless("gateway", &self.gateway, &none.gateway)
            .unless("within", &self.within, &none.within)
            .done()
    }
}

pub(crate) fn words(updates: Option<&Updates>, words: &mut Words<'_>) {
    const CONTROL: Control = Control::Updates;
    let Some(updates) = updates else {
        return words.say(CONTROL, "takes no updates");
    };
    words.say(
        CONTROL,
        format!("takes updates from `{}` only", updates.source),
    );
    let (age, within) = (spoken(updates.max_age), spoken(updates.security_within));
    words.say(
        CONTROL,
        format!("must look for updates at least every {age}"),
    );
    words.say(
        CONTROL,
        format!("must apply a security update within {within}"),
    );
    let Some(slots) = &updates.slots else {
        return;
    };
    let slots = match slots {
        Slots::Rauc => "by RAUC".to_owned(),
        Slots::UbootEnv { a, b } => format!("into `{a}` and `{b}` in turn"),
    };
    words.say(CONTROL, format!("takes whole systems, {slots}"));
    let health = &updates.health;
    let services =
        (!health.services.is_empty()).then(|| format!("{} runs", listed(&health.services, ticked)));
    let ports = (!health.tcp.is_empty()).then(|| {
        format!(
            "TCP answers on port {}",
            listed(&health.tcp, ToString::to_string)
        )
    });
    let gateway = health.gateway.then(|| "the gateway is reached".to_owned());
    let shown: Vec<String> = [services, ports, gateway].into_iter().flatten().collect();
    let shown = if shown.is_empty() {
        "it starts".to_owned()
    } else {
        listed(&shown, Clone::clone)
    };
    let within = spoken(health.within);
    words.say(
        CONTROL,
        format!(
            "keeps a new system if {shown} within {within}, and goes back to the old one otherwise"
        ),
    );
}
