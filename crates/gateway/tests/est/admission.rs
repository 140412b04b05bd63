//! Who is refused at the door, with which alert, and what the log says of it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration as StdDuration;

use stockade_gateway::events::Outcome;
use stockade_gateway::name::{DeviceId, DeviceName};
use stockade_gateway::pki::Request;
use stockade_gateway::registry::RegistrySettings;
use stockade_gateway::tls::{Minimum, TlsOptions};
use time::Duration;

use crate::gateway::{Gateway, programs};

fn gateway() -> Option<Gateway> {
    if !programs() {
        return None;
    }
    let gw = Gateway::start(RegistrySettings::default(), TlsOptions::default());
    gw.ca();
    Some(gw)
}

#[test]
fn tls_1_0_and_1_1_get_the_alert_protocol_version_and_a_line_in_the_log() {
    let Some(gw) = gateway() else { return };
    let code = gw.add("porch");
    gw.enrol("porch", &code);
    assert!(gw.knock("porch").contains("admitted"));
    for (option, name) in [
        ("-tls1", "TLS 1.0"),
        ("-tls1_1", "TLS 1.1"),
        ("-tls1_2", "TLS 1.2"),
    ] {
        let said = gw.sh(&format!(
            "timeout 10 openssl s_client -ign_eof -connect $MQTT {option} -cipher 'ALL:@SECLEVEL=0' < /dev/null 2>&1 || true"
        ));
        assert!(
            said.contains("alert protocol version") && said.contains("alert number 70"),
            "{option}: {said}"
        );
        if option == "-tls1_2" {
            continue;
        }
        // The three come from one address within ten seconds: the first is told, the others are summed up.
        if option == "-tls1" {
            let event = gw.event(&format!(
                "offered {name} at most; the gateway speaks TLS 1.3"
            ));
            assert_eq!(
                (event.control, event.outcome),
                ("protocols", Outcome::Refused)
            );
            assert_eq!(
                event.device.as_deref(),
                Some("porch"),
                "its address was last seen as this device's"
            );
            assert!(event.peer.is_some());
        }
    }
}

#[test]
fn tls_1_2_is_spoken_where_the_operator_allows_it_and_nothing_older() {
    if !programs() {
        return;
    }
    let options = TlsOptions {
        minimum: Minimum::Tls12,
        ..TlsOptions::default()
    };
    let gw = Gateway::start(RegistrySettings::default(), options);
    let code = gw.add("porch");
    gw.enrol("porch", &code);
    let connect = |options: &str| {
        gw.sh(&format!(
            "timeout 10 openssl s_client -ign_eof -connect $MQTT -CAfile ca.pem -cert porch.pem -key porch.key {options} \
             < /dev/null 2>&1 || true"
        ))
    };
    let said = connect("-tls1_2");
    assert!(said.contains("admitted cam-2/porch"), "{said}");
    for weak in [
        "AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES128-SHA",
        "DHE-RSA-AES128-GCM-SHA256",
    ] {
        let said = connect(&format!("-tls1_2 -cipher {weak}:@SECLEVEL=0"));
        assert!(said.contains("alert handshake failure"), "{weak}: {said}");
    }
    assert!(connect("-tls1_1 -cipher ALL:@SECLEVEL=0").contains("alert protocol version"));
    gw.event("the gateway speaks TLS 1.3 and 1.2");
}

#[test]
fn no_ticket_lets_a_device_back_in_without_its_certificate() {
    let Some(gw) = gateway() else { return };
    let code = gw.add("porch");
    gw.enrol("porch", &code);
    let said = gw.sh(
        "(sleep 1) | timeout 10 openssl s_client -ign_eof -connect $MQTT -CAfile ca.pem -cert porch.pem -key porch.key \
         -sess_out session 2>&1 || true; [ -e session ] && echo resumable || echo not resumable",
    );
    assert!(
        said.contains("admitted") && said.ends_with("not resumable\n"),
        "{said}"
    );
}

