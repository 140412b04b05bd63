//! A console with a real registry, store and clock of its own, and a browser that does as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use stockade_console::{Admin, Command, ConsoleState, Info, Peer, admin_router, router};
use stockade_gateway::events::{EventLog, Happening, Outcome};
use stockade_gateway::evidence::{EvidenceSettings, Judge};
use stockade_gateway::link::{BearerStatus, LinkStatus};
use stockade_gateway::name::{DeviceId, DeviceName, ModelName, TrustDomain};
use stockade_gateway::registry::{Issued, Registry, RegistrySettings};
use stockade_gateway::rollout::Rollouts;
use stockade_gateway::tls::Clock;
use stockade_profile::{Control, Profile};
use stockade_store::telemetry::Record;
use stockade_store::{Bus, Journal, JournalOptions, Sqlite, Store, Stream};
use stockade_vault::{Forgotten, Keys, Profiles, RootPlace, SealedBus, Vault};
use time::{Duration, OffsetDateTime};
use tokio::sync::Mutex;
use tower::ServiceExt as _;

pub(crate) const PROFILE: &str = include_str!("cam-2.toml");
pub(crate) const PASSWORD: &str = "walnut ferry quilt ember";

/// 2026-11-22 18:00:00 UTC.
const START: i64 = 1_795_370_400;

pub(crate) struct Bench {
    pub(crate) pages: Router,
    pub(crate) api: Router,
    pub(crate) state: ConsoleState,
    bus: Arc<dyn Bus>,
    pub(crate) first: String,
    pub(crate) sent: Arc<Mutex<Vec<Command>>>,
    seconds: Arc<AtomicI64>,
    _dir: tempfile::TempDir,
}

/// Profiles as the registry has them.
#[derive(Debug)]
struct Installed(Arc<Registry>);

