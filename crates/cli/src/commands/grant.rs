//! `stockade grant …`

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};
use stockade_gateway::link::crypto::AwsLc;
use stockade_link::cbor::Writer;
use stockade_link::credential::{Credential, read_key_info};
use stockade_link::grant::{Clock, GRANT_MAX, Grant as Read};

use super::{field, items, moment};
use crate::admin::Admin;
use crate::args::grant::Grant;
use crate::out::{Out, table};

pub(crate) async fn run(
    out: Out,
    admin: &Admin,
    json: bool,
    command: &Grant,
) -> anyhow::Result<ExitCode> {
    let (answer, text): (Value, fn(&Value) -> String) = match command {
        Grant::Give {
            from,
            to,
            scope,
            life,
        } => {
            let asked = json!({ "from": from, "to": to, "scope": scope, "for": life.as_secs() });
            (admin.post("/api/v1/grants", &asked).await?, given_text)
        }
        Grant::List => (admin.get("/api/v1/grants").await?, list_text),
        Grant::Revoke { device } => {
            let asked = json!({ "device": device });
            (
                admin.post("/api/v1/grants/revoke", &asked).await?,
                revoked_text,
            )
        }
        Grant::Key => (admin.get("/api/v1/grants").await?, |answer| {
            field(answer, "authority").trim_end().to_owned()
        }),
        Grant::Verify { .. } => (verify(command)?, verified_text),
    };
    out.line(&if json {
        answer.to_string()
    } else {
        text(&answer)
    });
    Ok(ExitCode::SUCCESS)
}

fn scope(right: &Value) -> String {
    let scope = items(right, "scope").iter().filter_map(Value::as_str);
    scope.collect::<Vec<_>>().join(" ")
}

fn fits(right: &Value) -> bool {
    right.get("fits").and_then(Value::as_bool) != Some(false)
}

fn given_text(right: &Value) -> String {
    let then = if fits(right) {
        "it has its grant when it fetches its grants next"
    } else {
        "but it has no room for one more grant: this one is left out (stockade grant list)"
    };
    format!(
        "{} may ask {} until {} UTC: {}\n{then}",
        field(right, "from"),
        field(right, "to"),
        moment(right, "until"),
        scope(right)
    )
}

fn list_text(answer: &Value) -> String {
    let rights = items(answer, "grants");
    if rights.is_empty() {
        return "no device may ask another: profiles say so by [[comms.peer]], the operator by stockade grant give".to_owned();
    }
    let rows: Vec<Vec<String>> = rights
        .iter()
        .map(|right| {
            let until = match right.get("until") {
                Some(Value::String(_)) => moment(right, "until"),
                _ => "as its profile says".to_owned(),
            };
            let left_out = if fits(right) { "" } else { " (left out)" };
            vec![
                field(right, "from") + left_out,
                field(right, "to"),
                scope(right),
                until,
            ]
        })
        .collect();
    let head = ["WHO MAY ASK", "WHO IS ASKED", "WHAT", "UNTIL (UTC)"];
    let mut text = table(&head, &rows);
    if !rights.iter().all(fits) {
        text += "\nleft out: the device has no room for it (a constrained one holds 1,024 bytes: two grants as a rule)";
    }
    text
}

fn revoked_text(answer: &Value) -> String {
    format!(
        "grants for {} that were given so far are void, once it has heard of it (epoch {})",
        field(answer, "device"),
        field(answer, "epoch")
    )
}

/// What a device with a certificate does with a grant (`docs/grants.md`).
fn verify(command: &Grant) -> anyhow::Result<Value> {
    let Grant::Verify {
        authority,
        us,
        peer,
        file,
    } = command
    else {
        anyhow::bail!("not asked to verify");
    };
    let authority = SubjectPublicKeyInfoDer::from_pem_slice(&fs_err::read(authority)?)
        .with_context(|| format!("{} is no public key in PEM", authority.display()))?;
    let authority = read_key_info(&authority)?;
    let certificate = CertificateDer::from_pem_slice(&fs_err::read(peer)?)
        .with_context(|| format!("{} is no certificate in PEM", peer.display()))?;
    let mut buffer = vec![0; certificate.len() + 9];
    let mut writer = Writer::new(&mut buffer);
    writer.bytes(&certificate);
    let peer = Credential::read(writer.finish()?)?;
    let bytes = fs_err::read(file)?;
    anyhow::ensure!(
        bytes.len() <= GRANT_MAX,
        "{} is too long for a grant",
        file.display()
    );
    let grant = Read::read(&bytes)?;
    let mut clock = Clock::default();
    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    clock.tell(now, 0, 0);
    let granted = grant.verify(
        &mut AwsLc::default(),
        &authority,
        us,
        &peer.key,
        (&mut clock, 0),
    )?;
    let scope: Vec<Value> = grant
        .scope
        .entries()
        .map(|(path, bits)| json!([path, bits]))
        .collect();
    Ok(json!({
        "from": grant.subject,
        "to": grant.audience,
        "scope": scope,
        "seconds": granted.ends() / 1000,
        "epoch": clock.epoch(),
    }))
}

fn verified_text(answer: &Value) -> String {
    let scope = answer
        .get("scope")
        .map(ToString::to_string)
        .unwrap_or_default();
    format!(
        "good for {} seconds more (epoch {}): {} may ask {} for {scope}",
        field(answer, "seconds"),
        field(answer, "epoch"),
        field(answer, "from"),
        field(answer, "to")
    )
}
