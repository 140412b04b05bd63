//! Roll-outs, by page and by API.

use axum::http::StatusCode;

use crate::bench::{Bench, PROFILE};

/// A console whose model takes whole systems.
fn bench() -> Bench {
    let bench = Bench::new();
    let text = format!(
        "{PROFILE}\n[updates]\nsource = \"https://updates.example.org/cam-2\"\nmax-age = \"30d\"\nsecurity-within = \"72h\"\nslots = {{ kind = \"rauc\" }}\n"
    );
    let profile = stockade_profile::parse(&text).unwrap();
    bench
        .state
        .registry
        .install_profile(profile, bench.now())
        .unwrap();
    bench
}

#[tokio::test]
async fn an_operator_starts_halts_and_goes_on_and_gives_reasons() {
    let bench = bench();
    let cookie = bench.operator().await;
    let page = bench.get("/rollouts", &cookie).await;
    assert!(page.text.contains("Start a roll-out"), "{}", page.text);
    let csrf = page.csrf();
    let start = [
        ("csrf", csrf.as_str()),
        ("model", "cam-2"),
        ("version", "12"),
        ("stages", "1%, 10%, 100%"),
    ];
    assert_eq!(
        bench.post("/rollouts", &cookie, &start).await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        bench.post("/rollouts", &cookie, &start).await.status,
        StatusCode::CONFLICT,
        "one at a time"
    );
    let page = bench.get("/rollouts", &cookie).await;
    assert!(
        page.text.contains("cam-2 to version 12") && page.text.contains(">running<"),
        "{}",
        page.text
    );
    let no_reason = [("csrf", csrf.as_str()), ("reason", " ")];
    assert_eq!(
        bench
            .post("/rollouts/1/halt", &cookie, &no_reason)
            .await
            .status,
        StatusCode::BAD_REQUEST
    );
    let reason = [
        ("csrf", csrf.as_str()),
        ("reason", "<b>the maker</b> called"),
    ];
    assert_eq!(
        bench
            .post("/rollouts/1/halt", &cookie, &reason)
            .await
            .status,
        StatusCode::SEE_OTHER
    );
    let page = bench.get("/rollouts", &cookie).await;
    assert!(
        page.text.contains("Halted by the operator"),
        "{}",
        page.text
    );
    assert!(!page.text.contains("<b>the maker</b>"), "a reason is text");
    assert_eq!(
        bench
            .post("/rollouts/1/resume", &cookie, &reason)
            .await
            .status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        bench.get("/rollouts/1/resume", &cookie).await.status,
        StatusCode::SEE_OTHER
    );
    let told: Vec<String> = bench
        .state
        .events
        .latest(None, 10)
        .iter()
        .map(|it| it.reason.clone())
        .collect();
    assert!(
        told.iter()
            .any(|it| it.contains("roll-out 1 halted by the operator: <b>the maker</b> called")),
        "{told:?}"
    );
}

#[tokio::test]
async fn without_the_forms_secret_or_a_log_in_nothing_is_changed() {
    let bench = bench();
    let cookie = bench.operator().await;
    let start = [("model", "cam-2"), ("version", "12"), ("stages", "100%")];
    let forged = bench.post("/rollouts", &cookie, &start).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    let stranger = bench.post("/rollouts", "", &start).await;
    assert_ne!(stranger.status, StatusCode::OK);
    let all = bench.json("GET", "/api/v1/rollouts", None).await.json();
    assert_eq!(all["rollouts"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn programs_are_told_what_is_wrong_with_what_they_ask() {
    let bench = bench();
    let ask = async |body: &str| bench.json("POST", "/api/v1/rollouts", Some(body)).await;
    for (body, status, says) in [
        (
            r#"{"model":"cam-9","version":1}"#,
            StatusCode::NOT_FOUND,
            "no model",
        ),
        (
            r#"{"model":"cam-2","version":0}"#,
            StatusCode::BAD_REQUEST,
            "begin with 1",
        ),
        (
            r#"{"model":"cam-2","version":1,"stages":["1%"]}"#,
            StatusCode::BAD_REQUEST,
            "the last is 100%",
        ),
        (
            r#"{"model":"cam-2","version":1,"stages":["all"]}"#,
            StatusCode::BAD_REQUEST,
            "no share",
        ),
        (
            r#"{"model":"cam-2","version":1,"within":0}"#,
            StatusCode::BAD_REQUEST,
            "within",
        ),
        (
            r#"{"model":"cam-2","version":1,"x":1}"#,
            StatusCode::UNPROCESSABLE_ENTITY,
            "x",
        ),
    ] {
        let answer = ask(body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        assert!(answer.text.contains(says), "{body}: {}", answer.text);
    }
    assert_eq!(
        ask(r#"{"model":"cam-2","version":12}"#).await.status,
        StatusCode::OK
    );
    let view = bench.json("GET", "/api/v1/rollouts/1", None).await.json();
    assert_eq!(
        (view["state"].as_str(), view["limit"].as_str()),
        (Some("running"), Some("2%"))
    );
    assert_eq!(
        bench.json("GET", "/api/v1/rollouts/7", None).await.status,
        StatusCode::NOT_FOUND
    );
    let halted = bench
        .json("POST", "/api/v1/rollouts/1/halt", Some(r#"{"reason":"x"}"#))
        .await
        .json();
    assert_eq!(halted["state"], "halted");
}