impl Profiles for Installed {
    fn profile(&self, model: &str) -> Option<Arc<Profile>> {
        self.0.profile(&ModelName::new(model).ok()?)
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The session's secret, as the page's forms carry it.
    pub(crate) fn csrf(&self) -> String {
        let mark = "name=\"csrf\" value=\"";
        let at = self.text.find(mark).expect("a form") + mark.len();
        self.text[at..]
            .split('"')
            .next()
            .unwrap_or_default()
            .to_owned()
    }
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

pub(crate) fn encode(fields: &[(&str, &str)]) -> String {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|b| {
                if b.is_ascii_alphanumeric() {
                    char::from(b).to_string()
                } else {
                    format!("%{b:02X}")
                }
            })
            .collect()
    };
    fields
        .iter()
        .map(|(k, v)| format!("{}={}", escape(k), escape(v)))
        .collect::<Vec<_>>()
        .join("&")
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(Sqlite::open(&dir.path().join("state.sqlite")).unwrap());
        let seconds = Arc::new(AtomicI64::new(START));
        let clock = {
            let seconds = Arc::clone(&seconds);
            Clock::new(move || {
                OffsetDateTime::from_unix_timestamp(seconds.load(Ordering::SeqCst)).unwrap()
            })
        };
        let events = Arc::new(EventLog::default());
        let registry = Registry::open(
            Arc::clone(&store),
            Arc::clone(&events),
            RegistrySettings::default(),
        )
        .unwrap();
        let first = Admin::first_start(&*store, clock.now())
            .unwrap()
            .unwrap()
            .expose()
            .to_owned();
        let journal = dir.path().join("journal");
        let journal = Arc::new(Journal::open(&journal, JournalOptions::default()).unwrap());
        let registry = Arc::new(registry);
        let profiles: Arc<dyn Profiles> = Arc::new(Installed(Arc::clone(&registry)));
        let root = RootPlace::File(dir.path().join("root.key"));
        let keys = Arc::new(Keys::open(Arc::clone(&store), root, dir.path()).unwrap());
        let sealed = SealedBus::open(
            journal,
            Arc::clone(&store),
            Arc::clone(&keys),
            Arc::clone(&profiles),
        );
        let bus: Arc<dyn Bus> = Arc::new(sealed.unwrap());
        let vault = Vault::open(
            Arc::clone(&store),
            Arc::clone(&bus),
            keys,
            dir.path(),
            profiles,
        )
        .unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let outbox = Arc::clone(&sent);
        let judge = Judge::open(
            Arc::clone(&store),
            Arc::clone(&bus),
            Arc::clone(&registry),
            EvidenceSettings::default(),
            &dir.path().join("signer"),
            clock.now(),
        );
        let rollouts = Rollouts::open(
            Arc::clone(&store),
            Arc::clone(&registry),
            Arc::new(judge.unwrap()),
        );
        let bearer = BearerStatus::new("serial:/dev/ttyACM0".to_owned(), Arc::clone(&events));
        let state = ConsoleState {
            rollouts: Some(Arc::new(rollouts.unwrap())),
            registry,
            events,
            judge: None,
            grants: None,
            link: Some(Arc::new(LinkStatus::new(vec![bearer]))),
            vault: Some(Arc::new(vault)),
            store,
            publisher: Some(Arc::new(move |command| {
                let outbox = Arc::clone(&outbox);
                Box::pin(async move {
                    if command.topic.contains('#') {
                        return Err("`#` is no part of a topic's name".to_owned());
                    }
                    outbox.lock().await.push(command);
                    Ok(())
                })
            })),
            forget: Some(Arc::new(|_device| {
                let gone = Forgotten {
                    sessions: 1,
                    waiting: 3,
                    retained: 2,
                    cleared: true,
                    ..Forgotten::default()
                };
                Box::pin(std::future::ready(Ok(gone)))
            })),
            signers: Arc::new([]),
            info: Info {
                version: "0.0.0-test".to_owned(),
                trust_domain: TrustDomain::new("stockade.local").unwrap(),
                ca_fingerprint: "5A:1B:0C:77:42:9D:E3:10".to_owned(),
                est_url: "https://gateway.local:8444/.well-known/est".to_owned(),
                mqtt_address: "gateway.local:8883".to_owned(),
            },
            clock,
        };
        let (pages, api) = (router(state.clone()), admin_router(state.clone()));
        Self {
            pages,
            api,
            state,
            bus,
            first,
            sent,
            seconds,
            _dir: dir,
        }
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.state.clock.now()
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.seconds
            .fetch_add(time.whole_seconds(), Ordering::SeqCst);
    }

    /// A fleet with a device in each state, and events of each kind.
    pub(crate) fn populate(&self) {
        let registry = &self.state.registry;
        let now = self.now();
        registry
            .install_profile(stockade_profile::parse(PROFILE).unwrap(), now)
            .unwrap();
        let peer = "192.0.2.17:50112".parse().unwrap();
        for (n, id) in ["porch", "garden", "attic", "cellar", "gate"]
            .into_iter()
            .enumerate()
        {
            let n = u8::try_from(n).unwrap();
            let name = DeviceName::new("cam-2", id).unwrap();
            let code = registry.add(&name, now).unwrap();
            if id == "gate" {
                continue;
            }
            let proof = registry
                .check_code(id, code.reveal(), [192, 0, 2, 17].into(), now)
                .unwrap();
            let issued = Issued {
                der: vec![n],
                fingerprint: [n; 32],
                not_after: now + Duration::days(7),
            };
            registry
                .enrol(proof, [n; 32], now, Box::new(move |_name| Ok(issued)))
                .unwrap();
            registry.admit(&name, &[n; 32], now).unwrap();
            registry.seen(&name.id, now, peer);
        }
        let id = |text| DeviceId::new(text).unwrap();
        self.pass(Duration::seconds(50));
        for _ in 0..3 {
            let reason = "may not publish to `cam-2/garden/video`: its profile has no such topic";
            registry.violation(&id("garden"), Control::Comms, reason, self.now());
            self.event(Outcome::Refused, Control::Comms, Some("garden"), reason);
        }
        registry
            .quarantine(
                &id("attic"),
                "two live sessions with one certificate: the key was copied",
                self.now(),
            )
            .unwrap();
        registry
            .revoke(&id("cellar"), "lost on the train", self.now())
            .unwrap();
        self.event(
            Outcome::Alarm,
            Control::Comms,
            Some("attic"),
            "two live sessions with one certificate",
        );
        self.event(
            Outcome::Refused,
            Control::Protocols,
            None,
            "offered TLS 1.1; TLS 1.3 is spoken here",
        );
        self.pass(Duration::seconds(4));
        registry.seen(&id("porch"), self.now(), peer);
        self.event(
            Outcome::Admitted,
            Control::Comms,
            Some("porch"),
            "connected with MQTT 5 over TLS 1.3",
        );
    }

    /// Telemetry as the broker hands it to the vault, and the vault's work on it.
    pub(crate) async fn telemetry(&self, device: &str, payload: &str) {
        self.telemetry_of("cam-2", "motion", device, payload).await;
    }

    pub(crate) async fn telemetry_of(
        &self,
        model: &str,
        schema: &str,
        device: &str,
        payload: &str,
    ) {
        let record = Record {
            v: stockade_store::telemetry::VERSION,
            device: device.into(),
            model: model.into(),
            profile_version: 7,
            schema: schema.into(),
            topic: format!("{model}/{device}/{schema}").into(),
            at_unix_ms: self.now().unix_timestamp() * 1_000,
            payload: payload.as_bytes().into(),
        };
        let seq = self
            .bus
            .append(Stream::Telemetry, &self.bus.prepare(&record).unwrap())
            .unwrap();
        self.bus
            .durable()
            .wait_for(|durable| *durable >= seq)
            .await
            .unwrap();
        let vault = self.state.vault.as_ref().unwrap();
        assert_eq!(vault.ingest_available(self.now()).unwrap().stored, 1);
    }

    pub(crate) fn event(
        &self,
        outcome: Outcome,
        control: Control,
        device: Option<&str>,
        reason: &str,
    ) {
        let happening = Happening {
            outcome,
            control,
            device: device.map(str::to_owned),
            peer: Some("192.0.2.17:50112".parse().unwrap()),
            reason: reason.to_owned(),
        };
        self.state.events.record(self.now(), happening);
    }

    pub(crate) async fn get(&self, path: &str, cookie: &str) -> Answer {
        let request = Request::get(path)
            .header(header::HOST, "console.test:8443")
            .header(header::COOKIE, cookie);
        send(&self.pages, request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_from(path, cookie, fields, [198, 51, 100, 7])
            .await
    }

    pub(crate) async fn post_from(
        &self,
        path: &str,
        cookie: &str,
        fields: &[(&str, &str)],
        source: [u8; 4],
    ) -> Answer {
        let request = Request::post(path)
            .header(header::HOST, "console.test:8443")
            .header(header::COOKIE, cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .extension(Peer((source, 40_000).into()));
        send(
            &self.pages,
            request.body(Body::from(encode(fields))).unwrap(),
        )
        .await
    }

    pub(crate) async fn login(&self, password: &str) -> Answer {
        self.post(
            "/login",
            "",
            &[("username", "admin"), ("password", password)],
        )
        .await
    }

    /// Logs in with the one-time password, chooses another, and gives the cookie.
    pub(crate) async fn operator(&self) -> String {
        let cookie = cookie_of(&self.login(&self.first).await);
        let csrf = self.get("/password", &cookie).await.csrf();
        let fields = [
            ("csrf", csrf.as_str()),
            ("username", "admin"),
            ("current", &self.first),
            ("new", PASSWORD),
            ("again", PASSWORD),
        ];
        let answer = self.post("/password", &cookie, &fields).await;
        assert_eq!(
            (answer.status, answer.header(header::LOCATION)),
            (StatusCode::SEE_OTHER, "/"),
            "{}",
            answer.text
        );
        cookie_of(&answer)
    }

    pub(crate) async fn json(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        send(
            &self.api,
            request
                .body(Body::from(body.unwrap_or_default().to_owned()))
                .unwrap(),
        )
        .await
    }
}

/// The cookie that an answer sets, as the browser sends it back.
pub(crate) fn cookie_of(answer: &Answer) -> String {
    let cookie = answer
        .header(header::SET_COOKIE)
        .split(';')
        .next()
        .unwrap_or_default();
    assert!(
        cookie.starts_with("__Host-stockade="),
        "{} {}",
        answer.status,
        answer.text
    );
    cookie.to_owned()
}
