//! A MUD file: what it says of itself, and its rules in the order in which they count.

use std::str::FromStr;

use super::action::{Forwarding, forwarding};
use super::flow::{Families, Flow, Matched};
use super::json::Json;
use super::matches::{self, Why};
use super::section::{CACHE_VALIDITIES, ExtensionName, Mud, TlsProfiles};
use super::{MAX_BYTES, MAX_RULES, MudError};
use crate::fault::quote;
use crate::{Direction, Family, HttpsUrl, Malformed};

/// A MUD file (RFC 8520), read.
#[derive(Debug, Clone, PartialEq)]
pub struct MudFile {
    pub(crate) about: Mud,
    /// Its address as it says it, even if it is none that can be used.
    pub(crate) url: Option<String>,
    pub(crate) signature: Option<String>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) warnings: Vec<String>,
}

/// One rule (ACE) of one policy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    /// The list that it stands in.
    pub(crate) acl: String,
    /// Its own name.
    pub(crate) ace: String,
    /// The policy that it belongs to.
    pub(crate) direction: Direction,
    pub(crate) forwarding: Result<Forwarding, Why>,
    pub(crate) matched: Result<Matched, Why>,
    pub(crate) tls: Option<TlsProfiles>,
    pub(crate) warnings: Vec<String>,
}

impl Rule {
    /// The rule's name with that of its list.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.acl, self.ace)
    }

    /// Whether it accepts nobody knows what, for the other policy than this one.
    pub(crate) fn is_unread_accept(&self, direction: Direction) -> bool {
        self.direction != direction
            && self.forwarding == Ok(Forwarding::Accept)
            && self.matched.is_err()
    }

    /// The packets that it accepts, if it accepts packets.
    pub(crate) fn accepted(&self) -> Option<&Flow> {
        match (&self.forwarding, &self.matched) {
            (Ok(Forwarding::Accept), Ok(Matched::Flow(flow))) => Some(flow),
            _ => None,
        }
    }
}

impl MudFile {
    /// What the file says of itself.
    pub fn about(&self) -> &Mud {
        &self.about
    }

    /// Where its signature is, as the file says it: an address, maybe relative to the file's own (RFC 8520 §13).
    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }

    /// How many rules it has.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }
}

/// Reads a MUD file. Rules that can not be read are kept with the reason; only what is no MUD file at all is refused.
pub fn read(bytes: &[u8]) -> Result<MudFile, MudError> {
    if bytes.len() > MAX_BYTES {
        return Err(MudError::TooLarge(bytes.len()));
    }
    let text = str::from_utf8(bytes).map_err(|wrong| MudError::Encoding(wrong.valid_up_to()))?;
    // RFC 8259 §8.1: a mark of the byte order may be ignored.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = Json::read(text).map_err(|wrong| MudError::json(&wrong))?;
    let container = node(&root, "ietf-mud", "mud").ok_or(MudError::NotMud)?;
    let Json::Object(nodes) = container else {
        return Err(MudError::NotMud);
    };
    let mut reader = Reader {
        file: MudFile {
            about: Mud::default(),
            url: None,
            signature: None,
            rules: Vec::new(),
            warnings: Vec::new(),
        },
        lists: Vec::new(),
        used: Vec::new(),
    };
    reader.lists(&root);
    let mut policies: [Option<&Json>; 2] = [None, None];
    for (key, value) in nodes {
        reader.node(key, value, &mut policies);
    }
    let [outward, inward] = policies;
    reader.policy(outward, Direction::Out)?;
    reader.policy(inward, Direction::In)?;
    reader.unused()?;
    if reader.file.rules.is_empty() {
        return Err(MudError::NoRules);
    }
    Ok(reader.file)
}

/// A node by its module and name, or by its name alone.
fn node<'j>(json: &'j Json, module: &str, name: &str) -> Option<&'j Json> {
    json.get(&format!("{module}:{name}"))
        .or_else(|| json.get(name))
}

/// A list of rules (ACL).
struct List<'j> {
    name: &'j str,
    json: &'j Json,
}

struct Reader<'j> {
    file: MudFile,
    lists: Vec<List<'j>>,
    /// The names of the lists that a policy names.
    used: Vec<&'j str>,
}

