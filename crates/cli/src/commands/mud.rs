//! `stockade profile from-mud` and `to-mud`

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use stockade_profile::mud::signature::{
    Anchors, Identity, MAX_ANCHORS, MAX_SIGNATURE, UnixTime, sign, verify,
};
use stockade_profile::mud::{
    self, ExportOptions, ImportOptions, Imported, LastUpdate, MudError, MudFile, Outcome,
    RuleReport,
};
use stockade_profile::{Direction, HttpsUrl, Profile};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::args::mud::{FromMud, ToMud};
use crate::out::{self, Out};
use crate::run::{FOUND, INCOMPLETE};

/// Makes a profile of a MUD file, and says what became of each of its rules.
pub(crate) fn from(out: Out, as_json: bool, asked: &FromMud) -> anyhow::Result<ExitCode> {
    let read = read(&asked.file)?;
    let bytes = match &read {
        Ok(bytes) => bytes,
        Err(wrong) => return Ok(unreadable(&asked.file, wrong.clone())),
    };
    let signer = signer(asked, bytes)?;
    let file = match mud::read(bytes) {
        Ok(file) => file,
        Err(wrong) => return Ok(unreadable(&asked.file, wrong)),
    };
    let options = ImportOptions {
        literal: asked.literal,
        model: asked.model.clone(),
    };
    let mut imported = mud::import(&file, &options);
    if signer.is_none() {
        imported.warnings.extend(unchecked(&file));
    }
    let profile = imported.profile.to_toml();
    if let Some(output) = &asked.output {
        fs_err::write(output, &profile)?;
    }
    if as_json {
        out.line(&report_json(&imported, signer.as_deref(), &profile).to_string());
    } else {
        let mut report = imported.report(asked.full);
        report.extend(signer.map(|signer| format!("signed by {signer}")));
        if let Some(output) = &asked.output {
            report.push(format!("{} is the profile", output.display()));
            out.line(&report.join("\n"));
        } else {
            out::aside(&report.join("\n"));
            out.line(profile.trim_end());
        }
    }
    Ok(match imported.count().refused {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(FOUND),
    })
}

/// What is there could not be judged.
fn unreadable(file: &Path, wrong: MudError) -> ExitCode {
    out::complain(&anyhow::Error::new(wrong).context(shown(file)));
    ExitCode::from(INCOMPLETE)
}

