//! A device as it should be, one that is not, an image, and a host that shows nothing.

use stockade_profile::Profile;

use super::Comms;
use crate::engine::{Assessment, Case, MemoryHost, Own, Plan, UnixSeconds, Verdict, assess};

const DEVICE: &str = include_str!("fixture.pem");

fn profile(key: &str) -> Profile {
    let text = format!(
        "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"cam-2\"\nversion = 1\nclass = \"linux\"\n[comms]\nkey = \"{key}\"\n"
    );
    stockade_profile::parse(&text).expect("a profile")
}

/// A device as the installer leaves it, and the day after its certificate was made.
fn device(key: &str, mode: u32) -> MemoryHost {
    let settings = format!("gateway = \"gw\"\nkey = \"{key}\"\n");
    MemoryHost::new()
        .directory("/etc/stockade", 0o755)
        .file("/etc/stockade/agent.toml", 0o644, &settings)
        .file("/etc/stockade/ca.pem", 0o644, DEVICE)
        .directory("/etc/stockade/trust", 0o755)
        .file("/etc/stockade/trust/gateway.pub", 0o644, "")
        .directory("/var/lib/stockade/keys", 0o700)
        .file("/var/lib/stockade/keys/device.p8", mode, "never read")
        .file("/var/lib/stockade/agent/device.pem", 0o600, DEVICE)
}

fn running(mut host: MemoryHost) -> MemoryHost {
    host.processes = Some(Vec::new());
    host
}

fn made() -> UnixSeconds {
    let all = super::from_pem(DEVICE).expect("PEM");
    super::Certificate::read(&all[0])
        .expect("a certificate")
        .not_before
}

fn look(host: &MemoryHost, profile: &Profile, days: u64) -> Assessment {
    let case = Case {
        host,
        profile,
        now: made().saturating_add(days.saturating_mul(86_400)),
        own: &Own::default(),
    };
    assess(&case, &[&Comms])
}

fn told(assessment: &Assessment) -> String {
    let line = |outcome: &crate::engine::Outcome| {
        let id = outcome.rule.id;
        match &outcome.verdict {
            Verdict::Passed(_) => format!("{id}: passed"),
            Verdict::DoesNotApply(why) => format!("{id}: does not apply: {why}"),
            Verdict::CannotTell(why, _) => format!("{id}: cannot tell: {why}"),
            Verdict::Broken(found) => {
                let each = found
                    .iter()
                    .map(|it| format!("\n  {}: {}", it.severity, it.what));
                format!("{id}: broken{}", each.collect::<String>())
            }
        }
    };
    assessment
        .outcomes
        .iter()
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_device_as_it_should_be_gives_no_finding() {
    let host = running(device("file", 0o600));
    insta::assert_snapshot!(told(&look(&host, &profile("file"), 1)), @r"
    comms/key-place: passed
    comms/key-private: passed
    comms/no-key-in-image: does not apply: this is no image
    comms/certificate: passed
    comms/trust: passed
    ");
}

#[test]
fn what_is_wrong_with_a_device_is_told_and_what_can_be_is_mended() {
    let host = running(device("file", 0o644))
        .file("/etc/stockade/ca.pem", 0o666, DEVICE)
        .owned("/var/lib/stockade/keys/page.p8", 0o600, (1000, 1000), "");
    let assessment = look(&host, &profile("tpm"), 8);
    insta::assert_snapshot!(told(&assessment), @r"
    comms/key-place: broken
      high: The key is in a file, and the profile wants it in a TPM.
    comms/key-private: broken
      critical: Others than the key process can reach `/var/lib/stockade/keys/device.p8`.
      critical: Others than the key process can reach `/var/lib/stockade/keys/page.p8`.
    comms/no-key-in-image: does not apply: this is no image
    comms/certificate: broken
      high: The device's certificate expired 1 day ago.
    comms/trust: broken
      high: Others than root can change `/etc/stockade/ca.pem`.
    ");
    let steps = Plan::of(&assessment).steps;
    let says: Vec<_> = steps.into_iter().map(|planned| planned.step.says).collect();
    insta::assert_snapshot!(says.join("\n"), @r"
    Close `/var/lib/stockade/keys/device.p8` to others
    Close `/var/lib/stockade/keys/page.p8` to others
    Let only root change `/etc/stockade/ca.pem`
    ");
}

#[test]
fn an_image_holds_no_keys_and_need_not_be_enrolled() {
    insta::assert_snapshot!(told(&look(&MemoryHost::new(), &profile("file"), 1)), @r"
    comms/key-place: does not apply: an image has no key
    comms/key-private: does not apply: an image has no keys
    comms/no-key-in-image: passed
    comms/certificate: does not apply: an image has no certificate
    comms/trust: does not apply: an image trusts nobody yet
    ");
    let with_key = look(&device("file", 0o600), &profile("file"), 1);
    assert!(told(&with_key).contains("comms/no-key-in-image: broken"));
}

#[test]
fn what_can_not_be_seen_is_not_taken_as_fine() {
    let nothing = running(MemoryHost::new());
    insta::assert_snapshot!(told(&look(&nothing, &profile("file"), 1)), @r"
    comms/key-place: cannot tell: /etc/stockade/agent.toml: it is not there
    comms/key-private: cannot tell: /var/lib/stockade/keys: it is not there
    comms/no-key-in-image: does not apply: this is no image
    comms/certificate: cannot tell: /etc/stockade/agent.toml: it is not there
    comms/trust: cannot tell: /etc/stockade/ca.pem: it is not there
    ");
    let damaged =
        running(device("file", 0o600)).file("/var/lib/stockade/agent/device.pem", 0o600, "x");
    assert!(told(&look(&damaged, &profile("file"), 1)).contains("comms/certificate: cannot tell"));
}

#[test]
fn a_certificate_that_is_not_renewed_in_time_is_told_before_it_expires() {
    let host = running(device("file", 0o600));
    assert!(told(&look(&host, &profile("file"), 5)).contains("comms/certificate: passed"));
    assert!(told(&look(&host, &profile("file"), 6)).contains("should have been renewed"));
}
