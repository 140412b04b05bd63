//! A piece of software, and its package URL (purl, ECMA-427).

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use stockade_controls::engine::Confidence;
use stockade_controls::programs::Package;

/// Who says that it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The database of dpkg.
    Dpkg,
    /// The database of opkg.
    Opkg,
    /// The database of apk.
    Apk,
    /// The database of rpm.
    Rpm,
    /// A version string in a file.
    Detected,
    /// A bill of materials, and a package URL of another kind in it.
    Listed,
}

/// A distribution, by the words of its `os-release`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Distribution {
    /// `ID`: `debian`.
    pub id: String,
    /// `VERSION_ID`: `12`; empty where it has none.
    pub version: String,
}

/// A piece of software that is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its version, as whoever knows it writes it; rpm's with the epoch before it.
    pub version: String,
    /// The name and the version of the source package that it was built from, where a package manager knows.
    pub source: Option<(String, String)>,
    /// Who says that it is there.
    pub kind: Kind,
    /// The distribution that the package is of.
    pub distribution: Option<Distribution>,
    /// The package URL.
    pub purl: String,
    /// Its licence, in the database's words; empty where that has none.
    pub licence: String,
    /// Vendor and product, where its maker names them as a CPE does.
    pub cpe: Option<(String, String)>,
    /// Where that was read: a file, or a file and the offset in it.
    pub place: String,
    /// How sure name and version are.
    pub confidence: Confidence,
}

impl Component {
    /// A package as its manager's database has it.
    pub fn package(
        kind: Kind,
        distribution: Option<&Distribution>,
        (name, package): (&str, &Package),
        place: &str,
    ) -> Self {
        let source = package.source.as_ref().map(|(source, version)| {
            let version = version.as_ref().unwrap_or(&package.version);
            (source.clone(), version.clone())
        });
        let mut purl = Purl {
            kind: match kind {
                Kind::Dpkg => "deb",
                Kind::Apk => "apk",
                Kind::Rpm => "rpm",
                Kind::Opkg => "opkg",
                Kind::Detected | Kind::Listed => "generic",
            }
            .to_owned(),
            namespace: distribution.map(|it| it.id.clone()).unwrap_or_default(),
            name: name.to_owned(),
            version: package.version.clone(),
            qualifiers: BTreeMap::new(),
        };
        let mut qualify = |key: &str, value: String| {
            if !value.is_empty() {
                purl.qualifiers.insert(key.to_owned(), value);
            }
        };
        qualify("arch", package.architecture.clone());
        if let Some(it) = distribution.filter(|it| !it.version.is_empty()) {
            qualify("distro", format!("{}-{}", it.id, it.version));
        }
        if let Some((source, version)) = &source {
            if *version != package.version {
                qualify("upstream", format!("{source}@{version}"));
            } else if source != name {
                qualify("upstream", source.clone());
            }
        }
        if let Some((epoch, rest)) = package.version.split_once(':')
            && kind == Kind::Rpm
        {
            qualify("epoch", epoch.to_owned());
            rest.clone_into(&mut purl.version);
        }
        Self {
            name: name.to_owned(),
            version: package.version.clone(),
            source,
            kind,
            distribution: distribution.cloned(),
            purl: purl.to_string(),
            licence: package.licence.clone(),
            cpe: None,
            place: place.to_owned(),
            confidence: Confidence::High,
        }
    }

