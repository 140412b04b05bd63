//! Tokens and roles: every route is open to those it is for, and closed to all others.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use stockade_console::routes;
use time::Duration;
use tower::ServiceExt as _;

use crate::bench::{Bench, send};

const ROLES: [&str; 4] = ["operator", "analyst", "auditor", "subject:porch"];

/// A token of this role, made over the socket.
async fn token(bench: &Bench, name: &str, role: &str) -> String {
    let body = json!({ "name": name, "role": role, "days": 30 });
    let request = Request::post("/api/v1/tokens")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()));
    let answer = send(&bench.api, request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    answer.json()["token"].as_str().unwrap().to_owned()
}

fn request(method: &str, path: &str, token: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "console.test:8443")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from("{}"))
        .unwrap()
}

/// The status, and what was said where it was refused; a stream of events has no end.
async fn asked(bench: &Bench, method: &str, path: &str, token: &str) -> (StatusCode, String) {
    let pages = bench.pages.clone();
    let answer = pages.oneshot(request(method, path, token)).await.unwrap();
    let status = answer.status();
    if status.is_success() {
        return (status, String::new());
    }
    let said = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(said.to_vec()).unwrap())
}

fn filled(path: &str) -> String {
    let mut path = path.to_owned();
    for (open, with) in [
        ("{*rest}", "v1/nowhere"),
        ("{*path}", "checkpoint"),
        ("{id}", "porch"),
        ("{name}", "cam-2"),
        ("{data_set}", "motion"),
    ] {
        path = path.replace(open, with);
    }
    assert!(!path.contains('{'), "{path}");
    path
}

