//! The vault's pages: what is shown, what is asked by a form, and what is not given without one.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use stockade_gateway::name::DeviceName;

use crate::bench::{Answer, Bench, encode, send};
use crate::pages::{check, keep};

/// Meters of a street, of which nobody is to learn the tariff.
const METER: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "meter-1"
version = 7
class = "linux"
[[comms.publish]]
topic = "meter-1/${device}/meter"
max-bytes = 512
rate = "2/s"
schema = "meter"
[data.meter]
region = { use = "keep", hierarchy = { north = ["ch"], south = ["ch"] } }
tariff = { use = "keep", role = "sensitive" }
kwh = { use = "keep", range = [0, 5], role = "free" }
note = { use = "drop" }
[vault.meter]
purposes = ["billing", "repair"]
retention = "90d"
contribution = { per = "1d", records = 96 }
release = { k = 5, l = 2, t = "0.5", suppress = "5%", delay = "1h" }
budget = { epsilon = "1", per = "30d" }
"#;

/// A street of meters, each of which sent something.
async fn street() -> Bench {
    let bench = Bench::new();
    bench.populate();
    let profile = stockade_profile::parse(METER).unwrap();
    let registry = &bench.state.registry;
    registry.install_profile(profile, bench.now()).unwrap();
    registry
        .add(&DeviceName::new("meter-1", "m-0").unwrap(), bench.now())
        .unwrap();
    for n in 0..24 {
        let region = if n % 3 == 0 { "north" } else { "south" };
        let tariff = ["day", "night", "both"][n % 3 + usize::from(n > 20) - usize::from(n == 23)];
        let payload = format!(
            r#"{{"region":"{region}","tariff":"{tariff}","kwh":{}.25,"note":"x","colour":"red"}}"#,
            n % 5
        );
        let device = format!("m-{n}");
        bench
            .telemetry_of("meter-1", "meter", &device, &payload)
            .await;
    }
    bench
}

/// What differs from run to run, by a name.
fn hidden(mut answer: Answer, marks: &[(&str, char)]) -> Answer {
    for (mark, end) in marks {
        let mut from = 0;
        while let Some(at) = answer.text[from..].find(mark) {
            let start = from + at + mark.len();
            let stop = answer.text[start..].find(*end).unwrap() + start;
            answer.text.replace_range(start..stop, "[random]");
            from = start;
        }
    }
    answer
}

const RANDOM: [(&str, char); 5] = [
    ("<dt>Root</dt><dd class=\"mono\">", '<'),
    ("<dt>Public key</dt><dd class=\"mono\">", '<'),
    ("subject ", '…'),
    ("in the log</dt><dd class=\"mono\">", '<'),
    ("holds the log to it.</p>\n<pre>", '<'),
];

#[tokio::test]
async fn the_data_sets_are_shown_with_what_they_are_for_and_what_is_left() {
    let bench = Bench::new();
    let cookie = bench.operator().await;
    check("data-empty", &bench.get("/data", &cookie).await);
    let bench = street().await;
    let cookie = bench.operator().await;
    check("data", &bench.get("/data", &cookie).await);
    check("data-set", &bench.get("/data/meter", &cookie).await);
    check(
        "data-set-nothing",
        &bench.get("/data/motion", &cookie).await,
    );
    let none = bench.get("/data/%3Cscript%3E", &cookie).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    assert!(!none.text.contains("<script"), "{}", none.text);
}

#[tokio::test]
async fn a_release_is_tried_then_made_once_and_remembered() {
    let bench = street().await;
    let cookie = bench.operator().await;
    let csrf = bench.get("/data/meter", &cookie).await.csrf();
    let risk = [("csrf", csrf.as_str())];
    let measured = bench.post("/data/meter/risk", &cookie, &risk).await;
    check("data-risk", &measured);
    let form = |act| {
        let csrf = csrf.as_str();
        [
            ("csrf", csrf),
            ("k", ""),
            ("from", ""),
            ("to", ""),
            ("act", act),
        ]
    };
    let tried = bench
        .post("/data/meter/release", &cookie, &form("try"))
        .await;
    check("data-release-tried", &tried);
    let page = bench.get("/data/meter", &cookie).await;
    assert!(page.text.contains("Nothing of it was released yet"));
    let made = bench
        .post("/data/meter/release", &cookie, &form("make"))
        .await;
    assert_eq!(
        (made.status, made.header(header::CONTENT_DISPOSITION)),
        (
            StatusCode::OK,
            "attachment; filename=\"meter-release-1.csv\""
        ),
        "{}",
        made.text
    );
    let lines: Vec<_> = made.text.lines().collect();
    assert!(lines.len() > 20 && lines[0].contains("tariff"), "{lines:?}");
    let page = bench.get("/data/meter", &cookie).await;
    assert!(page.text.contains("<li value=\"1\">"), "{}", page.text);
    // What is laxer than the profile is refused at the form, and what was written stays there.
    let mut lax = form("make");
    lax[1].1 = "2";
    let refused = bench.post("/data/meter/release", &cookie, &lax).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(
        refused.text.contains("K 2 is laxer than the profile")
            && refused.text.contains("value=\"2\""),
        "{}",
        refused.text
    );
    assert!(
        !bench
            .get("/data/meter", &cookie)
            .await
            .text
            .contains("<li value=\"2\">")
    );
}

