//! What happens all the time: devices come in, are heard of, break their profile. No disk here, but for [`Registry::flush`].

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use stockade_profile::{Control, Profile};
use stockade_store::{Batch, StoreError};
use time::OffsetDateTime;

use super::activity::Activity;
use super::record::Stored;
use super::{
    ACTIVITY, AT_ONCE, CertificateRecord, Outcome, Refusal, Registry, Slot, State, Unwritten, lock,
    to_json,
};
use crate::name::{DeviceId, DeviceName};
use crate::tls::{Fingerprint, hello};

/// A device that may come in.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Its name.
    pub name: DeviceName,
    /// What it may do.
    pub profile: Arc<Profile>,
    /// Whether it may only reach what it needs to be mended.
    pub quarantined: bool,
    /// Until when its certificate, and so its session, is good.
    pub not_after: OffsetDateTime,
}

/// What a violation led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violations {
    /// Since the device was added.
    pub total: u64,
    /// In the last minute.
    pub last_minute: u32,
    /// Whether this one put the device into quarantine.
    pub quarantined: bool,
}

impl Registry {
    /// Says whether a device that shows this certificate may come in now. Asked at every CONNECT.
    ///
    /// The first use of a new certificate supersedes the one before it: at once in memory, and on disk with the next
    /// [`Registry::flush`]. A crash in between only means that the new one supersedes it at its next use.
    pub fn admit(
        &self,
        name: &DeviceName,
        fingerprint: &Fingerprint,
        now: OffsetDateTime,
    ) -> Result<Admission, Refusal> {
        let slot = self.slot(&name.id).ok_or(Refusal::Unknown)?;
        let mut stored = slot.now.load_full();
        let certificate = recognise(&stored, name, fingerprint)?.clone();
        if certificate.not_after < now {
            return Err(Refusal::Expired(certificate.not_after));
        }
        let profile = self
            .profile(&name.model)
            .ok_or_else(|| Refusal::NoProfile(name.model.clone()))?;
        if stored
            .next
            .as_ref()
            .is_some_and(|next| next.fingerprint == *fingerprint)
        {
            stored = self
                .first_use(&name.id, &slot, fingerprint)
                .ok_or(Refusal::Unknown)?;
            recognise(&stored, name, fingerprint)?;
        }
        let quarantined = matches!(stored.state, State::Quarantined { .. });
        Ok(Admission {
            name: name.clone(),
            profile,
            quarantined,
            not_after: certificate.not_after,
        })
    }

    fn first_use(
        &self,
        id: &DeviceId,
        slot: &Slot,
        fingerprint: &Fingerprint,
    ) -> Option<Arc<Stored>> {
        let written = lock(&slot.written);
        written.as_ref()?;
        let now = slot.now.load_full();
        if now
            .next
            .as_ref()
            .is_none_or(|next| next.fingerprint != *fingerprint)
        {
            return Some(now);
        }
        let mut promoted = Stored::clone(&now);
        promoted.promote();
        let promoted = Arc::new(promoted);
        slot.now.store(Arc::clone(&promoted));
        lock(&self.ahead).insert(id.clone());
        drop(written);
        // A session that still runs on the certificate before this one has to end.
        self.notify(id);
        Some(promoted)
    }

    /// Notes that a device was heard of.
    pub fn seen(&self, id: &DeviceId, now: OffsetDateTime, peer: SocketAddr) {
        let Some(slot) = self.slot(id) else {
            return;
        };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let mut activity = lock(&slot.activity);
        let before = activity.stored.peer.map(|peer| peer.ip());
        activity.seen(now, peer);
        self.count(id, &mut activity);
        drop(activity);
        if before != Some(peer.ip()) {
            if let Some(before) = before {
                self.left(before, id);
            }
            lock(&self.addresses)
                .entry(peer.ip())
                .or_default()
                .insert(id.clone());
        }
    }

    pub(super) fn left(&self, address: IpAddr, id: &DeviceId) {
        let mut addresses = lock(&self.addresses);
        if let Some(here) = addresses.get_mut(&address) {
            here.remove(id);
            if here.is_empty() {
                addresses.remove(&address);
            }
        }
    }

    /// The device last seen at this address; none if there were several.
    pub fn at_address(&self, address: IpAddr) -> Option<DeviceId> {
        let addresses = lock(&self.addresses);
        let here = addresses.get(&address.to_canonical())?;
        if here.len() == 1 {
            here.first().cloned()
        } else {
            None
        }
    }

