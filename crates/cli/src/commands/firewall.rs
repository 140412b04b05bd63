//! `stockade firewall …`

mod serve;
mod text;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use stockade_host::firewall::{Checked, Firewall, FirewallError, How, Plan, Settled, Wanted};
use stockade_host::process::{Socket, owner, remote_session};
use stockade_host::surroundings::Told;
use stockade_host::watch::{DEVICE_GROUP, Ground, Sight, Watch};
use stockade_profile::{Endpoint, Outward, Profile, Severity};

use crate::args::firewall::{Apply, Firewall as Command, Place};
use crate::out::Out;
use crate::run::{FOUND, INCOMPLETE};

/// How long blocked packets are waited for before the names are looked at again.
const LOOK: Duration = Duration::from_secs(1);

/// The number of UDP among IP protocols.
const UDP: u8 = 17;

/// Does what was said; says how it ended.
pub(crate) async fn run(out: Out, json: bool, command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Show { place, profile } => show(out, json, place, profile)?,
        Command::Check {
            place,
            kept,
            profile,
        } => {
            let wanted = profile
                .as_ref()
                .map(|file| wanted(file, place))
                .transpose()?;
            return check(out, json, &kept.state, wanted.as_ref());
        }
        Command::Apply(apply) => return self::apply(out, json, apply),
        Command::Confirm { kept, same_session } => {
            confirm(out, json, &kept.state, *same_session)?;
        }
        Command::Undo { kept } => {
            let cut = Firewall::at(&kept.state)?.undo()?;
            let told = "the rules from before are in force";
            out.line(&text::done(json, "undone", told, &cut));
        }
        Command::Status { kept } => status(out, json, &kept.state)?,
        Command::Watch { kept, count } => watch(out, json, &kept.state, *count)?,
        Command::Run {
            place,
            kept,
            profile,
        } => {
            let wanted = profile
                .as_ref()
                .map(|file| wanted(file, place))
                .transpose()?;
            serve::run(out, json, &kept.state, wanted, told(place)).await?;
        }
        Command::Off { kept } => {
            Firewall::at(&kept.state)?.off()?;
            if json {
                out.line(&json!({ "result": "off" }).to_string());
            } else {
                out.line("the rules are gone: everything passes");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A profile without faults; or all of them as the error.
pub(crate) fn sound(text: &str, file: &Path) -> anyhow::Result<Profile> {
    let checked = stockade_profile::check(text);
    let faults = checked.faults;
    checked.profile.with_context(|| {
        let errors = faults
            .iter()
            .filter(|fault| fault.severity == Severity::Error);
        let told = stockade_profile::render(text, &file.display().to_string(), &faults);
        format!(
            "{} has {} faults\n{}",
            file.display(),
            errors.count(),
            told.trim_end()
        )
    })
}

fn told(place: &Place) -> Told {
    let mut controller: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for (class, host) in &place.controller {
        controller.entry(class.to_string()).or_default().push(*host);
    }
    Told {
        gateway: place.gateway.clone(),
        gateway_link: place.gateway_link.map(|link| link.to_string()),
        local: place.local.iter().map(ToString::to_string).collect(),
        resolver: place.resolver.clone(),
        forwarder: Some(place.forwarder),
        controller,
        my_controller: place.my_controller.clone(),
        ..Told::default()
    }
}

fn wanted(file: &Path, place: &Place) -> anyhow::Result<Wanted> {
    let text = fs_err::read_to_string(file)?;
    Ok(Wanted {
        profile: sound(&text, file)?,
        text,
        told: told(place),
        session: remote_session(),
    })
}

fn show(out: Out, json: bool, place: &Place, file: &Path) -> anyhow::Result<()> {
    let wanted = wanted(file, place)?;
    let plan = Plan::of(&wanted.profile, &wanted.told)?;
    out.line(&if json {
        text::plan_json(&plan).to_string()
    } else {
        text::plan(&plan)
    });
    Ok(())
}

fn apply(out: Out, json: bool, apply: &Apply) -> anyhow::Result<ExitCode> {
    let wanted = wanted(&apply.profile, &apply.place)?;
    let firewall = Firewall::at(&apply.kept.state)?;
    if apply.dry_run {
        let plan = Plan::of(&wanted.profile, &wanted.told)?;
        firewall.dry_run(&plan)?;
        out.line(&if json {
            json!({ "result": "acceptable" }).to_string()
        } else {
            "nft and the kernel would take the rules; nothing was changed".to_owned()
        });
        return Ok(ExitCode::SUCCESS);
    }
    let how = if apply.now {
        How::AtOnce
    } else {
        How::Trial(apply.confirm_within)
    };
    let applied = firewall.apply(&wanted, how)?;
    out.line(&if json {
        text::applied_json(&applied).to_string()
    } else {
        text::applied(&applied, names_answered(&wanted))
    });
    Ok(if applied.unmet.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FOUND)
    })
}

/// Whether somebody answers the questions that the rules lead to the forwarder, if the profile names a host at all.
fn names_answered(wanted: &Wanted) -> bool {
    let named = |rule: &Outward| matches!(rule.to, Endpoint::Host(_));
    let names = wanted.profile.firewall.outward.iter().any(named);
    let answers = |port| {
        let socket = Socket {
            protocol: UDP,
            address: Ipv4Addr::LOCALHOST.into(),
            port,
        };
        owner(&socket).is_some()
    };
    !names || wanted.told.forwarder.is_some_and(answers)
}

fn confirm(out: Out, json: bool, state: &Path, same_session: bool) -> anyhow::Result<()> {
    let firewall = Firewall::at(state)?;
    if !same_session
        && let Some(session) = remote_session()
        && firewall.trial_session()?.as_deref() == Some(&session)
    {
        bail!(
            "this is the session that applied the rules, and it proves nothing: log in anew, and run \
             `stockade firewall confirm` there (or add --same-session)"
        );
    }
    let cut = firewall.confirm()?;
    out.line(&text::done(
        json,
        "confirmed",
        "the rules hold for good",
        &cut,
    ));
    Ok(())
}

fn status(out: Out, json: bool, state: &Path) -> anyhow::Result<()> {
    let status = Firewall::at(state)?.status()?;
    out.line(&if json {
        text::status_json(&status).to_string()
    } else {
        text::status(&status)
    });
    Ok(())
}

fn check(out: Out, json: bool, state: &Path, wanted: Option<&Wanted>) -> anyhow::Result<ExitCode> {
    let checked = match Firewall::at(state)?.check(wanted) {
        // What is not ours in our tables is a difference too, and has a name.
        Err(FirewallError::Foreign(foreign)) => {
            out.line(&if json {
                json!({ "verdict": "differs", "differences": [foreign.to_string()] }).to_string()
            } else {
                foreign.to_string()
            });
            return Ok(ExitCode::from(FOUND));
        }
        checked => checked?,
    };
    out.line(&if json {
        text::checked_json(&checked).to_string()
    } else {
        text::checked(&checked)
    });
    Ok(match checked {
        Checked::Same { .. } => ExitCode::SUCCESS,
        Checked::Different(_) | Checked::Wrong(_) => ExitCode::from(FOUND),
        Checked::Unjudged(_) | Checked::Nothing => ExitCode::from(INCOMPLETE),
    })
}

fn watch(out: Out, json: bool, state: &Path, count: Option<u64>) -> anyhow::Result<()> {
    let firewall = Firewall::at(state)?;
    let mut watch = Watch::start(DEVICE_GROUP)?;
    let mut left = count.unwrap_or(u64::MAX);
    let mut ground = Ground::here(&firewall)?;
    if ground.policy.is_none() && !json {
        out.line("no rules of ours are in force: nothing will be blocked by them");
    }
    while left > 0 {
        let Sight::Blocked(packets) = watch.next(&ground, LOOK)? else {
            out.line(&if json {
                json!({ "lost": true }).to_string()
            } else {
                "more was blocked than could be told".to_owned()
            });
            continue;
        };
        if packets.is_empty() {
            // Names and rules change; a change under way is looked at the next time.
            ground = Ground::here(&firewall).unwrap_or(ground);
        }
        for packet in packets
            .iter()
            .take(usize::try_from(left).unwrap_or(usize::MAX))
        {
            left = left.saturating_sub(1);
            out.line(&if json {
                text::blocked_json(packet).to_string()
            } else {
                text::blocked(packet)
            });
        }
    }
    Ok(())
}

/// What was tidied up, in words; nothing if there was nothing.
fn settled(settled: Settled) -> Option<&'static str> {
    match settled {
        Settled::Quiet | Settled::Trial { .. } => None,
        Settled::Ended => {
            Some("the trial ended without confirmation: the rules from before are in force")
        }
        Settled::Finished => {
            Some("the last change was cut short after it had reached the kernel: it is in force")
        }
        Settled::Unfinished => Some(
            "the last change was cut short before it reached the kernel: the rules from before are in force",
        ),
    }
}
