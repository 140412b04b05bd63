//! SARIF 2.1.0 (OASIS, 2020; errata 01 of 2023), as code forges read it.

use serde_json::{Value, json};
use stockade_controls::engine::{Evidence, Severity};

use crate::report::{FindingReport, Report, RuleReport, Since};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The report as SARIF. Every rule that was asked is declared, so that an alert whose finding is gone is closed; what could not be
/// judged is a notification and makes the run unsuccessful (§3.20.14).
pub fn sarif(report: &Report) -> Result<String, serde_json::Error> {
    let results = report.rules.iter().enumerate().flat_map(|(index, rule)| {
        rule.findings
            .iter()
            .map(move |finding| result(report, index, rule, finding))
    });
    let results: Vec<Value> = results.collect();
    let rules: Vec<Value> = report
        .rules
        .iter()
        .map(|rule| descriptor(report, rule))
        .collect();
    let mut artifact = json!({ "location": { "uri": uri(&report.target.name) } });
    if let Some(digest) = &report.target.sha256 {
        artifact["hashes"] = json!({ "sha-256": digest });
    }
    let document = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": report.tool.name,
                "version": report.tool.version,
                "semanticVersion": report.tool.version,
                "rules": rules,
                "properties": { "ruleSet": report.tool.rules },
            }},
            "artifacts": [artifact],
            "invocations": [{
                "executionSuccessful": !report.incomplete(),
                "toolExecutionNotifications": notifications(report),
            }],
            "results": results,
        }],
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&document)?))
}

/// §3.49
fn descriptor(report: &Report, rule: &RuleReport) -> Value {
    let about = |id: &String| {
        let title = report.standards.get(id);
        title.map_or_else(|| id.clone(), |title| format!("{id}: {title}"))
    };
    let standards: Vec<String> = rule.standards.iter().map(about).collect();
    json!({
        "id": rule.id,
        "shortDescription": { "text": rule.title },
        "fullDescription": { "text": rule.why },
        "help": { "text": format!("{}\n\n{}", rule.advice, standards.join("\n")) },
        "defaultConfiguration": { "level": level(rule.severity) },
        "properties": {
            "tags": std::iter::once(&"security".to_owned()).chain(&rule.standards).collect::<Vec<_>>(),
            "security-severity": score(rule.severity),
        },
    })
}

/// §3.27
fn result(report: &Report, index: usize, rule: &RuleReport, finding: &FindingReport) -> Value {
    let mut locations: Vec<Value> = finding
        .evidence
        .iter()
        .map(|evidence| location(report, evidence))
        .collect();
    if locations.is_empty() {
        locations.push(location(
            report,
            &Evidence::at(&finding.subject, &finding.what),
        ));
    }
    let mut result = json!({
        "ruleId": rule.id,
        "ruleIndex": index,
        "level": level(finding.severity),
        "message": { "text": finding.what },
        "locations": locations,
        // Without line and offset (§3.27.17): it is the same finding in the next version.
        "partialFingerprints": { "stockade/v1": finding.fingerprint },
        "properties": {
            "subject": finding.subject,
            "confidence": finding.confidence,
            "security-severity": score(finding.severity),
        },
    });
    if let Some(since) = finding.since {
        // §3.27.24
        result["baselineState"] = json!(match since {
            Since::New => "new",
            Since::Worse => "updated",
            Since::Unchanged => "unchanged",
        });
    }
    if let Some(waived) = &finding.waived {
        // §3.35
        result["suppressions"] = json!([{
            "kind": "external",
            "status": "accepted",
            "justification": format!("{} (until {})", waived.reason, waived.expires),
        }]);
    }
    result
}

/// §3.28: the file, if it was seen in one, else the thing that was audited; and the place in our words.
fn location(report: &Report, evidence: &Evidence) -> Value {
    let (path, line) = file_of(&evidence.place);
    let mut physical = json!({
        "artifactLocation": { "uri": uri(path.unwrap_or(&report.target.name)) }
    });
    if let Some(line) = line {
        physical["region"] = json!({ "startLine": line });
    }
    json!({
        "physicalLocation": physical,
        "logicalLocations": [{ "fullyQualifiedName": evidence.place }],
        "message": { "text": evidence.seen },
    })
}

/// §3.58: what could not be judged.
fn notifications(report: &Report) -> Vec<Value> {
    let rules = report.unjudged().map(|rule| {
        let index = super::index_of(report, rule);
        json!({
            "level": "warning",
            "message": { "text": format!("{} cannot be judged: {}", rule.id, rule.note) },
            "associatedRule": { "id": rule.id, "index": index },
        })
    });
    let places = report.not_audited.iter().map(|it| {
        json!({
            "level": if it.waived.is_some() { "note" } else { "warning" },
            "message": { "text": format!("not audited: {}: {}", it.place, it.why) },
        })
    });
    let waivers = report.idle_waivers.iter().map(|it| {
        json!({
            "level": "note",
            "message": { "text": format!("waiver of {} ({}): {}", it.rule, it.about, it.why) },
        })
    });
    rules.chain(places).chain(waivers).collect()
}

/// The path and the line of `/etc/shadow:3`, also as the last of `firmware.bin, squashfs at 0x120200: /etc/shadow:3`.
fn file_of(place: &str) -> (Option<&str>, Option<u64>) {
    let inner = [": /", ", /"].iter().filter_map(|it| place.rfind(it)).max();
    let last = match inner.and_then(|at| place.get(at + 2..)) {
        Some(path) => path,
        None if place.starts_with('/') => place,
        None => return (None, None),
    };
    match last.rsplit_once(':') {
        Some((path, line)) if line.bytes().all(|it| it.is_ascii_digit()) => {
            (Some(path), line.parse().ok().filter(|line| *line > 0))
        }
        _ => (Some(last), None),
    }
}

/// A relative reference (RFC 3986 §4.2): forges resolve it against the root of the sources.
fn uri(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_start_matches('/');
    let encoded: String = path
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    if encoded.is_empty() {
        ".".to_owned()
    } else {
        encoded
    }
}

/// §3.27.10
fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

/// As forges sort: over 9 critical, from 7 high, from 4 medium.
fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "2.5",
        Severity::Info => "0.0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_gives_its_file_and_line() {
        for (place, path, line) in [
            ("/etc/shadow:3", Some("/etc/shadow"), Some(3)),
            ("/etc/shadow", Some("/etc/shadow"), None),
            (
                "fw.bin, squashfs at 0x20, /etc/x:7",
                Some("/etc/x"),
                Some(7),
            ),
            ("tcp 192.0.2.7:23", None, None),
            ("/a:b", Some("/a:b"), None),
            ("/a:0", Some("/a"), None),
        ] {
            assert_eq!(file_of(place), (path, line), "{place}");
        }
    }

    #[test]
    fn a_reference_is_relative_and_encoded() {
        assert_eq!(uri("/etc/über uns"), "etc/%C3%BCber%20uns");
        assert_eq!(uri("./fw.bin"), "fw.bin");
        assert_eq!(uri("/"), ".");
        assert_eq!(uri("[2001:db8::7]:443"), "%5B2001%3Adb8%3A%3A7%5D%3A443");
    }
}
