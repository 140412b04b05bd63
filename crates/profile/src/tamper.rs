//! `[tamper]`: how the device notices that it is opened, and what it does then.

use crate::Control;
use crate::fault::{Faulted, Faults, Malformed};
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::text::{choice, name, system_name};
use crate::words::{Words, listed};

name! {
    /// A line of a GPIO chip, by its name in the device tree.
    LineName: "a GPIO line", system_name
}

choice! {
    /// The level of a line that means yes.
    Level: "a level of a line" {
        /// High means that the case is open.
        High = "high",
        /// Low means that the case is open.
        Low = "low",
    }
}

choice! {
    /// The kind of sensor.
    InputKind: "a kind of sensor" {
        /// A line of a GPIO chip.
        Gpio = "gpio",
        /// The chassis intrusion sensor of the board.
        Chassis = "chassis",
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

/// How the device notices that it is opened, and what it does then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tamper {
    /// The sensors.
    pub inputs: Vec<TamperInput>,
    /// What is done, in this order.
    pub response: Vec<Response>,
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
}

impl Form for Tamper {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let inputs = keys.or_default::<Vec<TamperInput>>("inputs");
        let response = keys.or_default::<Vec<Response>>("response");
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
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .unless_default("inputs", &self.inputs)
            .unless_default("response", &self.response)
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
            Err(faulted) => {
                keys.know(&["line", "active"]);
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
        });
        let response = listed(&self.response, |response| {
            let does = match response {
                Response::Report => "tells the gateway",
                Response::Isolate => "closes every other connection",
                Response::EraseKeys => "erases its keys",
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
