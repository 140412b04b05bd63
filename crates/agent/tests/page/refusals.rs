//! What the page does not do.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::{CHOSEN, Device, FIRST, csrf};

#[test]
fn a_stranger_sees_the_log_in_and_an_owner_with_the_first_password_only_its_change() {
    let device = Device::start();
    let paths = [
        "/",
        "/plan",
        "/work",
        "/upnp",
        "/upnp/on",
        "/gateway",
        "/log",
        "/password",
        "/x",
    ];
    for path in paths {
        assert_eq!(device.get(path).location(), Some("/login"), "{path}");
        let posted = device.curl(path, &["--data", "csrf=x"]);
        assert_eq!(posted.location(), Some("/login"), "{path}");
    }
    assert_eq!(device.log_in("wrong").status, 401);
    assert_eq!(device.log_in(FIRST).location(), Some("/password"));
    for path in paths.into_iter().filter(|path| *path != "/password") {
        assert_eq!(device.get(path).location(), Some("/password"), "{path}");
        assert_eq!(
            device.post(path, "").location(),
            Some("/password"),
            "{path}"
        );
    }
    let asked = device.told.asked.lock().unwrap().clone();
    assert_eq!(asked, ["LogIn", "LogIn"], "nothing else reached the helper");
}

#[test]
fn a_request_with_a_foreign_host_a_foreign_origin_or_no_token_changes_nothing() {
    let device = Device::start();
    device.owner();
    let secret = csrf(&device.get("/").body).unwrap().to_owned();
    let form = format!("csrf={secret}&interface=eth0&seconds=60&password={CHOSEN}");
    let on = |arguments: &[&str]| device.curl("/upnp/on", arguments).status;
    assert_eq!(on(&["--data", &form, "-H", "Host: evil.example"]), 421);
    assert_eq!(
        on(&["--data", &form, "-H", "Origin: https://evil.example"]),
        403
    );
    assert_eq!(on(&["--data", &form, "-H", "Origin: null"]), 403);
    assert_eq!(
        on(&["--data", &form, "-H", "Sec-Fetch-Site: cross-site"]),
        403
    );
    assert_eq!(
        on(&["--data", &form, "-H", "Sec-Fetch-Site: same-site"]),
        403
    );
    let (_, without) = form.split_once('&').unwrap();
    assert_eq!(on(&["--data", without]), 403);
    assert_eq!(
        on(&["--data", &form.replace(&secret, &"A".repeat(43))]),
        403
    );
    assert_eq!(
        on(&["--data", &form, "-H", "Content-Type: text/plain"]),
        400
    );
    assert_eq!(on(&["--data", &format!("{form}&csrf={secret}")]), 400);
    assert_eq!(
        on(&["--data", &format!("{form}&x={}", "y".repeat(5_000))]),
        400
    );
    assert_eq!(on(&["-X", "PUT", "--data", &form]), 405);
    for path in ["/", "/login"] {
        let rebound = device.curl(path, &["-H", "Host: evil.example"]);
        assert_eq!(rebound.status, 421, "{path}");
    }
    let asked = device.told.asked.lock().unwrap().clone();
    assert!(!asked.contains(&"UpnpOn".to_owned()), "{asked:?}");
    assert_eq!(
        on(&["--data", &form]),
        303,
        "the same form is taken from our own page"
    );
}

#[test]
fn a_cookie_is_of_no_use_after_the_log_out_and_after_a_change_of_the_password() {
    let device = Device::start();
    device.owner();
    let jar = fs_err::read_to_string(device.folder.path().join("jar")).unwrap();
    fs_err::write(device.folder.path().join("thief"), &jar).unwrap();
    assert!(jar.contains("__Host-stockade-device"), "{jar}");
    assert_eq!(
        device.curl_as("thief", "/", &[]).status,
        200,
        "the probe can see"
    );
    assert_eq!(device.post("/logout", "").location(), Some("/login"));
    assert_eq!(device.curl_as("thief", "/", &[]).location(), Some("/login"));

    device.log_in(CHOSEN);
    let jar = fs_err::read(device.folder.path().join("jar")).unwrap();
    fs_err::write(device.folder.path().join("thief"), jar).unwrap();
    let fields = format!("current={CHOSEN}&new={FIRST}&again={FIRST}");
    assert_eq!(device.post("/password", &fields).location(), Some("/"));
    assert_eq!(device.curl_as("thief", "/", &[]).location(), Some("/login"));
}

