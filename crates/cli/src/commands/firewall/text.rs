//! How the firewall's answers read.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use stockade_controls::firewall::policy::RuleId;
use stockade_host::firewall::{Applied, Checked, Cut, Plan, Record, Settled, Status};
use stockade_host::netlink::flows::{Ends, Flow};
use stockade_host::watch::Blocked;
use stockade_profile::Direction;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::settled;

/// The rules in words, then for nft.
pub(super) fn plan(plan: &Plan) -> String {
    let mut lines = Vec::new();
    let ours = |id: &RuleId| matches!(id, RuleId::Builtin(_));
    let model = plan.policy.model.as_ref().map(ToString::to_string);
    lines.push(format!(
        "A device of the model `{}`:",
        model.unwrap_or_default()
    ));
    for allow in plan.policy.allow.iter().filter(|allow| !ours(&allow.id)) {
        lines.push(format!("  {:<10} {}", allow.id.to_string(), allow.why));
    }
    for (id, frame) in &plan.policy.frames {
        lines.push(format!("  {:<10} {}", id.to_string(), frame.spoken()));
    }
    for unmet in &plan.policy.unmet {
        let id = unmet.id.to_string();
        lines.push(format!(
            "  {id:<10} {}: allows nothing here, for {}",
            unmet.rule, unmet.why
        ));
    }
    lines.push("  Nothing else: what no rule allows is dropped, in, out and through.".to_owned());
    lines.push(String::new());
    lines.push("And what every device needs:".to_owned());
    let needed = plan.policy.allow.iter().filter(|allow| ours(&allow.id));
    let mut needed: Vec<String> = needed
        .map(|allow| format!("  {:<14} {}", allow.id.to_string(), allow.why))
        .collect();
    // A rule for IPv4 and its twin for IPv6 say the same.
    needed.dedup();
    lines.append(&mut needed);
    lines.push(String::new());
    lines.push("For nft:".to_owned());
    lines.push(String::new());
    lines.push(plan.ruleset.to_string().trim_end().to_owned());
    lines.join("\n")
}

pub(super) fn plan_json(plan: &Plan) -> Value {
    let rules: Vec<Value> = plan
        .policy
        .allow
        .iter()
        .map(|allow| json!({ "rule": allow.id.to_string(), "text": allow.why }))
        .collect();
    let frames: Vec<Value> = plan
        .policy
        .frames
        .iter()
        .map(|(id, frame)| json!({ "rule": id.to_string(), "text": frame.spoken() }))
        .collect();
    json!({
        "model": plan.policy.model.as_ref().map(ToString::to_string),
        "rules": rules,
        "frames": frames,
        "unmet": unmet(plan.policy.unmet.as_slice()),
        "nft": plan.ruleset.to_string(),
    })
}

fn unmet(unmet: &[stockade_controls::firewall::policy::Unmet]) -> Vec<Value> {
    let rule = |it: &stockade_controls::firewall::policy::Unmet| json!({ "rule": it.id.to_string(), "text": it.rule, "why": it.why });
    unmet.iter().map(rule).collect()
}

pub(super) fn applied(applied: &Applied, names_answered: bool) -> String {
    let mut lines: Vec<String> = settled(applied.settled)
        .map(str::to_owned)
        .into_iter()
        .collect();
    for unmet in &applied.unmet {
        lines.push(format!(
            "{} ({}) allows nothing here, for {}",
            unmet.id, unmet.rule, unmet.why
        ));
    }
    if let Checked::Unjudged(why) = &applied.judged {
        lines.push(format!(
            "it could not be said whether the rules decide as the profile does: {why}"
        ));
    }
    if !names_answered {
        lines.push(
            "names are answered and followed only while `stockade firewall run` runs; now it does not"
                .to_owned(),
        );
    }
    lines.extend(cut_lines(&applied.cut));
    lines.push(match applied.trial {
        None => "the rules are in force".to_owned(),
        Some(time) => format!(
            "the rules are in force on trial: run `stockade firewall confirm` from a new session within {} seconds, or the \
             kernel goes back to the rules from before",
            time.as_secs()
        ),
    });
    lines.join("\n")
}

pub(super) fn applied_json(applied: &Applied) -> Value {
    json!({
        "result": if applied.trial.is_some() { "on-trial" } else { "in-force" },
        "confirm-within": applied.trial.map(|time| time.as_secs()),
        "unmet": unmet(&applied.unmet),
        "cut": flows(&applied.cut.cut),
        "kept": applied.cut.kept,
        "found": settled(applied.settled),
        "judged": checked_json(&applied.judged),
    })
}

/// What was done, and which flows it ended.
pub(super) fn done(json: bool, result: &str, told: &str, cut: &Cut) -> String {
    if json {
        return json!({ "result": result, "cut": flows(&cut.cut), "kept": cut.kept }).to_string();
    }
    let mut lines = cut_lines(cut);
    lines.push(told.to_owned());
    lines.join("\n")
}

fn cut_lines(cut: &Cut) -> Vec<String> {
    let line = |flow: &Flow| format!("cut: {}", spoken(flow));
    cut.cut.iter().map(line).collect()
}

fn flows(flows: &[Flow]) -> Vec<String> {
    flows.iter().map(spoken).collect()
}

/// `tcp 192.0.2.2:40000 -> 198.51.100.1:443`.
fn spoken(flow: &Flow) -> String {
    let tuple = &flow.original;
    let protocol = stockade_profile::Protocol::from_number(tuple.protocol);
    let (from, to) = (tuple.source, tuple.destination);
    match tuple.ends {
        Ends::Ports {
            source,
            destination,
        } => {
            let at = std::net::SocketAddr::new;
            format!("{protocol} {} -> {}", at(from, source), at(to, destination))
        }
        Ends::Icmp { .. } | Ends::None => format!("{protocol} {from} -> {to}"),
    }
}

