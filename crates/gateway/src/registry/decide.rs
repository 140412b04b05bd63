//! What an operator decides: devices are added, quarantined, released, revoked and removed.

use std::sync::{Arc, PoisonError};

use stockade_profile::Control;
use stockade_store::{Batch, StoreError};
use time::OffsetDateTime;

use super::activity::Activity;
use super::record::{Stored, StoredCode};
use super::{
    ACTIVITY, AddError, ChangeError, DEVICES, Direction, EnrolmentCode, NoRandomness, Registry,
    Slot, State, lock, to_json,
};
use crate::events::{Happening, Outcome};
use crate::name::{DeviceId, DeviceName};

impl Registry {
    /// Adds a device and gives the code it enrols with.
    pub fn add(&self, name: &DeviceName, now: OffsetDateTime) -> Result<EnrolmentCode, AddError> {
        if self.profile(&name.model).is_none() {
            return Err(AddError::NoModel(name.model.clone()));
        }
        let (code, stored_code) = self.fresh_code(&name.id, now)?;
        self.insert(
            name,
            Stored::pending(name, now, Some(stored_code), None),
            now,
        )?;
        self.tell(
            now,
            Some(&name.id),
            Outcome::Changed,
            format!("{name} added, waits to enrol"),
        );
        self.notify(&name.id);
        Ok(code)
    }

