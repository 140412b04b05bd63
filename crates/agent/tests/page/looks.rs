//! What the pages say: whole, as they are sent.

use crate::{CHOSEN, Device};

/// A page without what differs from run to run.
fn page(device: &Device, path: &str) -> String {
    scrubbed(&device.get(path).body)
}

fn scrubbed(body: &str) -> String {
    let mut out = String::new();
    for line in body.lines().filter(|line| !line.trim().is_empty()) {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("name=\"csrf\" value=\"") {
            out.push_str(before);
            out.push_str("name=\"csrf\" value=\"[secret]");
            rest = after.trim_start_matches(|c| c != '"');
        }
        out.push_str(rest);
        out.push('\n');
    }
    for stem in ["style-", "countdown-", "icon-"] {
        while let Some(at) = out.find(&format!("/assets/{stem}")) {
            let end = at + "/assets/".len() + stem.len() + 16;
            out.replace_range(at..end, &format!("[{}", stem.trim_end_matches('-')));
        }
    }
    out
}

#[test]
fn pages_say_how_the_device_stands() {
    let device = Device::start();
    let log_in = device.get("/login");
    insta::assert_snapshot!("login", scrubbed(&log_in.body));
    device.log_in(crate::FIRST);
    insta::assert_snapshot!("first_password", page(&device, "/password"));
    let fields = format!("current={}&new={CHOSEN}&again={CHOSEN}", crate::FIRST);
    device.post("/password", &fields);
    device.standing.note(|it| {
        it.gateway = "gw.example:8883".to_owned();
        it.connected = Some(std::time::UNIX_EPOCH + std::time::Duration::from_hours(1));
        it.quarantine = Some("credentials/default-password: account guest".to_owned());
        it.dropped = 2;
    });
    insta::assert_snapshot!("overview", page(&device, "/"));
    insta::assert_snapshot!("plan", page(&device, "/plan"));
    insta::assert_snapshot!("undo", page(&device, "/undo"));
    insta::assert_snapshot!("blocked", page(&device, "/blocked"));
    insta::assert_snapshot!("upnp_off", page(&device, "/upnp"));
    insta::assert_snapshot!(
        "upnp_confirm",
        page(&device, "/upnp/on?interface=eth0&seconds=3600")
    );
    insta::assert_snapshot!("updates", page(&device, "/updates"));
    insta::assert_snapshot!("gateway", page(&device, "/gateway"));
    insta::assert_snapshot!("log", page(&device, "/log"));
    insta::assert_snapshot!("not_found", page(&device, "/nothing"));
}

#[test]
fn upnp_goes_on_with_the_password_shows_what_is_open_and_goes_off_by_time_and_by_click() {
    let device = Device::start();
    device.owner();
    let on = |seconds: u32, password: &str| {
        let fields = format!("interface=eth0&seconds={seconds}&password={password}");
        device.post("/upnp/on", &fields)
    };
    let refused = on(2, "wrong");
    assert_eq!(refused.status, 401);
    assert!(
        refused.body.contains("That is not the password."),
        "{}",
        refused.body
    );
    assert!(device.get("/upnp").body.contains("UPnP is off"));
    for foreign in ["interface=eth9&seconds=60", "interface=eth0&seconds=3601"] {
        let asked = format!("{foreign}&password={CHOSEN}");
        assert_eq!(device.post("/upnp/on", &asked).status, 400, "{foreign}");
    }
    assert_eq!(on(2, CHOSEN).location(), Some("/upnp"));
    let shown = device.get("/upnp").body;
    assert!(
        shown.contains("data-seconds=\"2\"") && shown.contains("tcp port 40000"),
        "{shown}"
    );
    std::thread::park_timeout(std::time::Duration::from_millis(2_100));
    assert!(device.get("/upnp").body.contains("UPnP is off"));
    assert_eq!(on(60, CHOSEN).location(), Some("/upnp"));
    assert!(
        device.get("/").body.contains("UPnP is on"),
        "the overview says so, too"
    );
    assert_eq!(device.post("/upnp/off", "").location(), Some("/upnp"));
    assert!(device.get("/upnp").body.contains("UPnP is off"));
}

#[test]
fn mending_shows_its_steps_and_tells_a_new_password_once_to_the_session_that_asked() {
    let device = Device::start();
    device.owner();
    let apply = |password: &str| device.post("/apply", &format!("digest=d1&password={password}"));
    let finished = || {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while device.get("/work?peek").body.contains("id=\"running\"") {
            assert!(std::time::Instant::now() < until, "still running");
        }
    };
    assert_eq!(apply("wrong").location(), Some("/work"));
    finished();
    assert!(device.get("/work").body.contains("id=\"refused\""));
    assert_eq!(apply(CHOSEN).location(), Some("/work"));
    // Somebody else who knows the password sees that it was done, but not what was told.
    let other = format!("password={CHOSEN}");
    device.curl_as("other", "/login", &["--data", &other]);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let seen = loop {
        let seen = device.curl_as("other", "/work", &[]).body;
        if seen.contains("id=\"done\"") {
            break seen;
        }
        assert!(std::time::Instant::now() < until, "{seen}");
    };
    assert!(!seen.contains("told-this-once"));
    let first = device.get("/work").body;
    assert!(first.contains("told-this-once"), "{first}");
    assert!(
        !device.get("/work").body.contains("told-this-once"),
        "told once"
    );
}

#[test]
fn an_update_is_installed_with_the_password_and_it_is_the_one_that_was_shown() {
    let device = Device::start();
    device.owner();
    let install = |fields: &str, password: &str| {
        device.post("/updates", &format!("{fields}&password={password}"))
    };
    assert_eq!(install("what=install&version=13", "wrong").status, 401);
    for wrong in ["what=erase", "what=install", "what=install&version=x"] {
        assert_eq!(install(wrong, CHOSEN).status, 400, "{wrong}");
    }
    let done = install("what=install&version=13", CHOSEN);
    assert_eq!(done.location(), Some("/updates"));
    let shown = device.get("/updates").body;
    assert!(shown.contains("Install { version: Some(13) }"), "{shown}");
    assert!(
        !shown.contains("Install and restart"),
        "one thing at a time"
    );
}

#[test]
fn what_is_on_trial_is_kept_with_the_password() {
    let device = Device::start();
    device.owner();
    let keep = |password: &str| device.post("/ports", &format!("password={password}"));
    assert_eq!(keep("wrong").status, 401);
    let shown = device.get("/ports").body;
    for text in [
        "on trial",
        "eth1",
        "in use, not allowed",
        "kept out",
        "storage may not be plugged in",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(
        !shown.contains("<b>x</b>"),
        "what a device calls itself is text"
    );
    assert_eq!(keep(CHOSEN).location(), Some("/ports"));
    assert!(!device.get("/ports").body.contains("on trial"));
}
