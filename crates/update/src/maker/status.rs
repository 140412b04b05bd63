//! What is in a maker's folder, who signed it, and until when it holds good.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::role::Document;
use super::{Maker, MakerError, Progress, Role};
use crate::target::System;

/// How it stands.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The model that it was made for.
    pub model: String,
    /// The roles, as they are published.
    pub roles: Vec<RoleStatus>,
    /// The systems that devices are offered.
    pub systems: Vec<SystemStatus>,
    /// What waits for signatures.
    pub drafts: Vec<Progress>,
}

/// A role as it is published.
#[derive(Debug, Serialize)]
pub struct RoleStatus {
    /// Which.
    pub role: Role,
    /// Its version.
    pub version: u64,
    /// Until when it holds good, as metadata say it.
    pub expires: String,
    /// How near that is.
    pub expiry: Expiry,
    /// How many have to sign.
    pub threshold: usize,
    /// Whose signatures count, and who signed.
    pub keys: Vec<Signer>,
}

/// How near the end of a role is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expiry {
    /// It is over: devices refuse the repository.
    Over,
    /// Less than a quarter of its life is left.
    Soon,
    /// It holds good.
    Good,
}

/// A key of a role.
#[derive(Debug, Serialize)]
pub struct Signer {
    /// What people call it.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Whether it signed what is published.
    pub signed: bool,
}

/// A system that is offered.
#[derive(Debug, Serialize)]
pub struct SystemStatus {
    /// What it is.
    #[serde(flatten)]
    pub system: System,
    /// Its file in `targets/`.
    pub file: String,
    /// Whether the file is there.
    pub there: bool,
}

impl Maker {
    /// How it stands. What is wrong with it is told, and not a failure.
    pub fn status(&self, now: OffsetDateTime) -> Result<Status, MakerError> {
        let root = self.latest(Role::Root)?;
        let mut roles = Vec::new();
        for role in Role::ALL {
            roles.push(self.role_status(&root, &self.latest(role)?, now)?);
        }
        let targets = self.latest(Role::Targets)?;
        let systems = targets.systems().map(|(file, system)| SystemStatus {
            there: self.repository().join(crate::TARGETS).join(&file).is_file(),
            system,
            file,
        });
        let mut systems: Vec<_> = systems.collect();
        systems.sort_by(|a, b| {
            (&a.system.model, a.system.version).cmp(&(&b.system.model, b.system.version))
        });
        let mut drafts = Vec::new();
        for role in [Role::Root, Role::Targets] {
            if let Some(draft) = self.draft(role)? {
                let (signed, missing) = self.count(&draft)?;
                drafts.push(self.progress(&draft, &signed, missing, false));
            }
        }
        Ok(Status {
            model: self.about.model.clone(),
            roles,
            systems,
            drafts,
        })
    }

    fn role_status(
        &self,
        root: &Document,
        document: &Document,
        now: OffsetDateTime,
    ) -> Result<RoleStatus, MakerError> {
        let role = document.role;
        let (ids, threshold) = root.authority(role);
        let signed = document.signers(&root.keys())?;
        let until = OffsetDateTime::parse(&document.expires(), &Rfc3339);
        let expiry = match until {
            Ok(until) if until - now > super::life(role) / 4 => Expiry::Good,
            Ok(until) if until > now => Expiry::Soon,
            _ => Expiry::Over,
        };
        Ok(RoleStatus {
            role,
            version: document.version(),
            expires: document.expires(),
            expiry,
            threshold,
            keys: ids
                .into_iter()
                .map(|id| Signer {
                    name: self.name(&id),
                    signed: signed.contains(&id),
                    id,
                })
                .collect(),
        })
    }
}
