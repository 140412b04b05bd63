//! Which of OSV's ecosystems a component is of, and by which name and version it is asked for there.

use std::collections::BTreeMap;

use stockade_controls::engine::Confidence;

use crate::component::{Component, Distribution, Kind, Purl};
use crate::read::CPE;
use crate::upstream;
use crate::version::Scheme;

/// What is asked of the data for a component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    pub(crate) ecosystem: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) scheme: Scheme,
    pub(crate) confidence: Confidence,
}

/// All questions for a component of which there is data, by its ecosystems with the newest day of each. An error says why there is
/// nobody to ask.
pub(crate) fn questions(
    component: &Component,
    known: &BTreeMap<String, String>,
) -> Result<Vec<Question>, String> {
    match component.kind {
        Kind::Dpkg | Kind::Apk | Kind::Rpm => packaged(component, known),
        Kind::Opkg => upstream(
            component,
            upstream::packaged(&component.name),
            upstream::unpacked(&component.version),
            known,
        ),
        Kind::Detected => upstream(component, &component.name, &component.version, known),
        Kind::Listed => listed(component, known),
    }
}

fn packaged(
    component: &Component,
    known: &BTreeMap<String, String>,
) -> Result<Vec<Question>, String> {
    let Some(distribution) = &component.distribution else {
        return Err("packages of a distribution that is not known".to_owned());
    };
    let named = format!("{} {}", distribution.id, distribution.version);
    let (wanted, prefix) = wanted(distribution).ok_or_else(|| {
        format!(
            "packages of {}: no advisories of it are known",
            named.trim()
        )
    })?;
    let fits = |it: &&String| match &prefix {
        true => wanted.iter().any(|wanted| it.starts_with(wanted.as_str())),
        false => wanted.contains(*it),
    };
    let found: Vec<&String> = known.keys().filter(fits).collect();
    // Only what is for this release tells of it.
    if !found
        .iter()
        .any(|it| it.contains(':') || !wanted.iter().any(|it| it.contains(':')))
    {
        return Err(format!(
            "packages of {}: no data of it was imported",
            named.trim()
        ));
    }
    let (source, version) = component.spoken();
    let (source, version) = (source.to_owned(), version.to_owned());
    let own = (component.name.clone(), component.version.clone());
    let asked = match distribution.id.as_str() {
        // Their advisories name binary packages; the source's version has no epoch.
        "almalinux" | "rhel" | "centos" | "fedora" | "mageia" | "azurelinux" => vec![own],
        // Theirs name sources, and a few both.
        "wolfi" | "chainguard" | "rocky" => vec![(source, version), own],
        _ => vec![(source, version)],
    };
    let mut all = Vec::new();
    for ecosystem in found {
        for (name, version) in &asked {
            let question = Question {
                ecosystem: ecosystem.clone(),
                name: name.clone(),
                version: version.clone(),
                scheme: Scheme::of(ecosystem),
                confidence: match distribution.id.as_str() {
                    "raspbian" => Confidence::Medium,
                    _ => component.confidence,
                },
            };
            if !all.contains(&question) {
                all.push(question);
            }
        }
    }
    Ok(all)
}