impl<'j> Reader<'j> {
    fn warn(&mut self, warning: impl Into<String>) {
        let warning = warning.into();
        if !self.file.warnings.contains(&warning) {
            self.file.warnings.push(warning);
        }
    }

    /// The lists of RFC 8519 §4.1, under that name or an older one.
    fn lists(&mut self, root: &'j Json) {
        for (key, value) in root.entries() {
            let name = key.rsplit_once(':').map_or(key.as_str(), |(_, name)| name);
            match name {
                "acls" => (),
                "access-lists" => {
                    self.warn("`access-lists` is the name that an old draft had for `acls`");
                }
                "mud" => continue,
                _ => {
                    self.warn(format!("`{}` is not known and is ignored", quote(key)));
                    continue;
                }
            }
            let lists = value.get("acl").and_then(Json::as_list);
            if lists.is_none() {
                self.warn(format!("`{}` has no list `acl`", quote(key)));
            }
            for json in lists.unwrap_or_default() {
                match list_name(json) {
                    Some(name) => {
                        if self.lists.iter().any(|list| list.name == name) {
                            self.warn(format!(
                                "the list `{}` is there twice, and its rules are read as one list",
                                quote(name)
                            ));
                        }
                        self.lists.push(List { name, json });
                    }
                    None => self.warn("a list without a name is named by no policy"),
                }
            }
        }
    }