#[tokio::test]
async fn every_route_is_open_to_its_roles_and_closed_to_all_others() {
    for role in ROLES {
        let bench = Bench::new();
        bench.populate();
        let token = token(&bench, "tried", role).await;
        let name = role.split(':').next().unwrap();
        for (methods, path, open_to) in routes() {
            for method in methods.split(' ') {
                let open = open_to.iter().any(|it| it.as_str() == name);
                let (status, said) = asked(&bench, method, &filled(path), &token).await;
                let closed = said.contains(&format!("the role {name} may not do this"));
                assert_eq!(closed, !open, "{role} {method} {path}: {status} {said}");
                assert!(!closed || status == StatusCode::FORBIDDEN);
                // Whatever the table lists is there.
                assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
                let nowhere = said.contains("there is no such address");
                assert_eq!(
                    nowhere,
                    open && path.contains("{*rest}"),
                    "{method} {path}: {said}"
                );
            }
        }
        // Nor is there a method that the table does not list.
        for (_, path, open_to) in routes() {
            let listed: Vec<_> = routes()
                .filter(|it| it.1 == path)
                .flat_map(|it| it.0.split(' '))
                .collect();
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
                if !listed.contains(&method) && open_to.len() < 4 {
                    let (status, said) = asked(&bench, method, &filled(path), &token).await;
                    assert_eq!(
                        status,
                        StatusCode::METHOD_NOT_ALLOWED,
                        "{method} {path}: {said}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_route_of_the_router_has_a_line_and_those_below_the_operator_reach_the_vault_only() {
    let router = include_str!("../../src/api.rs");
    let paths: Vec<_> = router
        .split('"')
        .filter(|text| text.starts_with("/api/"))
        .collect();
    assert!(paths.len() > 30);
    for path in paths {
        assert!(
            routes().any(|it| it.1 == path),
            "{path} has no line in table.rs"
        );
    }
    let below = |role: &str| {
        routes()
            .filter(|it| it.2.iter().any(|open| open.as_str() == role))
            .map(|it| it.1)
            .collect::<Vec<_>>()
    };
    for role in ["analyst", "auditor"] {
        for path in below(role) {
            let known = ["/api/v1/status", "/api/v1/session", "/api/{*rest}"];
            assert!(
                path.starts_with("/api/v1/vault/") || known.contains(&path),
                "{role}: {path}"
            );
        }
    }
    for path in below("subject") {
        let own = ["/api/v1/session", "/api/{*rest}"];
        let theirs = path.contains("/vault/export") || path.contains("/vault/erase");
        assert!(theirs || own.contains(&path), "subject: {path}");
    }
}

#[tokio::test]
async fn who_has_no_token_that_lives_is_nobody() {
    let bench = Bench::new();
    bench.populate();
    let good = token(&bench, "ana", "analyst").await;
    let path = "/api/v1/session";
    let (status, _) = asked(&bench, "GET", path, &good).await;
    assert_eq!(status, StatusCode::OK);
    let answer = send(&bench.pages, request("GET", path, &good)).await.json();
    assert_eq!(
        answer,
        json!({ "csrf": Value::Null, "who": "ana", "role": "analyst" })
    );
    let nobody = send(&bench.pages, request("GET", path, "stockade_x")).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    assert_eq!(nobody.header(header::WWW_AUTHENTICATE), "Bearer");
    // A token is judged by itself: the cookie of somebody who is logged in does not help.
    let cookie = bench.operator().await;
    let mut both = request("GET", path, "stockade_x");
    both.headers_mut()
        .insert(header::COOKIE, cookie.parse().unwrap());
    assert_eq!(
        send(&bench.pages, both).await.status,
        StatusCode::UNAUTHORIZED
    );
    let mut twice = request("GET", path, &good);
    twice.headers_mut().append(
        header::AUTHORIZATION,
        format!("Bearer {good}").parse().unwrap(),
    );
    assert_eq!(
        send(&bench.pages, twice).await.status,
        StatusCode::UNAUTHORIZED
    );
    // Basic is no way in.
    let mut basic = request("GET", path, "");
    basic.headers_mut().insert(
        header::AUTHORIZATION,
        format!("Basic {good}").parse().unwrap(),
    );
    assert_eq!(
        send(&bench.pages, basic).await.status,
        StatusCode::UNAUTHORIZED
    );
    bench.pass(Duration::days(31));
    assert_eq!(
        asked(&bench, "GET", path, &good).await.0,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn failures_are_limited_and_keep_nobody_out_who_has_a_token() {
    let bench = Bench::new();
    let good = token(&bench, "ana", "analyst").await;
    let mut seen = Vec::new();
    for _ in 0..8 {
        let wrong = send(
            &bench.pages,
            request("GET", "/api/v1/session", "stockade_x"),
        )
        .await;
        seen.push(wrong.status.as_u16());
    }
    assert_eq!(seen, [401, 401, 401, 401, 401, 429, 429, 429]);
    let (status, _) = asked(&bench, "GET", "/api/v1/session", &good).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn the_log_tells_of_tokens_and_refusals_and_is_served_to_auditors() {
    let bench = Bench::new();
    bench.populate();
    let (ana, rev) = (
        token(&bench, "ana", "analyst").await,
        token(&bench, "rev", "auditor").await,
    );
    let refused = asked(&bench, "GET", "/api/v1/vault/records?schema=motion", &rev).await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN);
    assert_eq!(
        asked(&bench, "GET", "/api/v1/vault/log", &ana).await.0,
        StatusCode::FORBIDDEN
    );
    let answer = send(&bench.pages, request("GET", "/api/v1/vault/log", &rev))
        .await
        .json();
    let told: Vec<_> = answer["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            format!(
                "{} {} {} {}",
                it["index"], it["who"], it["action"], it["outcome"]
            )
            .replace('"', "")
        })
        .collect();
    assert_eq!(
        told,
        [
            "0 admin-socket tokens done",
            "1 admin-socket tokens done",
            "2 rev query refused",
            "3 ana log refused",
        ]
    );
    let checkpoint = send(
        &bench.pages,
        request("GET", "/api/v1/vault/log/checkpoint", &rev),
    )
    .await;
    assert!(checkpoint.text.starts_with("stockade-vault-") && checkpoint.text.contains("\n4\n"));
    let none = asked(
        &bench,
        "GET",
        "/api/v1/vault/log/tile/0/..%2f..%2flog.key",
        &rev,
    )
    .await;
    assert_eq!(none.0, StatusCode::NOT_FOUND);
}
