//! MUD files that devices announce: whether to get them, and whether to believe them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use stockade_profile::{HttpsUrl, LinkAddress, ModelName, Profile};
use time::{Duration, OffsetDateTime};

use super::core::{Action, Complaint, Core, Installed, tell};
use super::device::{Announced, Origin, Role, Via};
use super::text::{WireText, as_text};
use crate::events::Outcome;

/// Most MUD files known at once; further announcements wait until a device is forgotten.
const MAX_FILES: usize = 256;
/// A file that could not be had is asked for again after so long.
const RETRY: Duration = Duration::hours(1);
/// Longest validity that is believed (RFC 8520 §3.5 allows 168 hours at most).
const LONGEST: Duration = Duration::hours(168);
/// Shortest, so that no file is fetched all the time (RFC 8520 §3.5: at least one hour).
const SHORTEST: Duration = Duration::hours(1);

/// What to do with announced MUD files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MudPolicy {
    /// Whether they are fetched at all.
    pub fetch: bool,
    /// Whose profile is taken without asking.
    pub accept: Accept,
}

/// Whose profile is taken without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accept {
    /// Nobody's: an operator says yes first.
    #[default]
    Ask,
    /// One with a signature of a trusted signer.
    Signed,
    /// Everybody's. A device then says itself what it may do.
    Any,
}

/// What is known of one MUD file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    /// Where it is.
    #[serde(with = "as_text")]
    pub url: HttpsUrl,
    /// How far it came.
    pub state: FileState,
}

/// How far a MUD file came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "is")]
pub enum FileState {
    /// It was asked for.
    Asked {
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// It could not be had or not be read.
    Failed {
        /// Why.
        why: String,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// It was read.
    Read(Contents),
}

/// What a MUD file says, as a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Contents {
    /// The profile's canonical bytes, in base64.
    pub canonical: String,
    /// Who signed it, where the signature was checked and the signer is trusted.
    pub signer: Option<String>,
    /// How many of its rules the profile has.
    pub represented: usize,
    /// How many rules it has.
    pub rules: usize,
    /// The importer's report, line by line.
    pub report: Vec<String>,
    /// Until when it need not be fetched again.
    #[serde(with = "time::serde::rfc3339")]
    pub valid_until: OffsetDateTime,
}

impl Contents {
    /// The profile; `None` if the bytes were damaged since they were written.
    pub fn profile(&self) -> Option<Profile> {
        let bytes = BASE64.decode(&self.canonical).ok()?;
        Profile::from_canonical(&bytes).ok()
    }
}

/// A MUD file as it was fetched, checked and imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What it says.
    pub profile: Profile,
    /// Who signed it, where the signature was checked and the signer is trusted.
    pub signer: Option<String>,
    /// How many of its rules the profile has.
    pub represented: usize,
    /// How many rules it has.
    pub rules: usize,
    /// The importer's report, line by line.
    pub report: Vec<String>,
    /// How long it need not be fetched again (`cache-validity`).
    pub valid_for: Duration,
}

/// Why a MUD file's profile was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("its MUD file was not read yet")]
    NotRead,
    #[error("its MUD file could not be used: {0}")]
    Failed(String),
    #[error("a profile of the model `{0}` is there from elsewhere")]
    NameTaken(ModelName),
    #[error("the stored profile is damaged")]
    Damaged,
}

