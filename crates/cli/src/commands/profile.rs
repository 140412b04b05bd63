//! `stockade profile …`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use stockade_profile::{Checked, Profile, Severity, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::{field, items, mud, profile_learn};
use crate::admin::Admin;
use crate::args;
use crate::out::{Out, table};
use crate::run::FOUND;

pub(crate) async fn run(
    out: Out,
    admin: &Admin,
    json: bool,
    command: &args::Profile,
) -> anyhow::Result<ExitCode> {
    match command {
        args::Profile::Check { files } => return check(out, json, files),
        args::Profile::Show { file } => show(out, json, file)?,
        args::Profile::Keygen { key } => keygen(out, key)?,
        args::Profile::Sign { file, key, output } => sign(out, file, key, output.as_deref())?,
        args::Profile::Verify { file, key } => verify(out, file, key)?,
        args::Profile::FromMud(asked) => return mud::from(out, json, asked),
        args::Profile::ToMud(asked) => return mud::to(out, json, &read(&asked.file)?, asked),
        args::Profile::Learn(asked) => return profile_learn::run(out, json, asked).await,
        args::Profile::Install {
            file,
            allow_policy_findings,
        } => install(out, admin, file, *allow_policy_findings).await?,
        args::Profile::List => list(out, admin, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check(out: Out, json: bool, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut sound = true;
    for file in files {
        let text = source(file)?;
        let Checked { profile, faults } = stockade_profile::check(&text);
        sound &= profile.is_some();
        if json {
            out.line(&faults_json(file, &faults).to_string());
            continue;
        }
        if !faults.is_empty() {
            out.line(
                stockade_profile::render(&text, &file.display().to_string(), &faults).trim_end(),
            );
        }
        if let Some(profile) = profile {
            let device = &profile.device;
            out.line(&format!(
                "{}: {} version {} is sound",
                file.display(),
                device.model,
                device.version
            ));
        }
    }
    Ok(if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FOUND)
    })
}

pub(super) fn faults_json(file: &Path, faults: &[stockade_profile::Fault]) -> serde_json::Value {
    let faults: Vec<_> = faults
        .iter()
        .map(|fault| {
            serde_json::json!({
                "line": fault.line,
                "column": fault.column,
                "severity": fault.severity.as_str(),
                "message": fault.message,
                "help": fault.help,
            })
        })
        .collect();
    serde_json::json!({ "file": file, "faults": faults })
}

/// Its text. What is none may well be a signed profile.
fn source(file: &Path) -> anyhow::Result<String> {
    match fs_err::read_to_string(file) {
        Err(why) if why.kind() == std::io::ErrorKind::InvalidData => bail!(
            "{} is no text; a signed profile is judged by `stockade profile verify`",
            file.display()
        ),
        read => Ok(read?),
    }
}

/// A profile without faults; or all of them as the error.
fn read(file: &Path) -> anyhow::Result<Profile> {
    let text = source(file)?;
    let Checked { profile, faults } = stockade_profile::check(&text);
    profile.with_context(|| {
        let errors = faults
            .iter()
            .filter(|f| f.severity == Severity::Error)
            .count();
        let told = stockade_profile::render(&text, &file.display().to_string(), &faults);
        format!(
            "{} has {}\n{}",
            file.display(),
            match errors {
                1 => "a fault".to_owned(),
                many => format!("{many} faults"),
            },
            told.trim_end()
        )
    })
}

fn show(out: Out, json: bool, file: &Path) -> anyhow::Result<()> {
    let profile = read(file)?;
    let words = profile.words(None);
    if json {
        let words: Vec<_> = words
            .iter()
            .map(|said| serde_json::json!({ "control": said.control.as_str(), "text": said.text }))
            .collect();
        let device = &profile.device;
        out.line(
            &serde_json::json!({ "model": device.model.as_str(), "version": device.version, "words": words })
                .to_string(),
        );
        return Ok(());
    }
    for sentence in words {
        out.line(&format!(
            "{:<12} {}",
            sentence.control.as_str(),
            sentence.text
        ));
    }
    Ok(())
}

fn keygen(out: Out, path: &Path) -> anyhow::Result<()> {
    use std::io::Write as _;

    use fs_err::os::unix::fs::OpenOptionsExt as _;

    let key = SigningKey::generate(&aws_lc_rs::rand::SystemRandom::new())?;
    let pem = key.to_pem()?;
    let public = path.with_added_extension("pub");
    // A key that exists is never overwritten: profiles in the field are signed with it.
    let mut options = fs_err::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()?;
    fs_err::write(&public, key.verifying_key().to_pem())?;
    out.line(&format!("private key {} (keep it secret)", path.display()));
    out.line(&format!(
        "public key  {} (id {})",
        public.display(),
        key.id()
    ));
    Ok(())
}

fn sign(out: Out, file: &Path, key: &Path, output: Option<&Path>) -> anyhow::Result<()> {
    let profile = read(file)?;
    let pem = Zeroizing::new(fs_err::read_to_string(key)?);
    let key =
        SigningKey::from_pem(&pem).with_context(|| format!("cannot use {}", key.display()))?;
    let output = output.map_or_else(|| file.with_extension("cose"), Path::to_owned);
    fs_err::write(&output, stockade_profile::sign(&profile, &key))?;
    let device = &profile.device;
    out.line(&format!(
        "{}: {} version {}, signed by {}",
        output.display(),
        device.model,
        device.version,
        key.id()
    ));
    Ok(())
}

fn verify(out: Out, file: &Path, keys: &[PathBuf]) -> anyhow::Result<()> {
    let trusted = keys
        .iter()
        .map(|path| {
            let pem = fs_err::read_to_string(path)?;
            VerifyingKey::from_pem(&pem).with_context(|| format!("cannot use {}", path.display()))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let verified = stockade_profile::verify(&fs_err::read(file)?, &trusted)
        .with_context(|| format!("{} is refused", file.display()))?;
    let device = &verified.profile().device;
    let key = verified.key();
    out.line(&format!(
        "{}: {} version {}, signed by {key}",
        file.display(),
        device.model,
        device.version
    ));
    Ok(())
}

async fn install(
    out: Out,
    admin: &Admin,
    file: &Path,
    allow_policy_findings: bool,
) -> anyhow::Result<()> {
    let bytes = fs_err::read(file)?;
    let kind = match file.extension().and_then(|e| e.to_str()) {
        Some("toml") => {
            // Told here with source lines, which the gateway does not send back.
            read(file)?;
            "text/toml"
        }
        Some("cose") => "application/cose",
        _ => bail!("{} is neither .toml nor .cose", file.display()),
    };
    let path = if allow_policy_findings {
        "/api/v1/profiles?allow-policy-findings=true"
    } else {
        "/api/v1/profiles"
    };
    let answer = admin.put(path, kind, bytes).await?;
    out.line(&format!(
        "{} version {} is installed",
        field(&answer, "model"),
        field(&answer, "version")
    ));
    if let Some(warned) = warned(&answer, file) {
        out.line(&warned);
    }
    Ok(())
}

/// What the policy's check refuses, if the operator took it all the same.
fn warned(answer: &serde_json::Value, file: &Path) -> Option<String> {
    let faults = items(answer, "policy");
    if faults.is_empty() {
        return None;
    }
    let mut lines = vec![
        "warning: what it says of its data is known to fail. It was installed all the same, and an event says so."
            .to_owned(),
    ];
    lines.extend(
        faults
            .iter()
            .map(|fault| format!("  {}: {}", field(fault, "place"), field(fault, "message"))),
    );
    let next = if file.extension().is_some_and(|it| it == "toml") {
        format!(
            "`stockade vault policy check {}` says what to write instead",
            file.display()
        )
    } else {
        "ask its maker for a newer one; `stockade vault policy check FILE` on the profile's text says what to write instead"
            .to_owned()
    };
    lines.push(format!("next: {next}"));
    Some(lines.join("\n"))
}

async fn list(out: Out, admin: &Admin, json: bool) -> anyhow::Result<()> {
    let answer = admin.get("/api/v1/models").await?;
    if json {
        out.line(&answer.to_string());
        return Ok(());
    }
    let models = items(&answer, "models");
    if models.is_empty() {
        out.line("no models yet; install a profile: stockade profile install FILE");
        return Ok(());
    }
    let cells = |model| {
        ["model", "manufacturer", "version", "devices"]
            .map(|name| field(model, name))
            .to_vec()
    };
    let rows: Vec<Vec<String>> = models.iter().map(cells).collect();
    out.line(&table(
        &["MODEL", "MANUFACTURER", "VERSION", "DEVICES"],
        &rows,
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_was_taken_against_its_policy_is_told_with_a_warning_and_a_next_step() {
        let answer = serde_json::json!({ "policy": [
            { "place": "data.motion.mac", "message": "a hash can be tried", "help": "use = \"pseudonym\"" },
        ]});
        insta::assert_snapshot!(warned(&answer, Path::new("cam.toml")).expect("a warning"), @r"
        warning: what it says of its data is known to fail. It was installed all the same, and an event says so.
          data.motion.mac: a hash can be tried
        next: `stockade vault policy check cam.toml` says what to write instead
        ");
        let signed = warned(&answer, Path::new("cam.cose")).expect("a warning");
        assert!(signed.contains("ask its maker"), "{signed}");
        assert_eq!(
            warned(&serde_json::json!({ "policy": [] }), Path::new("cam.toml")),
            None
        );
    }
}
