//! What SSH servers offer.

use stockade_controls::credentials::{HOST_KEYS, SSH_ALGORITHMS, SSH_OFF, is_weak};
use stockade_controls::engine::{Confidence, Finding, Outcome, Severity};
use stockade_profile::Ssh;

use super::{Asked, does_not_apply, judged};
use crate::host::{Kind, Service};

/// The fewest bits of an RSA key (NIST SP 800-131A).
const BITS: usize = 2048;

impl<'a> Asked<'a> {
    /// SSH servers, and what they offer.
    fn ssh(&self) -> impl Iterator<Item = (String, &'a Service)> {
        let ssh = self.services().filter(|(_, it)| it.kind == Kind::Ssh);
        ssh.map(|(port, service)| (self.place("tcp", port.port), service))
    }

    pub(super) fn ssh_algorithms(&self) -> Outcome {
        let mut findings = Vec::new();
        let mut unseen = self.missed();
        let mut servers = 0_usize;
        for (place, service) in self.ssh() {
            servers = servers.saturating_add(1);
            let Some(offered) = &service.ssh else {
                unseen.push(format!("{place}: SSH tells no algorithms"));
                continue;
            };
            let all = [
                &offered.exchanges,
                &offered.host_keys,
                &offered.ciphers,
                &offered.macs,
            ];
            let mut weak: Vec<&str> = all
                .into_iter()
                .flatten()
                .map(String::as_str)
                .filter(|it| is_weak(it))
                .collect();
            weak.sort_unstable();
            weak.dedup();
            if weak.is_empty() {
                continue;
            }
            // Clients do not choose a short or old code when the server has a better one; the rest can be forced on nobody either, but
            // is broken.
            let only_macs = weak
                .iter()
                .all(|it| it.starts_with("hmac-sha1") || it.starts_with("umac-64"));
            let severity = if only_macs {
                Severity::Low
            } else {
                SSH_ALGORITHMS.severity
            };
            let weak = weak.join(", ");
            let what = format!("SSH at {place} offers {weak}.");
            let finding = Finding::of(SSH_ALGORITHMS, &place, what)
                .seen(&place, format!("{}; {weak}", service.says));
            findings.push(finding.with(severity, Confidence::High));
        }
        if servers == 0 && unseen.is_empty() {
            return does_not_apply(SSH_ALGORITHMS, "no SSH server answers");
        }
        judged(
            SSH_ALGORITHMS,
            format!("{servers} SSH servers"),
            findings,
            &unseen,
        )
    }

    pub(super) fn host_keys(&self) -> Outcome {
        let keys = self.ssh().filter_map(|(place, service)| {
            let (kind, bits) = service.ssh.as_ref()?.key.clone()?;
            Some((place, kind, bits))
        });
        let keys: Vec<(String, String, usize)> = keys.collect();
        if keys.is_empty() {
            return does_not_apply(HOST_KEYS, "no SSH server shows a key of RSA or DSA");
        }
        let weak = keys
            .iter()
            .filter(|(_, kind, bits)| kind == "ssh-dss" || *bits < BITS);
        let findings = weak.map(|(place, kind, bits)| {
            let what = format!("SSH at {place} has a host key of {kind} with {bits} bits.");
            Finding::of(HOST_KEYS, place, what).seen(place, format!("{kind}, {bits} bits"))
        });
        judged(
            HOST_KEYS,
            format!("{} host keys", keys.len()),
            findings.collect(),
            &[],
        )
    }

    pub(super) fn ssh_off(&self) -> Outcome {
        let Some(profile) = self.profile else {
            return does_not_apply(SSH_OFF, "no profile was given");
        };
        if profile.credentials.ssh != Ssh::Off {
            return does_not_apply(SSH_OFF, "the profile has SSH on");
        }
        let findings = self.ssh().map(|(place, service)| {
            let what = format!("SSH answers at {place}, and the profile has it off.");
            Finding::of(SSH_OFF, &place, what).seen(&place, &service.says)
        });
        judged(
            SSH_OFF,
            self.looked_at(),
            findings.collect(),
            &self.missed(),
        )
    }
}
