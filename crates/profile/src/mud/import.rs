//! From a MUD file to a profile: each rule is represented, covered by another one, or refused with the reason.

use super::action::Forwarding;
use super::file::{MudFile, Rule};
use super::flow::{Flow, Matched, Opening};
use super::matches::Why;
use super::naming::device;
use super::roles::{READ_SO, Role, role, wide};
use super::section::{Mud, TlsRule};
use super::subtract::subtract;
use crate::{Direction, Firewall, Frame, HttpsUrl, Inward, ModelName, Outward, Profile};

/// How a MUD file is read.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Every rule without a direction opens, even if it looks like the answers of another one.
    pub literal: bool,
    /// The model's name, instead of the one that the file gives.
    pub model: Option<ModelName>,
}

/// A profile made of a MUD file, and what became of each rule of the file.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The profile.
    pub profile: Profile,
    /// What became of each rule, in the order of the file's policies.
    pub rules: Vec<RuleReport>,
    /// What is odd about the file as a whole.
    pub warnings: Vec<String>,
}

impl Imported {
    /// Holds the profile to the address that its file really came from, whatever the file says of itself: who is of the same
    /// manufacturer is judged by it (RFC 8520 §4.2), and a file must not choose its own relatives.
    pub fn came_from(&mut self, url: &HttpsUrl) {
        let about = self.profile.mud.get_or_insert_default();
        if about.url.as_ref() == Some(url) {
            return;
        }
        if let Some(said) = &about.url {
            self.warnings.push(format!(
                "the file says that it is {said}, and came from {url}, which counts"
            ));
        }
        about.url = Some(url.clone());
    }
}

/// What became of one rule of a MUD file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleReport {
    /// The list (ACL) that it stands in.
    pub acl: String,
    /// Its own name (ACE).
    pub ace: String,
    /// The policy that it belongs to: from the device, or to it.
    pub direction: Direction,
    /// What became of it.
    pub outcome: Outcome,
    /// What is odd about it.
    pub warnings: Vec<String>,
}

/// What became of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The profile says the same, in these sentences.
    Represented {
        /// The rules of the profile that say it.
        rules: Vec<String>,
    },
    /// It only speaks of what another rule lets pass already.
    Covered {
        /// The other rule.
        by: String,
        /// In what way.
        why: String,
    },
    /// It is not in the profile.
    Refused {
        /// The reason.
        why: String,
    },
}

/// The most rules that one list of a profile has.
const MAX_ENTRIES: usize = 256;
/// What the rules may take of a profile's bytes; the rest is for what the file says of itself.
const MAX_COST: usize = 160 * 1024;

/// How often a drop is cut out of a rule: enough for any file of a person, and soon over for any other.
const MAX_CUTS: usize = 1 << 18;

/// Makes a profile of a MUD file.
pub fn import(file: &MudFile, options: &ImportOptions) -> Imported {
    let mut importer = Importer {
        rules: &file.rules,
        fates: Vec::with_capacity(file.rules.len()),
        kept: Vec::new(),
        frames: Vec::new(),
        tls: Vec::new(),
        cost: 0,
        drops: Vec::new(),
        unread: Vec::new(),
        cuts: 0,
    };
    for (index, rule) in file.rules.iter().enumerate() {
        let fate = importer.fate(index, rule, options.literal);
        importer.fates.push(fate);
    }
    importer.finish(file, options)
}

/// A rule of the profile to be.
struct Kept {
    direction: Direction,
    opening: Opening,
}

/// What becomes of a rule, by the places of what it becomes.
#[derive(Clone)]
struct Fate {
    becomes: Becomes,
    warnings: Vec<String>,
}