#[test]
fn every_answer_has_the_headers_and_the_cookie_is_kept_from_script_and_strangers() {
    let device = Device::start();
    let answer = device.log_in(FIRST);
    let cookie = answer
        .head
        .lines()
        .find(|line| line.starts_with("set-cookie"));
    let cookie = cookie.unwrap();
    for part in ["__host-", "path=/", "secure", "httponly", "samesite=strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let style = device.get("/password").body;
    let (_, style) = style.split_once("stylesheet\" href=\"").unwrap();
    let style = style.split('"').next().unwrap().to_owned();
    for path in ["/login", "/x", "/password", style.as_str()] {
        let head = device.get(path).head;
        for header in [
            "content-security-policy: default-src 'none'",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: same-origin",
            "cache-control: ",
        ] {
            assert!(head.contains(header), "{path}: no {header} in {head}");
        }
        assert!(!head.contains("unsafe"), "{head}");
    }
}

#[test]
fn ten_thousand_tries_reach_the_helper_a_few_times_and_the_owner_elsewhere_gets_in() {
    let device = Device::start();
    let url = format!("https://127.0.0.1:{}/login?[1-10000]", device.port);
    let begun = Instant::now();
    let mut siege = Command::new("curl")
        .args([
            "--silent",
            "--insecure",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}\n",
        ])
        .args(["--data", "password=guess", &url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is there");
    // The owner is at another address, and in while the siege goes on.
    let url = format!("https://127.0.0.1:{}/login", device.port);
    let owner = Command::new("curl")
        .args([
            "--silent",
            "--insecure",
            "--interface",
            "127.0.0.2",
            "--max-time",
            "10",
        ])
        .args([
            "--write-out",
            "%{http_code} %{time_total}",
            "--output",
            "/dev/null",
        ])
        .args(["--data", &format!("password={FIRST}"), &url])
        .output()
        .unwrap();
    let owner = String::from_utf8_lossy(&owner.stdout).into_owned();
    assert!(owner.starts_with("303"), "{owner}");
    let mut codes = String::new();
    siege
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut codes)
        .unwrap();
    siege.wait().unwrap();
    let of = |code: &str| codes.lines().filter(|line| *line == code).count();
    assert_eq!(of("401") + of("429"), 10_000, "every try was answered");
    let allowed = 6 + begun.elapsed().as_secs() / 30;
    let heard = device.told.passwords.load(Ordering::Relaxed);
    assert!(
        u64::from(heard) <= allowed,
        "the helper heard {heard} of them"
    );
}

#[test]
fn silent_connections_keep_nobody_out() {
    let device = Device::start();
    let address = ("127.0.0.1", device.port);
    let silent: Vec<_> = (0..64).map(|_| TcpStream::connect(address)).collect();
    let begun = Instant::now();
    let answer = device.get("/login");
    assert_eq!(answer.status, 200);
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    drop(silent);
}

/// Whether openssl comes to an agreement on this version.
fn agrees(port: u16, version: &str) -> bool {
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{port}"),
            version,
        ])
        .args(["-cipher", "ALL:@SECLEVEL=0"])
        .stdin(Stdio::null())
        .output()
        .expect("openssl is there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.contains("-----BEGIN CERTIFICATE-----")
}

#[test]
fn the_page_and_a_front_speak_tls_1_3_and_nothing_older_and_the_front_hands_all_on() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = service.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in service.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4];
            // Others only shake hands.
            if stream.read_exact(&mut head).is_ok() {
                let body = "x".repeat(100_000);
                write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}").unwrap();
            }
        }
    });
    let (device, front) = Device::with_front(Some(to));
    for port in [device.port, front] {
        assert!(agrees(port, "-tls1_3"), "the probe can see");
        for old in ["-tls1", "-tls1_1", "-tls1_2"] {
            assert!(!agrees(port, old), "{port} {old}");
        }
    }
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "20", "--http1.1"])
        .arg(format!("https://127.0.0.1:{front}/"))
        .output()
        .unwrap();
    assert_eq!(output.stdout.len(), 100_000);
}
