//! Bills of materials: `CycloneDX` 1.6 written, 1.2 to 1.6 read (ECMA-424).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use stockade_controls::engine::{Confidence, Severity};

use crate::component::{Component, Distribution, Kind, Purl};
use crate::inventory::Inventory;
use crate::matching::{Checked, Known};
use crate::read::short;
use crate::vex::Standing;

/// What a bill is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The name of what was looked at.
    pub name: String,
    /// Its SHA-256, in hexadecimal; empty if it has none.
    pub sha256: String,
    /// This program's version.
    pub tool: String,
    /// The time to put in, as RFC 3339; without one the same input gives the same bytes.
    pub timestamp: Option<String>,
}

/// Writes an inventory, and what was found wrong with it if it was held against data.
pub fn write(subject: &Subject, inventory: &Inventory, checked: Option<&Checked>) -> String {
    let mut components: BTreeMap<&str, Vec<&Component>> = BTreeMap::new();
    for component in &inventory.components {
        components
            .entry(&component.purl)
            .or_default()
            .push(component);
    }
    let listed: Vec<Value> = components.values().filter_map(|all| part(all)).collect();
    let mut bill = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata(subject, inventory),
        "components": listed,
        "dependencies": [],
    });
    if let Some(checked) = checked {
        let all = checked.vulnerable.iter().flat_map(|of| {
            let refs: Vec<&str> = of.components.iter().map(|it| it.purl.as_str()).collect();
            of.known.iter().map(move |it| (it, refs.clone()))
        });
        // One entry a vulnerability and what it stands like: what it touches is listed in it.
        let mut merged: BTreeMap<(&str, String), (&Known, Vec<&str>)> = BTreeMap::new();
        for (it, refs) in all {
            let key = (it.cve.as_str(), analysis(it).to_string());
            merged.entry(key).or_insert((it, Vec::new())).1.extend(refs);
        }
        let told: Vec<Value> = merged
            .into_values()
            .map(|(it, refs)| told(it, refs))
            .collect();
        set(&mut bill, "vulnerabilities", told.into());
    }
    let mut text = format!("{bill:#}");
    text.push('\n');
    text
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

fn metadata(subject: &Subject, inventory: &Inventory) -> Value {
    let mut component = json!({
        "type": "firmware",
        "bom-ref": "subject",
        "name": if subject.name.is_empty() { "unknown" } else { &subject.name },
    });
    if !subject.sha256.is_empty() {
        let hash = json!([{"alg": "SHA-256", "content": subject.sha256}]);
        set(&mut component, "hashes", hash);
    }
    let mut properties = Vec::new();
    if let Some(it) = &inventory.distribution {
        let name = format!("{}-{}", it.id, it.version);
        properties.push(json!({"name": "stockade:distribution", "value": name}));
    }
    for (place, why) in &inventory.unread {
        // What is missing from a bill has to be said in it.
        let value = format!("{place}: {why}");
        properties.push(json!({"name": "stockade:unread", "value": value}));
    }
    if !properties.is_empty() {
        set(&mut component, "properties", properties.into());
    }
    let tool = json!({"type": "application", "name": "stockade", "version": subject.tool});
    let mut metadata = json!({"tools": {"components": [tool]}, "component": component});
    if let Some(at) = &subject.timestamp {
        set(&mut metadata, "timestamp", at.clone().into());
    }
    metadata
}

/// What has one package URL, wherever it was seen.
fn part(all: &[&Component]) -> Option<Value> {
    let it = *all.first()?;
    let places: Vec<Value> = all.iter().map(|it| json!({"location": it.place})).collect();
    let (confidence, technique) = match it.kind {
        Kind::Detected => (0.3, "binary-analysis"),
        Kind::Listed => (0.7, "other"),
        Kind::Dpkg | Kind::Opkg | Kind::Apk | Kind::Rpm => (1.0, "manifest-analysis"),
    };
    let confidence = if it.confidence == Confidence::Medium {
        0.7
    } else {
        confidence
    };
    let method = json!({"technique": technique, "confidence": confidence});
    let identity = json!({"field": "purl", "confidence": confidence, "methods": [method]});
    let mut part = json!({
        "type": if it.name == "linux" { "operating-system" } else { "library" },
        "bom-ref": it.purl,
        "name": it.name,
        "version": it.version,
        "purl": it.purl,
        "evidence": {"identity": [identity], "occurrences": places},
    });
    if !it.licence.is_empty() {
        set(
            &mut part,
            "licenses",
            json!([{"license": {"name": it.licence}}]),
        );
    }
    if let Some((vendor, product)) = &it.cpe {
        let cpe = format!("cpe:2.3:a:{vendor}:{product}:*:*:*:*:*:*:*:*");
        set(&mut part, "cpe", cpe.into());
    }
    Some(part)
}

fn analysis(it: &Known) -> Value {
    let Some(claim) = &it.claim else {
        return Value::Null;
    };
    let state = match claim.standing {
        Standing::NotAffected => "not_affected",
        Standing::Fixed => "resolved",
        Standing::Affected => "exploitable",
        Standing::Investigated => "in_triage",
    };
    json!({"state": state, "detail": format!("{}: {}", claim.by, claim.reason)})
}

