//! Something that speaks the helper's protocol: one device, as the pages show it.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stockade_api::frame;
use stockade_api::helper::{
    Answer, Authority, Event, Outcome, PortsState, Progress, Refusal, Refused, Request, Status,
    StepState, Told as NewPassword, Tried, UpdateStatus, Upnp, UpnpMapping, UpnpOffer, UsbSeen,
    Way, Weight,
};
use stockade_controls::engine::{
    Account, Action, Confidence, Evidence, FindingReport, Plan, PlannedStep, Report, RuleReport,
    Severity, Stage, Standard, Standing, Step,
};
use stockade_controls::updates::{Looked, Offered, Returned, Slot, State};

/// The password on the label.
pub(crate) const FIRST: &str = "first-from-the-label";

/// What was told to it.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// How many passwords it had to check.
    pub(crate) passwords: AtomicU32,
    /// What was asked, by the name of the request.
    pub(crate) asked: Mutex<Vec<String>>,
}

struct Device {
    password: String,
    must_change: bool,
    upnp: Option<Instant>,
    updates: Option<UpdateStatus>,
    kept: bool,
    told: Arc<Told>,
}

/// Listens there until the test ends.
pub(crate) fn serve(socket: &Path) -> Arc<Told> {
    let listener = UnixListener::bind(socket).unwrap();
    let told = Arc::new(Told::default());
    let mut device = Device {
        password: FIRST.to_owned(),
        must_change: true,
        upnp: None,
        updates: Some(updates()),
        kept: false,
        told: Arc::clone(&told),
    };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Ok(Some(request)) = frame::read::<Request>(&mut stream) else {
                continue;
            };
            let name = format!("{request:?}");
            let name = name.split([' ', '{']).next().unwrap_or_default().to_owned();
            device.told.asked.lock().unwrap().push(name);
            for answer in device.answer(request) {
                let _gone = frame::write(&mut stream, &answer);
            }
        }
    });
    told
}

impl Device {
    /// Whether it is the password, said to come from where it came from.
    fn right(&self, tried: &Tried) -> bool {
        self.told.passwords.fetch_add(1, Ordering::Relaxed);
        let here = tried.from.is_some_and(|it| it.is_loopback());
        here && tried.secret.expose() == self.password
    }

    fn answer(&mut self, request: Request) -> Vec<Answer> {
        let wrong = || refused(Refusal::Password, "That is not the password.");
        let one = match request {
            Request::LogIn { password } if self.right(&password) => Answer::LoggedIn {
                must_change: self.must_change,
            },
            Request::ChangePassword { old, .. } if !self.right(&old) => wrong(),
            Request::ChangePassword { new, .. } => {
                new.expose().clone_into(&mut self.password);
                self.must_change = false;
                Answer::Done
            }
            Request::Status => Answer::Status(self.status()),
            Request::Assess { .. } => Answer::Report {
                report: report(),
                age: 42,
            },
            Request::Plan => Answer::Plan {
                plan: plan(),
                digest: "d1".to_owned(),
            },
            Request::Apply {
                authority: Authority::Password(password),
                ..
            } if self.right(&password) => return applied(),
            Request::UpnpOn {
                password, seconds, ..
            } if self.right(&password) => {
                self.upnp = Some(Instant::now() + Duration::from_secs(seconds));
                Answer::Upnp { seconds }
            }
            Request::Update {
                what,
                authority: Authority::Password(password),
            } if self.right(&password) => {
                let updates = self.updates.as_mut().expect("slots");
                updates.doing = Some(format!("{what:?}"));
                Answer::Done
            }
            Request::Ports => Answer::Ports(self.ports()),
            Request::KeepPorts {
                authority: Authority::Password(password),
            } if self.right(&password) => {
                self.kept = true;
                Answer::Done
            }
            Request::UpnpOff => {
                self.upnp = None;
                Answer::Done
            }
            Request::Events { .. } => Answer::Events {
                events: events(),
                oldest: 2,
            },
            _ => wrong(),
        };
        vec![one]
    }

    /// A stick that was kept out, a spare interface that is up, and a plan on trial.
    fn ports(&self) -> PortsState {
        let usb = |port: &str, what: &str, works, allowed, why: &str| UsbSeen {
            port: port.to_owned(),
            what: what.to_owned(),
            works,
            allowed,
            why: why.to_owned(),
        };
        PortsState {
            enforced: true,
            usb: vec![
                usb(
                    "1-1",
                    "046d:c31c `Keyboard` of class 03",
                    true,
                    true,
                    "allowed by `class:03`",
                ),
                usb(
                    "1-2",
                    "46f4:0001 `<b>x</b>` of class 08",
                    false,
                    false,
                    "storage may not be plugged in",
                ),
            ],
            ways: vec![Way {
                kind: "network interface".to_owned(),
                name: "eth1".to_owned(),
                open: true,
                allowed: false,
            }],
            trial: (!self.kept).then_some(42),
        }
    }