fn shown(file: &Path) -> String {
    if is_stdin(file) {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// The file's bytes, of which there may be more than are read.
fn read(file: &Path) -> anyhow::Result<Result<Vec<u8>, MudError>> {
    let bytes = if is_stdin(file) {
        some(std::io::stdin().lock(), mud::MAX_BYTES)?
    } else {
        some(fs_err::File::open(file)?, mud::MAX_BYTES)?
    };
    if bytes.len() > mud::MAX_BYTES {
        let size = fs_err::metadata(file).map_or(0, |metadata| metadata.len());
        let size = usize::try_from(size).unwrap_or(usize::MAX).max(bytes.len());
        return Ok(Err(MudError::TooLarge(size)));
    }
    Ok(Ok(bytes))
}

/// What can be read, and no more than one byte above the limit.
fn some(from: impl std::io::Read, limit: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limit)?.saturating_add(1);
    from.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Who signed the file; nobody if it has no signature, and none is demanded. A signature that is wrong is an error.
fn signer(asked: &FromMud, file: &[u8]) -> anyhow::Result<Option<String>> {
    if asked.trust.is_empty() {
        return Ok(None);
    }
    let beside = asked.file.with_extension("p7s");
    let path = match &asked.signature {
        Some(path) => path,
        None if !is_stdin(&asked.file) && beside.exists() => &beside,
        None if asked.require_signature => bail!(
            "{} has no signature: name it with --signature P7S",
            shown(&asked.file)
        ),
        None => return Ok(None),
    };
    let mut anchors = Anchors::default();
    for authority in &asked.trust {
        anchors
            .add(&some(fs_err::File::open(authority)?, MAX_ANCHORS)?)
            .with_context(|| format!("cannot use {}", authority.display()))?;
    }
    let signature = some(fs_err::File::open(path)?, MAX_SIGNATURE)?;
    let signed = verify(file, &signature, &anchors, UnixTime::now())
        .with_context(|| format!("{} is refused: {}", shown(&asked.file), path.display()))?;
    Ok(Some(signed.signer().to_owned()))
}

/// A signature that the file names and nobody looked at.
fn unchecked(file: &MudFile) -> Option<String> {
    let named = file.signature()?;
    Some(format!(
        "the file names a signature, which was not checked: fetch {}, then --signature P7S --trust CA",
        named.escape_debug()
    ))
}

fn report_json(imported: &Imported, signer: Option<&str>, profile: &str) -> Value {
    let count = imported.count();
    json!({
        "model": imported.profile.device.model.as_str(),
        "rules": count.total(),
        "represented": count.represented,
        "covered": count.covered,
        "refused": count.refused,
        "signer": signer,
        "each": imported.rules.iter().map(rule_json).collect::<Vec<_>>(),
        "warnings": imported.warnings,
        "profile": profile,
    })
}

fn rule_json(rule: &RuleReport) -> Value {
    let mut told = json!({
        "acl": rule.acl,
        "ace": rule.ace,
        "direction": match rule.direction {
            Direction::In => "in",
            Direction::Out => "out",
        },
        "warnings": rule.warnings,
    });
    match &rule.outcome {
        Outcome::Represented { rules } => {
            told["outcome"] = json!("represented");
            told["as"] = json!(rules);
        }
        Outcome::Covered { by, why } => {
            told["outcome"] = json!("covered");
            told["by"] = json!(by);
            told["why"] = json!(why);
        }
        Outcome::Refused { why } => {
            told["outcome"] = json!("refused");
            told["why"] = json!(why);
        }
    }
    told
}

/// Makes a MUD file of a profile, signs it if there is a key, and says what is not in it.
pub(crate) fn to(
    out: Out,
    as_json: bool,
    profile: &Profile,
    asked: &ToMud,
) -> anyhow::Result<ExitCode> {
    let known = profile.mud.as_ref().and_then(|mud| mud.url.clone());
    let url = asked.url.clone().or(known).with_context(|| {
        format!(
            "{} names no address for its MUD file: --url https://…/{}.json",
            asked.file.display(),
            profile.device.model
        )
    })?;
    let identity = identity(asked)?;
    let output = match &asked.output {
        Some(output) => output.clone(),
        None => asked.file.with_extension("json"),
    };
    let beside = output.with_extension("p7s");
    let options = ExportOptions {
        last_update: now()?,
        signature: identity.as_ref().map(|_| signature_url(&url)),
        url,
    };
    let exported = mud::export(profile, &options);
    fs_err::write(&output, &exported.bytes)?;
    let mut written = vec![output];
    if let Some(identity) = identity {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = sign(&exported.bytes, &identity, UnixTime::now(), &random)
            .context("cannot sign the MUD file")?;
        fs_err::write(&beside, signature)?;
        written.push(beside);
    }
    let refused = exported.rules.iter().filter(|rule| rule.refused.is_some());
    let refused = refused.count();
    if as_json {
        let each: Vec<_> = exported
            .rules
            .iter()
            .map(|rule| json!({ "rule": rule.rule, "refused": rule.refused, "warnings": rule.warnings }))
            .collect();
        out.line(
            &json!({ "rules": each.len(), "refused": refused, "each": each, "files": written })
                .to_string(),
        );
    } else {
        let mut report = exported.report();
        let kinds = ["MUD file", "signature"];
        report.extend(
            written
                .iter()
                .zip(kinds)
                .map(|(file, kind)| format!("{} is the {kind}", file.display())),
        );
        out.line(&report.join("\n"));
    }
    Ok(match refused {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(FOUND),
    })
}

/// Looked at before anything is written.
fn identity(asked: &ToMud) -> anyhow::Result<Option<Identity>> {
    let (Some(key), Some(certificate)) = (&asked.key, &asked.certificate) else {
        return Ok(None);
    };
    let pem = Zeroizing::new(fs_err::read(key)?);
    let identity = Identity::from_pem(&pem, &fs_err::read(certificate)?).with_context(|| {
        format!(
            "cannot sign with {} and {}",
            key.display(),
            certificate.display()
        )
    })?;
    Ok(Some(identity))
}

/// The signature has the file's address with another ending (RFC 8520 §3.5).
fn signature_url(url: &HttpsUrl) -> String {
    let url = url.as_str();
    format!("{}.p7s", url.strip_suffix(".json").unwrap_or(url))
}

fn now() -> anyhow::Result<LastUpdate> {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0)?;
    Ok(now.format(&Rfc3339)?.parse()?)
}
