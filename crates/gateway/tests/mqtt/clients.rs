//! Real clients, both versions of the protocol.

use crate::gateway::{Gateway, programs};

const VERSIONS: [&str; 2] = ["5", "311"];

#[test]
fn messages_go_from_one_device_to_another_with_every_quality_of_service() {
    if !programs() {
        return;
    }
    let gateway = Gateway::start();
    gateway.device("a");
    gateway.device("b");
    for version in VERSIONS {
        for qos in ["0", "1", "2"] {
            let version = format!("mqttv{version}");
            let filter = [
                "-V", &version, "-i", "b", "-t", "home/#", "-q", qos, "-C", "3", "-W", "10",
            ];
            let listening = gateway.subscribe("b", &filter);
            for text in ["one", "two", "three"] {
                let message = [
                    "-V",
                    &version,
                    "-i",
                    "a",
                    "-t",
                    "home/a/up",
                    "-q",
                    qos,
                    "-m",
                    text,
                ];
                assert!(gateway.publish("a", &message));
            }
            let heard = listening.wait_with_output().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&heard.stdout),
                "one\ntwo\nthree\n",
                "{version} {qos}"
            );
        }
    }
}

#[test]
fn a_kept_session_gets_what_came_meanwhile_even_over_a_restart() {
    if !programs() {
        return;
    }
    let mut gateway = Gateway::start();
    gateway.device("a");
    gateway.device("b");
    for version in VERSIONS {
        let version = format!("mqttv{version}");
        let mut kept = vec!["-V", &version, "-i", "b", "-c", "-t", "home/#", "-q", "2"];
        if version == "mqttv5" {
            kept.extend(["-x", "600"]);
        }
        let mut first = kept.clone();
        first.push("-E");
        let subscribed = gateway.subscribe("b", &first).wait_with_output().unwrap();
        assert!(subscribed.status.success());
        for text in ["one", "two"] {
            let message = [
                "-V",
                &version,
                "-i",
                "a",
                "-t",
                "home/a/up",
                "-q",
                "2",
                "-m",
                text,
            ];
            assert!(gateway.publish("a", &message));
        }
        gateway.restart();
        kept.extend(["-C", "2", "-W", "10"]);
        let heard = gateway.subscribe("b", &kept).wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&heard.stdout),
            "one\ntwo\n",
            "{version}"
        );
    }
}

#[test]
fn what_the_profile_does_not_allow_is_refused_and_told() {
    if !programs() {
        return;
    }
    let gateway = Gateway::start();
    gateway.device("a");
    gateway.device("b");
    let foreign = [
        "-V",
        "mqttv5",
        "-i",
        "a",
        "-t",
        "home/b/up",
        "-q",
        "1",
        "-m",
        "x",
    ];
    gateway.publish("a", &foreign);
    let event = gateway.event("publishes to `home/b/up`, its profile allows only `home/a/up`");
    assert_eq!(
        (event.device.as_deref(), event.control),
        (Some("a"), "comms")
    );
    let name = ["-V", "mqttv5", "-i", "b", "-t", "home/a/up", "-m", "x"];
    assert!(!gateway.publish("a", &name));
    gateway.event("connects with the client id `b`");
}

#[test]
fn an_operator_reaches_a_device_and_a_revoked_one_stays_out() {
    if !programs() {
        return;
    }
    let gateway = Gateway::start();
    gateway.device("a");
    let listening = gateway.subscribe(
        "a",
        &["-i", "a", "-t", "home/a/command", "-C", "1", "-W", "10"],
    );
    let sent = gateway
        .handle
        .publish_from_operator("home/a/command", b"open", 1, false);
    assert_eq!(gateway.runtime.block_on(sent).unwrap(), 1);
    assert_eq!(listening.wait_with_output().unwrap().stdout, b"open\n");
    let now = time::OffsetDateTime::now_utc();
    gateway
        .registry
        .revoke(&gateway.id("a"), "lost", now)
        .unwrap();
    assert!(!gateway.publish("a", &["-i", "a", "-t", "home/a/up", "-m", "x"]));
    gateway.event("is revoked since");
}