    /// One node of `ietf-mud:mud` (RFC 8520 §3).
    fn node(&mut self, key: &str, value: &'j Json, policies: &mut [Option<&'j Json>; 2]) {
        let (module, name) = key.split_once(':').unwrap_or(("", key));
        if module == "ietf-mud" {
            self.warn(format!("`{}` needs no module's name", quote(key)));
        }
        let [outward, inward] = policies;
        match (module, name) {
            ("" | "ietf-mud", "from-device-policy") => *outward = Some(value),
            ("" | "ietf-mud", "to-device-policy") => *inward = Some(value),
            ("" | "ietf-mud", "mud-version") => {
                if value.as_integer() != Some(1) {
                    self.warn("`mud-version` is not 1: the file is read as if it were");
                }
            }
            ("" | "ietf-mud", "mud-url") => {
                self.file.url = value.as_text().map(str::to_owned);
                self.file.about.url = self.said::<HttpsUrl>(key, value);
            }
            ("" | "ietf-mud", "last-update") => {
                self.file.about.last_update = self.said(key, value);
            }
            ("" | "ietf-mud", "mud-signature") => {
                let said = value.as_text().filter(|text| text.len() <= 1_024);
                self.file.signature = said.map(str::to_owned);
                if said.is_none() {
                    self.warn("`mud-signature` is not an address");
                }
            }
            ("" | "ietf-mud", "cache-validity") => self.cache_validity(value),
            ("" | "ietf-mud", "is-supported") => {
                self.file.about.is_supported = self.flag(key, value, true);
                if !self.file.about.is_supported {
                    self.warn("its maker no longer supports this device (`is-supported`)");
                }
            }
            ("" | "ietf-mud", "systeminfo") => self.file.about.systeminfo = self.line(key, value),
            ("" | "ietf-mud", "mfg-name") => self.file.about.mfg_name = self.line(key, value),
            ("" | "ietf-mud", "model-name") => self.file.about.model_name = self.line(key, value),
            ("" | "ietf-mud", "firmware-rev") => {
                self.file.about.firmware_rev = self.line(key, value);
            }
            ("" | "ietf-mud", "software-rev") => {
                self.file.about.software_rev = self.line(key, value);
            }
            ("" | "ietf-mud", "documentation") => {
                self.file.about.documentation = self.said(key, value);
            }
            ("" | "ietf-mud", "extensions") => self.extensions(value),
            ("ietf-mud-tls", "is-tls-dtls-profile-supported") => {
                self.file.about.tls_profiles = self.flag(key, value, false);
            }
            // RFC 8520 §3.9: what is not understood must be ignored.
            _ => self.warn(format!("`{}` is not known and is ignored", quote(key))),
        }
    }

    /// A text with a grammar; what does not meet it is left out.
    fn said<T: FromStr<Err = Malformed>>(&mut self, key: &str, value: &Json) -> Option<T> {
        let text = value.as_text().unwrap_or_default();
        match text.parse() {
            Ok(said) => Some(said),
            Err(wrong) => {
                self.warn(format!("`{}` is left out: {wrong}", quote(key)));
                None
            }
        }
    }

    /// A text for people.
    fn line<T: FromStr<Err = Malformed>>(&mut self, key: &str, value: &Json) -> Option<T> {
        let text = value.as_text().unwrap_or_default();
        if text.trim() != text {
            self.warn(format!(
                "`{}` is taken without the blanks at its ends",
                quote(key)
            ));
        }
        self.said(key, &Json::text(text.trim()))
    }

    fn flag(&mut self, key: &str, value: &Json, default: bool) -> bool {
        match value {
            Json::Boolean(flag) => *flag,
            // As the example of RFC 9761 §7 has it.
            Json::Text(text) if text == "true" || text == "false" => {
                self.warn(format!("`{}` is written without quotes", quote(key)));
                text == "true"
            }
            Json::Null | Json::Number(_) | Json::Text(_) | Json::List(_) | Json::Object(_) => {
                self.warn(format!("`{}` is neither true nor false", quote(key)));
                default
            }
        }
    }

    fn cache_validity(&mut self, value: &Json) {
        let hours = value
            .as_integer()
            .and_then(|hours| u8::try_from(hours).ok());
        match hours.filter(|hours| CACHE_VALIDITIES.contains(hours)) {
            Some(hours) => self.file.about.cache_validity = hours,
            None => self.warn("`cache-validity` is not from 1 to 168 hours: 48 is taken"),
        }
    }

    fn extensions(&mut self, value: &Json) {
        for item in value.as_list().unwrap_or_default().iter().take(64) {
            if let Some(name) = self.said::<ExtensionName>("extensions", item)
                && !self.file.about.extensions.contains(&name)
            {
                self.file.about.extensions.push(name);
            }
        }
    }

    /// The rules of one policy, in the order of the lists that it names (RFC 8520 §3.3).
    fn policy(&mut self, policy: Option<&'j Json>, direction: Direction) -> Result<(), MudError> {
        let name = match direction {
            Direction::Out => "from-device-policy",
            Direction::In => "to-device-policy",
        };
        let named = policy
            .and_then(|policy| policy.get("access-lists"))
            .and_then(|lists| lists.get("access-list"))
            .and_then(Json::as_list)
            .unwrap_or_default();
        if named.is_empty() {
            self.warn(format!(
                "`{name}` names no list: nothing may be opened that way"
            ));
        }
        for reference in named {
            let own = list_name(reference);
            if let Some(rules) = rules_of(reference) {
                self.warn(format!(
                    "`{name}` has its rules in itself instead of naming a list"
                ));
                self.list(own.unwrap_or(name), reference, rules, direction)?;
                continue;
            }
            let Some(own) = own else {
                self.warn(format!("`{name}` names a list without its name"));
                continue;
            };
            let found: Vec<&'j Json> = self
                .lists
                .iter()
                .filter(|list| list.name == own)
                .map(|list| list.json)
                .collect();
            if found.is_empty() {
                self.warn(format!("there is no list `{}`", quote(own)));
            }
            // A list that is named twice says nothing new.
            if direction_seen(&self.file.rules, own, direction) {
                continue;
            }
            self.used.push(own);
            for json in found {
                let rules = rules_of(json).unwrap_or_default();
                self.list(own, json, rules, direction)?;
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        name: &str,
        json: &'j Json,
        rules: &'j [Json],
        direction: Direction,
    ) -> Result<(), MudError> {
        let families = self.families(name, json);
        for (index, ace) in rules.iter().enumerate() {
            if self.file.rules.len() >= MAX_RULES {
                return Err(MudError::TooMany);
            }
            let rule = rule(ace, direction, families.clone());
            let (own, draft) = match ace.get("name") {
                Some(own) => (Some(own), false),
                None => (ace.get("rule-name"), true),
            };
            if draft && own.is_some() {
                self.warn("`rule-name` is the name that an old draft had for `name`");
            }
            let own = match own.and_then(Json::as_text) {
                Some(own) => quote(own),
                None => format!("rule {}", index.saturating_add(1)),
            };
            let acl = quote(name);
            let same = |rule: &&Rule| rule.acl == acl && rule.ace == own;
            let ace = match self.file.rules.iter().filter(same).count() {
                0 => own,
                _ => format!("{own} (rule {})", index.saturating_add(1)),
            };
            self.file.rules.push(Rule { acl, ace, ..rule });
        }
        Ok(())
    }

    /// The families that a list speaks of by its type (RFC 8519 §4.1).
    fn families(&mut self, name: &str, json: &Json) -> Result<Families, Why> {
        let kind = json.get("type").or_else(|| json.get("acl-type"));
        let Some(kind) = kind else {
            self.warn(format!("the list `{}` has no type", quote(name)));
            return Ok(Families::BOTH);
        };
        let said = kind.as_text().unwrap_or_default();
        let plain = said
            .strip_prefix("ietf-access-control-list:")
            .unwrap_or(said);
        match plain {
            "ipv4-acl-type" | "mixed-eth-ipv4-acl-type" => Ok(Families::only(Family::Ipv4)),
            "ipv6-acl-type" | "mixed-eth-ipv6-acl-type" => Ok(Families::only(Family::Ipv6)),
            "eth-acl-type" | "mixed-eth-ipv4-ipv6-acl-type" => Ok(Families::BOTH),
            "ipv4-acl" | "ipv6-acl" | "ethernet-acl-type" => {
                self.warn(format!("the type `{plain}` is read as RFC 8519 has it"));
                Ok(match plain {
                    "ipv4-acl" => Families::only(Family::Ipv4),
                    "ipv6-acl" => Families::only(Family::Ipv6),
                    _ => Families::BOTH,
                })
            }
            _ => Err(format!("its list is of the unknown type `{}`", quote(said))),
        }
    }

    /// Rules that no policy names: they say nothing, and that is said.
    fn unused(&mut self) -> Result<(), MudError> {
        let lists = std::mem::take(&mut self.lists);
        for List { name, json } in &lists {
            if self.used.contains(name) {
                continue;
            }
            self.warn(format!(
                "the list `{}` belongs to no policy: its rules hold for nothing",
                quote(name)
            ));
            let first = self.file.rules.len();
            let rules = rules_of(json).unwrap_or_default();
            self.list(name, json, rules, Direction::Out)?;
            for rule in self.file.rules.iter_mut().skip(first) {
                rule.forwarding = Ok(Forwarding::Accept);
                rule.matched = Err("no policy names its list, so it holds for nothing".to_owned());
            }
        }
        Ok(())
    }
}

fn direction_seen(rules: &[Rule], list: &str, direction: Direction) -> bool {
    let list = quote(list);
    rules
        .iter()
        .any(|rule| rule.acl == list && rule.direction == direction)
}

fn list_name(json: &Json) -> Option<&str> {
    let name = json.get("name").or_else(|| json.get("acl-name"));
    name.and_then(Json::as_text)
}

fn rules_of(json: &Json) -> Option<&[Json]> {
    let container = json.get("aces").or_else(|| json.get("access-list-entries"));
    container?.get("ace")?.as_list()
}

/// One rule, but for its names.
fn rule(ace: &Json, direction: Direction, families: Result<Families, Why>) -> Rule {
    let mut warnings = Vec::new();
    let nothing = Json::Object(Vec::new());
    let matches = ace.get("matches").unwrap_or(&nothing);
    let forwarding = forwarding(ace, matches, &mut warnings);
    let read = known(ace)
        .and(families)
        .and_then(|families| matches::read(matches, direction, families, &mut warnings));
    let (matched, tls) = match read {
        Ok(read) => (Ok(read.matched), read.tls),
        Err(why) => (Err(why), None),
    };
    Rule {
        acl: String::new(),
        ace: String::new(),
        direction,
        forwarding,
        matched,
        tls,
        warnings,
    }
}

fn known(ace: &Json) -> Result<(), Why> {
    let Json::Object(nodes) = ace else {
        return Err(format!("a rule is an object, not {}", ace.kind()));
    };
    for (key, _) in nodes {
        match key.as_str() {
            "name" | "rule-name" | "matches" | "actions" | "statistics" => (),
            other => return Err(format!("it has `{}`, which is not known", quote(other))),
        }
    }
    Ok(())
}
