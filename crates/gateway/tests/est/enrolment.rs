//! A device's life: enrol, connect, renew, sleep too long, come back.

use stockade_gateway::events::Outcome;
use stockade_gateway::name::DeviceId;
use stockade_gateway::registry::RegistrySettings;
use stockade_gateway::tls::TlsOptions;
use time::Duration;

use crate::gateway::{Gateway, enrol_script, mode, programs, unpack_script};

fn gateway() -> Option<Gateway> {
    programs().then(|| Gateway::start(RegistrySettings::default(), TlsOptions::default()))
}

#[test]
fn openssl_and_curl_enrol_a_device_and_it_is_admitted() {
    let Some(gw) = gateway() else { return };
    let code = gw.add("porch");
    assert_eq!(gw.state("porch"), "pending");
    // The CA is fetched without trust, and then compared with the fingerprint that the operator was shown.
    let print = gw.sh(
        "curl -sS -k $EST/cacerts -D heads | base64 -d | openssl pkcs7 -inform DER -print_certs \
         | openssl x509 -out ca.pem
         openssl x509 -in ca.pem -noout -fingerprint -sha256",
    );
    assert_eq!(
        print.trim().split('=').next_back().unwrap(),
        gw.pki.ca_fingerprint()
    );
    let heads = gw.read("heads").to_lowercase();
    assert!(
        heads.contains("content-type: application/pkcs7-mime; smime-type=certs-only"),
        "{heads}"
    );
    gw.key("porch");
    gw.sh(&format!(
        "{}\n{}",
        enrol_script("porch", &code),
        unpack_script("porch")
    ));
    let text = gw.sh(
        "openssl verify -CAfile ca.pem -purpose sslclient porch.pem
         openssl x509 -in porch.pem -noout -subject -dates -serial -ext subjectAltName,extendedKeyUsage,keyUsage",
    );
    assert!(text.contains("porch.pem: OK"), "{text}");
    assert!(
        text.contains("URI:spiffe://stockade.local/device/cam-2/porch"),
        "{text}"
    );
    assert!(
        text.contains("TLS Web Client Authentication") && text.contains("Digital Signature"),
        "{text}"
    );
    assert!(
        !text.contains("not believed"),
        "the request's subject is not taken over: {text}"
    );
    assert_eq!(gw.state("porch"), "active");
    assert!(
        gw.knock("porch")
            .ends_with("admitted cam-2/porch quarantined=false\n")
    );
    let record = gw
        .registry
        .get(&DeviceId::new("porch").unwrap(), gw.now())
        .unwrap();
    let life = record.certificate.unwrap().not_after - gw.now();
    assert!(
        life <= Duration::days(2),
        "the profile asks for two days: {life}"
    );
    assert_eq!(gw.event("enrolled").outcome, Outcome::Admitted);
}

#[test]
fn a_code_is_good_once_and_a_lost_answer_can_be_asked_for_again() {
    let Some(gw) = gateway() else { return };
    let code = gw.add("porch");
    gw.enrol("porch", &code);
    gw.sh(&format!(
        "cp porch.pem first.pem\n{}\n[ $(cat status) = 200 ]\n{}",
        enrol_script("porch", &code),
        unpack_script("porch")
    ));
    assert_eq!(
        gw.read("first.pem"),
        gw.read("porch.pem"),
        "the same key gets the same certificate"
    );
    gw.key("thief");
    assert_eq!(
        gw.sh(&format!("{}\ncat status", enrol_script("thief", &code))),
        "401"
    );
    assert!(gw.event("used before, with another key").device.is_some());
    assert!(gw.knock("porch").contains("admitted"));
    assert_eq!(
        gw.sh(&format!("{}\ncat status", enrol_script("porch", &code))),
        "401",
        "spent for good by its use"
    );
}