#[derive(Clone)]
enum Becomes {
    /// These of the kept rules.
    Kept(Vec<usize>),
    /// This of the frames.
    Frame(usize),
    /// Nothing more than what is dropped already.
    Dropped,
    /// Covered by this rule, in this way.
    Covered(usize, &'static str),
    /// Every device may.
    Arp,
    Refused(Why),
}

struct Importer<'f> {
    rules: &'f [Rule],
    fates: Vec<Fate>,
    kept: Vec<Kept>,
    frames: Vec<Frame>,
    tls: Vec<TlsRule>,
    cost: usize,
    /// What the rules so far have dropped, and which rule it was.
    drops: Vec<(usize, Direction, Matched)>,
    /// The rules that may drop something, nobody knows what.
    unread: Vec<(usize, Direction)>,
    /// How often a drop was cut out of a rule.
    cuts: usize,
}

impl Importer<'_> {
    fn fate(&mut self, index: usize, rule: &Rule, literal: bool) -> Fate {
        let mut warnings = rule.warnings.clone();
        let becomes = match (&rule.forwarding, &rule.matched) {
            (Err(why), _) | (Ok(Forwarding::Refuse), Err(why)) => {
                self.unread.push((index, rule.direction));
                Becomes::Refused(why.clone())
            }
            (Ok(Forwarding::Accept), Err(why)) => Becomes::Refused(why.clone()),
            (Ok(Forwarding::Refuse), Ok(matched)) => self.drop(index, rule, matched),
            (Ok(Forwarding::Accept), Ok(Matched::Arp)) => Becomes::Arp,
            (Ok(Forwarding::Accept), Ok(Matched::Frame(ethertype, peer))) => {
                let frame = Frame {
                    direction: rule.direction,
                    ethertype: *ethertype,
                    peer: *peer,
                };
                self.frame(rule, frame)
            }
            (Ok(Forwarding::Accept), Ok(Matched::Flow(flow))) => {
                match role(self.rules, rule, flow, literal) {
                    Role::Answers(by, why) => {
                        if why == READ_SO {
                            warnings.push(
                                "it is read as answers; `literal` reads it as opening".to_owned(),
                            );
                        }
                        Becomes::Covered(by, why)
                    }
                    Role::Nothing(why) => Becomes::Refused(why),
                    Role::Opens => {
                        warnings.extend(wide(rule.direction, flow));
                        self.open(rule, flow)
                            .map_or_else(Becomes::Refused, Becomes::Kept)
                    }
                }
            }
        };
        Fate { becomes, warnings }
    }

    fn drop(&mut self, index: usize, rule: &Rule, matched: &Matched) -> Becomes {
        match matched {
            Matched::Arp => {
                Becomes::Refused("every device may ask for addresses by ARP".to_owned())
            }
            Matched::Flow(Flow {
                initiated: Some(direction),
                ..
            }) if *direction != rule.direction => Becomes::Refused(
                "it drops answers, and in a profile the answers of an open flow pass".to_owned(),
            ),
            Matched::Flow(_) | Matched::Frame(..) => {
                self.drops.push((index, rule.direction, matched.clone()));
                Becomes::Dropped
            }
        }
    }

    /// What an earlier rule of the same policy may have dropped without being understood.
    fn unread_before(&self, direction: Direction) -> Result<(), Why> {
        match self.unread.iter().find(|(_, way)| *way == direction) {
            None => Ok(()),
            Some((index, _)) => Err(format!(
                "the earlier rule `{}` may drop it, and can not be read",
                self.name(*index)
            )),
        }
    }

    fn name(&self, index: usize) -> String {
        self.rules.get(index).map(Rule::name).unwrap_or_default()
    }

    fn frame(&mut self, rule: &Rule, frame: Frame) -> Becomes {
        if let Err(why) = self.unread_before(rule.direction) {
            return Becomes::Refused(why);
        }
        for (index, direction, matched) in &self.drops {
            let Matched::Frame(ethertype, peer) = matched else {
                continue;
            };
            if (*direction, *ethertype) != (frame.direction, frame.ethertype) {
                continue;
            }
            match (peer, frame.peer) {
                (Some(dropped), Some(own)) if *dropped != own => (),
                (Some(_), None) => {
                    let why = format!(
                        "a profile can not say every station but the one of `{}`",
                        self.name(*index)
                    );
                    return Becomes::Refused(why);
                }
                _ => {
                    let why = format!("the earlier rule `{}` drops it", self.name(*index));
                    return Becomes::Refused(why);
                }
            }
        }
        if let Some(at) = self.frames.iter().position(|other| *other == frame) {
            return Becomes::Frame(at);
        }
        if self.frames.len() >= MAX_ENTRIES {
            return Becomes::Refused(format!("a profile has at most {MAX_ENTRIES} of these"));
        }
        self.frames.push(frame);
        Becomes::Frame(self.frames.len().saturating_sub(1))
    }

    /// Adds what is left of a rule that opens; all of it or nothing.
    fn open(&mut self, rule: &Rule, flow: &Flow) -> Result<Vec<usize>, Why> {
        self.unread_before(rule.direction)?;
        let mut left = flow.openings();
        for (dropper, direction, matched) in &self.drops {
            let Matched::Flow(dropped) = matched else {
                continue;
            };
            if *direction != rule.direction {
                continue;
            }
            for dropped in dropped.openings() {
                let mut rest = Vec::new();
                self.cuts = self.cuts.saturating_add(left.len());
                if self.cuts > MAX_CUTS {
                    return Err("the file has too many drops to cut out of it".to_owned());
                }
                for opening in left {
                    rest.extend(subtract(opening, &dropped).map_err(|why| {
                        format!(
                            "the earlier rule `{}` drops a part of it: {why}",
                            self.name(*dropper)
                        )
                    })?);
                }
                left = rest;
                if left.is_empty() {
                    return Err(format!(
                        "the earlier rule `{}` drops all of it",
                        self.name(*dropper)
                    ));
                }
                if left.len() > MAX_ENTRIES {
                    return Err(format!(
                        "what is left of it is more than {MAX_ENTRIES} rules"
                    ));
                }
            }
        }
        self.keep(rule, left)
    }

    fn keep(&mut self, rule: &Rule, left: Vec<Opening>) -> Result<Vec<usize>, Why> {
        let place = |kept: &[Kept], opening: &Opening| {
            kept.iter().position(|kept| {
                kept.direction == rule.direction && kept.opening.same_but_family(opening)
            })
        };
        let fresh: Vec<&Opening> = left
            .iter()
            .filter(|opening| place(&self.kept, opening).is_none())
            .collect();
        let there = self
            .kept
            .iter()
            .filter(|kept| kept.direction == rule.direction);
        let count = there.count().saturating_add(fresh.len());
        // What a rule takes in the profile's bytes: its other end, and its keys and numbers.
        let cost = fresh.iter().fold(self.cost, |cost, opening| {
            cost.saturating_add(opening.peer.to_string().len())
                .saturating_add(128)
        });
        let cost = rule.tls.as_ref().map_or(cost, |tls| {
            cost.saturating_add(tls.to_string().len().saturating_mul(left.len()))
        });
        if count > MAX_ENTRIES || cost > MAX_COST {
            return Err(format!(
                "the profile would be too large: at most {MAX_ENTRIES} rules each way, and {MAX_COST} bytes"
            ));
        }
        self.cost = cost;
        let mut places = Vec::with_capacity(left.len());
        for opening in left {
            let at = if let Some(at) = place(&self.kept, &opening) {
                if let Some(kept) = self.kept.get_mut(at) {
                    kept.opening.families = kept.opening.families.or(opening.families);
                }
                at
            } else {
                let direction = rule.direction;
                self.kept.push(Kept { direction, opening });
                self.kept.len().saturating_sub(1)
            };
            places.push(at);
            self.keep_tls(rule, at);
        }
        Ok(places)
    }

    fn keep_tls(&mut self, rule: &Rule, at: usize) {
        let (Some(profiles), Some(kept)) = (&rule.tls, self.kept.get(at)) else {
            return;
        };
        let Opening {
            peer, protocol, to, ..
        } = &kept.opening;
        let known = |tls: &TlsRule| tls.speaks_of(rule.direction, peer, *protocol, *to);
        if self.tls.len() < MAX_ENTRIES && !self.tls.iter().any(known) {
            self.tls.push(TlsRule {
                direction: rule.direction,
                peer: peer.clone(),
                protocol: *protocol,
                port: *to,
                profiles: profiles.clone(),
            });
        }
    }
}