    /// Software of which only a version string tells.
    pub fn detected(name: &str, version: &str, place: impl Into<String>) -> Self {
        let purl = Purl {
            kind: "generic".to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            ..Purl::default()
        };
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            source: None,
            kind: Kind::Detected,
            distribution: None,
            purl: purl.to_string(),
            licence: String::new(),
            cpe: None,
            place: place.into(),
            confidence: Confidence::Low,
        }
    }

    /// What a package URL names; none if it has no version.
    pub fn of_purl(purl: &Purl, place: &str) -> Option<Self> {
        let kind = match purl.kind.as_str() {
            "deb" => Kind::Dpkg,
            "apk" => Kind::Apk,
            "rpm" => Kind::Rpm,
            "opkg" => Kind::Opkg,
            "generic" => Kind::Detected,
            _ => Kind::Listed,
        };
        if purl.version.is_empty() {
            return None;
        }
        let qualifier = |key: &str| purl.qualifiers.get(key);
        let version = match qualifier("epoch").filter(|_| kind == Kind::Rpm) {
            Some(epoch) => format!("{epoch}:{}", purl.version),
            None => purl.version.clone(),
        };
        let distribution = (!purl.namespace.is_empty()
            && !matches!(kind, Kind::Listed | Kind::Detected))
        .then(|| {
            let named = qualifier("distro").map(String::as_str).unwrap_or_default();
            let of = named.strip_prefix(purl.namespace.as_str());
            let version = match of.and_then(|rest| rest.strip_prefix('-')) {
                Some(version) => version,
                None => named.rsplit_once('-').map_or("", |(_, version)| version),
            };
            Distribution {
                id: purl.namespace.clone(),
                version: version.to_owned(),
            }
        });
        let source = match qualifier("upstream").map(|it| it.split_once('@').ok_or(it)) {
            Some(Ok((source, version))) => Some((source.to_owned(), version.to_owned())),
            Some(Err(source)) => Some((source.clone(), version.clone())),
            None => None,
        };
        let name = match kind {
            Kind::Listed if !purl.namespace.is_empty() => {
                let between = if purl.kind == "maven" { ':' } else { '/' };
                format!("{}{between}{}", purl.namespace, purl.name)
            }
            _ => purl.name.clone(),
        };
        Some(Self {
            name,
            version,
            source,
            kind,
            distribution,
            purl: purl.to_string(),
            licence: String::new(),
            cpe: None,
            place: place.to_owned(),
            confidence: match kind {
                Kind::Detected => Confidence::Low,
                _ => Confidence::Medium,
            },
        })
    }

    /// The package that advisories and people speak of: the source's name and version where one is known.
    pub fn spoken(&self) -> (&str, &str) {
        self.source.as_ref().map_or(
            (self.name.as_str(), self.version.as_str()),
            |(name, version)| (name.as_str(), version.as_str()),
        )
    }
}

/// A package URL: `pkg:type/namespace/name@version?key=value`. What stands behind `#` is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Purl {
    /// The type: `deb`.
    pub kind: String,
    /// The namespace, its parts joined by `/`: `debian`.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The version; empty if it names none.
    pub version: String,
    /// The qualifiers.
    pub qualifiers: BTreeMap<String, String>,
}

/// Text that is no package URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a package URL")]
pub struct NotAPurl(String);

impl fmt::Display for Purl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkg:{}", self.kind)?;
        for part in self.namespace.split('/').filter(|it| !it.is_empty()) {
            f.write_char('/')?;
            encode(part, f)?;
        }
        f.write_char('/')?;
        encode(&self.name, f)?;
        if !self.version.is_empty() {
            f.write_char('@')?;
            encode(&self.version, f)?;
        }
        let mut between = '?';
        for (key, value) in &self.qualifiers {
            write!(f, "{between}{key}=")?;
            encode(value, f)?;
            between = '&';
        }
        Ok(())
    }
}

impl FromStr for Purl {
    type Err = NotAPurl;

    fn from_str(text: &str) -> Result<Self, NotAPurl> {
        let wrong = || NotAPurl(text.chars().take(200).collect());
        let rest = text.strip_prefix("pkg:").ok_or_else(wrong)?;
        let rest = rest.trim_start_matches('/');
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let (rest, qualifiers) = rest.split_once('?').unwrap_or((rest, ""));
        let (kind, rest) = rest.split_once('/').ok_or_else(wrong)?;
        let (path, version) = match rest.rsplit_once('@') {
            // `pkg:npm/@scope/name` has a namespace that begins so.
            Some((path, version)) if !path.is_empty() && !version.contains('/') => (path, version),
            _ => (rest, ""),
        };
        let path = path.trim_end_matches('/');
        let (namespace, name) = path.rsplit_once('/').unwrap_or(("", path));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-');
        if kind.is_empty() || name.is_empty() || !kind.chars().all(plain) {
            return Err(wrong());
        }
        let read = |text: &str| decode(text).ok_or_else(wrong);
        let mut all = BTreeMap::new();
        for pair in qualifiers.split('&').filter(|it| !it.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
            if !key.chars().all(|c| plain(c) || c == '_') {
                return Err(wrong());
            }
            all.insert(key.to_ascii_lowercase(), read(value)?);
        }
        Ok(Self {
            kind: kind.to_ascii_lowercase(),
            namespace: read(namespace.trim_matches('/'))?,
            name: read(name)?,
            version: read(version)?,
            qualifiers: all,
        })
    }
}

