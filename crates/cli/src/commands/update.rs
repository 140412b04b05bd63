//! `stockade update …`: a maker's repository.

use std::process::ExitCode;

use stockade_update::maker::{Expiry, Key, Maker, Progress, Role, Status};
use stockade_update::target::{self, System};
use time::OffsetDateTime;

use crate::args::update::{self as args, Publish, Update};
use crate::out::{Out, table};
use crate::run::FOUND;

pub(crate) fn run(out: Out, json: bool, command: &Update) -> anyhow::Result<ExitCode> {
    let now = OffsetDateTime::now_utc();
    let told = match command {
        Update::Init {
            dir,
            model,
            keys,
            threshold,
        } => {
            let maker = Maker::init(dir, model, *keys, *threshold, now)?;
            return begun(out, json, &maker, *threshold, now);
        }
        Update::Publish(asked) => vec![publish(asked, now)?],
        Update::Sign { dir, key } => Maker::open(dir)?.sign(&Key::read(key)?, now)?,
        Update::Timestamp { dir } => {
            let mut maker = Maker::open(dir)?;
            maker.refresh(now)?;
            return shown(out, json, &maker.status(now)?);
        }
        Update::Rotate {
            dir,
            role,
            remove,
            add,
        } => {
            vec![Maker::open(dir)?.rotate((*role).into(), remove, *add, now)?]
        }
        Update::Renew { dir, role } => vec![Maker::open(dir)?.renew((*role).into(), now)?],
        Update::Status { dir } => return shown(out, json, &Maker::open(dir)?.status(now)?),
        Update::Bundle { dir, out: to } => {
            let length = Maker::open(dir)?.bundle(to)?;
            out.line(&format!(
                "{}: {length} bytes; `stockade device update bundle` installs it",
                to.display()
            ));
            return Ok(ExitCode::SUCCESS);
        }
    };
    if json {
        out.line(&serde_json::to_string(&told)?);
    } else {
        for it in &told {
            out.line(&progress(it));
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl From<args::Role> for Role {
    fn from(role: args::Role) -> Self {
        match role {
            args::Role::Root => Self::Root,
            args::Role::Targets => Self::Targets,
            args::Role::Snapshot => Self::Snapshot,
            args::Role::Timestamp => Self::Timestamp,
        }
    }
}

fn publish(asked: &Publish, now: OffsetDateTime) -> anyhow::Result<Progress> {
    let mut maker = Maker::open(&asked.dir)?;
    let system = System {
        form: target::FORM,
        model: asked
            .model
            .clone()
            .unwrap_or_else(|| maker.model().to_owned()),
        version: asked.version,
        kind: match asked.kind {
            args::Kind::Image => target::Kind::Image,
            args::Kind::Rauc => target::Kind::Rauc,
        },
        security: asked.security,
        name: asked.name.clone(),
    };
    let keys = asked
        .key
        .iter()
        .map(|path| Key::read(path))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(maker.publish(&asked.file, &system, &keys, now)?)
}

fn begun(
    out: Out,
    json: bool,
    maker: &Maker,
    threshold: usize,
    now: OffsetDateTime,
) -> anyhow::Result<ExitCode> {
    let status = maker.status(now)?;
    if json {
        out.line(&serde_json::to_string(&status)?);
        return Ok(ExitCode::SUCCESS);
    }
    out.line(&format!(
        "keys        {}\nrepository  {} (serve it by https as the profile's `source`)\nroot        {} (devices are made with it: /etc/stockade/update/root.json)\n\n\
         Give each of the keys root-* and targets-* to a person who keeps it away from networks, and delete it here: {threshold} of them\n\
         have to sign. snapshot-1 and timestamp-1 stay: `stockade update timestamp` has to run every few days.",
        maker.keys().display(),
        maker.repository().display(),
        maker.repository().join("metadata/1.root.json").display(),
    ));
    Ok(ExitCode::SUCCESS)
}

fn progress(it: &Progress) -> String {
    let signed = match it.signed.as_slice() {
        [] => "signed by nobody yet".to_owned(),
        names => format!("signed by {}", names.join(", ")),
    };
    let next = match (it.published, it.missing) {
        (true, _) => "published".to_owned(),
        (false, 0) => {
            "complete; published where snapshot-1 and timestamp-1 are (`stockade update timestamp`), and not before the systems are signed by those who may then".to_owned()
        }
        (false, 1) => "1 signature is missing: `stockade update sign`".to_owned(),
        (false, missing) => format!("{missing} signatures are missing: `stockade update sign`"),
    };
    format!("{} {}: {signed}; {next}", it.role, it.version)
}

fn shown(out: Out, json: bool, status: &Status) -> anyhow::Result<ExitCode> {
    out.line(&if json {
        serde_json::to_string(status)?
    } else {
        text(status)
    });
    let good = status.roles.iter().all(|role| {
        role.expiry != Expiry::Over
            && role.keys.iter().filter(|key| key.signed).count() >= role.threshold
    });
    Ok(if good && status.systems.iter().all(|it| it.there) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FOUND)
    })
}

fn text(status: &Status) -> String {
    let rows: Vec<Vec<String>> = status
        .roles
        .iter()
        .map(|role| {
            let signed: Vec<&str> = role
                .keys
                .iter()
                .filter(|it| it.signed)
                .map(|it| it.name.as_str())
                .collect();
            let until = match role.expiry {
                Expiry::Good => role.expires.clone(),
                Expiry::Soon => format!("{} (soon)", role.expires),
                Expiry::Over => format!("{} (over: devices refuse it)", role.expires),
            };
            let few = if signed.len() < role.threshold {
                " (too few: devices refuse it)"
            } else {
                ""
            };
            vec![
                role.role.to_string(),
                role.version.to_string(),
                until,
                format!(
                    "{} of {}, {} needed{few}: {}",
                    signed.len(),
                    role.keys.len(),
                    role.threshold,
                    signed.join(", ")
                ),
            ]
        })
        .collect();
    let mut lines = vec![
        format!("updates of {}", status.model),
        table(&["ROLE", "VERSION", "UNTIL", "SIGNED BY"], &rows),
    ];
    if status.systems.is_empty() {
        lines.push("no system yet: `stockade update publish`".to_owned());
    }
    for it in &status.systems {
        let name = it
            .system
            .name
            .as_ref()
            .map_or_else(String::new, |name| format!(" ({name})"));
        let security = if it.system.security {
            ", of security"
        } else {
            ""
        };
        let gone = if it.there {
            ""
        } else {
            ": ITS FILE IS MISSING"
        };
        lines.push(format!(
            "offered: {} version {}{name}, {}{security}{gone}",
            it.system.model, it.system.version, it.system.kind
        ));
    }
    lines.extend(
        status
            .drafts
            .iter()
            .map(|it| format!("draft: {}", progress(it))),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Times and ids differ from run to run.
    fn at(day: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000 + day)
    }

    #[test]
    fn a_maker_is_told_who_signed_what_is_missing_and_what_ends_when() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("maker");
        let file = dir.path().join("system");
        fs_err::write(&file, "a system").unwrap();
        let mut maker = Maker::init(&folder, "cam-2", 3, 2, at(0)).unwrap();
        let key = |maker: &Maker, name: &str| {
            Key::read(&maker.keys().join(Path::new(name).with_extension("pem"))).unwrap()
        };
        let system = System {
            form: target::FORM,
            model: "cam-2".to_owned(),
            version: 12,
            kind: target::Kind::Image,
            security: true,
            name: Some("2026.11.1".to_owned()),
        };
        let first = key(&maker, "targets-1");
        let drafted = maker.publish(&file, &system, &[first], at(1)).unwrap();
        let mut told = vec![progress(&drafted), text(&maker.status(at(1)).unwrap())];
        let second = key(&maker, "targets-2");
        told.extend(maker.sign(&second, at(2)).unwrap().iter().map(progress));
        told.push(text(&maker.status(at(8)).unwrap()));
        fs_err::remove_dir_all(maker.repository().join("targets")).unwrap();
        told.push(text(&maker.status(at(100)).unwrap()));
        insta::assert_snapshot!(told.join("\n\n"));
    }
}