    /// Writes a new device, and knows it from then on.
    pub(super) fn insert(
        &self,
        name: &DeviceName,
        stored: Stored,
        now: OffsetDateTime,
    ) -> Result<(), AddError> {
        let mut batch = Batch::new();
        batch.require_absent(DEVICES, name.id.as_str());
        batch.put(DEVICES, name.id.as_str(), to_json(&stored));
        match self.store.commit(batch) {
            Ok(()) => {}
            Err(StoreError::Conflict { .. }) => {
                let there = self
                    .get(&name.id, now)
                    .map_or_else(|| name.clone(), |record| record.name);
                return Err(AddError::Exists(there));
            }
            Err(error) => return Err(error.into()),
        }
        let slot = Arc::new(Slot::new(stored, Activity::default()));
        self.devices
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.id.clone(), slot);
        Ok(())
    }

    /// Gives a known device another code: its key was lost, or its code expired. An older code is void. A constrained device
    /// has none: its key is its label's.
    pub fn renew_code(
        &self,
        id: &DeviceId,
        now: OffsetDateTime,
    ) -> Result<EnrolmentCode, ChangeError> {
        let (code, stored_code) = self.fresh_code(id, now)?;
        self.change(id, Direction::Loosen, |stored| {
            not_revoked(id, stored)?;
            if stored.link.is_some() {
                return Err(ChangeError::ByKey(id.clone()));
            }
            stored.code = Some(stored_code);
            Ok::<_, ChangeError>(())
        })?;
        self.tell(
            now,
            Some(id),
            Outcome::Changed,
            "got a new enrolment code".to_owned(),
        );
        Ok(code)
    }

    fn fresh_code(
        &self,
        id: &DeviceId,
        now: OffsetDateTime,
    ) -> Result<(EnrolmentCode, StoredCode), NoRandomness> {
        let expires = now + self.settings.code_life;
        let code = EnrolmentCode::generate(expires)?;
        let stored = StoredCode {
            hash: code.hash(id).0,
            expires,
            key: None,
        };
        Ok((code, stored))
    }

    /// Puts a device into quarantine, with one more reason if it is there already.
    pub fn quarantine(
        &self,
        id: &DeviceId,
        reason: &str,
        now: OffsetDateTime,
    ) -> Result<(), ChangeError> {
        self.quarantine_for(id, Control::Comms, reason, now)
    }

    /// The same, for what another control saw.
    pub(crate) fn quarantine_for(
        &self,
        id: &DeviceId,
        control: Control,
        reason: &str,
        now: OffsetDateTime,
    ) -> Result<(), ChangeError> {
        let changed = self.change(id, Direction::Tighten, |stored| {
            not_revoked(id, stored)?;
            stored.state = stored.state.quarantined(reason, now);
            Ok(())
        });
        if !matches!(
            changed,
            Err(ChangeError::Unknown(_) | ChangeError::Revoked { .. })
        ) {
            self.events.record(
                now,
                Happening {
                    outcome: Outcome::Changed,
                    control,
                    device: Some(id.to_string()),
                    peer: None,
                    reason: format!("quarantined: {reason}"),
                },
            );
        }
        changed
    }

    /// What a device's evidence says against it: with reasons it is in quarantine for them; without, it leaves a
    /// quarantine that is from evidence alone. One that an operator or the gateway itself decided on stays.
    pub fn judged(
        &self,
        id: &DeviceId,
        reasons: &[String],
        now: OffsetDateTime,
    ) -> Result<(), ChangeError> {
        let direction = if reasons.is_empty() {
            Direction::Loosen
        } else {
            Direction::Tighten
        };
        let mut told = None;
        let changed = self.change(id, direction, |stored| {
            not_revoked(id, stored)?;
            let before = stored.state.clone();
            let was = matches!(before, State::Quarantined { .. });
            if !reasons.is_empty() {
                stored.state = before.quarantined_by_evidence(reasons, now);
                if stored.state != before {
                    told = Some(format!(
                        "quarantined by its evidence: {}",
                        reasons.join("; ")
                    ));
                }
            } else if was {
                stored.state = before.quarantined_by_evidence(&[], now);
                if matches!(&stored.state, State::Quarantined { reasons, .. } if reasons.is_empty())
                {
                    stored.state = stored.at_rest();
                    told = Some(
                        "released from quarantine: its evidence says that it is mended".to_owned(),
                    );
                }
            }
            Ok(())
        });
        // What tightens holds although it was not written; what loosens does not.
        if let Some(told) = told.filter(|_| changed.is_ok() || !reasons.is_empty()) {
            self.tell(now, Some(id), Outcome::Changed, told);
        }
        changed
    }

    /// Lets a device out of quarantine.
    pub fn release(
        &self,
        id: &DeviceId,
        reason: &str,
        now: OffsetDateTime,
    ) -> Result<(), ChangeError> {
        self.change(id, Direction::Loosen, |stored| {
            not_revoked(id, stored)?;
            if !matches!(stored.state, State::Quarantined { .. }) {
                return Err(ChangeError::NotQuarantined {
                    id: id.clone(),
                    state: stored.state.as_str(),
                });
            }
            stored.state = stored.at_rest();
            Ok(())
        })?;
        if let Some(slot) = self.slot(id) {
            lock(&slot.activity).forgive();
        }
        self.tell(
            now,
            Some(id),
            Outcome::Changed,
            format!("released from quarantine: {reason}"),
        );
        Ok(())
    }

    /// Shuts a device out for ever.
    pub fn revoke(
        &self,
        id: &DeviceId,
        reason: &str,
        now: OffsetDateTime,
    ) -> Result<(), ChangeError> {
        let changed = self.change(id, Direction::Tighten, |stored| {
            not_revoked(id, stored)?;
            stored.state = State::revoked(reason, now);
            stored.code = None;
            if let Some(next) = &mut stored.next {
                next.der = None;
            }
            Ok(())
        });
        if !matches!(
            changed,
            Err(ChangeError::Unknown(_) | ChangeError::Revoked { .. })
        ) {
            self.tell(
                now,
                Some(id),
                Outcome::Changed,
                format!("revoked: {reason}"),
            );
        }
        changed
    }

    /// Forgets a device. Its certificates are of no use any more; the id may be added anew.
    pub fn remove(&self, id: &DeviceId, now: OffsetDateTime) -> Result<(), ChangeError> {
        let slot = self
            .slot(id)
            .ok_or_else(|| ChangeError::Unknown(id.clone()))?;
        let mut written = lock(&slot.written);
        let Some(on_disk) = written.as_ref() else {
            return Err(ChangeError::Unknown(id.clone()));
        };
        let mut batch = Batch::new();
        batch.require_equals(DEVICES, id.as_str(), to_json(&**on_disk));
        batch
            .delete(DEVICES, id.as_str())
            .delete(ACTIVITY, id.as_str());
        self.store.commit(batch)?;
        if let Some(link) = &slot.now.load().link {
            lock(&self.link).remove(link);
        }
        *written = None;
        self.devices
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
        lock(&self.ahead).remove(id);
        lock(&self.counted).remove(id);
        drop(written);
        if let Some(peer) = lock(&slot.activity).stored.peer {
            self.left(peer.ip(), id);
        }
        self.tell(
            now,
            Some(id),
            Outcome::Changed,
            "removed from the registry".to_owned(),
        );
        self.notify(id);
        Ok(())
    }
}

/// A revoked device stays revoked.
pub(super) fn not_revoked(id: &DeviceId, stored: &Stored) -> Result<(), ChangeError> {
    match stored.state {
        State::Revoked { since, .. } => Err(ChangeError::Revoked {
            id: id.clone(),
            since,
        }),
        _ => Ok(()),
    }
}