pub(super) fn status(status: &Status) -> String {
    let mut lines: Vec<String> = settled(status.settled)
        .map(str::to_owned)
        .into_iter()
        .collect();
    if let (Settled::Trial { left }, Some(pending)) = (status.settled, &status.pending) {
        lines.push(format!(
            "on trial    {}, for {} seconds more: `stockade firewall confirm` keeps it, `stockade firewall undo` ends it",
            named(pending),
            left.as_secs()
        ));
    }
    lines.push(match (&status.confirmed, status.tables) {
        (Some(record), true) => format!("confirmed   {}", named(record)),
        (Some(record), false) => format!(
            "confirmed   {}, but the kernel has no rules of ours: `stockade firewall run` brings them back",
            named(record)
        ),
        (None, _) => "confirmed   none: without rules on trial everything passes".to_owned(),
    });
    lines.join("\n")
}

pub(super) fn status_json(status: &Status) -> Value {
    let left = match status.settled {
        Settled::Trial { left } => Some(left.as_secs()),
        _ => None,
    };
    json!({
        "found": settled(status.settled),
        "trial-seconds-left": left,
        "pending": status.pending.as_ref().map(record),
        "confirmed": status.confirmed.as_ref().map(record),
        "tables": status.tables,
    })
}

fn named(record: &Record) -> String {
    let (model, version) = about(record);
    format!("{model} version {version}, applied {}", moment(record))
}

fn record(record: &Record) -> Value {
    let (model, version) = about(record);
    json!({ "model": model, "version": version, "applied": moment(record) })
}

fn about(record: &Record) -> (String, String) {
    match stockade_profile::check(&record.profile).profile {
        Some(profile) => (
            profile.device.model.to_string(),
            profile.device.version.to_string(),
        ),
        None => (
            "a profile that is not sound for this version".to_owned(),
            "-".to_owned(),
        ),
    }
}

fn moment(record: &Record) -> String {
    let seconds = i64::try_from(record.applied).unwrap_or_default();
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok();
    let text = moment.and_then(|moment| moment.format(&Rfc3339).ok());
    text.unwrap_or_default()
}

pub(super) fn checked(checked: &Checked) -> String {
    match checked {
        Checked::Same { classes } => format!(
            "the kernel's rules are those of the profile, and decide alike for {classes} kinds of packets"
        ),
        Checked::Different(differences) => {
            let mut lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
            lines.push(
                "if only this machine's addresses or services have changed, apply again, or let `stockade firewall run` keep \
                 the rules up to date"
                    .to_owned(),
            );
            lines.join("\n")
        }
        Checked::Wrong(what) => what.clone(),
        Checked::Unjudged(why) => format!("it can not be said: {why}"),
        Checked::Nothing => {
            "no profile was ever confirmed on this machine: `stockade firewall apply PROFILE`"
                .to_owned()
        }
    }
}

pub(super) fn checked_json(checked: &Checked) -> Value {
    match checked {
        Checked::Same { classes } => json!({ "verdict": "same", "classes": classes }),
        Checked::Different(differences) => {
            let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
            json!({ "verdict": "differs", "differences": lines })
        }
        Checked::Wrong(what) => json!({ "verdict": "differs", "differences": [what] }),
        Checked::Unjudged(why) => json!({ "verdict": "unknown", "why": why }),
        Checked::Nothing => json!({ "verdict": "unknown", "why": "no profile was confirmed" }),
    }
}

/// Who, what and why on one line, and the rule that is missing below it.
pub(super) fn blocked(packet: &Blocked) -> String {
    let time = packet
        .at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let time = OffsetDateTime::UNIX_EPOCH + time;
    let format = format_description!("[hour]:[minute]:[second]");
    let (way, side) = match packet.direction {
        Direction::In => ("in ", "from"),
        Direction::Out => ("out", "to"),
    };
    let peer = match (&packet.name, packet.peer, packet.link) {
        (Some(name), Some(address), _) => format!("{name} ({address})"),
        (None, Some(address), _) => address.to_string(),
        (_, None, Some(link)) => stockade_profile::LinkAddress::new(link).to_string(),
        (_, None, None) => "an unknown sender".to_owned(),
    };
    let whose = match (&packet.owner, packet.user) {
        (Some(owner), _) => {
            format!(
                ", program {} (process {})",
                owner.name.escape_debug(),
                owner.pid
            )
        }
        (None, Some(user)) => format!(", a program of the user {user}"),
        (None, None) => String::new(),
    };
    let mut lines = vec![format!(
        "{}  {way}  {} {side} {peer}{whose}: {}",
        time.format(format).unwrap_or_default(),
        packet.what,
        packet.why
    )];
    if let Some(rule) = &packet.rule {
        lines.extend(rule.lines().map(|line| format!("            {line}")));
    }
    lines.join("\n")
}

pub(super) fn blocked_json(packet: &Blocked) -> Value {
    let time = packet
        .at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let time = OffsetDateTime::UNIX_EPOCH + time;
    json!({
        "at": time.format(&Rfc3339).unwrap_or_default(),
        "direction": packet.direction.to_string(),
        "peer": packet.peer,
        "name": packet.name.as_ref().map(ToString::to_string),
        "link": packet.link.map(|link| stockade_profile::LinkAddress::new(link).to_string()),
        "what": packet.what,
        "process": packet.owner.as_ref().map(|owner| owner.pid),
        "program": packet.owner.as_ref().map(|owner| owner.name.clone()),
        "user": packet.user,
        "why": packet.why,
        "rule": packet.rule,
    })
}