#[tokio::test]
async fn an_aggregate_is_answered_with_its_error_and_paid() {
    let bench = street().await;
    let cookie = bench.operator().await;
    let csrf = bench.get("/data/meter", &cookie).await.csrf();
    let ask = async |question: &str, epsilon: &str| {
        let form = [
            ("csrf", csrf.as_str()),
            ("question", question),
            ("epsilon", epsilon),
        ];
        bench.post("/data/meter/stat", &cookie, &form).await
    };
    let told = ask("count subjects by region", "0.4").await;
    keep("data-answer", &told);
    assert_eq!(told.status, StatusCode::OK, "{}", told.text);
    assert!(told.text.contains("0.6 of 1 is left"), "{}", told.text);
    for said in [
        "north",
        "south",
        "<circle",
        "epsilon 0.4, delta",
        "class=\"area\"",
    ] {
        assert!(told.text.contains(said), "{said} in {}", told.text);
    }
    // The first step of the plot is as high as what was spent: 40 of the 100 units between 12 and 112.
    assert!(told.text.contains("V72.0"), "{}", told.text);
    bench.pass(time::Duration::minutes(10));
    let again = ask("count subjects by region", "0.4").await;
    assert!(again.text.contains("0.6 of 1 is left"), "{}", again.text);
    let wrong = ask("mean <script> of", "").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.text.contains("role=\"alert\"") && !wrong.text.contains("<script>"));
    let dear = ask("sum kwh", "5").await;
    assert_eq!(dear.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(dear.text.contains("Questions refused: 1"), "{}", dear.text);
}

#[tokio::test]
async fn records_are_shown_for_a_purpose_of_the_profile_and_the_log_tells_why() {
    let bench = street().await;
    let cookie = bench.operator().await;
    let csrf = bench.get("/data/meter", &cookie).await.csrf();
    let ask = async |purpose: &str, device: &str| {
        let form = [
            ("csrf", csrf.as_str()),
            ("purpose", purpose),
            ("device", device),
        ];
        bench.post("/data/meter/records", &cookie, &form).await
    };
    check("data-records", &ask("repair", "m-0").await);
    assert_eq!(ask("curiosity", "").await.status, StatusCode::FORBIDDEN);
    assert_eq!(ask("", "").await.status, StatusCode::FORBIDDEN);
    assert_eq!(ask("repair", "nobody").await.status, StatusCode::NOT_FOUND);
    let log = bench.get("/data/log", &cookie).await;
    check("data-log", &hidden(log, &RANDOM));
    let older = bench.get("/data/log?before=1", &cookie).await;
    assert!(
        older.text.contains("href=\"/data/log?before=3\">Newer"),
        "{}",
        older.text
    );
    assert!(!older.text.contains(">Older<"));
}

#[tokio::test]
async fn a_device_s_data_leaves_as_a_file_and_is_erased_with_a_proof() {
    let bench = street().await;
    let cookie = bench.operator().await;
    let csrf = bench.get("/devices/m-0", &cookie).await.csrf();
    let yes = [("csrf", csrf.as_str())];
    let file = bench.post("/devices/m-0/export", &cookie, &yes).await;
    assert_eq!(
        file.header(header::CONTENT_DISPOSITION),
        "attachment; filename=\"m-0-export.jsonl\"",
        "{}",
        file.text
    );
    let lines: Vec<serde_json::Value> = file
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["fields"]["region"], "north");
    check("erase", &bench.get("/devices/m-0/erase", &cookie).await);
    let erase = async |reason: &str| {
        let form = [("csrf", csrf.as_str()), ("reason", reason)];
        bench.post("/devices/m-0/erase", &cookie, &form).await
    };
    let sentence = erase("Mrs Miller asked").await;
    assert_eq!(sentence.status, StatusCode::BAD_REQUEST);
    assert!(sentence.text.contains("role=\"alert\""));
    check("erased", &hidden(erase("ticket-17").await, &RANDOM));
    let again = erase("ticket-17").await;
    assert!(
        again.text.contains("The vault has nothing of m-0"),
        "{}",
        again.text
    );
    let file = bench.post("/devices/m-0/export", &cookie, &yes).await;
    assert_eq!((file.status, file.text.as_str()), (StatusCode::OK, ""));
    let log = bench.get("/data/log", &cookie).await;
    assert!(
        log.text.contains("ticket-17") && !log.text.contains("m-0"),
        "{}",
        log.text
    );
}

