//! Crates depend only downwards, and pure crates on nothing that touches the world.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Report;
use crate::command::{capture, cargo};

/// Our crates from the top down; a crate may use those of lower lines only. ARCHITECTURE.md draws the same picture.
const LAYERS: [&[&str]; 8] = [
    &["stockade-cli"],
    &["stockade-console"],
    &[
        "stockade-gateway",
        "stockade-vault",
        "stockade-audit",
        "stockade-agent",
        "stockade-helper",
        "stockade-keys",
        "stockade-update",
    ],
    &[
        "stockade-host",
        "stockade-store",
        "stockade-web",
        "stockade-image",
        "stockade-probe",
        "stockade-advisories",
    ],
    &["stockade-api"],
    &["stockade-controls"],
    &["stockade-wire", "stockade-attest"],
    &[
        "stockade-profile",
        "stockade-mqtt",
        "stockade-link",
        "stockade-anonymity",
        "stockade-dp",
        "stockade-tlog",
    ],
];

/// Used by what it names and the command line alone: nobody else speaks the protocol.
const ONLY_FOR: [(&str, &[&str]); 2] = [
    (
        "stockade-mqtt",
        &["stockade-gateway", "stockade-agent", "stockade-cli"],
    ),
    (
        "stockade-link",
        &["stockade-gateway", "stockade-agent", "stockade-cli"],
    ),
];

/// Outside the product: tests and chores. They may use anything; nothing may use them.
const OUTSIDE: [&str; 5] = [
    "xtask",
    "stockade-bench",
    "stockade-e2e",
    "stockade-load",
    "stockade-conformance",
];

/// Crates that decide and never do.
pub(super) const PURE: [&str; 9] = [
    "stockade-anonymity",
    "stockade-dp",
    "stockade-tlog",
    "stockade-profile",
    "stockade-attest",
    "stockade-wire",
    "stockade-mqtt",
    "stockade-link",
    "stockade-controls",
];

/// What a pure crate may not even be built with.
const WORLDLY: [&str; 13] = [
    "async-std",
    "fs-err",
    "getrandom",
    "hyper",
    "libc",
    "mio",
    "nix",
    "rand",
    "rusqlite",
    "rustix",
    "rustls",
    "socket2",
    "tokio",
];

/// They bring `getrandom` and `libc` for their own use: the pure crates hand them bytes and keys and never ask for randomness,
/// and which instructions a processor has is the same for every input.
const CRYPTO: [&str; 2] = ["aws-lc-rs", "cpufeatures"];

pub(super) fn check(report: &mut Report) -> Result<()> {
    let text = capture(&mut cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--locked",
    ]))?;
    let metadata: Value = serde_json::from_str(&text).context("`cargo metadata` prints no JSON")?;
    let graph = Graph::read(&metadata);
    for package in &graph.ours {
        report.looked();
        for used in graph.uses.get(package).into_iter().flatten() {
            if graph.ours.contains(used)
                && let Some(fault) = against_the_arrows(package, used)
            {
                report.fault(fault);
            }
        }
    }
    report.looked();
    let started = started(&metadata);
    if started != ["stockade"] {
        report.fault(format!(
            "`cargo run` has to start `stockade` and nothing else; `default-run` of the default members: {started:?}"
        ));
    }
    for package in PURE.iter().filter(|name| graph.ours.contains(**name)) {
        for path in graph.reached(package, &WORLDLY) {
            report.fault(format!("{package} is pure, but is built with {path}"));
        }
    }
    Ok(())
}

/// What `cargo run` starts: it does where this is one name.
fn started(metadata: &Value) -> Vec<&str> {
    let members: BTreeSet<&str> = texts(&metadata["workspace_default_members"]).collect();
    list(&metadata["packages"])
        .filter(|package| {
            package["id"]
                .as_str()
                .is_some_and(|id| members.contains(id))
        })
        .filter_map(|package| package["default_run"].as_str())
        .collect()
}

/// Why `package` may not use `used`, if it may not.
fn against_the_arrows(package: &str, used: &str) -> Option<String> {
    if OUTSIDE.contains(&package) {
        return None;
    }
    if OUTSIDE.contains(&used) {
        return Some(format!(
            "{package} uses {used}, which is not part of the product"
        ));
    }
    let (Some(above), Some(below)) = (layer(package), layer(used)) else {
        return Some(format!(
            "{package} -> {used}: one of them is in no layer; place it in xtask/src/tidy/crates.rs"
        ));
    };
    if above >= below {
        return Some(format!("{package} uses {used}: arrows only go down"));
    }
    let only = ONLY_FOR.iter().find(|(name, _)| *name == used);
    only.filter(|(_, users)| !users.contains(&package))
        .map(|(_, users)| format!("{package} uses {used}, which is for {}", users.join(", ")))
}

fn layer(package: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&package))
}

