//! The objects of a listing: tables, sets, chains and their rules.

use serde_json::{Map, Value};

use super::super::nft::{
    Base, Chain, ChainKind, Comment, Family, Hook, Ident, Policy, Rule, Ruleset, Table,
};
use super::{
    Foreign, Members, NAMED, Read, Strange, family, only, rule, set, shown, small, strange,
};

/// What has been read so far.
#[derive(Debug, Default)]
pub(super) struct Listing {
    ruleset: Ruleset,
    foreign: Vec<Foreign>,
}

/// Where an object belongs.
struct Place {
    family: String,
    table: String,
    name: String,
    handle: Option<u64>,
}

impl Listing {
    pub(super) fn finish(self) -> (Ruleset, Vec<Foreign>) {
        (self.ruleset, self.foreign)
    }

    pub(super) fn object(&mut self, object: Map<String, Value>) {
        let place = place(&object);
        let read = only(Value::Object(object)).and_then(|(kind, value)| self.add(&kind, value));
        let Err(Strange(what)) = read else {
            return;
        };
        if self.foreign.len() < NAMED {
            self.foreign.push(Foreign {
                place: format!("{} {} {}", place.family, place.table, place.name)
                    .trim()
                    .to_owned(),
                handle: place.handle,
                what,
            });
        }
    }

    fn add(&mut self, kind: &str, value: Value) -> Read<()> {
        match kind {
            // Says which nft wrote the listing, and nothing of the rules.
            "metainfo" => Ok(()),
            "table" => self.table(Members::of(value)?),
            "set" | "map" => self.set(kind == "map", Members::of(value)?),
            "chain" => self.chain(Members::of(value)?),
            "rule" => self.rule(Members::of(value)?),
            other => strange(format!("{other}: {}", shown(&value))),
        }
    }

    fn table(&mut self, mut members: Members) -> Read<()> {
        let family = family(&members.text("family")?)?;
        let name = ident(&members.text("name")?)?;
        members.number("handle")?;
        // With the flag `dormant` no chain of the table is hooked in: whatever is left here is strange.
        members.done()?;
        if self.ruleset.table(family, name.as_str()).is_some() {
            return strange("a table twice");
        }
        self.ruleset.tables.push(Table {
            family,
            name,
            sets: Vec::new(),
            chains: Vec::new(),
        });
        Ok(())
    }

    fn set(&mut self, map: bool, mut members: Members) -> Read<()> {
        let table = self.home(&mut members)?;
        let set = set::read(map, members)?;
        if table.set(set.name.as_str()).is_some() {
            return strange("a set twice");
        }
        table.sets.push(set);
        Ok(())
    }

    fn chain(&mut self, mut members: Members) -> Read<()> {
        let table = self.home(&mut members)?;
        let name = ident(&members.text("name")?)?;
        members.number("handle")?;
        let base = base(&mut members, table.family)?;
        members.done()?;
        if table.chain(name.as_str()).is_some() {
            return strange("a chain twice");
        }
        table.chains.push(Chain {
            name,
            base,
            rules: Vec::new(),
        });
        Ok(())
    }

    fn rule(&mut self, mut members: Members) -> Read<()> {
        let table = self.home(&mut members)?;
        let chain = members.text("chain")?;
        members.number("handle")?;
        let comment = members.take("comment");
        let comment = comment.map(|text| comment_of(&text)).transpose()?;
        let expressions = members.need("expr")?;
        members.done()?;
        let Value::Array(expressions) = expressions else {
            return strange(shown(&expressions));
        };
        let statements = expressions.into_iter().map(rule::statement);
        let statements = statements.collect::<Read<Vec<_>>>()?;
        let chain = table
            .chains
            .iter_mut()
            .find(|its| its.name.as_str() == chain);
        let Some(chain) = chain else {
            return strange("a rule of no chain");
        };
        chain.rules.push(Rule {
            statements,
            comment,
        });
        Ok(())
    }

    fn home(&mut self, members: &mut Members) -> Read<&mut Table> {
        let family = family(&members.text("family")?)?;
        let name = members.text("table")?;
        let mut tables = self.ruleset.tables.iter_mut();
        let found = tables.find(|table| table.family == family && table.name.as_str() == name);
        found.ok_or_else(|| Strange(format!("no table {name}")))
    }
}

fn place(object: &Map<String, Value>) -> Place {
    let inner = object.values().next();
    let text = |name: &str| {
        let found = inner.and_then(|inner| inner.get(name)?.as_str());
        found
            .unwrap_or_default()
            .chars()
            .take(255)
            .collect::<String>()
    };
    let mut name = text("chain");
    if name.is_empty() {
        name = text("name");
    }
    Place {
        family: text("family"),
        table: text("table"),
        name,
        handle: inner.and_then(|inner| inner.get("handle")?.as_u64()),
    }
}

pub(super) fn ident(text: &str) -> Read<Ident> {
    Ident::new(text).map_err(|why| Strange(why.to_string()))
}

pub(super) fn comment_of(value: &Value) -> Read<Comment> {
    let Some(text) = value.as_str() else {
        return strange(shown(value));
    };
    Comment::new(text).map_err(|why| Strange(why.to_string()))
}

fn base(members: &mut Members, family: Family) -> Read<Option<Base>> {
    let Some(hook) = members.take("hook") else {
        return Ok(None);
    };
    let hook = match hook.as_str() {
        Some("ingress") => Hook::Ingress,
        Some("egress") => Hook::Egress,
        Some("prerouting") => Hook::Prerouting,
        Some("input") => Hook::Input,
        Some("forward") => Hook::Forward,
        Some("output") => Hook::Output,
        _ => return strange(format!("hook {}", shown(&hook))),
    };
    let kind = match members.text("type")?.as_str() {
        "filter" => ChainKind::Filter,
        "nat" => ChainKind::Nat,
        other => return strange(format!("type {other}")),
    };
    let priority = members.need("prio")?;
    let Some(number) = priority.as_i64().and_then(|it| i32::try_from(it).ok()) else {
        return strange(format!("priority {}", shown(&priority)));
    };
    let policy = match members.text("policy")?.as_str() {
        "accept" => Policy::Accept,
        "drop" => Policy::Drop,
        other => return strange(format!("policy {other}")),
    };
    let device = members.take("dev");
    let device = device.map(|name| {
        let parsed = name.as_str().and_then(|name| name.parse().ok());
        parsed.ok_or_else(|| Strange(format!("device {}", shown(&name))))
    });
    let device = device.transpose()?;
    if device.is_some() && family != Family::Netdev {
        return strange("a device outside the family netdev");
    }
    Ok(Some(Base {
        kind,
        hook,
        priority: number,
        device,
        policy,
    }))
}

pub(super) fn limit(mut members: Members) -> Read<super::super::nft::Limit> {
    use super::super::nft::{Limit, Unit};
    let rate = members
        .number("rate")?
        .ok_or_else(|| Strange("no rate".to_owned()))?;
    let burst = members.number("burst")?.unwrap_or_default();
    let per = match members.text("per")?.as_str() {
        "second" => Unit::Second,
        "minute" => Unit::Minute,
        "hour" => Unit::Hour,
        "day" => Unit::Day,
        "week" => Unit::Week,
        other => return strange(format!("a rate per {other}")),
    };
    // What is left could be `inv`: "over the rate", the very opposite.
    members.done()?;
    Ok(Limit {
        rate,
        per,
        burst: small("burst", burst)?,
    })
}