#[tokio::test]
async fn a_token_is_shown_once_listed_and_taken_back() {
    let bench = Bench::new();
    bench.populate();
    let cookie = bench.operator().await;
    let page = bench.get("/tokens", &cookie).await;
    check("tokens-empty", &page);
    let csrf = page.csrf();
    let add = async |name: &str, role: &str, device: &str, days: &str| {
        let form = [
            ("csrf", csrf.as_str()),
            ("name", name),
            ("role", role),
            ("device", device),
            ("days", days),
        ];
        bench.post("/tokens", &cookie, &form).await
    };
    let made = add("ana", "analyst", "", "30").await;
    let mark = "id=\"token\">";
    let at = made.text.find(mark).unwrap() + mark.len();
    let token = made.text[at..].split('<').next().unwrap().to_owned();
    check("tokens-made", &hidden(made, &[(mark, '<')]));
    let who = async || {
        let request = Request::get("/api/v1/session")
            .header(header::HOST, "console.test:8443")
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        send(&bench.pages, request).await
    };
    assert_eq!(who().await.json()["role"], "analyst");
    assert_eq!(
        add("porch-owner", "subject", "porch", "7").await.status,
        StatusCode::OK
    );
    assert_eq!(
        add("x", "subject", "nobody", "7").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        add("Ana Bee", "analyst", "", "7").await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        add("x", "analyst", "", "many").await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        add("ana", "analyst", "", "7").await.status,
        StatusCode::CONFLICT
    );
    let list = bench.get("/tokens", &cookie).await;
    check("tokens", &list);
    assert!(!list.text.contains(&token));
    let yes = [("csrf", csrf.as_str())];
    let gone = bench.post("/tokens/ana/revoke", &cookie, &yes).await;
    assert_eq!(gone.header(header::LOCATION), "/tokens?done=revoked");
    assert_eq!(who().await.status, StatusCode::UNAUTHORIZED);
    let none = bench.post("/tokens/ana/revoke", &cookie, &yes).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}

/// Pages are the operator's. A form that another site sent, or that somebody sent without a log-in, does nothing.
#[tokio::test]
async fn every_page_wants_a_log_in_and_every_form_the_session_s_secret() {
    let bench = street().await;
    let cookie = bench.operator().await;
    let router = include_str!("../../src/pages.rs");
    let paths: Vec<_> = router
        .split('"')
        .filter(|text| text.starts_with('/') && !text.contains(char::is_whitespace))
        .map(|text| {
            text.replace("rollouts/{id}", "rollouts/1")
                .replace("{id}", "porch")
                .replace("{name}", "meter")
        })
        .collect();
    assert!(paths.len() > 30, "{paths:?}");
    let size = bench.state.vault.as_ref().unwrap().log().head();
    for path in paths {
        if ["/login", "/logout"].contains(&path.as_str()) {
            continue;
        }
        let stranger = bench.get(&path, "").await;
        assert_eq!(stranger.header(header::LOCATION), "/login", "{path}");
        let fields = [("csrf", "guess"), ("reason", "x"), ("purpose", "repair")];
        let stranger = bench.post(&path, "", &fields).await;
        let forged = bench.post(&path, &cookie, &fields).await;
        if stranger.status != StatusCode::METHOD_NOT_ALLOWED {
            assert_eq!(stranger.header(header::LOCATION), "/login", "{path}");
            assert_eq!(forged.status, StatusCode::FORBIDDEN, "{path}");
        }
        let from_elsewhere = Request::post(&path)
            .header(header::HOST, "console.test:8443")
            .header(header::COOKIE, &cookie)
            .header("sec-fetch-site", "cross-site")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(encode(&fields)));
        let refused = send(&bench.pages, from_elsewhere.unwrap()).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(bench.state.vault.as_ref().unwrap().log().head(), size);
}