/// Issues a certificate past the registry: what a device of another life would show.
fn stray(gw: &Gateway, model: &str, id: &str, file: &str) {
    gw.key(file);
    let der =
        stockade_gateway::est::decode_body(gw.read(&format!("{file}.b64")).as_bytes()).unwrap();
    let name = DeviceName::new(model, id).unwrap();
    let request = Request::read(&der).unwrap();
    let issued = gw
        .pki
        .issue(&name, &request, Duration::days(1), gw.now())
        .unwrap();
    fs_err::write(gw.file(&format!("{file}.der")), issued.der).unwrap();
    gw.sh(&format!(
        "openssl x509 -inform DER -in {file}.der -out {file}.pem"
    ));
}

#[test]
fn certificates_that_are_not_wanted_are_refused_each_with_its_reason() {
    let Some(gw) = gateway() else { return };
    let code = gw.add("porch");
    gw.enrol("porch", &code);
    assert!(gw.knock("porch").contains("admitted"));
    stray(&gw, "cam-2", "ghost", "ghost");
    assert!(gw.knock("ghost").contains("is not in the registry"));
    stray(&gw, "lock-9", "porch", "model");
    assert!(
        gw.knock("model")
            .contains("shows a certificate of the model lock-9, but is registered as cam-2")
    );
    stray(&gw, "cam-2", "porch", "twin");
    assert!(
        gw.knock("twin")
            .contains("shows a certificate that the registry does not know")
    );
    gw.sh(
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout foreign.key -subj / -out foreign.csr \
           2> /dev/null
         echo 'subjectAltName=URI:spiffe://stockade.local/device/cam-2/porch' > extensions
         openssl x509 -req -in foreign.csr -signkey foreign.key -extfile extensions -out foreign.pem 2> /dev/null",
    );
    assert!(gw.knock("foreign").contains("unknown ca"));
    let event = gw.event("issued by a CA that is not this gateway's");
    assert_eq!(
        (event.control, event.device.as_deref()),
        ("credentials", Some("porch"))
    );
    gw.registry
        .revoke(&DeviceId::new("porch").unwrap(), "stolen", gw.now())
        .unwrap();
    assert!(gw.knock("porch").contains("is revoked since"));
}

#[test]
fn an_expired_certificate_gets_its_alert_and_the_log_names_the_device() {
    let Some(gw) = gateway() else { return };
    let code = gw.add("porch");
    gw.enrol("porch", &code);
    gw.jump(Duration::days(3));
    let said = gw.sh(
        "timeout 10 openssl s_client -ign_eof -connect $MQTT -cert porch.pem -key porch.key < /dev/null 2>&1 || true",
    );
    assert!(said.contains("alert certificate expired"), "{said}");
    assert_eq!(
        gw.event("its certificate expired on").device.as_deref(),
        Some("porch")
    );
    // A clock that jumped back before the certificate was made is as clear.
    gw.jump(Duration::days(-3) - Duration::minutes(30));
    let said = gw.sh(
        "timeout 10 openssl s_client -ign_eof -connect $MQTT -cert porch.pem -key porch.key < /dev/null 2>&1 || true",
    );
    assert!(
        said.contains("alert certificate expired"),
        "RFC 8446 §6.2 has one alert for both: {said}"
    );
}

#[test]
fn no_certificate_and_a_foreign_protocol_are_refused() {
    let Some(gw) = gateway() else { return };
    let said = gw.sh("timeout 10 openssl s_client -ign_eof -connect $MQTT -CAfile ca.pem < /dev/null 2>&1 || true");
    assert!(said.contains("alert certificate required"), "{said}");
    assert_eq!(
        gw.event("showed no device certificate").control,
        "credentials"
    );
    let said = gw.sh("timeout 10 openssl s_client -ign_eof -connect $MQTT -alpn h2,coap < /dev/null 2>&1 || true");
    assert!(
        said.contains("alert no application protocol") && said.contains("alert number 120"),
        "{said}"
    );
    let event = gw.event("asked for the application protocol");
    assert_eq!(
        event.reason,
        "asked for the application protocol `h2`, `coap`; `mqtt` is spoken here"
    );
    let said = gw.sh("timeout 10 openssl s_client -ign_eof -connect $MQTT -alpn mqtt -CAfile ca.pem < /dev/null 2>&1 || true");
    assert!(said.contains("ALPN protocol: mqtt"), "{said}");
}

