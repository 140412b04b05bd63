//! `[tamper]`: how the device notices that it is opened, and what it does then.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::Control;
use crate::fault::{Faulted, Faults, Malformed, quote};
use crate::read::{Form, Keys, Node, Text, Value, Writer};
use crate::text::{choice, name, system_name};
use crate::units::digits;
use crate::words::{Words, listed};

name! {
    /// A line of a GPIO chip, by its name in the device tree.
    LineName: "a GPIO line", system_name
}

choice! {
    /// The level of a line or a switch that means that the case is open.
    Level: "a level of a line" {
        /// High, for a switch: set.
        High = "high",
        /// Low, for a switch: not set.
        Low = "low",
    }
}

choice! {
    /// A switch of an input device that a case can have, by its name in the kernel's `input-event-codes.h`.
    SwitchName: "a switch of a case" {
        /// `SW_LID`.
        Lid = "lid",
        /// `SW_DOCK`.
        Dock = "dock",
        /// `SW_CAMERA_LENS_COVER`.
        CameraLensCover = "camera-lens-cover",
        /// `SW_KEYPAD_SLIDE`.
        KeypadSlide = "keypad-slide",
        /// `SW_MACHINE_COVER`.
        MachineCover = "machine-cover",
    }
}

choice! {
    /// The kind of sensor.
    InputKind: "a kind of sensor" {
        /// A line of a GPIO chip.
        Gpio = "gpio",
        /// The chassis intrusion sensor of the board.
        Chassis = "chassis",
        /// A switch of an input device.
        Switch = "switch",
    }
}

choice! {
    /// What is done when the case is opened.
    Response: "a response" {
        /// Tell the gateway.
        Report = "report",
        /// Close every connection but the one to the gateway.
        Isolate = "isolate",
        /// Erase the device's keys.
        EraseKeys = "erase-keys",
    }
}

/// How long a sensor must say the same before it is believed: `50ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Debounce(u16);

impl Debounce {
    const MOST: u16 = 10_000;

    /// At least 1 ms and at most 10 s.
    pub fn from_millis(millis: u16) -> Option<Self> {
        (1..=Self::MOST).contains(&millis).then_some(Self(millis))
    }

    /// As a duration; never zero.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0.into())
    }
}

impl Default for Debounce {
    fn default() -> Self {
        Self(50)
    }
}

impl FromStr for Debounce {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let millis = text.strip_suffix("ms").and_then(digits);
        let millis = millis.and_then(|millis| u16::try_from(millis).ok());
        millis.and_then(Self::from_millis).ok_or_else(|| {
            let wrong = Malformed::new(format!("`{}` is no time to settle", quote(text)));
            wrong.help("from \"1ms\" to \"10000ms\"")
        })
    }
}

impl fmt::Display for Debounce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

impl Text for Debounce {}

/// How the device notices that it is opened, and what it does then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tamper {
    /// The sensors.
    pub inputs: Vec<TamperInput>,
    /// What is done.
    pub response: Vec<Response>,
    /// How long a sensor must say the same before it is believed.
    pub debounce: Debounce,
    /// Whether one sensor is enough to erase the keys. Otherwise two must have said that the case is open.
    pub erase_with_one_input: bool,
}

/// A sensor of the case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TamperInput {
    /// A line of a GPIO chip.
    Gpio {
        /// Its name.
        line: LineName,
        /// The level that means that the case is open.
        active: Level,
    },
    /// The chassis intrusion sensor of the board.
    Chassis,
    /// A switch of an input device.
    Switch {
        /// Which.
        name: SwitchName,
        /// The level that means that the case is open.
        active: Level,
    },
}

impl fmt::Display for TamperInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpio { line, .. } => write!(f, "line {line}"),
            Self::Chassis => f.write_str("chassis"),
            Self::Switch { name, .. } => write!(f, "switch {name}"),
        }
    }
}

impl Tamper {
    /// How many sensors must have said that the case is open before the keys are erased; none if they never are.
    pub fn erases_at(&self) -> Option<usize> {
        let needed = if self.erase_with_one_input { 1 } else { 2 };
        self.response
            .contains(&Response::EraseKeys)
            .then_some(needed)
            .filter(|needed| self.inputs.len() >= *needed)
    }
}

