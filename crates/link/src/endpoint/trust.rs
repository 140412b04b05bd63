//! What the gateway has told us: the time, and our grants.

use crate::cbor::{self, Reader};
use crate::coap::block::{Assembly, Block};
use crate::coap::message::{Body, Code};
use crate::coap::option;
use crate::credential::Credential;
use crate::crypto::Crypto;
use crate::grant::Clock;

use super::{AGAIN, Endpoint, GRANTS_MAX, Kept, RENEWAL, Record};

/// One of our grants, and whom it is for.
pub(super) struct Offer<'b> {
    /// It, signed.
    pub(super) grant: &'b [u8],
    /// The device's credential.
    pub(super) credential: Credential<'b>,
    /// What the gateway calls the device.
    pub(super) name: &'b str,
}

/// What the gateway answers at `/grants`: `[time, epoch, [[grant, credential, name], ...]]`.
pub(super) struct Bundle<'b> {
    /// Seconds since 1970.
    time: u64,
    /// What grants for us must have reached.
    epoch: u64,
    offers: Reader<'b>,
}

impl<'b> Bundle<'b> {
    fn read(bytes: &'b [u8]) -> Result<Self, cbor::Error> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != 3 {
            return Err(cbor::Error::Unexpected);
        }
        let (time, epoch) = (reader.uint()?, reader.uint()?);
        reader.array()?;
        Ok(Self {
            time,
            epoch,
            offers: reader,
        })
    }
}

impl<'b> Iterator for Bundle<'b> {
    type Item = Offer<'b>;

    fn next(&mut self) -> Option<Offer<'b>> {
        if self.offers.array().ok()? != 3 {
            return None;
        }
        Some(Offer {
            grant: self.offers.bytes().ok()?,
            credential: Credential::read(self.offers.bytes().ok()?).ok()?,
            name: self.offers.text().ok()?,
        })
    }
}

/// The grants in what the gateway has told; none, where it is damaged.
pub(super) fn offers(grants: &[u8]) -> impl Iterator<Item = Offer<'_>> {
    Bundle::read(grants).into_iter().flatten()
}

impl<C: Crypto, K: Kept, const PEERS: usize, const SIZE: usize> Endpoint<'_, C, K, PEERS, SIZE> {
    /// What is known of the time and of revocations.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Takes a block of what the gateway answers at `/grants`.
    pub(super) fn granted(&mut self, now: u64, code: Code, body: &Body<'_>) {
        self.due = now.saturating_add(AGAIN);
        let whole = Block {
            number: 0,
            more: false,
            szx: 6,
        };
        let block = body.get(option::BLOCK2).map_or(Some(whole), Block::parse);
        let place = |fetched: &mut Assembly| {
            let block = block.filter(|_| code == Code::CONTENT)?;
            let (tag, size) = (body.get(option::ETAG), body.uint(option::SIZE2));
            let at = fetched
                .place(block, tag, body.payload().len(), size, GRANTS_MAX)
                .ok()?;
            Some((block, at))
        };
        let Some((block, at)) = place(&mut self.fetched) else {
            self.fetched = Assembly::default();
            return;
        };
        // Until all of it is there, there is nothing.
        self.grants.clear();
        let length = self.fetched.length();
        if let Some(room) = self.grants.room().get_mut(at..length) {
            room.copy_from_slice(body.payload());
        }
        if block.more {
            self.next_block = self.fetched.next(block).unwrap_or(whole);
            self.due = now;
            return;
        }
        self.fetched = Assembly::default();
        self.next_block = Block {
            number: 0,
            ..self.next_block
        };
        self.grants.keep(length);
        if let Ok(bundle) = Bundle::read(self.grants.get()) {
            self.due = now.saturating_add(RENEWAL);
            self.told = now;
            self.clock.tell(bundle.time, bundle.epoch, now);
            self.keep_clock(now);
            self.kept.store(Record::Grants, self.grants.get());
        } else {
            self.grants.clear();
        }
    }

    pub(super) fn keep_clock(&mut self, now: u64) {
        let mut record = [0; Clock::KEPT];
        let length = self.clock.keep(now, &mut record);
        self.kept
            .store(Record::Clock, record.get(..length).unwrap_or_default());
    }

    /// Whether a peer may ask for this: only its grant can say so.
    pub(super) fn allowed(&self, now: u64, at: usize, method: Code, body: &Body<'_>) -> bool {
        let mut path = [0; 64];
        let granted = self.peers.get(at).and_then(|peer| peer.granted);
        match (granted, body.path(&mut path)) {
            (Some(granted), Ok(path)) => granted.allows(&self.clock, now, method.0, path),
            _ => false,
        }
    }
}
