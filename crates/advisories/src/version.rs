//! Which of two versions is newer, as whoever made them counts.

mod apk;
mod generic;
mod rpm;
mod semver;

use std::cmp::Ordering;

use stockade_controls::updates::Version as Debian;

/// How versions are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// dpkg's and opkg's: deb-version(7).
    Debian,
    /// rpm's: epoch, version and release, each by rpmvercmp.
    Rpm,
    /// apk's.
    Apk,
    /// Semantic Versioning 2.0.0; a missing minor or patch number is 0.
    Semver,
    /// Python's, PEP 440, as far as `a`, `b` and `rc` are before a release.
    Python,
    /// Everybody's: numbers count, what stands for before a release is before it, other letters are after it (`1.1.1n`).
    Generic,
}

impl Scheme {
    /// The scheme of an ecosystem of OSV's.
    pub fn of(ecosystem: &str) -> Self {
        match ecosystem.split(':').next().unwrap_or_default() {
            "Debian" | "Ubuntu" | "Echo" => Self::Debian,
            "Alpine" | "Wolfi" | "Chainguard" | "MinimOS" => Self::Apk,
            "AlmaLinux" | "Rocky Linux" | "Red Hat" | "SUSE" | "openSUSE" | "Mageia"
            | "Photon OS" | "openEuler" | "Azure Linux" | "Fedora" => Self::Rpm,
            "npm" | "crates.io" | "Go" | "Hex" | "Pub" | "SwiftURL" | "NuGet" => Self::Semver,
            "PyPI" => Self::Python,
            _ => Self::Generic,
        }
    }

    /// Which is newer; none if one of them is no version of this kind.
    pub fn compare(self, left: &str, right: &str) -> Option<Ordering> {
        let (left, right) = (left.trim(), right.trim());
        Some(match self {
            Self::Debian => Debian::read(left)?.cmp(&Debian::read(right)?),
            Self::Rpm => rpm::Version::read(left)?.cmp(&rpm::Version::read(right)?),
            Self::Apk => apk::Version::read(left)?.cmp(&apk::Version::read(right)?),
            Self::Semver => semver::Version::read(left)?.cmp(&semver::Version::read(right)?),
            Self::Python => generic::Version::python(left)?.cmp(&generic::Version::python(right)?),
            Self::Generic => generic::Version::read(left)?.cmp(&generic::Version::read(right)?),
        })
    }

    /// Whether this is a version of this kind.
    pub fn reads(self, version: &str) -> bool {
        self.compare(version, version).is_some()
    }
}

/// The longest version that is read.
const MOST: usize = 256;