fn encode(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                f.write_char(char::from(byte))?;
            }
            other => write!(f, "%{other:02X}")?,
        }
    }
    Ok(())
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let pair = [bytes.next()?, bytes.next()?];
            let digits = std::str::from_utf8(&pair).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn package_urls_are_read_and_written_as_others_do() {
        for (text, same) in [
            (
                "pkg:deb/debian/perl-base@5.36.0-7%2Bdeb12u3?arch=amd64&distro=debian-12&upstream=perl",
                true,
            ),
            (
                "pkg:rpm/almalinux/openssl-libs@3.5.1-4.el9?arch=x86_64&distro=almalinux-9.6&epoch=1",
                true,
            ),
            ("pkg:npm/%40angular/core@12.0.0", true),
            ("pkg:npm/@angular/core@12.0.0", false),
            ("pkg:golang/google.golang.org/grpc@1.50.0#sub", false),
            ("pkg:generic/busybox@1.36.1", true),
        ] {
            let purl: Purl = text.parse().expect(text);
            assert_eq!(purl.to_string() == text, same, "{purl}");
            assert_eq!(purl.to_string().parse(), Ok(purl));
        }
        let rpm: Purl = "pkg:rpm/almalinux/openssl-libs@3.5.1-4.el9?epoch=1&distro=almalinux-9.6"
            .parse()
            .expect("one");
        let rpm = Component::of_purl(&rpm, "x").expect("one");
        assert_eq!(rpm.version, "1:3.5.1-4.el9");
        assert_eq!(rpm.distribution.expect("one").version, "9.6");
        for wrong in [
            "",
            "pkg:",
            "pkg:deb",
            "pkg:deb/",
            "pkg:d b/x",
            "pkg:a/b%zz",
            "pkg:a/b?c",
        ] {
            assert!(wrong.parse::<Purl>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_a_package_is_comes_back_from_its_url(
            name in "[a-z][a-z0-9+.-]{0,8}",
            version in "[0-9]{1,3}(\\.[0-9]){0,2}[+~a-z0-9-]{0,5}",
            source in proptest::option::of(("[a-z]{1,5}", proptest::option::of("[0-9]:[0-9.+~-]{1,8}"))),
            epoch in proptest::option::of(0_u8..9),
            kind in prop_oneof![Just(Kind::Dpkg), Just(Kind::Rpm), Just(Kind::Apk), Just(Kind::Opkg)],
        ) {
            let mut package = Package::default();
            package.version = match epoch {
                Some(epoch) => format!("{epoch}:{version}"),
                None => version,
            };
            package.source = source.clone();
            package.architecture = "x".to_owned();
            let distribution = Distribution { id: "a-b".to_owned(), version: "1.2".to_owned() };
            let made = Component::package(kind, Some(&distribution), (&name, &package), "p");
            let read = Component::of_purl(&made.purl.parse().expect("one"), "p").expect("one");
            prop_assert_eq!(made.spoken(), read.spoken());
            prop_assert_eq!(
                (&made.name, &made.version, &made.distribution),
                (&read.name, &read.version, &read.distribution)
            );
        }

        #[test]
        fn any_text_is_a_package_url_or_none(text in "(pkg:)?[a-z@/?&=%#0-9.]{0,40}") {
            if let Ok(purl) = text.parse::<Purl>() {
                prop_assert_eq!(purl.to_string().parse(), Ok(purl));
            }
        }
    }
}
