//! Who asks, in which role, and what for; and the one table that says who may.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::vault::Subject;

/// What somebody may do with the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the installation: keys, erasure, releases, budgets. Sees pseudonymised data for a purpose, as an analyst does.
    Operator,
    /// Asks: aggregates and releases freely, pseudonymised data for a purpose that the profile allows.
    Analyst,
    /// Reads the log and the risks, and no data.
    Auditor,
    /// One device's person: their own data, to export and to erase.
    Subject(Subject),
}

/// A role without whose: as the log names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleName {
    /// [`Role::Operator`]
    Operator,
    /// [`Role::Analyst`]
    Analyst,
    /// [`Role::Auditor`]
    Auditor,
    /// [`Role::Subject`]
    Subject,
    /// Nobody: what the vault does by itself, such as a rotation that was due.
    Vault,
}

/// What can be done with the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Read pseudonymised data of single subjects.
    Query,
    /// Make an anonymised release.
    Release,
    /// Switch a data set's stream of released rows on or off.
    Stream,
    /// Ask for an aggregate.
    Stat,
    /// Measure how exposed people are in a data set.
    Risk,
    /// Read what became of messages and fields, in exact numbers that no budget pays for.
    Counters,
    /// Read what is left of the budgets.
    Budgets,
    /// Hand one subject's data out to them.
    Export,
    /// Erase one subject.
    Erase,
    /// Begin a new epoch of keys.
    RotateKeys,
    /// Say who may read sealed fields.
    Readers,
    /// Give out and take back tokens.
    Tokens,
    /// Read the log.
    Log,
    /// Check the store, back it up, restore it.
    Maintain,
}

impl Action {
    /// All there are.
    pub const ALL: [Self; 14] = [
        Self::Query,
        Self::Release,
        Self::Stream,
        Self::Stat,
        Self::Risk,
        Self::Counters,
        Self::Budgets,
        Self::Export,
        Self::Erase,
        Self::RotateKeys,
        Self::Readers,
        Self::Tokens,
        Self::Log,
        Self::Maintain,
    ];

    /// Who may: the table. What is not in it is refused.
    pub const fn open_to(self) -> &'static [RoleName] {
        use RoleName::{Analyst, Auditor, Operator, Subject};
        match self {
            Self::Query | Self::Release | Self::Stat => &[Operator, Analyst],
            Self::Risk | Self::Budgets => &[Operator, Analyst, Auditor],
            Self::Export | Self::Erase => &[Operator, Subject],
            Self::Stream | Self::RotateKeys | Self::Readers | Self::Tokens | Self::Maintain => {
                &[Operator]
            }
            // Two totals, one before and one after, tell of a single device: not for who gets noise elsewhere.
            Self::Counters | Self::Log => &[Operator, Auditor],
        }
    }

    /// As a person reads it behind "may not".
    const fn words(self) -> &'static str {
        match self {
            Self::Query => "read data of single subjects",
            Self::Release => "make releases",
            Self::Stream => "switch streams of releases",
            Self::Stat => "ask for aggregates",
            Self::Risk => "measure risks",
            Self::Counters => "read the counters",
            Self::Budgets => "read the budgets",
            Self::Export => "export a subject's data",
            Self::Erase => "erase a subject",
            Self::RotateKeys => "rotate keys",
            Self::Readers => "say who reads sealed fields",
            Self::Tokens => "give out tokens",
            Self::Log => "read the log",
            Self::Maintain => "check, back up or restore the store",
        }
    }
}

/// Why somebody may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The role may not do this at all.
    #[error("the role {role} may not {}", .action.words())]
    Role {
        /// Whose role.
        role: RoleName,
        /// What was asked.
        action: Action,
    },
    /// Data of single subjects is shown for a purpose only.
    #[error("data of single subjects is shown for a purpose: name one of {}", listed(.allowed))]
    NoPurpose {
        /// What the profile allows.
        allowed: Vec<String>,
    },
    /// The profile does not allow this purpose.
    #[error("the profile does not allow this purpose; it allows {}", listed(.allowed))]
    OtherPurpose {
        /// What the profile allows.
        allowed: Vec<String>,
    },
    /// Who sees pseudonyms is not told whose they are.
    #[error("the role {role} sees devices by their pseudonyms, and asks for none by its name")]
    Named {
        /// Whose role.
        role: RoleName,
    },
    /// A subject asked for somebody else.
    #[error("this token is for one device, and not for this one")]
    OtherSubject,
}

impl Refused {
    /// One word, for the log.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Role { .. } => "role",
            Self::NoPurpose { .. } => "no-purpose",
            Self::OtherPurpose { .. } => "other-purpose",
            Self::Named { .. } => "named",
            Self::OtherSubject => "other-subject",
        }
    }
}

fn listed(allowed: &[String]) -> String {
    if allowed.is_empty() {
        "none: no model that sent records of it has `purposes` in its [vault] section".to_owned()
    } else {
        allowed.join(", ")
    }
}

impl Role {
    /// Without whose.
    pub const fn name(&self) -> RoleName {
        match self {
            Self::Operator => RoleName::Operator,
            Self::Analyst => RoleName::Analyst,
            Self::Auditor => RoleName::Auditor,
            Self::Subject(_) => RoleName::Subject,
        }
    }
}

impl RoleName {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Analyst => "analyst",
            Self::Auditor => "auditor",
            Self::Subject => "subject",
            Self::Vault => "vault",
        }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RoleName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [
            Self::Operator,
            Self::Analyst,
            Self::Auditor,
            Self::Subject,
            Self::Vault,
        ]
        .into_iter()
        .find(|role| role.as_str() == text)
        .ok_or(())
    }
}

