//! The console, met by curl and by Chromium.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use stockade_e2e::Gateway;
use stockade_e2e::tools::{eventually, finish, root, script, text, without};

/// The one-time password that `up` printed.
fn password(gateway: &Gateway) -> Result<String> {
    eventually("the password is printed", Duration::from_secs(10), || {
        let said = gateway.said();
        let shown = said.split_once("one-time password ");
        let shown = shown.and_then(|(_, rest)| rest.split_whitespace().next());
        Ok(shown.map(str::to_owned))
    })
}

fn curl(gateway: &Gateway, path: &str, arguments: &[&str]) -> Result<(u16, String)> {
    let url = format!("https://{}{path}", gateway.address("console")?);
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--insecure",
        "--include",
        "--write-out",
        "\n%{http_code}",
    ]);
    let output = finish(command.args(arguments).arg(url), Duration::from_secs(20))?;
    let said = text(&output);
    let (body, status) = said.rsplit_once('\n').unwrap_or(("", &said));
    Ok((
        status.parse().with_context(|| said.clone())?,
        body.to_lowercase(),
    ))
}

#[test]
fn a_stranger_sees_the_log_in_page_and_nothing_else() -> Result<()> {
    if without(&["curl"]) {
        return Ok(());
    }
    let gateway = Gateway::start()?;
    for path in ["/", "/events", "/models", "/devices/porch", "/devices/new"] {
        let (status, body) = curl(&gateway, path, &[])?;
        let sent = status == 303 && body.contains("location: /login");
        assert!(sent, "{path} answers {status}: {body}");
    }
    for path in ["/api/v1/devices", "/api/v1/events", "/api/v1/status"] {
        let (status, body) = curl(&gateway, path, &[])?;
        assert_eq!(status, 401, "{path}: {body}");
    }
    let (status, _) = curl(
        &gateway,
        "/api/v1/devices/x/revoke",
        &["-X", "POST", "-d", "{}"],
    )?;
    assert!(
        [401, 403].contains(&status),
        "a stranger's revoke is answered with {status}"
    );
    Ok(())
}

#[test]
fn pages_come_with_a_policy_that_starts_from_nothing() -> Result<()> {
    if without(&["curl"]) {
        return Ok(());
    }
    let gateway = Gateway::start()?;
    let (_, page) = curl(&gateway, "/login", &[])?;
    assert!(
        page.contains("content-security-policy: default-src 'none'"),
        "{page}"
    );
    assert!(!page.contains("unsafe-inline"), "{page}");
    for header in [
        "x-content-type-options: nosniff",
        "referrer-policy:",
        "strict-transport-security:",
    ] {
        assert!(page.contains(header), "no {header} in {page}");
    }
    Ok(())
}

/// Where a log-in with this password leads, or the status that refuses it.
fn log_in(gateway: &Gateway, password: &str) -> Result<String> {
    let form = format!("username=admin&password={password}");
    let (status, answer) = curl(gateway, "/login", &["-d", &form])?;
    let location = answer
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .map(|place| place.trim().to_owned());
    Ok(location.unwrap_or_else(|| status.to_string()))
}

#[test]
fn a_lost_password_is_replaced_by_another_that_works_once() -> Result<()> {
    if without(&["curl"]) {
        return Ok(());
    }
    let mut gateway = Gateway::start()?;
    let lost = password(&gateway)?;
    assert_eq!(log_in(&gateway, &lost)?, "/password");
    assert_eq!(log_in(&gateway, "something else")?, "401");
    // Not while it runs: the directory is in use.
    let reset = ["admin", "reset-password"];
    let output = finish(&mut gateway.command(&reset), Duration::from_secs(20))?;
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    gateway.stop()?;
    let said = gateway.cli(&reset)?;
    let (_, fresh) = said
        .trim()
        .split_once("one-time password ")
        .context("no password")?;
    assert_ne!(fresh, lost);
    gateway.up()?;
    assert_eq!(log_in(&gateway, &lost)?, "401");
    assert_eq!(log_in(&gateway, fresh)?, "/password");
    Ok(())
}

/// Chromium with a device to look at, and what else the page is told.
fn chromium(gateway: &Gateway, provoke: &[String]) -> Result<()> {
    let mut browser = script("console_page.py")?;
    browser
        .current_dir(root())
        .arg(format!("https://{}", gateway.address("console")?))
        .arg(password(gateway)?)
        .arg(gateway.folder())
        .args(provoke);
    let output = finish(&mut browser, Duration::from_secs(110))?;
    let said = text(&output);
    assert!(output.status.success() && said.contains("ok"), "{said}");
    assert_eq!(gateway.state("porch")?, "active");
    Ok(())
}

const BROWSER: [&str; 6] = [
    "openssl",
    "curl",
    "mosquitto_pub",
    "chromium",
    "chromedriver",
    "python3",
];

#[test]
fn everything_but_the_live_events_works_with_script_switched_off() -> Result<()> {
    if without(&BROWSER) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    gateway.enrol("probe", "porch")?;
    chromium(&gateway, &[])?;
    assert_eq!(gateway.state("attic")?, "revoked");
    Ok(())
}

#[test]
fn chromium_logs_in_sees_the_fleet_and_a_live_event_and_quarantines_and_releases() -> Result<()> {
    if without(&BROWSER) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    // The page asks for the message that makes a live event by running this.
    let mut refused = device.mosquitto(
        "mosquitto_pub",
        "mqttv5",
        &["-q", "1", "-t", "probe/hall/report", "-m", "x"],
    );
    refused.env_clear();
    let provoke: Vec<String> = std::iter::once(refused.get_program())
        .chain(refused.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    chromium(&gateway, &provoke)
}

#[test]
fn chromium_sees_the_demos_camera_mended_taken_back_and_mended_again() -> Result<()> {
    if without(&BROWSER) {
        return Ok(());
    }
    let gateway = Gateway::demo()?;
    let mut browser = script("posture_page.py")?;
    browser
        .current_dir(root())
        .arg(format!("https://{}", gateway.address("console")?))
        .arg(password(&gateway)?)
        .arg(gateway.folder());
    let output = finish(&mut browser, Duration::from_secs(150))?;
    let said = text(&output);
    assert!(output.status.success() && said.contains("ok"), "{said}");
    Ok(())
}