/// Numbers of any length, as text without zeros before them.
fn number(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// Text in which the first run of digits, or of what is none, is split off.
fn run(text: &str, digits: bool) -> (&str, &str) {
    let end = text.find(|c: char| c.is_ascii_digit() != digits);
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    const ALL: [Scheme; 6] = [
        Scheme::Debian,
        Scheme::Rpm,
        Scheme::Apk,
        Scheme::Semver,
        Scheme::Python,
        Scheme::Generic,
    ];

    fn sorted(scheme: Scheme, versions: &[&str]) {
        for (at, old) in versions.iter().enumerate() {
            for (other, new) in versions.iter().enumerate() {
                let order = scheme.compare(old, new);
                assert_eq!(order, Some(at.cmp(&other)), "{scheme:?}: {old} {new}");
            }
        }
    }

    #[test]
    fn upstream_versions_are_ordered_as_their_makers_number_them() {
        // OpenSSL: letters, two of them when z is used up; alphas and betas before a release.
        sorted(
            Scheme::Generic,
            &[
                "0.9.8zh",
                "1.0.2",
                "1.0.2a",
                "1.0.2z",
                "1.0.2za",
                "1.0.2zd",
                "1.1.0-pre2",
                "1.1.0",
                "1.1.1",
                "1.1.1m",
                "1.1.1n",
                "3.0.0-alpha3",
                "3.0.0-beta1",
                "3.0.0",
                "3.0.10",
            ],
        );
        // dnsmasq, OpenSSH, sudo, hostapd, U-Boot, lighttpd, BusyBox.
        sorted(Scheme::Generic, &["2.89test1", "2.89rc1", "2.89", "2.90"]);
        sorted(Scheme::Generic, &["8.4p1", "9.1p1", "9.2p1", "9.10p1"]);
        sorted(Scheme::Generic, &["1.9.5", "1.9.5p1", "1.9.5p2", "1.9.6"]);
        sorted(Scheme::Generic, &["2.9", "2.10-devel", "2.10"]);
        sorted(Scheme::Generic, &["2022.01-rc4", "2022.01", "2022.04"]);
        assert_eq!(
            Scheme::Generic.compare("1.36", "1.36.0"),
            Some(Ordering::Equal)
        );
        assert_eq!(
            Scheme::Generic.compare("v1.2", "1.2"),
            Some(Ordering::Equal)
        );
        sorted(
            Scheme::Python,
            &[
                "1.0.dev1",
                "1.0a1",
                "1.0b2",
                "1.0rc1",
                "1.0",
                "1.0.post1",
                "1!0.1",
            ],
        );
    }

    #[test]
    fn semantic_versions_are_ordered_as_the_specification_says() {
        // SemVer 2.0.0, 11.4.
        sorted(
            Scheme::Semver,
            &[
                "1.0.0-alpha",
                "1.0.0-alpha.1",
                "1.0.0-alpha.beta",
                "1.0.0-beta",
                "1.0.0-beta.2",
                "1.0.0-beta.11",
                "1.0.0-rc.1",
                "1.0.0",
                "1.0.1",
                "1.2",
                "1.10.0",
                "v2",
            ],
        );
        assert_eq!(
            Scheme::Semver.compare("1.0.0+a", "1.0.0+b"),
            Some(Ordering::Equal)
        );
        for wrong in ["", "a", "1.2.3.4", "1..2", "1.1.1n", "1.0.0-", "1.0.0-é"] {
            assert!(!Scheme::Semver.reads(wrong), "{wrong}");
        }
    }

    #[test]
    fn apk_versions_are_ordered_as_apks_manual_says() {
        sorted(
            Scheme::Apk,
            &[
                "0.1_pre2",
                "0.1",
                "1.0_alpha",
                "1.0_alpha3",
                "1.0_beta1",
                "1.0_pre1",
                "1.0_rc1",
                "1.0",
                "1.0-r1",
                "1.0-r10",
                "1.0_git20240101",
                "1.0_p1",
                "1.0_p10",
                "1.0a",
                "1.0b",
                "1.0.1",
                "1.01",
                "1.1",
                "1.2",
                "1.10",
                "20240101",
            ],
        );
        for wrong in ["", "a", "1.", "1_x", "1-r", "1.0-1", "1.0a1", "1..2", "1 2"] {
            assert!(!Scheme::Apk.reads(wrong), "{wrong}");
        }
        assert!(Scheme::Apk.reads("1.2.3_git20240101~abcdef-r0"));
    }

    #[test]
    fn a_module_an_epoch_and_a_tilde_count_in_rpm() {
        sorted(
            Scheme::Rpm,
            &[
                "1.0~rc1-1",
                "1.0-1",
                "1.0-1.el9_1",
                "1.0-2",
                "1.0^git1-1",
                "1.0.1-1",
                "1.1-1.module_el8",
                "1:0.5-1",
                "4:5.32-481.el9",
            ],
        );
        // One without a release is asked for as a whole version.
        assert_eq!(Scheme::Rpm.compare("1.0", "1.0-5"), Some(Ordering::Equal));
        assert_eq!(
            Scheme::Rpm.compare("0:1.0-5", "1.0-5"),
            Some(Ordering::Equal)
        );
    }

    fn any_version() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9]{1,3}([.+~^_-]?([0-9]{1,2}|[a-c]|rc|p|z)){0,5}",
            "[0-2]:[0-9]{1,2}(\\.[0-9]){0,2}[~^+][a-z0-9]{0,3}-[0-9]{1,2}",
            "[0-9](\\.[0-9]{1,2}){0,3}[a-c]?(_(alpha|beta|pre|rc|git|p)[0-9]{0,2}){0,2}(-r[0-9])?",
        ]
    }

    proptest! {
        #[test]
        fn every_scheme_is_a_total_order(a in any_version(), b in any_version(), c in any_version()) {
            for scheme in ALL {
                let (Some(ab), Some(bc), Some(ac)) =
                    (scheme.compare(&a, &b), scheme.compare(&b, &c), scheme.compare(&a, &c))
                else { continue };
                prop_assert_eq!(scheme.compare(&a, &a), Some(Ordering::Equal));
                prop_assert_eq!(scheme.compare(&b, &a), Some(ab.reverse()));
                if ab != Ordering::Greater && bc != Ordering::Greater {
                    prop_assert_ne!(ac, Ordering::Greater, "{:?}: {} {} {}", scheme, a, b, c);
                }
            }
        }

        #[test]
        fn any_text_is_compared_or_refused(a in ".{0,30}", b in ".{0,30}") {
            for scheme in ALL {
                prop_assert_eq!(scheme.compare(&a, &b).map(Ordering::reverse), scheme.compare(&b, &a));
            }
        }
    }

    /// Pairs of versions that look like versions, from a fixed seed.
    fn pairs(count: usize) -> Vec<(String, String)> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |most: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let most = u64::try_from(most).expect("small");
            usize::try_from(state.checked_rem(most).expect("some")).expect("small")
        };
        let parts = [
            "0", "1", "2", "9", "10", "01", "a", "b", "rc", "~", "^", ".", ".", "+", "~", "z", "1",
        ];
        let mut version = || {
            let body: String = (0..next(6)).map(|_| parts[next(parts.len())]).collect();
            format!("{}:{}{body}-{}", next(2), next(3), next(3))
        };
        (0..count).map(|_| (version(), version())).collect()
    }

    fn ask(program: &str, arguments: &[&str], input: &str) -> Option<String> {
        use std::io::Write as _;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .ok()?;
        child.stdin.take()?.write_all(input.as_bytes()).ok()?;
        let out = child.wait_with_output().ok()?;
        out.status
            .success()
            .then(|| String::from_utf8(out.stdout).ok())?
    }

    fn agree(scheme: Scheme, who: &str, all: &[(String, String)], answers: &str) {
        assert_eq!(answers.lines().count(), all.len(), "{who} answers each");
        for ((left, right), theirs) in all.iter().zip(answers.lines()) {
            let Some(ours) = scheme.compare(left, right) else {
                assert_eq!(theirs, "none", "{who} takes {left} and {right}");
                continue;
            };
            let ours = match ours {
                Ordering::Less => "-1",
                Ordering::Equal => "0",
                Ordering::Greater => "1",
            };
            assert_eq!(ours, theirs, "{who}: {left} {right}");
        }
    }

    #[test]
    fn thousands_of_pairs_are_ordered_as_rpm_orders_them() {
        let all: Vec<_> = pairs(4_000)
            .into_iter()
            .filter(|(left, right)| [left, right].iter().all(|it| Scheme::Rpm.reads(it)))
            .collect();
        let list = all.iter().fold(String::new(), |list, (left, right)| {
            list + &format!("{{'{left}','{right}'}},")
        });
        // One process: rpm's own Lua goes through them all.
        let script = format!(
            "%{{lua:for _,p in ipairs({{{list}}}) do print(rpm.vercmp(p[1],p[2])..'\\n') end}}"
        );
        let Some(answers) = ask("rpm", &["--eval", &script], "") else {
            println!("skipped: no rpm to ask");
            return;
        };
        let answers: String = answers
            .split_whitespace()
            .fold(String::new(), |all, it| all + it + "\n");
        agree(Scheme::Rpm, "rpm", &all, &answers);
    }

    #[test]
    fn thousands_of_pairs_are_ordered_as_dpkg_orders_them() {
        let all: Vec<_> = pairs(4_000)
            .into_iter()
            .filter(|(left, right)| [left, right].iter().all(|it| Scheme::Debian.reads(it)))
            .collect();
        assert!(all.len() > 1_000, "{}", all.len());
        let input = all.iter().fold(String::new(), |list, (left, right)| {
            list + left + " " + right + "\n"
        });
        let script = "while(<>){chomp;my($l,$r)=split / /;print version_compare($l,$r),\"\\n\"}";
        let Some(answers) = ask("perl", &["-MDpkg::Version", "-e", script], &input) else {
            println!("skipped: no Dpkg::Version (libdpkg-perl) to ask");
            return;
        };
        agree(Scheme::Debian, "dpkg", &all, &answers);
    }
}