/// The ecosystems of a distribution, and whether they are only how their names begin.
fn wanted(distribution: &Distribution) -> Option<(Vec<String>, bool)> {
    let version = distribution.version.as_str();
    let mut parts = version.split('.');
    let major = parts.next().unwrap_or_default();
    let minor = parts.next();
    let exact = |all: Vec<String>| Some((all, false));
    match distribution.id.as_str() {
        "debian" | "raspbian" => exact(vec![format!("Debian:{major}"), "Debian".to_owned()]),
        "ubuntu" => exact(vec![
            format!("Ubuntu:{version}:LTS"),
            format!("Ubuntu:{version}"),
        ]),
        "alpine" => exact(vec![format!("Alpine:v{major}.{}", minor?)]),
        "almalinux" => exact(vec![format!("AlmaLinux:{major}")]),
        "rocky" => exact(vec![format!("Rocky Linux:{major}")]),
        "rhel" => Some((
            vec![
                format!("Red Hat:enterprise_linux:{major}:"),
                format!("Red Hat:rhel_eus:{version}:"),
            ],
            true,
        )),
        "opensuse-leap" => exact(vec![format!("openSUSE:Leap {version}")]),
        "opensuse-tumbleweed" => exact(vec!["openSUSE:Tumbleweed".to_owned()]),
        "sles" => {
            let pack = minor.map(|it| format!(" SP{it}")).unwrap_or_default();
            exact(
                [
                    "Linux Enterprise Server",
                    "Linux Enterprise Module for Basesystem",
                    "Linux Enterprise Module for Server Applications",
                ]
                .map(|it| format!("SUSE:{it} {major}{pack}"))
                .to_vec(),
            )
        }
        "mageia" => exact(vec![format!("Mageia:{major}")]),
        "photon" => exact(vec![format!("Photon OS:{version}")]),
        "openEuler" => exact(vec![
            format!("openEuler:{version}"),
            format!("openEuler:{version}-LTS"),
        ]),
        "azurelinux" => exact(vec![format!("Azure Linux:{major}")]),
        "wolfi" => exact(vec!["Wolfi".to_owned()]),
        "chainguard" => exact(vec!["Chainguard".to_owned()]),
        _ => None,
    }
}

/// By the maker's name and version only: backported fixes are not seen.
fn upstream(
    component: &Component,
    name: &str,
    version: &str,
    known: &BTreeMap<String, String>,
) -> Result<Vec<Question>, String> {
    let own = component.cpe.as_ref();
    let own = own.map(|(vendor, product)| format!("{vendor}:{product}"));
    let products = upstream::products(name, own);
    let question = |ecosystem: &str, name: String| Question {
        ecosystem: ecosystem.to_owned(),
        name,
        version: version.to_owned(),
        scheme: Scheme::Generic,
        confidence: Confidence::Low,
    };
    let mut all = Vec::new();
    if known.contains_key(CPE) {
        all.extend(products.into_iter().map(|it| question(CPE, it)));
    }
    for ecosystem in ["Bitnami", "OSS-Fuzz"] {
        if known.contains_key(ecosystem) {
            all.push(question(ecosystem, name.to_owned()));
        }
    }
    if all.is_empty() {
        return Err("software known by its version string: no data of the NVD or of CVE records was imported".to_owned());
    }
    Ok(all)
}

fn listed(
    component: &Component,
    known: &BTreeMap<String, String>,
) -> Result<Vec<Question>, String> {
    let purl: Purl = component
        .purl
        .parse()
        .map_err(|_| "no package URL".to_owned())?;
    let ecosystem = match purl.kind.as_str() {
        "pypi" => "PyPI",
        "npm" => "npm",
        "cargo" => "crates.io",
        "golang" => "Go",
        "gem" => "RubyGems",
        "maven" => "Maven",
        "nuget" => "NuGet",
        "composer" => "Packagist",
        "hex" => "Hex",
        "pub" => "Pub",
        "conan" => "ConanCenter",
        "bitnami" => "Bitnami",
        other => return Err(format!("package URLs of the type {other}")),
    };
    if !known.contains_key(ecosystem) {
        return Err(format!(
            "packages of {ecosystem}: no data of it was imported"
        ));
    }
    let name = match ecosystem {
        // PEP 503
        "PyPI" => component.name.to_lowercase().replace(['_', '.'], "-"),
        _ => component.name.clone(),
    };
    Ok(vec![Question {
        ecosystem: ecosystem.to_owned(),
        name,
        version: component.version.clone(),
        scheme: Scheme::of(ecosystem),
        confidence: component.confidence,
    }])
}