/// Who uses whom, by name, tests aside.
#[derive(Debug, Default)]
struct Graph {
    ours: BTreeSet<String>,
    uses: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read(metadata: &Value) -> Self {
        let mut graph = Self::default();
        let members: BTreeSet<&str> = texts(&metadata["workspace_members"]).collect();
        let mut names = BTreeMap::new();
        let mut manifests = BTreeMap::new();
        for package in list(&metadata["packages"]) {
            let (id, name) = (
                package["id"].as_str().unwrap_or(""),
                package["name"].as_str().unwrap_or(""),
            );
            names.insert(id, name);
            manifests.insert(id, package);
            if members.contains(id) {
                graph.ours.insert(name.to_owned());
            }
        }
        for node in list(&metadata["resolve"]["nodes"]) {
            let id = node["id"].as_str().unwrap_or("");
            let name = names.get(id).copied().unwrap_or("");
            let features: Vec<&str> = texts(&node["features"]).collect();
            let uses = graph.uses.entry(name.to_owned()).or_default();
            for dependency in list(&node["deps"]) {
                let normal = list(&dependency["dep_kinds"])
                    .any(|kind| kind["kind"].is_null() && !foreign(kind["target"].as_str()));
                if normal
                    && let Some(used) = names.get(dependency["pkg"].as_str().unwrap_or(""))
                    && !manifests
                        .get(id)
                        .is_some_and(|manifest| idle(manifest, &features, used))
                {
                    uses.insert((*used).to_owned());
                }
            }
        }
        graph
    }

    /// The ways from `package` to any of `names`, `CRYPTO`'s own needs aside.
    fn reached(&self, package: &str, names: &[&str]) -> Vec<String> {
        let mut ways = Vec::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![(package.to_owned(), package.to_owned())];
        while let Some((at, way)) = open.pop() {
            for used in self.uses.get(&at).into_iter().flatten() {
                let way = format!("{way} -> {used}");
                if names.contains(&used.as_str()) {
                    ways.push(way);
                } else if !CRYPTO.contains(&used.as_str()) && seen.insert(used.clone()) {
                    open.push((used.clone(), way));
                }
            }
        }
        ways
    }
}

/// A dependency that no enabled feature brings. Cargo resolves it, and lists it, as soon as a feature only mentions it
/// (`ring?/alloc`), and never builds it.
fn idle(manifest: &Value, enabled: &[&str], name: &str) -> bool {
    let mut declared = list(&manifest["dependencies"])
        .filter(|dependency| dependency["name"] == name)
        .peekable();
    if declared.peek().is_none() {
        return false;
    }
    declared.all(|dependency| {
        let called = dependency["rename"].as_str().unwrap_or(name);
        let brings = |item: &str| {
            item.strip_prefix("dep:") == Some(called)
                || item
                    .strip_prefix(called)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        dependency["optional"] == true
            && !enabled
                .iter()
                .any(|feature| texts(&manifest["features"][*feature]).any(brings))
    })
}

/// A dependency of other systems than the ones we run on.
fn foreign(target: Option<&str>) -> bool {
    target.is_some_and(|target| {
        target.contains("windows") || target.contains("wasm") || target.contains("wasi")
    })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    list(value).filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(arrows: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::default();
        for (from, to) in arrows {
            graph
                .uses
                .entry((*from).to_owned())
                .or_default()
                .insert((*to).to_owned());
        }
        graph
    }

    #[test]
    fn downwards_is_allowed() {
        assert_eq!(against_the_arrows("stockade-cli", "stockade-console"), None);
        assert_eq!(
            against_the_arrows("stockade-gateway", "stockade-mqtt"),
            None
        );
        assert_eq!(against_the_arrows("stockade-e2e", "stockade-mqtt"), None);
    }

    #[test]
    fn upwards_and_sideways_are_refused() {
        assert!(against_the_arrows("stockade-store", "stockade-gateway").is_some());
        assert!(against_the_arrows("stockade-gateway", "stockade-vault").is_some());
        assert!(against_the_arrows("stockade-cli", "xtask").is_some());
        assert!(against_the_arrows("stockade-new", "stockade-profile").is_some());
    }

    #[test]
    fn only_the_gateway_and_its_peers_speak_mqtt() {
        assert!(against_the_arrows("stockade-console", "stockade-mqtt").is_some());
    }

    #[test]
    fn a_dependency_that_a_feature_only_mentions_is_not_built() {
        let manifest = serde_json::json!({
            "dependencies": [{ "name": "ring", "optional": true }, { "name": "libc", "optional": false }],
            "features": { "std": ["ring?/std"], "ring": ["dep:ring"], "fast": ["ring/fast"] },
        });
        assert!(idle(&manifest, &["std"], "ring"));
        assert!(!idle(&manifest, &["std", "ring"], "ring"));
        assert!(!idle(&manifest, &["fast"], "ring"));
        assert!(!idle(&manifest, &[], "libc"));
    }

    #[test]
    fn what_cargo_run_starts_is_said_by_its_default_members() {
        let metadata = serde_json::json!({
            "workspace_default_members": ["a", "b"],
            "packages": [
                { "id": "a", "default_run": null },
                { "id": "b", "default_run": "stockade" },
                { "id": "c", "default_run": "chore" },
            ],
        });
        assert_eq!(started(&metadata), ["stockade"]);
    }

    #[test]
    fn a_worldly_dependency_is_found_through_others() {
        let graph = graph(&[
            ("stockade-mqtt", "a"),
            ("a", "b"),
            ("b", "tokio"),
            ("stockade-mqtt", "aws-lc-rs"),
            ("aws-lc-rs", "libc"),
        ]);
        assert_eq!(
            graph.reached("stockade-mqtt", &WORLDLY),
            ["stockade-mqtt -> a -> b -> tokio"]
        );
    }
}