#[test]
fn wrong_unknown_and_expired_codes_get_one_answer_and_the_log_tells_them_apart() {
    let Some(gw) = gateway() else { return };
    let code = gw.add("porch");
    gw.ca();
    gw.key("porch");
    let wrong = gw.sh(&format!(
        "{}\ncat status body",
        enrol_script("porch", "0000-0000")
    ));
    let unknown = gw.sh(&format!(
        "{}\ncat status body",
        enrol_script("porch", &code).replace("porch:", "ghost:")
    ));
    gw.jump(Duration::hours(25));
    let expired = gw.sh(&format!(
        "{}\ncat status body",
        enrol_script("porch", &code).replace("--cacert ca.pem", "-k")
    ));
    assert_eq!(
        wrong,
        "401the device id or its enrolment code was not accepted\n"
    );
    assert_eq!(unknown, wrong);
    assert_eq!(expired, wrong);
    assert_eq!(
        gw.event("wrong enrolment code").device.as_deref(),
        Some("porch")
    );
    assert_eq!(
        gw.event("enrolment code that expired").device.as_deref(),
        Some("porch")
    );
    assert_eq!(gw.state("porch"), "pending");
}

#[test]
fn guessing_is_limited() {
    let Some(gw) = gateway() else { return };
    let code = gw.add("porch");
    gw.ca();
    gw.key("porch");
    let guess = enrol_script("porch", "1111-1111-1111-1111-1111-1111-1111");
    let statuses = gw.sh(&format!(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do {guess}; cat status; echo; done"
    ));
    let expected = "401\n".repeat(10) + &"429\n".repeat(2);
    assert_eq!(statuses, expected);
    assert_eq!(
        gw.sh(&format!("{}\ncat status", enrol_script("porch", &code))),
        "429",
        "the right one has to wait too"
    );
    gw.jump(Duration::minutes(1));
    assert_eq!(
        gw.sh(&format!("{}\ncat status", enrol_script("porch", &code))),
        "200"
    );
}

#[test]
fn a_certificate_renews_over_mutual_tls_and_the_old_one_ends_with_the_first_use_of_the_new() {
    let Some(gw) = gateway() else { return };
    let code = gw.add("porch");
    gw.enrol("porch", &code);
    assert!(gw.knock("porch").contains("admitted"));
    gw.key("next");
    gw.sh(&renew("porch", "next", "--cacert ca.pem"));
    assert!(
        gw.knock("porch").contains("admitted"),
        "the old one is good until the new one is used"
    );
    assert!(gw.knock("next").contains("admitted"));
    assert!(gw.knock("porch").contains("superseded"));
    let again = gw.sh(&format!(
        "{}\ncat status",
        renew_only("porch", "next", "--cacert ca.pem")
    ));
    assert_eq!(again, "403");
    assert!(gw.event("superseded").device.is_some());
}

fn renew_only(old: &str, new: &str, trust: &str) -> String {
    format!(
        "curl -sS {trust} --cert {old}.pem --key {old}.key -H 'Content-Type: application/pkcs10' \
         --data-binary @{new}.b64 -o body -w '%{{http_code}}' $EST/simplereenroll > status"
    )
}

fn renew(old: &str, new: &str, trust: &str) -> String {
    format!(
        "{}\n[ $(cat status) = 200 ]\n{}",
        renew_only(old, new, trust),
        unpack_script(new)
    )
}

#[test]
fn a_device_that_slept_for_sixty_days_comes_back_into_quarantine() {
    if !programs() {
        return;
    }
    let settings = RegistrySettings {
        return_window: Duration::days(90),
        ..RegistrySettings::default()
    };
    let gw = Gateway::start(settings, TlsOptions::default());
    let code = gw.add("porch");
    gw.enrol("porch", &code);
    assert!(gw.knock("porch").contains("admitted"));
    gw.jump(Duration::days(62));
    assert!(
        !gw.knock("porch").contains("admitted"),
        "an expired certificate opens nothing else"
    );
    gw.key("next");
    // The gateway's certificate is of its own time now, and curl's clock is not: trust is not what is tested here.
    let others =
        "curl -sS -k --cert porch.pem --key porch.key -o /dev/null -w '%{http_code}' $EST/cacerts";
    assert_eq!(gw.sh(others), "403");
    gw.sh(&renew("porch", "next", "-k"));
    assert_eq!(gw.state("porch"), "quarantined");
    let event = gw.event("came back 60 days after its certificate expired");
    assert_eq!(event.outcome, Outcome::Changed);
}

