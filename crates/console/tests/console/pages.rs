//! The pages as a browser gets them, whole.

use axum::http::{StatusCode, header};
use stockade_gateway::events::Outcome;
use stockade_gateway::link::bearer::Place;
use stockade_gateway::name::{DeviceId, DeviceName};
use stockade_profile::Control;

use crate::bench::{Answer, Bench, PROFILE};

/// What differs from run to run, by a name. Names of assets change with their content, so they do too.
fn scrub(text: &str) -> String {
    let mut out = String::new();
    for line in text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
    {
        let mut line = line.to_owned();
        for (mark, end) in [
            ("name=\"csrf\" value=\"", '"'),
            ("id=\"one-time-code\">", '<'),
            ("--user porch-2:", ' '),
        ] {
            if let Some(at) = line.find(mark) {
                let from = at + mark.len();
                let to = line[from..].find(end).map_or(line.len(), |n| n + from);
                line.replace_range(from..to, "[secret]");
            }
        }
        for stem in ["console-", "live-", "icon-"] {
            while let Some(at) = line
                .find(&format!("/assets/{stem}"))
                .filter(|at| !line[*at..].starts_with(&format!("/assets/{stem}[")))
            {
                let from = at + "/assets/".len() + stem.len();
                line.replace_range(from..from + 16, "[hash]");
            }
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// Keeps the page for whoever wants to look at it: `STOCKADE_PAGES=dir cargo nextest run -p stockade-console`.
pub(crate) fn keep(name: &str, answer: &Answer) {
    if let Ok(dir) = std::env::var("STOCKADE_PAGES") {
        let page = answer.text.replace("\"/assets/", "\"assets/");
        fs_err::create_dir_all(&dir).unwrap();
        fs_err::write(format!("{dir}/{name}.html"), page).unwrap();
    }
}

pub(crate) fn check(name: &str, answer: &Answer) {
    keep(name, answer);
    for (attribute, why) in [
        (" style=", "inline style"),
        (" onclick=", "inline script"),
        ("<style", "inline style"),
    ] {
        assert!(!answer.text.contains(attribute), "{why} in {name}");
    }
    assert!(
        !answer.text.replace("<script src=", "").contains("<script"),
        "inline script in {name}"
    );
    insta::assert_snapshot!(name, format!("{}\n{}", answer.status, scrub(&answer.text)));
}

#[tokio::test]
async fn every_page_is_drawn_as_promised() {
    let bench = Bench::new();
    check("login", &bench.get("/login", "").await);
    check("login-wrong", &bench.login("guess").await);
    let first = crate::bench::cookie_of(&bench.login(&bench.first).await);
    check("password-first", &bench.get("/password", &first).await);
    let cookie = bench.operator().await;
    check("fleet-empty", &bench.get("/", &cookie).await);
    check("events-empty", &bench.get("/events", &cookie).await);
    check("models-empty", &bench.get("/models", &cookie).await);
    check("add-no-model", &bench.get("/devices/new", &cookie).await);
    bench.populate();
    check("fleet", &bench.get("/", &cookie).await);
    check(
        "fleet-filtered",
        &bench.get("/?q=cam&state=quarantined", &cookie).await,
    );
    check("fleet-none", &bench.get("/?q=nothing", &cookie).await);
    check("events", &bench.get("/events", &cookie).await);
    check(
        "events-filtered",
        &bench
            .get("/events?device=garden&outcome=refused", &cookie)
            .await,
    );
    check("device-active", &bench.get("/devices/porch", &cookie).await);
    check(
        "device-quarantined",
        &bench.get("/devices/attic", &cookie).await,
    );
    check(
        "device-revoked",
        &bench.get("/devices/cellar", &cookie).await,
    );
    check("revoke", &bench.get("/devices/porch/revoke", &cookie).await);
    check("models", &bench.get("/models", &cookie).await);
    check(
        "model",
        &bench.get("/models/cam-2?done=installed", &cookie).await,
    );
    check("install", &bench.get("/models/install", &cookie).await);
    check("add", &bench.get("/devices/new?model=cam-2", &cookie).await);
    check("password", &bench.get("/password", &cookie).await);
    check("not-found", &bench.get("/nowhere", &cookie).await);
    check(
        "device-unknown",
        &bench.get("/devices/nobody", &cookie).await,
    );

    let csrf = bench.get("/", &cookie).await.csrf();
    let add = [
        ("csrf", csrf.as_str()),
        ("model", "cam-2"),
        ("id", "porch-2"),
    ];
    check("added", &bench.post("/devices/new", &cookie, &add).await);
    check(
        "add-again",
        &bench.post("/devices/new", &cookie, &add).await,
    );
    let faulty = PROFILE.replace(
        "topic = \"cam-2/${device}/motion\"",
        "tpoic = \"cam-2/#/motion\"",
    );
    check(
        "install-faults",
        &bench
            .post(
                "/models/install",
                &cookie,
                &[("csrf", &csrf), ("source", &faulty)],
            )
            .await,
    );
    let older = PROFILE.replace("version = 7", "version = 6");
    check(
        "install-older",
        &bench
            .post(
                "/models/install",
                &cookie,
                &[("csrf", &csrf), ("source", &older)],
            )
            .await,
    );
}

#[tokio::test]
async fn a_policy_that_is_refused_is_shown_with_the_box_that_goes_on_all_the_same() {
    let bench = Bench::new();
    let cookie = bench.operator().await;
    let csrf = bench.get("/", &cookie).await.csrf();
    let leaky = format!("{PROFILE}\n[data.people]\ndevice = {{ use = \"keep\" }}\n");
    let install = [("csrf", csrf.as_str()), ("source", &leaky)];
    let refused = bench.post("/models/install", &cookie, &install).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    check("install-policy", &refused);
    assert!(bench.state.registry.models().is_empty());
    let agreed = ("allow-policy-findings", "on");
    let all_the_same = [install.as_slice(), &[agreed]].concat();
    let installed = bench.post("/models/install", &cookie, &all_the_same).await;
    assert_eq!(
        installed.header(header::LOCATION),
        "/models/cam-2?done=installed"
    );

    let add = [("csrf", csrf.as_str()), ("model", "cam-2"), ("id", "porch")];
    let refused = bench.post("/devices/new", &cookie, &add).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    check("add-policy", &refused);
    let all_the_same = [add.as_slice(), &[agreed]].concat();
    let added = bench.post("/devices/new", &cookie, &all_the_same).await;
    assert_eq!(added.status, StatusCode::OK);
    assert_eq!(bench.state.registry.list(bench.now()).len(), 1);
}

const SOIL: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "soil-1"
version = 1
class = "constrained"
[[comms.publish]]
topic = "soil-1/${device}/moisture"
max-bytes = 64
rate = "1/s"
"#;

#[tokio::test]
async fn a_constrained_device_is_shown_by_its_link_and_not_by_a_certificate() {
    let bench = Bench::new();
    let cookie = bench.operator().await;
    let (registry, now) = (&bench.state.registry, bench.now());
    let profile = stockade_profile::parse(SOIL).unwrap();
    registry.install_profile(profile, now).unwrap();
    for (id, key) in [("bed", [7; 32]), ("pot", [8; 32])] {
        let name = DeviceName::new("soil-1", id).unwrap();
        registry.add_constrained(&name, key, now).unwrap();
    }
    let bed = DeviceId::new("bed").unwrap();
    registry.enrol_link(&bed, &[7; 32], b"ccs", now).unwrap();
    let place = Place::Near { bearer: 0, peer: 3 };
    registry.seen(&bed, now, place.address());
    check("fleet-constrained", &bench.get("/", &cookie).await);
    let page = bench.get("/devices/bed", &cookie).await;
    assert!(page.text.contains("serial:/dev/ttyACM0, peer 3"));
    check("device-constrained", &page);
    assert!(!page.text.contains("Certificate until"));
    let pot = bench.get("/devices/pot", &cookie).await;
    assert!(pot.text.contains("its first handshake is waited for"));
}

#[tokio::test]
async fn an_answer_carries_exactly_these_security_headers() {
    let bench = Bench::new();
    let answer = bench.get("/login", "").await;
    let mut lines: Vec<String> = answer
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.retain(|line| !line.starts_with("content-length"));
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"), @r"
    cache-control: no-store
    content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'
    content-type: text/html; charset=utf-8
    cross-origin-embedder-policy: require-corp
    cross-origin-opener-policy: same-origin
    cross-origin-resource-policy: same-origin
    permissions-policy: camera=(), microphone=(), geolocation=(), usb=(), serial=(), payment=()
    referrer-policy: same-origin
    strict-transport-security: max-age=63072000
    x-content-type-options: nosniff
    x-frame-options: DENY
    ");
    let cookie = bench.operator().await;
    for path in [
        "/",
        "/nowhere",
        "/api/v1/devices",
        "/api/v1/nowhere",
        "/assets/nothing",
    ] {
        let other = bench.get(path, &cookie).await;
        assert_eq!(
            other.header(header::CONTENT_SECURITY_POLICY),
            answer.header(header::CONTENT_SECURITY_POLICY),
            "{path}"
        );
        assert_eq!(other.header(header::CACHE_CONTROL), "no-store", "{path}");
    }
}

#[tokio::test]
async fn assets_have_their_type_and_may_be_kept_for_ever() {
    let bench = Bench::new();
    let page = bench.get("/login", "").await.text;
    for (extension, kind) in [("css", "text/css; charset=utf-8"), ("svg", "image/svg+xml")] {
        let end = page.find(&format!(".{extension}\"")).unwrap() + extension.len() + 1;
        let start = page[..end].rfind('"').unwrap() + 1;
        let answer = bench.get(&page[start..end], "").await;
        assert_eq!(
            (answer.status, answer.header(header::CONTENT_TYPE)),
            (StatusCode::OK, kind)
        );
        assert_eq!(
            answer.header(header::CACHE_CONTROL),
            "public, max-age=31536000, immutable"
        );
        if let Ok(dir) = std::env::var("STOCKADE_PAGES") {
            fs_err::create_dir_all(format!("{dir}/assets")).unwrap();
            fs_err::write(format!("{dir}/{}", &page[start + 1..end]), answer.text).unwrap();
        }
    }
}

#[tokio::test]
async fn text_of_a_hostile_device_stays_text() {
    const HOSTILE: &str =
        "\"><script>alert(1)</script><img src=x onerror='alert(2)'>&amp;{{ 7*7 }}";
    let bench = Bench::new();
    bench.populate();
    let cookie = bench.operator().await;
    bench.event(Outcome::Refused, Control::Comms, Some(HOSTILE), HOSTILE);
    bench.event(Outcome::Refused, Control::Comms, Some("porch"), HOSTILE);
    bench
        .state
        .registry
        .quarantine(&DeviceId::new("porch").unwrap(), HOSTILE, bench.now())
        .unwrap();
    let csrf = bench.get("/", &cookie).await.csrf();
    let source = format!("{HOSTILE}</textarea><script>alert(3)</script>");
    let pages = [
        bench.get("/events", &cookie).await,
        bench.get("/devices/porch", &cookie).await,
        bench
            .get("/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", &cookie)
            .await,
        bench
            .get(
                "/events?device=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&outcome=%22x",
                &cookie,
            )
            .await,
        bench
            .get(
                "/devices/%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E",
                &cookie,
            )
            .await,
        bench
            .post(
                "/devices/new",
                &cookie,
                &[("csrf", &csrf), ("model", HOSTILE), ("id", HOSTILE)],
            )
            .await,
        bench
            .post(
                "/models/install",
                &cookie,
                &[("csrf", &csrf), ("source", &source)],
            )
            .await,
    ];
    for page in pages {
        assert!(page.header(header::CONTENT_TYPE).starts_with("text/html"));
        let without_ours = page.text.replace("<script src=\"/assets/live-", "");
        for raw in ["<script", "<img src=x", "onerror='"] {
            assert!(!without_ours.contains(raw), "{raw} in {}", page.text);
        }
    }
}

#[tokio::test]
async fn quarantine_release_and_revoke_by_form_take_effect() {
    let bench = Bench::new();
    bench.populate();
    let cookie = bench.operator().await;
    let csrf = bench.get("/", &cookie).await.csrf();
    let porch = DeviceName::new("cam-2", "porch").unwrap();
    let steps = [
        ("quarantine", "quarantined"),
        ("release", "active"),
        ("revoke", "revoked"),
    ];
    for (action, state) in steps {
        let path = format!("/devices/porch/{action}");
        let empty = bench
            .post(&path, &cookie, &[("csrf", &csrf), ("reason", " ")])
            .await;
        assert_eq!(empty.status, StatusCode::BAD_REQUEST);
        let answer = bench
            .post(&path, &cookie, &[("csrf", &csrf), ("reason", "because")])
            .await;
        assert_eq!(
            answer.header(header::LOCATION),
            format!("/devices/porch?done={action}")
        );
        assert_eq!(
            bench
                .state
                .registry
                .get(&porch.id, bench.now())
                .unwrap()
                .state
                .as_str(),
            state
        );
    }
    let late = bench
        .post(
            "/devices/porch/release",
            &cookie,
            &[("csrf", &csrf), ("reason", "sorry")],
        )
        .await;
    assert_eq!(late.status, StatusCode::CONFLICT);
    let removed = bench
        .post("/devices/porch/remove", &cookie, &[("csrf", &csrf)])
        .await;
    assert_eq!(removed.status, StatusCode::SEE_OTHER);
    assert!(bench.state.registry.get(&porch.id, bench.now()).is_none());
}
