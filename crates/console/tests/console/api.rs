//! The administration API, on the socket and behind the log-in.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use stockade_console::{ConsoleState, admin_router};
use stockade_gateway::events::Outcome;
use stockade_profile::{Control, SigningKey};
use tower::ServiceExt as _;

use crate::bench::{Bench, PROFILE, send};

#[tokio::test]
async fn the_fleet_is_told_as_json() {
    let bench = Bench::new();
    bench.populate();
    let devices = bench.json("GET", "/api/v1/devices", None).await.json();
    insta::assert_snapshot!(serde_json::to_string_pretty(&devices["devices"][0]).unwrap());
    let porch = bench
        .json("GET", "/api/v1/devices/porch", None)
        .await
        .json();
    insta::assert_snapshot!(serde_json::to_string_pretty(&porch).unwrap());
    let models = bench.json("GET", "/api/v1/models", None).await.json();
    insta::assert_snapshot!(models, @r#"{"models":[{"devices":5,"manufacturer":"Acme","model":"cam-2","version":7}]}"#);
    let status = bench.json("GET", "/api/v1/status", None).await.json();
    insta::assert_snapshot!(serde_json::to_string_pretty(&status).unwrap());
}

#[tokio::test]
async fn a_device_is_added_changed_and_removed() {
    let bench = Bench::new();
    bench.populate();
    let added = bench
        .json(
            "POST",
            "/api/v1/devices",
            Some(r#"{"model":"cam-2","id":"roof"}"#),
        )
        .await;
    assert_eq!(added.status, StatusCode::CREATED);
    let body = added.json();
    assert_eq!(body["expires"], "2026-11-23T18:00:54Z");
    assert_eq!(
        body["est_url"],
        "https://gateway.local:8444/.well-known/est"
    );
    let code = body["code"].as_str().unwrap();
    let source = [192, 0, 2, 1].into();
    assert!(
        bench
            .state
            .registry
            .check_code("roof", code, source, bench.now())
            .is_ok()
    );
    let again = bench
        .json("POST", "/api/v1/devices/roof/code", None)
        .await
        .json();
    assert!(
        bench
            .state
            .registry
            .check_code("roof", code, source, bench.now())
            .is_err()
    );
    assert!(
        bench
            .state
            .registry
            .check_code("roof", again["code"].as_str().unwrap(), source, bench.now())
            .is_ok()
    );

    let quarantined = bench
        .json(
            "POST",
            "/api/v1/devices/porch/quarantine",
            Some(r#"{"reason":"odd"}"#),
        )
        .await;
    assert_eq!(
        (
            &quarantined.json()["state"],
            &quarantined.json()["reasons"][0]
        ),
        (&"quarantined".into(), &"odd".into())
    );
    let released = bench
        .json(
            "POST",
            "/api/v1/devices/porch/release",
            Some(r#"{"reason":"mended"}"#),
        )
        .await;
    assert_eq!(released.json()["state"], "active");
    let revoked = bench
        .json(
            "POST",
            "/api/v1/devices/porch/revoke",
            Some(r#"{"reason":"sold"}"#),
        )
        .await;
    assert_eq!(revoked.json()["state"], "revoked");
    assert_eq!(
        bench
            .json("DELETE", "/api/v1/devices/porch", None)
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        bench
            .json("GET", "/api/v1/devices/porch", None)
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_link_is_told_with_its_bearers() {
    let bench = Bench::new();
    let link = bench.json("GET", "/api/v1/link", None).await.json();
    insta::assert_snapshot!(link, @r#"{"active":0,"bad_tags":0,"bearers":[{"bearer":"serial:/dev/ttyACM0","state":"starts","why":null}],"echoes":0,"handshakes":0,"handshakes_refused":0,"handshakes_under_way":0,"replays":0,"requests":0,"session_bytes":0,"sessions":0,"silenced":0,"unprotected":0}"#);
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_help() {
    let bench = Bench::new();
    bench.populate();
    let cases = [
        (
            "POST",
            "/api/v1/devices",
            Some(r#"{"model":"cam-2","id":"a","colour":"red"}"#),
            422,
        ),
        ("POST", "/api/v1/devices", Some(r#"{"model":"cam-2"}"#), 422),
        ("POST", "/api/v1/devices", Some("{"), 400),
        ("POST", "/api/v1/devices", None, 415),
        (
            "POST",
            "/api/v1/devices",
            Some(r#"{"model":"cam-2","id":"../x"}"#),
            400,
        ),
        (
            "POST",
            "/api/v1/devices",
            Some(r#"{"model":"none","id":"a"}"#),
            409,
        ),
        (
            "POST",
            "/api/v1/devices",
            Some(r#"{"model":"cam-2","id":"porch"}"#),
            409,
        ),
        (
            "POST",
            "/api/v1/devices/nobody/revoke",
            Some(r#"{"reason":"x"}"#),
            404,
        ),
        (
            "POST",
            "/api/v1/devices/porch/revoke",
            Some(r#"{"reason":" "}"#),
            400,
        ),
        (
            "POST",
            "/api/v1/devices/porch/release",
            Some(r#"{"reason":"x"}"#),
            409,
        ),
        ("GET", "/api/v1/events?limit=many", None, 400),
        ("GET", "/api/v1/events?colour=red", None, 400),
        ("GET", "/api/v1/events?outcome=red", None, 400),
        ("GET", "/api/v1/devices/%2e%2e%2fx", None, 404),
        ("GET", "/api/v1/nowhere", None, 404),
        ("PATCH", "/api/v1/devices", None, 405),
        (
            "POST",
            "/api/v1/publish",
            Some(r#"{"topic":"a/#","payload":"x"}"#),
            400,
        ),
        (
            "POST",
            "/api/v1/publish",
            Some(r#"{"topic":"a","payload":"x","qos":3}"#),
            400,
        ),
        (
            "POST",
            "/api/v1/publish",
            Some(r#"{"topic":"a","payload":"?","encoding":"base64"}"#),
            400,
        ),
    ];
    for (method, path, body, status) in cases {
        let answer = bench.json(method, path, body).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{method} {path} {body:?}: {}",
            answer.text
        );
        let told = answer.json();
        assert!(
            told["error"].as_str().is_some_and(|text| !text.is_empty()),
            "{method} {path}"
        );
        assert!(
            told["help"].as_str().is_some_and(|text| !text.is_empty()),
            "{method} {path}"
        );
    }
    assert!(bench.sent.lock().await.is_empty());
}

#[tokio::test]
async fn a_profile_is_installed_or_all_its_faults_are_told() {
    let bench = Bench::new();
    let put = async |kind: &str, body: String| {
        let request = Request::put("/api/v1/profiles").header(header::CONTENT_TYPE, kind);
        send(&bench.api, request.body(Body::from(body)).unwrap()).await
    };
    let fresh = put("text/toml; charset=utf-8", PROFILE.to_owned()).await;
    assert_eq!(
        fresh.text,
        r#"{"model":"cam-2","version":7,"changed":true}"#
    );
    let same = put("text/toml", PROFILE.to_owned()).await;
    assert_eq!(
        same.text,
        r#"{"model":"cam-2","version":7,"changed":false}"#
    );
    let faulty = PROFILE
        .replace("max-bytes", "max-bites")
        .replace("version = 7", "version = \"x\"");
    let faults = put("text/toml", faulty).await;
    assert_eq!(faults.status, StatusCode::UNPROCESSABLE_ENTITY);
    insta::assert_snapshot!(serde_json::to_string_pretty(&faults.json()).unwrap());
    let older = put("text/toml", PROFILE.replace("version = 7", "version = 6")).await;
    assert_eq!(older.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        put("text/plain", PROFILE.to_owned()).await.status,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    assert_eq!(
        put("application/cose", "x".to_owned()).await.status,
        StatusCode::CONFLICT
    );
}

/// A profile that keeps readable whose each record is.
fn leaky() -> String {
    PROFILE.replace("version = 7", "version = 8") + "\n[data.people]\ndevice = { use = \"keep\" }\n"
}

#[tokio::test]
async fn a_profile_whose_policy_is_refused_is_taken_on_the_operator_s_word_only_and_that_is_an_event()
 {
    let bench = Bench::new();
    let put = async |query: &str| {
        let request = Request::put(format!("/api/v1/profiles{query}"))
            .header(header::CONTENT_TYPE, "text/toml");
        send(&bench.api, request.body(Body::from(leaky())).unwrap()).await
    };
    let refused = put("").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    insta::assert_snapshot!(serde_json::to_string_pretty(&refused.json()).unwrap());
    let said_no = put("?allow-policy-findings=false").await;
    assert_eq!(said_no.text, refused.text);
    assert!(bench.state.registry.models().is_empty());
    assert_eq!(put("?allow=true").await.status, StatusCode::BAD_REQUEST);
    let add = async |word: &str| {
        let body = format!(r#"{{"model":"cam-2","id":"porch"{word}}}"#);
        bench.json("POST", "/api/v1/devices", Some(&body)).await
    };
    let told = || {
        let events = bench.state.events.latest(None, 100);
        events
            .into_iter()
            .filter(|event| event.control == "data")
            .map(|event| (event.device, event.reason))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(), []);
    let taken = put("?allow-policy-findings=true").await;
    assert!(
        taken
            .text
            .starts_with(r#"{"model":"cam-2","version":8,"changed":true,"policy":["#),
        "{}",
        taken.text
    );
    let installed = "profile of cam-2 version 8 was installed, although its policy is refused: data.people.device";
    assert_eq!(told(), [(None, installed.to_owned())]);

    // A device more whose data is kept so is another decision.
    let refused = add("").await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    let error = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(
        error.contains("data.people.device: the gateway puts in"),
        "{error}"
    );
    assert!(bench.state.registry.list(bench.now()).is_empty());
    let added = add(r#","allow-policy-findings":true"#).await;
    assert_eq!(added.status, StatusCode::CREATED);
    let added = (
        Some("porch".to_owned()),
        "cam-2/porch was added, although its policy is refused: data.people.device".to_owned(),
    );
    assert_eq!(told().first(), Some(&added));
}

#[tokio::test]
async fn a_signed_profile_is_installed_only_with_a_trusted_signature() {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let (maker, stranger) = (
        SigningKey::generate(&random).unwrap(),
        SigningKey::generate(&random).unwrap(),
    );
    let bench = Bench::new();
    let trusting = ConsoleState {
        signers: [maker.verifying_key()].into(),
        ..bench.state.clone()
    };
    let api = admin_router(trusting);
    let profile = stockade_profile::parse(PROFILE).unwrap();
    let put = async |body: Vec<u8>| {
        let request =
            Request::put("/api/v1/profiles").header(header::CONTENT_TYPE, "application/cose");
        send(&api, request.body(Body::from(body)).unwrap()).await
    };
    let mut forged = stockade_profile::sign(&profile, &maker);
    *forged.last_mut().unwrap() ^= 1;
    for bad in [
        stockade_profile::sign(&profile, &stranger),
        forged,
        Vec::new(),
    ] {
        assert_eq!(put(bad).await.status, StatusCode::BAD_REQUEST);
        assert!(bench.state.registry.models().is_empty());
    }
    // The maker's signature says nothing of the people whose data it is.
    let leaky = stockade_profile::parse(&leaky()).unwrap();
    let leaky = put(stockade_profile::sign(&leaky, &maker)).await;
    assert_eq!(leaky.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(bench.state.registry.models().is_empty());
    let good = put(stockade_profile::sign(&profile, &maker)).await;
    assert_eq!(good.text, r#"{"model":"cam-2","version":7,"changed":true}"#);
}

#[tokio::test]
async fn the_vault_tells_what_it_keeps_and_nothing_else() {
    let bench = Bench::new();
    bench.populate();
    let payload = r#"{"time":"2026-11-22T18:00:31Z","confidence":0.9,"owner-email":"ann@example.test","gps":"x"}"#;
    bench.telemetry("porch", payload).await;
    bench.telemetry("garden", payload).await;
    let all = bench
        .json(
            "GET",
            "/api/v1/vault/records?schema=motion&purpose=operation",
            None,
        )
        .await
        .json();
    assert_eq!(all["records"].as_array().unwrap().len(), 2);
    assert_eq!(all["product"], "pseudonymised: still personal data");
    for purpose in ["", "&purpose=curiosity"] {
        let path = format!("/api/v1/vault/records?schema=motion{purpose}");
        let refused = bench.json("GET", &path, None).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    }
    let fields = &all["records"][0]["fields"];
    assert_eq!(fields["time"], "2026-11-22T18:00:00Z");
    assert_eq!(fields["confidence"], 0.9);
    assert!(
        fields.get("owner-email").is_none() && fields.get("gps").is_none(),
        "{fields}"
    );
    let page = bench
        .json(
            "GET",
            "/api/v1/vault/records?schema=motion&purpose=operation&limit=1",
            None,
        )
        .await
        .json();
    let next = page["next"].as_u64().unwrap();
    let rest = bench
        .json(
            "GET",
            &format!("/api/v1/vault/records?schema=motion&purpose=operation&after={next}"),
            None,
        )
        .await
        .json();
    assert_eq!(rest["records"].as_array().unwrap().len(), 1);
    let counters = bench
        .json("GET", "/api/v1/vault/counters", None)
        .await
        .json();
    assert_eq!(counters["motion"]["stored"], 2);
    for bad in [
        "",
        "?schema=motion&from=yesterday",
        "?schema=motion&colour=red",
        "?schema=motion&order=odd",
    ] {
        let answer = bench
            .json("GET", &format!("/api/v1/vault/records{bad}"), None)
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let cookie = bench.operator().await;
    let page = bench.get("/models/cam-2", &cookie).await;
    assert!(
        page.text.contains("2 stored in all") && page.text.contains("2026-11-22T18:00:00Z"),
        "{}",
        page.text
    );
    assert!(!page.text.contains("ann@example.test"));
    if let Ok(dir) = std::env::var("STOCKADE_PAGES") {
        fs_err::write(
            format!("{dir}/model-data.html"),
            page.text.replace("\"/assets/", "\"assets/"),
        )
        .unwrap();
    }
}

#[tokio::test]
async fn a_command_is_handed_to_the_broker() {
    let bench = Bench::new();
    let text = r#"{"topic":"cam-2/porch/command","payload":"on","qos":1}"#;
    assert_eq!(
        bench
            .json("POST", "/api/v1/publish", Some(text))
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    let bytes = r#"{"topic":"cam-2/porch/command","payload":"AP8=","encoding":"base64"}"#;
    assert_eq!(
        bench
            .json("POST", "/api/v1/publish", Some(bytes))
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    let sent = bench.sent.lock().await;
    assert_eq!((sent[0].payload.as_slice(), sent[0].qos), (&b"on"[..], 1));
    assert_eq!(
        (sent[1].payload.as_slice(), sent[1].qos),
        (&[0, 255][..], 0)
    );
}

#[tokio::test]
async fn over_https_the_api_needs_the_session_and_its_secret() {
    let bench = Bench::new();
    bench.populate();
    let cookie = bench.operator().await;
    let csrf = bench.get("/api/v1/session", &cookie).await.json()["csrf"]
        .as_str()
        .unwrap()
        .to_owned();
    let post = async |token: Option<&str>| {
        let mut request = Request::post("/api/v1/devices/porch/quarantine")
            .header(header::COOKIE, &cookie)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header("x-csrf-token", token);
        }
        send(
            &bench.pages,
            request.body(Body::from(r#"{"reason":"odd"}"#)).unwrap(),
        )
        .await
    };
    assert_eq!(post(None).await.status, StatusCode::FORBIDDEN);
    assert_eq!(
        post(Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))
            .await
            .status,
        StatusCode::FORBIDDEN
    );
    let state = || bench.json("GET", "/api/v1/devices/porch", None);
    assert_eq!(state().await.json()["state"], "active");
    assert_eq!(post(Some(&csrf)).await.status, StatusCode::OK);
    assert_eq!(state().await.json()["state"], "quarantined");
}

#[tokio::test]
async fn events_are_read_on_from_where_one_left_off() {
    let bench = Bench::new();
    for n in 0..5 {
        bench.event(
            Outcome::Refused,
            Control::Comms,
            Some("porch"),
            &format!("number {n}"),
        );
    }
    let first = bench
        .json("GET", "/api/v1/events?limit=3", None)
        .await
        .json();
    assert_eq!(
        (first["events"].as_array().unwrap().len(), &first["next"]),
        (3, &3.into())
    );
    let rest = bench
        .json("GET", "/api/v1/events?after=3", None)
        .await
        .json();
    assert_eq!(rest["events"][1]["reason"], "number 4");
    assert_eq!(rest["next"], 5);
    assert_eq!(
        bench
            .json("GET", "/api/v1/events?after=5", None)
            .await
            .json()["next"],
        5
    );
    // A number from before the gateway was started anew: everything of this run is new.
    let anew = bench
        .json("GET", "/api/v1/events?after=9000", None)
        .await
        .json();
    assert_eq!(anew["events"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn the_stream_tells_the_past_once_and_then_what_happens() {
    let bench = Bench::new();
    bench.event(Outcome::Refused, Control::Comms, Some("porch"), "before");
    bench.event(
        Outcome::Refused,
        Control::Comms,
        Some("garden"),
        "of another",
    );
    let request = Request::get("/api/v1/events/stream?after=0&device=porch")
        .body(Body::empty())
        .unwrap();
    let response = bench.api.clone().oneshot(request).await.unwrap();
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    let mut body = response.into_body();
    let mut next = async || {
        let frame = tokio::time::timeout(Duration::from_secs(5), body.frame())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    let first = next().await;
    assert!(
        first.contains("id: 1\n") && first.contains("before"),
        "{first}"
    );
    bench.event(
        Outcome::Refused,
        Control::Comms,
        Some("garden"),
        "of another",
    );
    bench.event(Outcome::Admitted, Control::Comms, Some("porch"), "live");
    let second = next().await;
    assert!(
        second.contains("id: 4\n") && second.contains("live"),
        "{second}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_stream_ends_with_the_session() {
    let bench = Bench::new();
    let cookie = bench.operator().await;
    let request = Request::get("/api/v1/events/stream?device=porch")
        .header(header::COOKIE, &cookie)
        .body(Body::empty())
        .unwrap();
    let mut body = bench
        .pages
        .clone()
        .oneshot(request)
        .await
        .unwrap()
        .into_body();
    let alive = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(&alive[..], b": alive\n\n");
    let csrf = bench.get("/", &cookie).await.csrf();
    bench.post("/logout", &cookie, &[("csrf", &csrf)]).await;
    while let Some(frame) = body.frame().await {
        assert_eq!(
            &frame.unwrap().into_data().unwrap()[..],
            b": alive\n\n",
            "nothing more is told"
        );
        assert!(
            bench
                .get("/", &cookie)
                .await
                .headers
                .contains_key(header::LOCATION)
        );
    }
}

#[tokio::test]
async fn an_aggregate_is_told_with_its_price_until_the_budget_is_used_up() {
    let bench = Bench::new();
    bench.populate();
    bench.telemetry("porch", r#"{"confidence":0.9}"#).await;
    let ask = async |body: &str| bench.json("POST", "/api/v1/vault/stat", Some(body)).await;
    let told = ask(r#"{"schema":"motion","question":"count subjects","epsilon":"0.75"}"#).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.text);
    let told = told.json();
    assert_eq!(told["product"], "aggregate");
    assert_eq!(told["statement"]["epsilon"], 0.75);
    assert_eq!(told["budget"]["left"], 0.25);
    let again = ask(r#"{"schema":"motion","question":"count  subjects","epsilon":"0.5"}"#).await;
    assert_eq!(again.json()["cells"], told["cells"]);
    for (body, status) in [
        (
            r#"{"schema":"motion","question":"count","epsilon":"0.5"}"#,
            429,
        ),
        (r#"{"schema":"motion","question":"count people"}"#, 400),
        (r#"{"schema":"motion","question":"mean confidence"}"#, 400),
        (
            r#"{"schema":"motion","question":"count","epsilon":"much"}"#,
            400,
        ),
        (
            r#"{"schema":"motion","question":"count","epsilon":"0.0001"}"#,
            400,
        ),
        (r#"{"schema":"odd","question":"count"}"#, 404),
        (r#"{"schema":"motion","question":"count","who":"me"}"#, 422),
    ] {
        let answer = ask(body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
    }
    let budgets = bench
        .json("GET", "/api/v1/vault/budgets", None)
        .await
        .json();
    let motion = &budgets["budgets"][0];
    assert_eq!(motion["data-set"], "motion");
    assert_eq!(
        (&motion["answers"], &motion["refused"]),
        (&1.into(), &1.into())
    );
}

#[tokio::test]
async fn a_release_that_cannot_be_is_refused_with_the_reason_and_the_risk_is_told() {
    let bench = Bench::new();
    bench.populate();
    bench.telemetry("porch", r#"{"confidence":0.9}"#).await;
    for (body, status, why) in [
        (
            r#"{"schema":"motion"}"#,
            422,
            "it has 1 subjects, and all together they are fewer than k",
        ),
        (
            r#"{"schema":"motion","k":2}"#,
            400,
            "k 2 is laxer than the profile, which says 10",
        ),
        (r#"{"schema":"odd"}"#, 404, "there is no data set `odd`"),
        (r#"{"schema":""}"#, 400, "`schema` is missing"),
        (
            r#"{"schema":"motion","from":"now"}"#,
            400,
            "`from` is no time",
        ),
        (
            r#"{"schema":"motion","limit":1}"#,
            422,
            "unknown field `limit`",
        ),
    ] {
        let answer = bench
            .json("POST", "/api/v1/vault/release", Some(body))
            .await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        assert!(answer.text.contains(why), "{body}: {}", answer.text);
    }
    let path = "/api/v1/vault/risk?schema=motion&k=12";
    let risk = bench.json("GET", path, None).await;
    assert_eq!(risk.status, StatusCode::OK, "{}", risk.text);
    let risk = risk.json();
    assert_eq!(risk["stored"]["unique"], 1);
    let unreachable = risk["unreachable"].as_str().unwrap();
    assert!(unreachable.contains("fewer than k"), "{unreachable}");
}
