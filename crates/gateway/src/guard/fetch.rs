//! Getting a MUD file: fetched over https, its signature checked if it has one, its rules imported.

use std::time::SystemTime;

use rustls::pki_types::UnixTime;
use stockade_host::chain;
use stockade_host::fetch::{FetchSettings, Fetcher};
use stockade_profile::HttpsUrl;
use stockade_profile::mud::signature::{self, Anchors};
use stockade_profile::mud::{self, ImportOptions};
use time::Duration;

use super::mud::Fetched;
use super::settings::MudSettings;
use crate::events::printable;

/// Most lines of the importer's report that are kept.
const MAX_REPORT: usize = 400;
/// Longest line of it, in characters.
const MAX_LINE: usize = 300;

pub(super) fn settings(settings: &MudSettings) -> FetchSettings {
    FetchSettings {
        authorities: settings.https_roots.clone(),
        also: settings.also.clone(),
        ..FetchSettings::default()
    }
}

/// Fetches the file and says what it means; why not, in words.
pub(super) async fn get(
    fetcher: &Fetcher,
    signers: &Anchors,
    url: &HttpsUrl,
) -> Result<Fetched, String> {
    let found = fetcher.mud(url).await.map_err(|error| chain(&error))?;
    let signature = found.signature.map(|signature| signature.bytes);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = UnixTime::since_unix_epoch(since.map_err(|error| error.to_string())?);
    read(url, &found.file.bytes, signature.as_deref(), signers, now)
}

/// What the bytes mean. A signature that is there and wrong is worse than none: the file is refused.
fn read(
    url: &HttpsUrl,
    file: &[u8],
    signature: Option<&[u8]>,
    signers: &Anchors,
    now: UnixTime,
) -> Result<Fetched, String> {
    let mut notes = Vec::new();
    let signer = match signature {
        None => None,
        Some(_) if signers.is_empty() => {
            notes.push(
                "it is signed, and nobody's signature is trusted here: [guard.mud] signers"
                    .to_owned(),
            );
            None
        }
        Some(signature) => {
            let signed = signature::verify(file, signature, signers, now)
                .map_err(|error| format!("its signature: {}", chain(&error)))?;
            Some(printable(signed.signer()))
        }
    };
    let read = mud::read(file).map_err(|error| chain(&error))?;
    let mut imported = mud::import(&read, &ImportOptions::default());
    // The address that the device announced and we asked counts, whatever the file says of itself and wherever it was
    // redirected to: by it others are of the same manufacturer or not (RFC 8520 §4.2).
    imported.came_from(url);
    let count = imported.count();
    let lines = imported.report(false);
    let report = notes.into_iter().chain(lines);
    Ok(Fetched {
        signer,
        represented: count.held(),
        rules: count.total(),
        report: report
            .take(MAX_REPORT)
            .map(|line| printable(&line).chars().take(MAX_LINE).collect())
            .collect(),
        valid_for: Duration::hours(i64::from(read.about().cache_validity)),
        profile: imported.profile,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_of_the_address_it_was_asked_for_at_whatever_it_says_of_itself() {
        let file = br#"{"ietf-mud:mud": {"mud-version": 1, "mud-url": "https://bank.example/lock.json",
            "last-update": "2026-01-01T00:00:00Z", "cache-validity": 48, "is-supported": true, "systeminfo": "lamp",
            "from-device-policy": {"access-lists": {"access-list": [{"name": "from"}]}}},
            "ietf-access-control-list:acls": {"acl": [{"name": "from", "type": "ipv4-acl-type", "aces": {"ace": [
            {"name": "kin", "matches": {"ietf-mud:mud": {"same-manufacturer": [null]}, "ipv4": {"protocol": 6},
            "tcp": {"destination-port": {"operator": "eq", "port": 80}}}, "actions": {"forwarding": "accept"}}]}}]}}"#;
        let from: HttpsUrl = "https://evil.example/lamp.json".parse().unwrap();
        let now = UnixTime::since_unix_epoch(core::time::Duration::from_hours(500_000));
        let fetched = read(&from, file, None, &Anchors::default(), now).unwrap();
        assert_eq!(fetched.profile.mud.unwrap().url, Some(from));
        let told = fetched.report.join("\n");
        assert!(told.contains("https://bank.example/lock.json"), "{told}");
    }
}