/// Of a complaint that has to do with no address.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Core {
    /// A device said where its MUD file is.
    pub(super) fn announced(
        &mut self,
        mac: LinkAddress,
        via: Via,
        url: &Result<HttpsUrl, WireText>,
        now: OffsetDateTime,
        actions: &mut Vec<Action>,
    ) {
        let url = match url {
            Ok(url) => url.clone(),
            Err(text) => {
                self.complain((mac, Complaint::BadMud, NOWHERE), now, actions, || {
                    format!("announces a MUD file that is no https address: `{text}`")
                });
                return;
            }
        };
        let Some(device) = self.device(mac) else {
            return;
        };
        match device.mud.as_ref().map(|mud| mud.url == url) {
            Some(true) => {}
            Some(false) => {
                // RFC 8520 §15 (security): a device that turns into another one is a matter for people.
                if device.other_mud.as_ref() != Some(&url) {
                    self.complain((mac, Complaint::OtherMud, NOWHERE), now, actions, || {
                        format!(
                            "now announces another MUD file, {url}; its rules stay as they are; if it is right: \
                             `stockade guard remove {mac}`, then wait for it to announce itself again"
                        )
                    });
                    self.change(mac, actions, |device| device.other_mud = Some(url));
                }
                return;
            }
            None => {
                let announced = Announced {
                    url: url.clone(),
                    via,
                    at: now,
                };
                self.change(mac, actions, |device| device.mud = Some(announced));
                // Refused so far, for nobody said yes; and told with a bound, for cards can be invented.
                self.complain((mac, Complaint::Mud, NOWHERE), now, actions, || {
                    format!("announces its MUD file by {}: {url}", via.as_str())
                });
            }
        }
        self.want(&url, now, actions);
        if self.device(mac).is_some_and(|d| d.role == Role::Unknown) {
            self.consider(mac, &url, now, actions);
        }
    }

    /// Asks for a file unless it is there, on its way, or was just asked for in vain.
    fn want(&mut self, url: &HttpsUrl, now: OffsetDateTime, actions: &mut Vec<Action>) {
        if !self.policy.fetch {
            return;
        }
        let due = match self.files.get(url.as_str()).map(|file| &file.state) {
            None => {
                if self.files.len() >= MAX_FILES {
                    // Cards can be invented: told once in a while, whoever announces.
                    let about = (LinkAddress::BROADCAST, Complaint::ManyMud, NOWHERE);
                    if !self.repeats(about, now) {
                        tell(
                            actions,
                            Outcome::Refused,
                            None,
                            format!(
                                "{url} is not fetched, nor what is announced from now on: {MAX_FILES} MUD files are known already"
                            ),
                        );
                    }
                    return;
                }
                true
            }
            Some(FileState::Asked { at } | FileState::Failed { at, .. }) => now - *at > RETRY,
            Some(FileState::Read(contents)) => contents.valid_until < now,
        };
        if due {
            // While a file is fetched anew, the old one counts.
            if !matches!(
                self.files.get(url.as_str()).map(|file| &file.state),
                Some(FileState::Read(_))
            ) {
                let file = File {
                    url: url.clone(),
                    state: FileState::Asked { at: now },
                };
                self.files.insert(url.as_str().into(), file);
            }
            actions.push(Action::Fetch(url.clone()));
        }
    }

    /// A file was fetched, or not.
    pub fn handle_fetched(
        &mut self,
        url: &HttpsUrl,
        result: Result<Fetched, String>,
        now: OffsetDateTime,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(file) = self.files.get_mut(url.as_str()) else {
            return actions;
        };
        match result {
            Err(why) => {
                tell(
                    &mut actions,
                    Outcome::Refused,
                    None,
                    format!("the MUD file {url} can not be used: {why}"),
                );
                // What was read before stays; it is asked for again later.
                match &mut file.state {
                    FileState::Read(contents) => contents.valid_until = now + RETRY,
                    FileState::Asked { .. } | FileState::Failed { .. } => {
                        file.state = FileState::Failed { why, at: now };
                    }
                }
            }
            Ok(fetched) => {
                file.state = FileState::Read(Contents {
                    canonical: BASE64.encode(fetched.profile.canonical()),
                    signer: fetched.signer,
                    represented: fetched.represented,
                    rules: fetched.rules,
                    report: fetched.report,
                    valid_until: now + fetched.valid_for.clamp(SHORTEST, LONGEST),
                });
                self.replace_model(url, now, &mut actions);
                let announcers: Vec<LinkAddress> = self
                    .devices
                    .values()
                    .filter(|d| d.role == Role::Unknown)
                    .filter(|d| d.mud.as_ref().is_some_and(|mud| mud.url == *url))
                    .map(|d| d.mac)
                    .collect();
                for mac in announcers {
                    self.consider(mac, url, now, &mut actions);
                }
            }
        }
        actions.push(Action::SaveFile(url.clone()));
        actions
    }

    /// Whether an unknown device gets the profile of its file by itself.
    fn consider(
        &mut self,
        mac: LinkAddress,
        url: &HttpsUrl,
        now: OffsetDateTime,
        actions: &mut Vec<Action>,
    ) {
        let Some(FileState::Read(contents)) = self.files.get(url.as_str()).map(|f| &f.state) else {
            return;
        };
        if self.takes_itself(contents) {
            if let Err(why) = self.adopt(mac, now, actions) {
                tell(
                    actions,
                    Outcome::Refused,
                    Some(mac),
                    format!("stays unknown: {why}"),
                );
            }
            return;
        }
        let signed = match &contents.signer {
            Some(signer) => format!("signed by {signer}"),
            None => "not signed by anybody trusted".to_owned(),
        };
        tell(
            actions,
            Outcome::Refused,
            Some(mac),
            format!(
                "its MUD file {url} waits for you ({} of {} rules, {signed}): `stockade guard accept {mac}`",
                contents.represented, contents.rules
            ),
        );
    }

    fn takes_itself(&self, contents: &Contents) -> bool {
        match self.policy.accept {
            Accept::Ask => false,
            Accept::Signed => contents.signer.is_some(),
            Accept::Any => true,
        }
    }

    /// Gives a device the profile of the file it announced first.
    pub(super) fn adopt(
        &mut self,
        mac: LinkAddress,
        now: OffsetDateTime,
        actions: &mut Vec<Action>,
    ) -> Result<ModelName, NotTaken> {
        let url = self
            .device(mac)
            .and_then(|device| device.mud.as_ref())
            .map(|mud| mud.url.clone())
            .ok_or(NotTaken::NotRead)?;
        let contents = match self.files.get(url.as_str()).map(|file| &file.state) {
            Some(FileState::Read(contents)) => contents,
            Some(FileState::Failed { why, .. }) => return Err(NotTaken::Failed(why.clone())),
            Some(FileState::Asked { .. }) | None => return Err(NotTaken::NotRead),
        };
        let profile = contents.profile().ok_or(NotTaken::Damaged)?;
        let origin = Origin::Mud {
            url: url.clone(),
            signed: contents.signer.is_some(),
        };
        let told = format!(
            "is held to its MUD file {url} from now on: {} of {} rules",
            contents.represented, contents.rules
        );
        let model = profile.device.model.clone();
        match self.models.get(&model) {
            Some(there) if same_source(&there.origin, &origin) => {}
            Some(_) => return Err(NotTaken::NameTaken(model)),
            None => {
                self.models.insert(
                    model.clone(),
                    Installed {
                        profile: Arc::new(profile),
                        origin: origin.clone(),
                        at: now,
                    },
                );
                actions.push(Action::SaveModel(model.clone()));
                actions.push(Action::Load);
            }
        }
        let role = Role::Model {
            model: model.clone(),
        };
        self.change(mac, actions, |device| {
            device.role = role;
            device.origin = origin;
        });
        tell(actions, Outcome::Admitted, Some(mac), told);
        Ok(model)
    }

    /// A file that devices are held to already has changed.
    fn replace_model(&mut self, url: &HttpsUrl, now: OffsetDateTime, actions: &mut Vec<Action>) {
        let Some(FileState::Read(contents)) = self.files.get(url.as_str()).map(|f| &f.state) else {
            return;
        };
        let Some(mut profile) = contents.profile() else {
            return;
        };
        let model = profile.device.model.clone();
        let Some(there) = self.models.get(&model) else {
            return;
        };
        if !matches!(&there.origin, Origin::Mud { url: of, .. } if of == url) {
            return;
        }
        // A MUD file has no version of its own; an unchanged one keeps the number it was given.
        profile.device.version = there.profile.device.version;
        if *there.profile == profile {
            return;
        }
        if !self.takes_itself(contents) {
            tell(
                actions,
                Outcome::Changed,
                None,
                format!(
                    "the MUD file {url} says something else now; devices of `{model}` keep their rules until \
                     `stockade guard accept` of one of them"
                ),
            );
            return;
        }
        self.renew(url, now, actions);
    }

    /// Puts what the file says now in the place of what it said before. Whether anything changed.
    pub(super) fn renew(
        &mut self,
        url: &HttpsUrl,
        now: OffsetDateTime,
        actions: &mut Vec<Action>,
    ) -> bool {
        let Some(FileState::Read(contents)) = self.files.get(url.as_str()).map(|f| &f.state) else {
            return false;
        };
        let Some(mut profile) = contents.profile() else {
            return false;
        };
        let signed = contents.signer.is_some();
        let model = profile.device.model.clone();
        let Some(there) = self.models.get(&model) else {
            return false;
        };
        if !matches!(&there.origin, Origin::Mud { url: of, .. } if of == url) {
            return false;
        }
        profile.device.version = there.profile.device.version;
        if *there.profile == profile {
            return false;
        }
        profile.device.version = profile.device.version.saturating_add(1);
        let origin = Origin::Mud {
            url: url.clone(),
            signed,
        };
        self.models.insert(
            model.clone(),
            Installed {
                profile: Arc::new(profile),
                origin,
                at: now,
            },
        );
        actions.push(Action::SaveModel(model.clone()));
        actions.push(Action::Load);
        tell(
            actions,
            Outcome::Changed,
            None,
            format!("devices of `{model}` are held to what {url} says now"),
        );
        true
    }

    /// Files that ran out are fetched anew while a device follows them; those nobody announces are forgotten.
    pub(super) fn refresh_files(&mut self, now: OffsetDateTime, actions: &mut Vec<Action>) {
        let announced: std::collections::BTreeSet<&str> = self
            .devices
            .values()
            .filter_map(|device| device.mud.as_ref())
            .map(|mud| mud.url.as_str())
            .collect();
        let (wanted, gone): (Vec<HttpsUrl>, Vec<HttpsUrl>) = self
            .files
            .values()
            .map(|file| file.url.clone())
            .partition(|url| announced.contains(url.as_str()));
        for url in gone {
            self.files.remove(url.as_str());
            actions.push(Action::ForgetFile(url));
        }
        for url in wanted {
            self.want(&url, now, actions);
        }
    }
}

fn same_source(there: &Origin, new: &Origin) -> bool {
    match (there, new) {
        (Origin::Mud { url: there, .. }, Origin::Mud { url: new, .. }) => there == new,
        (Origin::Nowhere | Origin::Hand | Origin::Mud { .. }, _) => false,
    }
}
