//! Who gets in, and what nobody gets to do from outside a session.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use stockade_gateway::registry::State;
use time::Duration;

use crate::bench::{Bench, PASSWORD, cookie_of, send};

/// Every address that changes something, with the fields it takes.
const CHANGES: [(&str, &[(&str, &str)]); 10] = [
    ("/logout", &[]),
    (
        "/password",
        &[
            ("username", "admin"),
            ("current", PASSWORD),
            ("new", "x"),
            ("again", "x"),
        ],
    ),
    ("/devices/new", &[("model", "cam-2"), ("id", "forged")]),
    ("/devices/porch/quarantine", &[("reason", "forged")]),
    ("/devices/attic/release", &[("reason", "forged")]),
    ("/devices/porch/revoke", &[("reason", "forged")]),
    ("/devices/porch/code", &[]),
    ("/devices/cellar/remove", &[]),
    ("/models/install", &[("source", "schema = 1")]),
    ("/models/install", &[("source", crate::bench::PROFILE)]),
];

fn states(bench: &Bench) -> Vec<(String, State, Option<time::OffsetDateTime>)> {
    let list = bench.state.registry.list(bench.now());
    list.into_iter()
        .map(|d| (d.name.to_string(), d.state, d.code_expires))
        .collect()
}

#[tokio::test]
async fn nothing_changes_without_a_session() {
    let bench = Bench::new();
    bench.populate();
    let before = states(&bench);
    for (path, fields) in CHANGES {
        for cookie in [
            "",
            "__Host-stockade=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "__Host-stockade=x",
        ] {
            let answer = bench.post(path, cookie, fields).await;
            assert_eq!(
                (answer.status, answer.header(header::LOCATION)),
                (StatusCode::SEE_OTHER, "/login"),
                "{path}"
            );
        }
    }
    assert_eq!(states(&bench), before);
}

#[tokio::test]
async fn nothing_changes_without_the_secret_of_the_same_session() {
    let bench = Bench::new();
    bench.populate();
    let mine = bench.operator().await;
    let other = cookie_of(&bench.login(PASSWORD).await);
    let stolen = bench.get("/", &other).await.csrf();
    let own = bench.get("/", &mine).await.csrf();
    let before = states(&bench);
    for (path, fields) in CHANGES {
        for forged in [
            vec![],
            vec![("csrf", "")],
            vec![("csrf", stolen.as_str())],
            vec![("csrf", &own), ("csrf", &own)],
        ] {
            let fields: Vec<_> = forged.iter().chain(fields).copied().collect();
            let answer = bench.post(path, &mine, &fields).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {fields:?}");
        }
    }
    assert_eq!(states(&bench), before);
    assert_eq!(
        bench.get("/", &mine).await.status,
        StatusCode::OK,
        "the session is still there"
    );
}

