//! Requests that are not as RFC 7030 wants them, and what they get.

use stockade_gateway::registry::RegistrySettings;
use stockade_gateway::tls::TlsOptions;

use crate::gateway::{Gateway, programs};

/// A gateway with the device `porch`, and a script's `post` that sends a body with the right password.
fn gateway() -> Option<(Gateway, String)> {
    if !programs() {
        return None;
    }
    let gw = Gateway::start(RegistrySettings::default(), TlsOptions::default());
    let code = gw.add("porch");
    gw.ca();
    gw.key("porch");
    let post = format!(
        "post() {{ curl -sS --cacert ca.pem --user porch:{code} -w '%{{http_code}}' \"$@\" $EST/simpleenroll; }}\n"
    );
    Some((gw, post))
}

#[test]
fn bodies_that_are_no_request_get_an_answer_that_helps() {
    let Some((gw, post)) = gateway() else { return };
    let pkcs10 = "-H 'Content-Type: application/pkcs10' --data-binary";
    let cases = [
        (
            "post -H 'Content-Type: application/json' --data-binary @porch.b64".to_owned(),
            "the content type must be application/pkcs10\n415",
        ),
        (
            format!("post {pkcs10} ''"),
            "the body is empty: send a PKCS#10 request\n400",
        ),
        (
            format!("post {pkcs10} 'not base64!'"),
            "the body is not base64 text\n400",
        ),
        (
            format!("post {pkcs10} MAMCAQA="),
            "the request is not PKCS#10 (RFC 2986)\n400",
        ),
        (
            format!("openssl req -new -key porch.key -subj /CN=x -out pem; post {pkcs10} @pem"),
            "the body is PEM: send the base64 text without its BEGIN and END lines\n400",
        ),
        (
            format!(
                "openssl req -new -key porch.key -subj /CN=x -outform DER -out der; post {pkcs10} @der"
            ),
            "the body is bare DER: send it as base64 text\n400",
        ),
        (
            format!("post -H 'Content-Transfer-Encoding: binary' {pkcs10} @porch.b64"),
            "the content transfer encoding must be base64\n415",
        ),
        (
            format!("head -c 70000 /dev/zero | tr '\\0' A > big; post {pkcs10} @big"),
            "the body is too long for a certificate request\n413",
        ),
        (
            format!(
                "openssl req -new -newkey rsa:2048 -nodes -keyout rsa.key -subj /CN=x -outform DER 2> /dev/null \
                 | base64 > rsa; post {pkcs10} @rsa"
            ),
            "RSA keys are not accepted: use P-256, P-384 or Ed25519\n400",
        ),
    ];
    for (script, expected) in cases {
        assert_eq!(gw.sh(&format!("{post}{script}")), expected, "{script}");
    }
    assert_eq!(gw.state("porch"), "pending", "none of them spent the code");
}

#[test]
fn a_request_without_proof_of_possession_is_refused() {
    let Some((gw, post)) = gateway() else { return };
    // One bit of the signature, which is the end of the DER.
    let mut der = base64_decode(&gw.read("porch.b64"));
    *der.last_mut().unwrap() ^= 1;
    fs_err::write(gw.file("forged.der"), der).unwrap();
    let script = "base64 forged.der > forged; post -H 'Content-Type: application/pkcs10' --data-binary @forged";
    let answer = gw.sh(&format!("{post}{script}"));
    assert_eq!(
        answer,
        "the request's signature does not fit its public key\n400"
    );
}

fn base64_decode(text: &str) -> Vec<u8> {
    stockade_gateway::est::decode_body(text.as_bytes()).unwrap()
}

#[test]
fn every_accepted_key_enrols_with_or_without_line_breaks() {
    let Some((gw, post)) = gateway() else { return };
    let kinds = [
        "EC -pkeyopt ec_paramgen_curve:P-256",
        "EC -pkeyopt ec_paramgen_curve:P-384",
        "ED25519",
    ];
    for (kind, wrap) in kinds.iter().zip(["-w0", "-w64", "-w76"]) {
        let id = stockade_gateway::name::DeviceId::new("porch").unwrap();
        let code = gw.registry.renew_code(&id, gw.now()).unwrap();
        let script = format!(
            "openssl genpkey -algorithm {kind} -out porch.key
             openssl req -new -key porch.key -subj /CN=x -outform DER | base64 {wrap} > porch.b64
             curl -sS --cacert ca.pem --user porch:{} -o body -w '%{{http_code}}' \
               -H 'Content-Type: application/pkcs10' --data-binary @porch.b64 $EST/simpleenroll
             base64 -d body | openssl pkcs7 -inform DER -print_certs | openssl x509 -out porch.pem",
            code.reveal()
        );
        assert_eq!(gw.sh(&format!("{post}{script}")), "200", "{kind}");
        assert!(gw.knock("porch").contains("admitted"), "{kind}");
    }
}

#[test]
fn other_paths_and_methods_are_refused_and_the_password_is_asked_for() {
    let Some((gw, _)) = gateway() else { return };
    let get = "curl -sS --cacert ca.pem -o /dev/null -w '%{http_code}'";
    assert_eq!(gw.sh(&format!("{get} $EST/../x")), "404");
    assert_eq!(gw.sh(&format!("{get} $EST/fullcmc")), "404");
    assert_eq!(gw.sh(&format!("{get} $EST/simpleenroll")), "405");
    assert_eq!(gw.sh(&format!("{get} -X POST $EST/cacerts")), "405");
    let heads = gw.sh("curl -sS --cacert ca.pem -D - -X POST -H 'Content-Type: application/pkcs10' $EST/simpleenroll");
    assert!(
        heads.contains("401")
            && heads
                .to_lowercase()
                .contains("www-authenticate: basic realm="),
        "{heads}"
    );
    assert_eq!(gw.sh(&format!("{get} -X POST $EST/simplereenroll")), "403");
}

#[test]
fn csr_attributes_are_read_by_openssl() {
    let Some((gw, _)) = gateway() else { return };
    let text =
        gw.sh("curl -sS --cacert ca.pem $EST/csrattrs | base64 -d | openssl asn1parse -inform DER");
    assert!(
        text.contains("id-ecPublicKey")
            && text.contains("prime256v1")
            && text.contains("ecdsa-with-SHA256"),
        "{text}"
    );
}
