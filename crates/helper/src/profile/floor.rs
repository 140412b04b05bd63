//! Below which version no profile is taken, whatever became of the file of the one that was installed.

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use stockade_profile::{Profile, Rollback, Verified, VerifyingKey};

use crate::files;

/// The highest profile that was in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Floor {
    form: u32,
    model: String,
    version: u64,
    /// Its canonical form, by SHA-256: two profiles of one version are one too many.
    digest: [u8; 32],
    /// The name of the key that signed it.
    key: String,
}

/// Where it is kept.
pub(super) fn file(state: &Path) -> PathBuf {
    state.join("profile-floor.json")
}

/// What stands against older profiles. A floor ends with what made it: when root has this device be another model, or trusts
/// its key no more, as after a move to another gateway, versions begin anew.
pub(super) fn read(
    path: &Path,
    model: &str,
    trusted: &[VerifyingKey],
) -> io::Result<Option<Floor>> {
    let kept: Option<Floor> = files::read_json(path)?;
    Ok(kept.filter(|it| {
        let signed = |key: &VerifyingKey| key.id().to_string() == it.key;
        it.model == model && trusted.iter().any(signed)
    }))
}

impl Floor {
    /// The floor once this profile is in force.
    pub(super) fn of(verified: &Verified) -> Self {
        let profile = verified.profile();
        Self {
            form: 1,
            model: profile.device.model.to_string(),
            version: profile.device.version,
            digest: fingerprint(profile),
            key: verified.key().to_string(),
        }
    }

    /// Whether this profile may be in force: it is newer, or the very same.
    pub(super) fn bears(&self, profile: &Profile) -> Result<(), Rollback> {
        let new = profile.device.version;
        if new < self.version {
            let installed = self.version;
            return Err(Rollback::Older { installed, new });
        }
        if new == self.version && fingerprint(profile) != self.digest {
            return Err(Rollback::Different { version: new });
        }
        Ok(())
    }
}

fn fingerprint(profile: &Profile) -> [u8; 32] {
    let digest = digest(&SHA256, &profile.canonical());
    let mut bytes = [0; 32];
    let pairs = bytes.iter_mut().zip(digest.as_ref());
    pairs.for_each(|(to, from)| *to = *from);
    bytes
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use stockade_profile::{SigningKey, parse, sign, verify};

    use super::*;

    fn profile(version: u64, more: &str) -> Profile {
        let text = format!(
            "schema = 1\n[device]\nmodel = \"cam-2\"\nmanufacturer = \"Acme\"\nversion = {version}\nclass = \"linux\"\n{more}"
        );
        parse(&text).unwrap()
    }

    fn floor(key: &SigningKey) -> Floor {
        let signed = sign(&profile(7, ""), key);
        Floor::of(&verify(&signed, &[key.verifying_key()]).unwrap())
    }

    #[test]
    fn a_floor_bears_newer_profiles_and_the_same_and_no_other() {
        let key = SigningKey::generate(&SystemRandom::new()).unwrap();
        let floor = floor(&key);
        assert_eq!(floor.bears(&profile(8, "")), Ok(()));
        assert_eq!(floor.bears(&profile(7, "")), Ok(()));
        let (installed, new) = (7, 6);
        assert_eq!(
            floor.bears(&profile(6, "")),
            Err(Rollback::Older { installed, new })
        );
        let more = "[upnp]\nallow-enable = true\nmax-duration = \"1h\"\n";
        assert_eq!(
            floor.bears(&profile(7, more)),
            Err(Rollback::Different { version: 7 })
        );
    }

    #[test]
    fn a_floor_ends_with_its_model_or_its_key_and_a_damaged_one_is_no_absent_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        let [key, other] = [(); 2].map(|()| SigningKey::generate(&SystemRandom::new()).unwrap());
        let trusted = [other.verifying_key(), key.verifying_key()];
        assert_eq!(read(&path, "cam-2", &trusted).unwrap(), None);
        files::put_json(&path, &floor(&key)).unwrap();
        assert_eq!(read(&path, "cam-2", &trusted).unwrap(), Some(floor(&key)));
        assert_eq!(read(&path, "siren-1", &trusted).unwrap(), None);
        let [without, _] = &trusted;
        let without = std::slice::from_ref(without);
        assert_eq!(read(&path, "cam-2", without).unwrap(), None);
        fs_err::write(&path, "{").unwrap();
        assert!(read(&path, "cam-2", &trusted).is_err());
    }
}
