//! `stockade vault policy`: with the profile's file alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use stockade_profile::{PolicyFault, PolicySeverity, policy};

use crate::args::vault::Policy;
use crate::commands::profile::faults_json;
use crate::out::Out;
use crate::run::FOUND;

pub(super) fn run(out: Out, json: bool, command: &Policy) -> anyhow::Result<ExitCode> {
    let Policy::Check { files } = command;
    let mut sound = true;
    for file in files {
        sound &= check(out, json, file)?;
    }
    Ok(if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FOUND)
    })
}

fn check(out: Out, json: bool, file: &PathBuf) -> anyhow::Result<bool> {
    let source = fs_err::read_to_string(file)?;
    let checked = stockade_profile::check(&source);
    let Some(profile) = checked.profile else {
        let name = file.display().to_string();
        out.line(&if json {
            faults_json(file, &checked.faults).to_string()
        } else {
            let rendered = stockade_profile::render(&source, &name, &checked.faults);
            rendered.trim_end().to_owned()
        });
        return Ok(false);
    };
    let faults = policy(&profile);
    out.line(&if json {
        as_json(file, &faults).to_string()
    } else {
        text(file, &faults)
    });
    Ok(refused(&faults) == 0)
}

fn refused(faults: &[PolicyFault]) -> usize {
    let refused = |fault: &&PolicyFault| fault.severity == PolicySeverity::Refused;
    faults.iter().filter(refused).count()
}

fn text(file: &Path, faults: &[PolicyFault]) -> String {
    let mut lines = Vec::new();
    for fault in faults {
        let (severity, place, what) = (fault.severity.as_str(), &fault.place, &fault.what);
        lines.push(format!("{severity}: {place}: {what}"));
        lines.push(format!("  instead: {}", fault.instead));
    }
    let refused = refused(faults);
    lines.push(format!(
        "{}: {refused} refused, {} warned",
        file.display(),
        faults.len().saturating_sub(refused)
    ));
    lines.join("\n")
}

fn as_json(file: &Path, faults: &[PolicyFault]) -> serde_json::Value {
    let faults: Vec<_> = faults
        .iter()
        .map(|fault| {
            serde_json::json!({
                "place": fault.place,
                "severity": fault.severity.as_str(),
                "what": fault.what,
                "instead": fault.instead,
            })
        })
        .collect();
    serde_json::json!({ "file": file.display().to_string(), "faults": faults })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_camera_is_told_what_its_policy_lacks() {
        let source = include_str!("../../../../../profiles/cam-2.toml");
        let profile = stockade_profile::parse(source).expect("a sound profile");
        let faults = policy(&profile);
        insta::assert_snapshot!(text(Path::new("cam-2.toml"), &faults));
        let json = as_json(Path::new("cam-2.toml"), &faults);
        assert_eq!(json["faults"].as_array().map(Vec::len), Some(faults.len()));
    }
}