fn told(it: &Known, mut refs: Vec<&str>) -> Value {
    refs.sort_unstable();
    refs.dedup();
    let affects: Vec<Value> = refs.iter().map(|it| json!({"ref": it})).collect();
    let severity = match it.severity {
        Severity::Info => "info",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    };
    let mut rating = json!({"severity": severity, "method": "other"});
    if let Some(score) = &it.score {
        let method = match score.version {
            4 => "CVSSv4",
            3 if score.vector.starts_with("CVSS:3.1") => "CVSSv31",
            3 => "CVSSv3",
            _ => "CVSSv2",
        };
        let number = f64::from(score.tenths) / 10.0;
        rating = json!({"severity": severity, "method": method, "score": number, "vector": score.vector});
    }
    let mut told = json!({"id": it.cve, "ratings": [rating], "affects": affects});
    if !it.summary.is_empty() {
        set(&mut told, "description", it.summary.clone().into());
    }
    let mut properties = Vec::new();
    let mut property = |name: &str, value: String| {
        properties.push(json!({"name": format!("stockade:{name}"), "value": value}));
    };
    for id in it.advisories.iter().filter(|id| **id != it.cve) {
        property("advisory", id.clone());
    }
    if let Some((added, _)) = &it.exploited {
        property("exploited", added.clone());
    }
    if let Some((score, _)) = it.likely {
        property("epss-millionths", score.to_string());
    }
    if !properties.is_empty() {
        set(&mut told, "properties", properties.into());
    }
    if let Some(fixed) = &it.fixed {
        set(
            &mut told,
            "recommendation",
            format!("Update to {fixed} or later.").into(),
        );
    }
    let analysis = analysis(it);
    if !analysis.is_null() {
        set(&mut told, "analysis", analysis);
    }
    told
}

/// The most bytes of a bill, and how deep components are in components.
const MOST: usize = 256 << 20;
const DEEP: usize = 16;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bill {
    bom_format: String,
    spec_version: String,
    metadata: Option<Metadata>,
    #[serde(default)]
    components: Vec<Listed>,
}

#[derive(Deserialize)]
struct Metadata {
    component: Option<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    purl: Option<String>,
    cpe: Option<String>,
    #[serde(default)]
    components: Vec<Self>,
}

/// Reads what a bill lists, to be checked again. What names no package that can be asked for is told.
pub fn read(bytes: &[u8], name: &str) -> Result<Inventory, String> {
    if bytes.len() > MOST {
        return Err(format!("{name}: it is larger than {MOST} bytes"));
    }
    let bill: Bill = serde_json::from_slice(bytes).map_err(|why| format!("{name}: {why}"))?;
    let known = matches!(
        bill.spec_version.as_str(),
        "1.2" | "1.3" | "1.4" | "1.5" | "1.6"
    );
    if bill.bom_format != "CycloneDX" || !known {
        let version = short(&bill.spec_version);
        return Err(format!(
            "{name}: it is no CycloneDX of 1.2 to 1.6, but {} {version}",
            short(&bill.bom_format)
        ));
    }
    let mut inventory = Inventory::default();
    let system = bill.metadata.iter().filter_map(|it| it.component.as_ref());
    for it in system.chain(&bill.components) {
        if it.r#type == "operating-system" && it.purl.is_none() && inventory.distribution.is_none()
        {
            inventory.distribution = Some(Distribution {
                id: it.name.clone(),
                version: it.version.clone(),
            });
        }
    }
    for it in &bill.components {
        list(it, name, DEEP, &mut inventory);
    }
    inventory.components.sort();
    inventory.components.dedup();
    Ok(inventory)
}

fn list(it: &Listed, place: &str, deep: usize, into: &mut Inventory) {
    let called = format!("{} {}", short(&it.name), short(&it.version));
    // Files, and the system itself, are no packages.
    let system = it.r#type == "operating-system" && it.purl.is_none();
    if !system && !matches!(it.r#type.as_str(), "file" | "data") {
        match read_one(it, place, into.distribution.as_ref()) {
            Ok(component) => into.components.push(component),
            Err(why) => into.unread.push((format!("{place}: {called}"), why)),
        }
    }
    match deep.checked_sub(1) {
        Some(deep) => it
            .components
            .iter()
            .for_each(|it| list(it, place, deep, into)),
        None if it.components.is_empty() => (),
        None => into.unread.push((
            format!("{place}: {called}"),
            "what is in it is too deep".to_owned(),
        )),
    }
}

fn read_one(it: &Listed, place: &str, system: Option<&Distribution>) -> Result<Component, String> {
    let Some(purl) = &it.purl else {
        return Err("it has no package URL".to_owned());
    };
    let mut purl: Purl = purl
        .parse()
        .map_err(|why: crate::NotAPurl| why.to_string())?;
    if purl.version.is_empty() {
        purl.version.clone_from(&it.version);
    }
    let mut component = Component::of_purl(&purl, place).ok_or("it has no version")?;
    if let (Some(own), Some(system)) = (&mut component.distribution, system)
        && own.version.is_empty()
        && own.id == system.id
    {
        own.version.clone_from(&system.version);
    }
    let mut fields = it.cpe.as_deref().unwrap_or_default().split(':').skip(3);
    if let (Some(vendor), Some(product)) = (fields.next(), fields.next())
        && component.kind == Kind::Detected
    {
        component.cpe = Some((vendor.to_owned(), product.to_owned()));
    }
    Ok(component)
}