    /// Counts a violation of a device's profile. Too many in a minute quarantine it, before this returns.
    pub fn violation(
        &self,
        id: &DeviceId,
        control: Control,
        reason: &str,
        now: OffsetDateTime,
    ) -> Violations {
        let Some(slot) = self.slot(id) else {
            return Violations {
                total: 0,
                last_minute: 0,
                quarantined: false,
            };
        };
        let mut activity = lock(&slot.activity);
        let last_minute = activity.violation(control.as_str(), reason, now);
        let total = activity.stored.violations;
        self.count(id, &mut activity);
        drop(activity);
        let too_many = last_minute > self.settings.violations_per_minute;
        let quarantined =
            too_many && matches!(slot.now.load().state, State::Active | State::Pending);
        if quarantined {
            let why = format!(
                "{last_minute} violations of its profile within a minute, the last: {control}: {reason}"
            );
            if let Err(error) = self.quarantine_for(id, control, &why, now) {
                // It holds in memory, and flush tries again; whoever watches must know.
                self.tell(
                    now,
                    Some(id),
                    Outcome::Alarm,
                    format!(
                        "the quarantine was not written: {}",
                        stockade_host::chain(&error)
                    ),
                );
            }
        }
        Violations {
            total,
            last_minute,
            quarantined,
        }
    }

    fn count(&self, id: &DeviceId, activity: &mut Activity) {
        if !activity.unwritten {
            activity.unwritten = true;
            lock(&self.counted).insert(id.clone());
        }
    }

    /// Writes what is ahead of the store. Blocks; to be called about once a second, and before the gateway stops.
    pub fn flush(&self, now: OffsetDateTime) -> Result<(), StoreError> {
        let ahead = std::mem::take(&mut *lock(&self.ahead));
        let written = self.flush_records(&ahead);
        if written.is_err() {
            lock(&self.ahead).extend(ahead);
        }
        let written = written.and_then(|()| self.flush_counters());
        let failing = self.failing.swap(written.is_err(), Ordering::Relaxed);
        match &written {
            Err(error) if !failing => {
                tracing::error!(%error, "the registry cannot be written");
                let why = format!(
                    "the registry cannot be written: {}",
                    stockade_host::chain(error)
                );
                self.tell(now, None, Outcome::Alarm, why);
            }
            Ok(()) if failing => {
                let what = "the registry is written to disk again".to_owned();
                self.tell(now, None, Outcome::Changed, what);
            }
            _ => {}
        }
        written
    }

    fn flush_records(&self, ahead: &BTreeSet<DeviceId>) -> Result<(), StoreError> {
        let slots: Vec<(&DeviceId, Arc<Slot>)> = ahead
            .iter()
            .filter_map(|id| self.slot(id).map(|slot| (id, slot)))
            .collect();
        for chunk in slots.chunks(AT_ONCE) {
            // Several locks at once, always in the order of the ids; everyone else holds one at most.
            let mut guards: Vec<_> = chunk.iter().map(|(_, slot)| lock(&slot.written)).collect();
            let after: Vec<Arc<Stored>> =
                chunk.iter().map(|(_, slot)| slot.now.load_full()).collect();
            let mut unwritten: Vec<Unwritten<'_>> = chunk
                .iter()
                .zip(&after)
                .zip(&mut guards)
                .map(|(((id, _), after), written)| Unwritten { id, after, written })
                .collect();
            self.write(&mut unwritten)?;
        }
        Ok(())
    }

    fn flush_counters(&self) -> Result<(), StoreError> {
        let counted = std::mem::take(&mut *lock(&self.counted));
        let mut batch = Batch::new();
        for id in &counted {
            if let Some(slot) = self.slot(id) {
                let mut activity = lock(&slot.activity);
                activity.unwritten = false;
                batch.put(ACTIVITY, id.as_str(), to_json(&activity.stored));
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.store.commit(batch).inspect_err(|_| {
            for id in &counted {
                if let Some(slot) = self.slot(id) {
                    lock(&slot.activity).unwritten = true;
                }
            }
            lock(&self.counted).extend(counted);
        })
    }
}

impl Admission {
    /// Whether the device's profile lets it speak this version of TLS.
    pub fn permits_tls(&self, version: u16) -> bool {
        let name = if version == hello::TLS13 {
            "1.3"
        } else {
            "1.2"
        };
        self.profile
            .protocols
            .tls
            .iter()
            .any(|allowed| allowed.as_str() == name)
    }
}

/// Finds the certificate among those of the device, if the device is wanted at all.
pub(super) fn recognise<'a>(
    stored: &'a Stored,
    name: &DeviceName,
    fingerprint: &Fingerprint,
) -> Result<&'a CertificateRecord, Refusal> {
    if let State::Revoked { reason, since } = &stored.state {
        return Err(Refusal::Revoked {
            reason: reason.clone(),
            since: *since,
        });
    }
    if stored.model != name.model {
        return Err(Refusal::OtherModel {
            shown: name.model.clone(),
            registered: stored.model.clone(),
        });
    }
    let slots = [stored.current.as_ref(), stored.next.as_ref()];
    match slots
        .into_iter()
        .flatten()
        .find(|known| known.fingerprint == *fingerprint)
    {
        Some(known) => Ok(known),
        None if stored.previous == Some(*fingerprint) => Err(Refusal::Superseded),
        None => Err(Refusal::UnknownCertificate),
    }
}