#[test]
fn the_way_back_is_closed_outside_the_window_and_for_revoked_devices() {
    let Some(gw) = gateway() else { return };
    let code = gw.add("porch");
    gw.enrol("porch", &code);
    assert!(gw.knock("porch").contains("admitted"));
    gw.jump(Duration::days(62));
    gw.key("next");
    let refused = gw.run(&renew_only("porch", "next", "-k"));
    assert!(!refused.status.success(), "the handshake itself is refused");
    let event = gw.event("expired 60 days ago, and the way back is open for 30 days");
    assert_eq!(event.device.as_deref(), Some("porch"));
    assert_eq!(event.control, "credentials");
    gw.jump(Duration::days(-50));
    gw.registry
        .revoke(&DeviceId::new("porch").unwrap(), "stolen", gw.now())
        .unwrap();
    assert!(!gw.run(&renew_only("porch", "next", "-k")).status.success());
    gw.event("is revoked since");
}

#[test]
fn the_ca_key_can_be_read_by_its_owner_only() {
    let Some(gw) = gateway() else { return };
    assert_eq!(mode(&gw.file("pki/ca.key")), 0o600);
    assert_eq!(mode(&gw.file("pki")), 0o700);
    let text = gw.sh("openssl x509 -in pki/ca.pem -noout -text");
    assert!(
        text.contains("CA:TRUE, pathlen:0") && text.contains("prime256v1"),
        "{text}"
    );
}

#[test]
fn a_devices_page_gets_a_certificate_for_servers_under_names_that_are_its_own() {
    let Some(gw) = gateway() else { return };
    let code = gw.add("porch");
    gw.enrol("porch", &code);
    let page = "-H 'Content-Type: application/pkcs10' --data-binary @page.b64 -o body -w '%{http_code}' \
                $EST/page/simpleenroll > status";
    gw.sh(
        "openssl ecparam -name prime256v1 -genkey -noout -out page.key
         openssl req -new -key page.key -subj '/CN=localhost' -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
         -outform DER | base64 > page.b64",
    );
    gw.sh(&format!("curl -sS --cacert ca.pem {page}"));
    assert_eq!(gw.read("status"), "403", "not without a certificate");
    let shown = "--cert porch.pem --key porch.key";
    gw.sh(&format!("curl -sS --cacert ca.pem {shown} {page}"));
    assert_eq!(gw.read("status"), "200");
    gw.sh(&unpack_script("page"));
    let text = gw.sh(
        "openssl verify -CAfile ca.pem -purpose sslserver -verify_hostname porch.local page.pem
         openssl x509 -in page.pem -noout -subject -ext subjectAltName,extendedKeyUsage",
    );
    assert!(text.contains("page.pem: OK"), "{text}");
    assert!(text.contains("DNS:porch.local"), "{text}");
    for foreign in ["localhost", "127.0.0.1", "URI:", "Client Authentication"] {
        assert!(!text.contains(foreign), "{foreign} in {text}");
    }
    assert!(
        !gw.knock("page").contains("admitted"),
        "nobody is a device by the certificate of its page"
    );
    gw.registry
        .revoke(&DeviceId::new("porch").unwrap(), "stolen", gw.now())
        .unwrap();
    gw.sh(&format!("curl -sS --cacert ca.pem {shown} {page} || true"));
    assert_ne!(gw.read("status"), "200", "a revoked device gets none");
}