    fn status(&self) -> Status {
        let left = self
            .upnp
            .map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.filter(|left| !left.is_zero());
        Status {
            device: "porch".to_owned(),
            model: "cam-2".to_owned(),
            profile_version: Some(7),
            must_change: self.must_change,
            upnp: left.map(|left| Upnp {
                interface: "eth0".to_owned(),
                seconds: left.as_secs() + u64::from(left.subsec_nanos() > 0),
                mappings: vec![UpnpMapping {
                    protocol: "tcp".to_owned(),
                    external: 40_000,
                    internal: ("192.0.2.9".parse().unwrap(), 443),
                }],
            }),
            trial: None,
            last_event: 3,
            done: 4,
            fronts: Vec::new(),
            offer: Some(UpnpOffer {
                interfaces: vec!["eth0".to_owned(), "wlan0".to_owned()],
                most: 3_600,
                possible: vec![
                    "A program may open TCP ports `40000-40010` from outside to port `443` of its own machine.".to_owned(),
                ],
            }),
            troubles: vec!["The disk is full: `/var/lib/stockade/helper` takes nothing more.".to_owned()],
            tamper: None,
            updates: self.updates.clone(),
        }
    }
}

/// Two slots, a newer system, and one that did not stay.
fn updates() -> UpdateStatus {
    let slot = |name: &str, version, running, good| Slot {
        name: name.to_owned(),
        version,
        running,
        good,
    };
    UpdateStatus {
        state: State {
            looked: Some(Looked {
                at: 1_795_392_000,
                source: "https://updates.example.org/cam-2".to_owned(),
            }),
            failing: Some("`updates.example.org` does not answer".to_owned()),
            running: Some(11),
            offered: Some(Offered {
                version: 13,
                name: Some("2026.11 <i>x</i>".to_owned()),
                security: true,
                since: 1_795_305_600,
            }),
            slots: vec![
                slot("a", Some(11), true, true),
                slot("b", Some(12), false, false),
            ],
            returned: Some(Returned {
                version: 12,
                at: 1_795_219_200,
                why: "service `camera` did not run".to_owned(),
            }),
            ..State::new()
        },
        doing: None,
        failed: Some("the spool is full".to_owned()),
    }
}

fn refused(kind: Refusal, why: &str) -> Answer {
    Answer::Refused(Refused {
        kind,
        why: why.to_owned(),
        next: "Try again.".to_owned(),
    })
}

fn rule(id: &str, title: &str, state: Standard, note: &str) -> RuleReport {
    RuleReport {
        id: id.to_owned(),
        title: title.to_owned(),
        why: "Whoever knows it is in.".to_owned(),
        advice: "Choose another one with `passwd`".to_owned(),
        standards: vec!["EN 303 645 5.1-1".to_owned()],
        state,
        note: note.to_owned(),
        findings: Vec::new(),
    }
}

fn finding(what: &str, mendable: bool) -> FindingReport {
    FindingReport {
        subject: "account guest".to_owned(),
        what: what.to_owned(),
        severity: Severity::Critical,
        confidence: Confidence::High,
        evidence: vec![Evidence::at(
            "/etc/shadow:3",
            "a password that everybody knows",
        )],
        mendable,
        person: (!mendable).then(|| "Ask whoever made the device.".to_owned()),
    }
}

fn report() -> Report {
    let mut password = rule(
        "credentials/default-password",
        "No account has a default password",
        Standard::Broken,
        "",
    );
    password.findings = vec![finding(
        "The account `guest` has the password of its maker: <b>guest</b>.",
        true,
    )];
    let mut version = rule(
        "programs/compiler",
        "No compiler is there",
        Standard::Broken,
        "",
    );
    version.findings = vec![finding("`gcc` is installed.", false)];
    Report {
        form: 1,
        model: "cam-2".to_owned(),
        profile_version: 7,
        standing: Standing::Live,
        at: 1_795_396_500,
        rules: vec![
            rule(
                "comms/key-modes",
                "Only the key process reads the keys",
                Standard::Passed,
                "2 keys",
            ),
            rule(
                "protocols/old-tls",
                "No listener takes old TLS",
                Standard::CannotTell,
                "`tcp 0.0.0.0:8443` does not answer",
            ),
            rule(
                "upnp/off",
                "Nothing listens for UPnP",
                Standard::Passed,
                "9 listeners",
            ),
            rule(
                "firewall/in-force",
                "The profile's rules are in force",
                Standard::Passed,
                "",
            ),
            password,
            version,
        ],
    }
}

fn plan() -> Plan {
    let name = "guest".parse().unwrap();
    let change = Account::LockPassword;
    Plan {
        steps: vec![PlannedStep {
            step: Step::risky(
                Stage::Change,
                Action::Account { name, change },
                "Lock the password of `guest`",
                "Whoever logs in as `guest` can no longer do so.",
            ),
            mends: vec!["credentials/default-password account guest".to_owned()],
        }],
    }
}

fn applied() -> Vec<Answer> {
    let step = |state| {
        Answer::Progress(Progress {
            step: 1,
            of: 1,
            says: "Lock the password of `guest`".to_owned(),
            state,
        })
    };
    let outcome = Outcome {
        done: 1,
        failed: Vec::new(),
        told: vec![NewPassword {
            account: "admin".to_owned(),
            password: "told-this-once".to_owned().into(),
        }],
    };
    vec![
        step(StepState::Begun),
        step(StepState::Done),
        Answer::Applied(outcome),
    ]
}

fn events() -> Vec<Event> {
    let event = |number, weight, by: &str, kind: &str, says: &str| Event {
        number,
        at: 1_795_396_500 + number,
        weight,
        by: by.to_owned(),
        kind: kind.to_owned(),
        says: says.to_owned(),
    };
    vec![
        event(
            2,
            Weight::Change,
            "owner",
            "password",
            "The administrator's password was changed.",
        ),
        event(
            3,
            Weight::Warning,
            "helper",
            "blocked",
            "Blocked: `tcp port 23` from 198.51.100.7, <i>3</i> times.",
        ),
    ]
}