/// Who asks, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Who: the name of an account or of a token, as the operator gave it.
    pub who: String,
    /// What they may do.
    pub role: Role,
    /// What the data is for; needed wherever data of single subjects is shown.
    pub purpose: Option<String>,
}

impl Access {
    /// Whether this may be done. `purposes` are those that the profile allows for the data set; only
    /// [`Action::Query`] asks for one of them. What concerns one subject is asked with [`Access::may_on`].
    pub fn may(&self, action: Action, purposes: &[String]) -> Result<(), Refused> {
        let role = self.role.name();
        if !action.open_to().contains(&role) {
            return Err(Refused::Role { role, action });
        }
        if action != Action::Query {
            return Ok(());
        }
        let allowed = || purposes.to_vec();
        match &self.purpose {
            None => Err(Refused::NoPurpose { allowed: allowed() }),
            Some(purpose) if purposes.contains(purpose) => Ok(()),
            Some(_) => Err(Refused::OtherPurpose { allowed: allowed() }),
        }
    }

    /// Whether exact numbers of devices are told: to who reads the counters, that no budget pays for either.
    pub fn counts_exactly(&self) -> bool {
        self.may(Action::Counters, &[]).is_ok()
    }

    /// Whether single subjects may be asked for by their names: a pseudonym is none for who can ask whose it is.
    pub fn may_name(&self) -> Result<(), Refused> {
        match &self.role {
            Role::Operator => Ok(()),
            Role::Analyst | Role::Auditor | Role::Subject(_) => Err(Refused::Named {
                role: self.role.name(),
            }),
        }
    }

    /// Whether this may be done to one subject: a subject may to themselves only.
    pub fn may_on(&self, action: Action, subject: &Subject) -> Result<(), Refused> {
        self.may(action, &[])?;
        match &self.role {
            Role::Subject(own) if own != subject => Err(Refused::OtherSubject),
            Role::Operator | Role::Analyst | Role::Auditor | Role::Subject(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(device: &str) -> Subject {
        Subject {
            model: "cam-2".to_owned(),
            device: device.to_owned(),
        }
    }

    fn access(role: Role, purpose: Option<&str>) -> Access {
        Access {
            who: "it".to_owned(),
            role,
            purpose: purpose.map(str::to_owned),
        }
    }

    /// Written a second time, and otherwise: by role, and not by action.
    #[test]
    fn each_role_may_what_it_is_for_and_nothing_else() {
        use Action::{
            Budgets, Counters, Erase, Export, Log, Maintain, Query, Readers, Release, Risk,
            RotateKeys, Stat, Stream, Tokens,
        };
        let purposes = ["billing".to_owned()];
        let table: [(Role, &[Action]); 4] = [
            (
                Role::Operator,
                &[
                    Query, Release, Stream, Stat, Risk, Counters, Budgets, Export, Erase,
                    RotateKeys, Readers, Tokens, Log, Maintain,
                ],
            ),
            (Role::Analyst, &[Query, Release, Stat, Risk, Budgets]),
            (Role::Auditor, &[Risk, Counters, Budgets, Log]),
            (Role::Subject(subject("porch")), &[Export, Erase]),
        ];
        for (role, allowed) in table {
            let access = access(role, Some("billing"));
            for action in Action::ALL {
                let may = access.may(action, &purposes).is_ok();
                assert_eq!(may, allowed.contains(&action), "{access:?} {action:?}");
            }
        }
    }

    #[test]
    fn single_subjects_are_shown_for_a_purpose_of_the_profile_only() {
        let purposes = ["billing".to_owned(), "repair".to_owned()];
        for role in [Role::Operator, Role::Analyst] {
            let may = |purpose, purposes: &[String]| {
                access(role.clone(), purpose)
                    .may(Action::Query, purposes)
                    .map_err(|refused| refused.to_string())
            };
            assert_eq!(may(Some("repair"), &purposes), Ok(()));
            assert_eq!(
                may(None, &purposes).unwrap_err(),
                "data of single subjects is shown for a purpose: name one of billing, repair"
            );
            assert_eq!(
                may(Some("curiosity"), &purposes).unwrap_err(),
                "the profile does not allow this purpose; it allows billing, repair"
            );
            assert_eq!(
                may(Some(""), &[]).unwrap_err(),
                "the profile does not allow this purpose; it allows none: no model that sent records of it has `purposes` in its [vault] section"
            );
        }
        let auditor = access(Role::Auditor, Some("repair"));
        assert_eq!(
            auditor
                .may(Action::Query, &purposes)
                .unwrap_err()
                .to_string(),
            "the role auditor may not read data of single subjects"
        );
    }

    #[test]
    fn a_subject_reaches_their_own_data_only() {
        let own = access(Role::Subject(subject("porch")), None);
        for action in [Action::Export, Action::Erase] {
            assert_eq!(own.may_on(action, &subject("porch")), Ok(()));
            assert_eq!(
                own.may_on(action, &subject("attic")),
                Err(Refused::OtherSubject)
            );
            let other_model = Subject {
                model: "cam-3".to_owned(),
                device: "porch".to_owned(),
            };
            assert_eq!(own.may_on(action, &other_model), Err(Refused::OtherSubject));
            let operator = access(Role::Operator, None);
            assert_eq!(operator.may_on(action, &subject("attic")), Ok(()));
            let analyst = access(Role::Analyst, None);
            assert!(analyst.may_on(action, &subject("porch")).is_err());
        }
    }
}