#[tokio::test]
async fn a_form_of_another_site_is_refused_even_with_the_right_secret() {
    let bench = Bench::new();
    bench.populate();
    let cookie = bench.operator().await;
    let csrf = bench.get("/", &cookie).await.csrf();
    let cases = [
        ("sec-fetch-site", "cross-site", false),
        ("sec-fetch-site", "same-site", false),
        ("origin", "https://evil.test", false),
        ("origin", "null", false),
        ("origin", "http://console.test:8443", false),
        ("origin", "https://console.test:8443", true),
        ("sec-fetch-site", "same-origin", true),
    ];
    for (name, value, fine) in cases {
        let request = Request::post("/devices/porch/quarantine")
            .header(header::HOST, "console.test:8443")
            .header(header::COOKIE, &cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(name, value)
            .body(Body::from(format!("csrf={csrf}&reason=test")))
            .unwrap();
        let status = send(&bench.pages, request).await.status;
        assert_eq!(
            status,
            if fine {
                StatusCode::SEE_OTHER
            } else {
                StatusCode::FORBIDDEN
            },
            "{name}: {value}"
        );
    }
}

#[tokio::test]
async fn every_page_asks_a_stranger_to_log_in_and_says_nothing() {
    let bench = Bench::new();
    bench.populate();
    for path in [
        "/",
        "/events",
        "/devices/porch",
        "/devices/nobody",
        "/devices/new",
        "/models",
        "/models/cam-2",
        "/password",
        "/nowhere",
    ] {
        let answer = bench.get(path, "").await;
        assert_eq!(
            (answer.status, answer.header(header::LOCATION)),
            (StatusCode::SEE_OTHER, "/login"),
            "{path}"
        );
        assert!(answer.text.is_empty());
    }
    for path in [
        "/api/v1/devices",
        "/api/v1/events",
        "/api/v1/events/stream",
        "/api/v1/status",
        "/api/v1/session",
        "/api/v1/nowhere",
    ] {
        assert_eq!(
            bench.get(path, "").await.status,
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_one_time_password_opens_only_the_page_that_replaces_it() {
    let bench = Bench::new();
    bench.populate();
    let answer = bench.login(&bench.first).await;
    assert_eq!(
        (answer.status, answer.header(header::LOCATION)),
        (StatusCode::SEE_OTHER, "/password")
    );
    let cookie = cookie_of(&answer);
    for path in ["/", "/events", "/devices/porch", "/models/install"] {
        assert_eq!(
            bench.get(path, &cookie).await.header(header::LOCATION),
            "/password",
            "{path}"
        );
    }
    assert_eq!(
        bench.get("/api/v1/devices", &cookie).await.status,
        StatusCode::FORBIDDEN
    );
    let csrf = bench.get("/password", &cookie).await.csrf();
    let blocked = bench
        .post(
            "/devices/porch/revoke",
            &cookie,
            &[("csrf", &csrf), ("reason", "x")],
        )
        .await;
    assert_eq!(blocked.header(header::LOCATION), "/password");
    let change = |current: &'static str, new: &'static str, again: &'static str| {
        let first = bench.first.clone();
        let current = if current.is_empty() {
            first
        } else {
            current.to_owned()
        };
        [
            ("csrf", csrf.clone()),
            ("username", "admin".to_owned()),
            ("current", current),
            ("new", new.to_owned()),
            ("again", again.to_owned()),
        ]
    };
    for (fields, why) in [
        (
            change("wrong", PASSWORD, PASSWORD),
            "That is not the current password.",
        ),
        (
            change("", PASSWORD, "walnut ferry quilt amber"),
            "The two new passwords differ.",
        ),
        (change("", "short", "short"), "at least 12 characters"),
        (change("", "password1234", "password1234"), "easy to guess"),
    ] {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let answer = bench.post("/password", &cookie, &fields).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text.contains(why), "{why}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_changed_password_ends_the_old_session_and_the_old_password() {
    let bench = Bench::new();
    let old = cookie_of(&bench.login(&bench.first).await);
    let cookie = bench.operator().await;
    assert_ne!(old, cookie);
    assert_eq!(
        bench.get("/", &old).await.header(header::LOCATION),
        "/login"
    );
    assert_eq!(bench.get("/", &cookie).await.status, StatusCode::OK);
    assert_eq!(
        bench.login(&bench.first).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn logging_out_ends_the_session_on_the_server_too() {
    let bench = Bench::new();
    let cookie = bench.operator().await;
    let csrf = bench.get("/", &cookie).await.csrf();
    let answer = bench.post("/logout", &cookie, &[("csrf", &csrf)]).await;
    assert_eq!(answer.header(header::LOCATION), "/login");
    assert_eq!(
        answer.header(header::SET_COOKIE),
        "__Host-stockade=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"
    );
    assert_eq!(
        bench.get("/", &cookie).await.header(header::LOCATION),
        "/login"
    );
}

#[tokio::test]
async fn a_session_ends_when_nobody_uses_it() {
    let bench = Bench::new();
    let cookie = bench.operator().await;
    bench.pass(Duration::minutes(29));
    assert_eq!(bench.get("/", &cookie).await.status, StatusCode::OK);
    bench.pass(Duration::minutes(30));
    assert_eq!(
        bench.get("/", &cookie).await.header(header::LOCATION),
        "/login"
    );
}

#[tokio::test]
async fn the_cookie_is_kept_from_scripts_other_sites_and_plain_http() {
    let bench = Bench::new();
    let answer = bench.login(&bench.first).await;
    let cookie = answer.header(header::SET_COOKIE);
    let (value, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(value.len(), "__Host-stockade=".len() + 43);
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Strict");
}

#[tokio::test]
async fn guessing_is_slowed_down_for_the_source_and_in_the_end_for_everybody() {
    let bench = Bench::new();
    let fields = [("username", "admin"), ("password", "guess")];
    for _ in 0..5 {
        assert_eq!(
            bench
                .post_from("/login", "", &fields, [203, 0, 113, 1])
                .await
                .status,
            StatusCode::UNAUTHORIZED
        );
    }
    let answer = bench
        .post_from("/login", "", &fields, [203, 0, 113, 1])
        .await;
    assert_eq!(
        (answer.status, answer.header(header::RETRY_AFTER)),
        (StatusCode::TOO_MANY_REQUESTS, "30")
    );
    // The right password is not even looked at.
    let right = [("username", "admin"), ("password", bench.first.as_str())];
    assert_eq!(
        bench
            .post_from("/login", "", &right, [203, 0, 113, 1])
            .await
            .status,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(
        bench
            .post_from("/login", "", &right, [203, 0, 113, 2])
            .await
            .status,
        StatusCode::SEE_OTHER
    );
    bench.pass(Duration::seconds(30));
    assert_eq!(
        bench
            .post_from("/login", "", &right, [203, 0, 113, 1])
            .await
            .status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn a_wrong_user_and_a_wrong_password_get_the_same_answer() {
    let bench = Bench::new();
    let wrong = bench.login("not it").await;
    let user = bench
        .post(
            "/login",
            "",
            &[("username", "root"), ("password", &bench.first)],
        )
        .await;
    let long = bench.login(&"x".repeat(5_000)).await;
    assert_eq!((wrong.status, &wrong.text), (user.status, &user.text));
    assert_eq!((wrong.status, &wrong.text), (long.status, &long.text));
}

#[tokio::test]
async fn a_form_with_a_field_too_many_or_too_large_is_refused() {
    let bench = Bench::new();
    let extra = bench
        .post(
            "/login",
            "",
            &[("username", "admin"), ("password", "x"), ("admin", "1")],
        )
        .await;
    assert_eq!(extra.status, StatusCode::BAD_REQUEST);
    let large = bench.login(&"x".repeat(600 * 1024)).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn what_happens_at_the_log_in_is_on_record_with_its_address() {
    let bench = Bench::new();
    bench.login("guess").await;
    bench.operator().await;
    let events = bench.state.events.latest(None, 10);
    let told: Vec<String> = events
        .iter()
        .rev()
        .map(|e| {
            let peer = e.peer.map(|peer| peer.to_string()).unwrap_or_default();
            format!("{} {} {peer}: {}", e.outcome.as_str(), e.control, e.reason)
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    refused credentials 198.51.100.7:40000: a wrong password at the console's log-in
    admitted credentials 198.51.100.7:40000: the administrator logged in at the console
    changed credentials 198.51.100.7:40000: the administrator's password was changed
    ");
}