impl Form for Tamper {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let inputs = keys.or_default::<Vec<TamperInput>>("inputs");
        // Two words about one sensor are not two sensors.
        let inputs = keys.distinct("inputs", inputs, |one: &TamperInput, other| {
            one.to_string() == other.to_string()
        });
        let response = keys.or_default::<Vec<Response>>("response");
        let debounce = keys.or_default("debounce");
        let erase_with_one_input = keys.or("erase-with-one-input", false);
        if let (Ok([_]), Ok(response), Ok(false)) =
            (inputs.as_deref(), &response, &erase_with_one_input)
            && response.contains(&Response::EraseKeys)
        {
            let wrong = Malformed::new("one sensor alone does not erase the keys");
            let help = "name a second one in `inputs`, or write `erase-with-one-input = true`";
            keys.warn("response", wrong.help(help));
        }
        match (inputs.as_deref(), response.as_deref()) {
            (Ok([_, ..]), Ok([])) => {
                let wrong = Malformed::new("the case is watched, but nothing follows from it");
                keys.warn(
                    "inputs",
                    wrong.help("for example `response = [\"report\"]`"),
                );
            }
            (Ok([]), Ok([_, ..])) => {
                let wrong = Malformed::new("nothing watches the case, so there is no response");
                keys.warn("response", wrong.help("name the sensors in `inputs`"));
            }
            _ => (),
        }
        keys.finish()?;
        Ok(Self {
            inputs: inputs?,
            response: response?,
            debounce: debounce?,
            erase_with_one_input: erase_with_one_input?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .unless_default("inputs", &self.inputs)
            .unless_default("response", &self.response)
            .unless_default("debounce", &self.debounce)
            .unless_default("erase-with-one-input", &self.erase_with_one_input)
            .done()
    }
}

impl Form for TamperInput {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let input = match keys.required("kind", "\"gpio\"") {
            Ok(InputKind::Gpio) => {
                let line = keys.required("line", "\"CASE_OPEN\"");
                let active = keys.required("active", "\"high\"");
                line.and_then(|line| {
                    let active = active?;
                    Ok(Self::Gpio { line, active })
                })
            }
            Ok(InputKind::Chassis) => Ok(Self::Chassis),
            Ok(InputKind::Switch) => {
                let name = keys.required("name", "\"machine-cover\"");
                let active = keys.required("active", "\"low\"");
                name.and_then(|name| {
                    let active = active?;
                    Ok(Self::Switch { name, active })
                })
            }
            Err(faulted) => {
                keys.know(&["line", "name", "active"]);
                Err(faulted)
            }
        };
        keys.finish()?;
        input
    }

    fn write(&self) -> Value {
        match self {
            Self::Gpio { line, active } => Writer::default()
                .put("kind", &InputKind::Gpio)
                .put("line", line)
                .put("active", active)
                .done(),
            Self::Chassis => Writer::default().put("kind", &InputKind::Chassis).done(),
            Self::Switch { name, active } => Writer::default()
                .put("kind", &InputKind::Switch)
                .put("name", name)
                .put("active", active)
                .done(),
        }
    }
}

impl Tamper {
    pub(crate) fn words(&self, words: &mut Words<'_>) {
        let [_, ..] = self.inputs.as_slice() else {
            return words.say(Control::Tamper, "does not notice when its case is opened");
        };
        let sensors = listed(&self.inputs, |input| match input {
            TamperInput::Gpio { line, .. } => format!("the line `{line}`"),
            TamperInput::Chassis => "its board's sensor".to_owned(),
            TamperInput::Switch { name, .. } => format!("the switch `{name}`"),
        });
        let response = listed(&self.response, |response| {
            let does = match response {
                Response::Report => "tells the gateway",
                Response::Isolate => "closes every other connection",
                Response::EraseKeys => match self.erases_at() {
                    Some(1) => "erases its keys",
                    Some(_) => "erases its keys once two sensors say so",
                    None => "would erase its keys if it had two sensors",
                },
            };
            does.to_owned()
        });
        let does = if self.response.is_empty() {
            "does nothing".to_owned()
        } else {
            response
        };
        words.say(
            Control::Tamper,
            format!("when {sensors} says that its case is open, it {does}"),
        );
    }
}
