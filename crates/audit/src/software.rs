//! The software that was found, compared with advisories.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use stockade_advisories::{Checked, Claim, DAYS, Db, DbError, Inventory, check, claims, cyclonedx};
use stockade_controls::engine::{Standing, UnixSeconds};

use crate::audited::{AuditError, Audited, Data, Target, TargetKind};
use crate::report::hex;

/// How software is compared with advisories.
#[derive(Debug)]
pub struct Advisories<'a> {
    /// Where they were imported to.
    pub db: &'a Path,
    /// Documents that say what does no harm here.
    pub vex: &'a [PathBuf],
    /// Whether it is wanted at all.
    pub wanted: bool,
    /// The time by which the age of data is judged.
    pub now: UnixSeconds,
}

/// Compares the software that an audit found with advisories, and adds the verdicts to it.
pub fn compare_software(audited: &mut Audited, by: &Advisories<'_>) -> Result<(), AuditError> {
    let not_run = |audited: &mut Audited, why: String| {
        audited
            .outcomes
            .extend(stockade_advisories::not_run(&why, by.wanted));
        audited.data = Data::NotRun { why };
    };
    if !by.wanted {
        not_run(audited, "nobody wanted it: --no-vulnerabilities".to_owned());
        return Ok(());
    }
    let Some(inventory) = &audited.inventory else {
        not_run(audited, "no software was recognised".to_owned());
        return Ok(());
    };
    let claims = documents(by.vex)?;
    let opened = Db::open(by.db);
    let checked = match opened.and_then(|db| check(&db, inventory, &claims)) {
        Ok(checked) if !checked.sources.is_empty() => checked,
        Ok(_) | Err(DbError::Nothing(_)) => {
            let why = "no advisories were imported: `stockade audit db import PATH…`";
            not_run(audited, why.to_owned());
            return Ok(());
        }
        Err(why) => return Err(AuditError::Incomplete(why.to_string())),
    };
    let verdicts = stockade_advisories::judge(&checked, by.now, DAYS);
    audited.outcomes.extend(verdicts);
    audited.data = Data::Used {
        sources: checked.sources.iter().cloned().map(Into::into).collect(),
    };
    audited.checked = Some(checked);
    Ok(())
}

/// The most bytes of a document that somebody names: a report, a bill, waivers, a profile.
const LONGEST: u64 = 256 << 20;

/// A document that somebody names, whole.
pub fn document(path: &Path) -> Result<Vec<u8>, AuditError> {
    let wrong = |why: std::io::Error| AuditError::Usage(why.to_string());
    let mut bytes = Vec::new();
    let file = fs_err::File::open(path).map_err(wrong)?;
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(wrong)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= LONGEST) {
        return Ok(bytes);
    }
    Err(AuditError::Usage(format!(
        "{}: there is more than {} MiB, which is as much as is read",
        path.display(),
        LONGEST >> 20
    )))
}

fn documents(paths: &[PathBuf]) -> Result<Vec<Claim>, AuditError> {
    let mut all = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        let bytes = document(path)?;
        all.extend(claims(&bytes, &name).map_err(|why| AuditError::Usage(why.to_string()))?);
    }
    Ok(all)
}

/// A list of software (`CycloneDX`), to be compared with the advisories of today.
pub fn recheck(path: &Path, by: &Advisories<'_>) -> Result<Audited, AuditError> {
    let bytes = document(path)?;
    let name = path.display().to_string();
    let target = Target {
        kind: TargetKind::Inventory,
        sha256: Some(crate::report::sha256(&bytes)),
        name: name.clone(),
    };
    let mut audited = Audited::of(target, Standing::Offline);
    audited.inventory = Some(cyclonedx::read(&bytes, &name).map_err(AuditError::Usage)?);
    compare_software(&mut audited, by)?;
    Ok(audited)
}

/// The software as `CycloneDX`, with its vulnerabilities as far as they were looked for; none if no software was looked for.
pub fn bill(audited: &Audited, timestamp: Option<String>) -> Option<String> {
    let inventory: &Inventory = audited.inventory.as_ref()?;
    let checked: Option<&Checked> = audited.checked.as_ref();
    let digest = audited.target.sha256.as_ref();
    let subject = cyclonedx::Subject {
        name: audited.target.name.clone(),
        sha256: digest.map_or_else(String::new, |digest| hex(digest)),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        timestamp,
    };
    Some(cyclonedx::write(&subject, inventory, checked))
}
