//! `stockade device ports`: what is plugged in, what leads in, and what becomes of it.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::json;
use stockade_api::helper::PortsState;

use super::helper::Helper;
use crate::args::mend::Ports;
use crate::out::Out;

pub(super) fn run(out: Out, json: bool, asked: &Ports) -> anyhow::Result<ExitCode> {
    let helper = Helper::below(asked.places.as_deref());
    if asked.what.is_some() {
        helper.keep_ports()?;
        out.line(&if json {
            json!({ "kept": true }).to_string()
        } else {
            "what was on trial stays".to_owned()
        });
        return Ok(ExitCode::SUCCESS);
    }
    let state = helper.ports()?;
    out.line(&if json {
        serde_json::to_string(&state)?
    } else {
        text(&state)
    });
    Ok(ExitCode::SUCCESS)
}

fn text(state: &PortsState) -> String {
    let mut text = String::from(if state.enforced {
        "USB: what is not allowed is kept out"
    } else {
        "USB: nothing is kept out; this is what would become of each device"
    });
    for it in &state.usb {
        let fate = if it.allowed { "allowed" } else { "not allowed" };
        let works = if it.works { "works" } else { "does not work" };
        let _written = write!(
            text,
            "\n  {}  {}: {fate}, {works} ({})",
            it.port, it.what, it.why
        );
    }
    if state.usb.is_empty() {
        text.push_str("\n  nothing is plugged in");
    }
    for it in &state.ways {
        let open = if it.open { "open" } else { "shut" };
        let fate = if it.allowed { "allowed" } else { "not allowed" };
        let _written = write!(text, "\n{} {}: {fate}, {open}", it.kind, it.name);
    }
    if let Some(seconds) = state.trial {
        let _written = write!(
            text,
            "\nOn trial: in {seconds} seconds the last plan is taken back unless `stockade device ports keep` is run"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use stockade_api::helper::{UsbSeen, Way};

    use super::*;

    #[test]
    fn the_ways_in_are_told_in_words() {
        let state = PortsState {
            enforced: true,
            usb: vec![UsbSeen {
                port: "1-2".to_owned(),
                what: "046d:c31c `Keyboard` of class 03".to_owned(),
                works: false,
                allowed: false,
                why: "no entry allows its class 03".to_owned(),
            }],
            ways: vec![Way {
                kind: "network interface".to_owned(),
                name: "eth1".to_owned(),
                open: true,
                allowed: false,
            }],
            trial: Some(42),
        };
        insta::assert_snapshot!(text(&state), @"
        USB: what is not allowed is kept out
          1-2  046d:c31c `Keyboard` of class 03: not allowed, does not work (no entry allows its class 03)
        network interface eth1: not allowed, open
        On trial: in 42 seconds the last plan is taken back unless `stockade device ports keep` is run
        ");
    }
}