fn send(gw: &Gateway, bytes: &[u8]) -> Vec<u8> {
    let mut tcp = TcpStream::connect(gw.mqtt).unwrap();
    tcp.set_read_timeout(Some(StdDuration::from_secs(10)))
        .unwrap();
    tcp.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _reset = tcp.read_to_end(&mut answer);
    answer
}

#[test]
fn plain_protocols_are_recognised_and_named() {
    let Some(gw) = gateway() else { return };
    let connect = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03abc";
    assert!(send(&gw, connect).is_empty());
    assert_eq!(gw.event("spoke MQTT without TLS").control, "comms");
    assert!(send(&gw, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").is_empty());
    gw.event("spoke HTTP without TLS");
    assert!(send(&gw, b"SSH-2.0-OpenSSH_9.2\r\n").is_empty());
    gw.event("spoke no TLS: its first bytes are of another protocol");
    // SSL 2.0: a CLIENT-HELLO for version 2, and the alert in a record of SSL 3.0.
    let ssl2 = [0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10];
    assert_eq!(send(&gw, &ssl2), [21, 3, 0, 0, 2, 2, 70]);
    gw.event("offered SSL 2.0 at most");
}

#[test]
fn silent_sockets_stop_nobody() {
    if !programs() {
        return;
    }
    let options = TlsOptions {
        deadline: StdDuration::from_millis(1_500),
        ..TlsOptions::default()
    };
    let gw = Gateway::start(RegistrySettings::default(), options);
    let code = gw.add("porch");
    gw.enrol("porch", &code);
    let silent: Vec<TcpStream> = (0..600)
        .map(|_| TcpStream::connect(gw.mqtt).unwrap())
        .collect();
    assert!(
        gw.knock("porch").contains("admitted"),
        "from the very address of the silent ones"
    );
    gw.event("gave way to newcomers");
    gw.event("said nothing in time");
    for mut tcp in silent {
        tcp.set_read_timeout(Some(StdDuration::from_secs(10)))
            .unwrap();
        assert_eq!(
            tcp.read(&mut [0; 8]).unwrap_or_default(),
            0,
            "each is closed"
        );
    }
}

#[test]
fn the_enrolment_listener_is_as_strict() {
    let Some(gw) = gateway() else { return };
    let port = gw.est.port();
    let said = gw.sh(&format!(
        "timeout 10 openssl s_client -ign_eof -connect localhost:{port} -tls1_1 -cipher 'ALL:@SECLEVEL=0' \
         < /dev/null 2>&1 || true"
    ));
    assert!(said.contains("alert protocol version"), "{said}");
    gw.event("offered TLS 1.1 at most");
    let said = gw.sh(&format!(
        "curl -sS --max-time 10 http://localhost:{port}/.well-known/est/cacerts 2>&1 || true"
    ));
    assert!(
        said.contains("Empty reply") || said.contains("reset"),
        "{said}"
    );
    gw.event("spoke HTTP without TLS");
    gw.sh(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout foreign.key -out foreign.pem \
         -subj / 2> /dev/null",
    );
    let said = gw.run("curl -sS --cacert ca.pem --cert foreign.pem --key foreign.key $EST/cacerts");
    assert!(
        !said.status.success(),
        "a certificate that is shown has to be right"
    );
}

#[test]
fn a_slow_request_is_cut_off_and_others_are_served() {
    let Some(gw) = gateway() else { return };
    let port = gw.est.port();
    // A head that never ends, on many connections at once.
    let stuck = format!(
        "for i in $(seq 40); do (printf 'GET / HTTP/1.1\\r\\nX: '; sleep 4) \
           | timeout 20 openssl s_client -quiet -connect localhost:{port} -CAfile ca.pem > /dev/null 2>&1 & done
         sleep 1.5
         curl -sS --cacert ca.pem --max-time 10 -o /dev/null -w '%{{http_code}}' $EST/cacerts
         wait"
    );
    assert_eq!(gw.sh(&stuck), "200");
}