impl Importer<'_> {
    fn finish(self, file: &MudFile, options: &ImportOptions) -> Imported {
        let rules = self.reports();
        let Self {
            kept, frames, tls, ..
        } = self;
        let mut firewall = Firewall {
            frames,
            ..Firewall::default()
        };
        for Kept { direction, opening } in kept {
            let traffic = opening.traffic();
            match direction {
                Direction::In => firewall.inward.push(Inward {
                    from: opening.peer,
                    traffic,
                }),
                Direction::Out => firewall.outward.push(Outward {
                    to: opening.peer,
                    traffic,
                    service: None,
                }),
            }
        }
        let mut warnings = file.warnings.clone();
        let about = Mud {
            tls,
            ..file.about.clone()
        };
        let device = device(&about, file.url.as_deref(), options, &mut warnings);
        Imported {
            profile: Profile {
                firewall,
                mud: Some(about),
                ..Profile::of(device)
            },
            rules,
            warnings,
        }
    }
}

impl Importer<'_> {
    fn reports(&self) -> Vec<RuleReport> {
        let report = |(index, (rule, fate)): (usize, (&Rule, &Fate))| RuleReport {
            acl: rule.acl.clone(),
            ace: rule.ace.clone(),
            direction: rule.direction,
            outcome: self.outcome(index, &fate.becomes),
            warnings: fate.warnings.clone(),
        };
        let both = self.rules.iter().zip(&self.fates);
        both.enumerate().map(report).collect()
    }

    fn outcome(&self, index: usize, becomes: &Becomes) -> Outcome {
        match becomes {
            Becomes::Kept(places) => {
                let kept = places.iter().filter_map(|at| self.kept.get(*at));
                Outcome::Represented {
                    rules: kept.map(Kept::spoken).collect(),
                }
            }
            Becomes::Frame(at) => Outcome::Represented {
                rules: self
                    .frames
                    .get(*at)
                    .map(Frame::spoken)
                    .into_iter()
                    .collect(),
            },
            Becomes::Dropped => Outcome::Represented {
                rules: vec!["no later rule allows it".to_owned()],
            },
            Becomes::Arp => Outcome::Covered {
                by: "the firewall itself".to_owned(),
                why: "every device may ask for addresses by ARP".to_owned(),
            },
            Becomes::Covered(by, why) => {
                let opener = self.fates.get(*by).map(|fate| &fate.becomes);
                if let Some(Becomes::Kept(_)) = opener {
                    Outcome::Covered {
                        by: self.name(*by),
                        why: (*why).to_owned(),
                    }
                } else {
                    let by = self.name(*by);
                    Outcome::Refused {
                        why: format!("it speaks of the answers of `{by}`, which allows nothing"),
                    }
                }
            }
            Becomes::Refused(why) => self
                .harmless(index)
                .unwrap_or_else(|| Outcome::Refused { why: why.clone() }),
        }
    }

    /// A drop that can not be read changes nothing where nothing is accepted after it.
    fn harmless(&self, index: usize) -> Option<Outcome> {
        let rule = self.rules.get(index)?;
        let drops = rule.forwarding == Ok(Forwarding::Refuse) && rule.matched.is_err();
        let accepts = |other: &&Rule| {
            other.direction == rule.direction && other.forwarding != Ok(Forwarding::Refuse)
        };
        let later = self
            .rules
            .iter()
            .skip(index.saturating_add(1))
            .find(accepts);
        (drops && later.is_none()).then(|| Outcome::Covered {
            by: "the firewall itself".to_owned(),
            why: "whatever it drops, no later rule allows it".to_owned(),
        })
    }
}

impl Kept {
    fn spoken(&self) -> String {
        let traffic = self.opening.traffic();
        match self.direction {
            Direction::In => Inward {
                from: self.opening.peer.clone(),
                traffic,
            }
            .spoken(),
            Direction::Out => Outward {
                to: self.opening.peer.clone(),
                traffic,
                service: None,
            }
            .spoken(),
        }
    }
}
