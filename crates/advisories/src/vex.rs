//! What others say of vulnerabilities here: `OpenVEX` 0.2 and the VEX of `CycloneDX`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::component::{Component, Purl};
use crate::matching::Known;
use crate::read::short;

/// How a vulnerability stands in a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does no harm there.
    NotAffected,
    /// It is mended there.
    Fixed,
    /// It is there.
    Affected,
    /// Nobody knows yet.
    Investigated,
}

/// A statement about a vulnerability in a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The vulnerability, by all its names.
    pub names: Vec<String>,
    /// The products.
    pub products: Vec<Purl>,
    /// How it stands.
    pub standing: Standing,
    /// Why, in the words of whoever says it.
    pub reason: String,
    /// Who says it: the document.
    pub by: String,
    /// When it was said.
    pub at: String,
}

/// A document that is no VEX, or of which something cannot be read: which part, and why. Nothing of it counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}: {1}")]
pub struct NotVex(pub String, pub String);

/// The most bytes of a document.
const MOST: usize = 64 << 20;

/// Reads a document.
pub fn claims(bytes: &[u8], name: &str) -> Result<Vec<Claim>, NotVex> {
    let wrong = |why: String| NotVex(short(name), why);
    if bytes.len() > MOST {
        return Err(wrong(format!("it is larger than {MOST} bytes")));
    }
    let head: Head = serde_json::from_slice(bytes).map_err(|why| wrong(why.to_string()))?;
    let mut all = if head
        .context
        .is_some_and(|it| it.starts_with("https://openvex.dev/"))
    {
        let document = serde_json::from_slice(bytes).map_err(|why| wrong(why.to_string()))?;
        open(document, name)
    } else if head.bom_format.is_some_and(|it| it == "CycloneDX") {
        let document = serde_json::from_slice(bytes).map_err(|why| wrong(why.to_string()))?;
        cyclone(document, name)
    } else {
        return Err(wrong("it is neither OpenVEX nor CycloneDX".to_owned()));
    };
    // What was said last counts.
    all.sort_by(|a, b| a.at.cmp(&b.at));
    Ok(all)
}

impl Claim {
    /// Whether it is about this vulnerability of this component.
    pub(crate) fn speaks_of(&self, known: &Known, component: &Component) -> bool {
        let named = |name: &String| *name == known.cve || known.advisories.contains(name);
        self.names.iter().any(named) && self.products.iter().any(|it| is(it, component))
    }
}

/// Whether a package URL names this component: as much of it as it says.
fn is(product: &Purl, component: &Component) -> bool {
    let Ok(own) = component.purl.parse::<Purl>() else {
        return false;
    };
    let same = |(key, value): (&String, &String)| match key.as_str() {
        "arch" if value == "source" => true,
        "arch" | "distro" | "epoch" => own.qualifiers.get(key) == Some(value),
        _ => true,
    };
    let (source, version) = component.spoken();
    let versioned = |it: &str| product.version.is_empty() || product.version == it;
    product.kind == own.kind
        && product.namespace == own.namespace
        && product.qualifiers.iter().all(same)
        && ((product.name == own.name && versioned(&own.version))
            || (product.name == source && versioned(version)))
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "@context")]
    context: Option<String>,
    #[serde(rename = "bomFormat")]
    bom_format: Option<String>,
}

#[derive(Deserialize)]
struct Open {
    #[serde(default)]
    timestamp: String,
    statements: Vec<Statement>,
}

#[derive(Deserialize)]
struct Statement {
    vulnerability: Vulnerability,
    #[serde(default)]
    products: Vec<Product>,
    status: String,
    #[serde(default)]
    justification: String,
    #[serde(default)]
    impact_statement: String,
    #[serde(default)]
    timestamp: String,
}

#[derive(Deserialize)]
struct Vulnerability {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
}

#[derive(Deserialize)]
struct Product {
    #[serde(rename = "@id", default)]
    id: String,
    #[serde(default)]
    identifiers: BTreeMap<String, String>,
    #[serde(default)]
    subcomponents: Vec<Self>,
}

impl Product {
    /// What it speaks of: the parts that it names, or itself.
    fn purls(&self, deep: u8, all: &mut Vec<Purl>) {
        let Some(deep) = deep
            .checked_sub(1)
            .filter(|_| !self.subcomponents.is_empty())
        else {
            let names = [Some(&self.id), self.identifiers.get("purl")];
            all.extend(names.into_iter().flatten().filter_map(|it| it.parse().ok()));
            return;
        };
        for it in &self.subcomponents {
            it.purls(deep, all);
        }
    }
}

fn open(document: Open, by: &str) -> Vec<Claim> {
    let claim = |it: Statement| {
        let standing = match it.status.as_str() {
            "not_affected" => Standing::NotAffected,
            "fixed" => Standing::Fixed,
            "under_investigation" => Standing::Investigated,
            // What is not understood silences nothing.
            _ => Standing::Affected,
        };
        let mut products = Vec::new();
        it.products.iter().for_each(|it| it.purls(4, &mut products));
        let said = [it.justification, it.impact_statement];
        let said: Vec<&str> = said
            .iter()
            .map(String::as_str)
            .filter(|it| !it.is_empty())
            .collect();
        let mut names = it.vulnerability.aliases;
        names.push(it.vulnerability.name);
        let at = if it.timestamp.is_empty() {
            document.timestamp.clone()
        } else {
            it.timestamp
        };
        Claim {
            names,
            products,
            standing,
            reason: short(&said.join(": ")),
            by: short(by),
            at,
        }
    };
    document.statements.into_iter().map(claim).collect()
}

#[derive(Deserialize)]
struct Cyclone {
    #[serde(default)]
    components: Vec<Part>,
    #[serde(default)]
    vulnerabilities: Vec<Told>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "bom-ref")]
    reference: Option<String>,
    purl: Option<String>,
}

#[derive(Deserialize)]
struct Told {
    id: Option<String>,
    #[serde(default)]
    analysis: Analysis,
    #[serde(default)]
    affects: Vec<Affects>,
    #[serde(default)]
    updated: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Analysis {
    state: String,
    justification: String,
    detail: String,
}

#[derive(Deserialize)]
struct Affects {
    r#ref: String,
}

fn cyclone(document: Cyclone, by: &str) -> Vec<Claim> {
    let parts = document.components.iter();
    let parts = parts.filter_map(|it| Some((it.reference.as_ref()?, it.purl.as_ref()?)));
    let parts: BTreeMap<&String, &String> = parts.collect();
    let claim = |it: Told| {
        let standing = match it.analysis.state.as_str() {
            "not_affected" | "false_positive" => Standing::NotAffected,
            "resolved" | "resolved_with_pedigree" => Standing::Fixed,
            "exploitable" => Standing::Affected,
            "in_triage" => Standing::Investigated,
            _ => return None,
        };
        let products = it
            .affects
            .iter()
            .map(|it| parts.get(&it.r#ref).map_or(&it.r#ref, |it| it));
        let Analysis {
            justification,
            detail,
            ..
        } = &it.analysis;
        let said: Vec<&str> = [justification, detail]
            .into_iter()
            .map(String::as_str)
            .filter(|it| !it.is_empty())
            .collect();
        Some(Claim {
            names: vec![it.id?],
            products: products.filter_map(|it| it.parse().ok()).collect(),
            standing,
            reason: short(&said.join(": ")),
            by: short(by),
            at: it.updated,
        })
    };
    document
        .vulnerabilities
        .into_iter()
        .filter_map(claim)
        .collect()
}
