//! Who has a session, and who is on the way to one: little memory for each, found by the name that we gave it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::mem::size_of;

use stockade_link::edhoc::WaitMessage3;
use stockade_link::oscore::Context;

use super::active::Active;
use super::bearer::Place as Whereabouts;
use super::crypto::AwsLc;
use crate::registry::Kid;

/// Handshakes under way at most; the oldest gives way.
pub(super) const HANDSHAKES: usize = 4_096;
/// How long a handshake may take, in milliseconds.
const HANDSHAKE: u64 = 10_000;
/// Places that are made at a time.
const CHUNK: u32 = 256;
/// Places in all: what three bytes can name.
const PLACES: u32 = 1 << 24;

/// A session with a device.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) context: Context,
    /// Whose: its short name, and the beginning of its key's thumbprint, since names may be given out again.
    pub(super) kid: Kid,
    pub(super) key: [u8; 8],
    /// What only a device has that says something now and then.
    pub(super) active: Option<Box<Active>>,
}

// 100,000 of them are to fit in 20 MB, with what finds them.
const _: () = assert!(size_of::<Place>() <= 160);

#[derive(Debug, Default)]
enum Place {
    #[default]
    Free,
    /// A handshake has its name.
    Reserved,
    Taken(Session),
}

/// A handshake under way.
#[derive(Debug)]
struct Handshake {
    state: WaitMessage3<AwsLc>,
    /// Where the other end is: nobody elsewhere can end it by guessing its name.
    from: Whereabouts,
    until: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Peers {
    chunks: Vec<Box<[Place]>>,
    free: BinaryHeap<Reverse<u32>>,
    handshakes: BTreeMap<u32, Handshake>,
    /// In the order they began.
    began: VecDeque<(u64, u32)>,
    by_kid: BTreeMap<Kid, u32>,
}

impl Peers {
    /// A name for a session to be, as short as there is one, and not `other`, which is the peer's name for it.
    pub(super) fn reserve(&mut self, other: &[u8]) -> Option<u32> {
        let first = self.free_place()?;
        if name(first) != other {
            return Some(first);
        }
        let second = self.free_place();
        self.release(first);
        second
    }

    fn free_place(&mut self) -> Option<u32> {
        if self.free.is_empty() {
            let start = u32::try_from(self.chunks.len()).ok()? * CHUNK;
            if start + CHUNK > PLACES {
                return None;
            }
            self.chunks.push((0..CHUNK).map(|_| Place::Free).collect());
            self.free.extend((start..start + CHUNK).map(Reverse));
        }
        let Reverse(slot) = self.free.pop()?;
        self.put(slot, Place::Reserved);
        Some(slot)
    }

    fn release(&mut self, slot: u32) {
        self.put(slot, Place::Free);
        self.free.push(Reverse(slot));
    }

    fn put(&mut self, slot: u32, place: Place) {
        if let Some(at) = self.place_mut(slot) {
            *at = place;
        }
    }

    fn place_mut(&mut self, slot: u32) -> Option<&mut Place> {
        let chunk = self.chunks.get_mut(usize::try_from(slot / CHUNK).ok()?)?;
        chunk.get_mut(usize::try_from(slot % CHUNK).ok()?)
    }

    /// A handshake waits for its third message under the reserved name `slot`.
    pub(super) fn begin(
        &mut self,
        slot: u32,
        state: WaitMessage3<AwsLc>,
        from: Whereabouts,
        now: u64,
    ) {
        if self.handshakes.len() >= HANDSHAKES
            && let Some((_, oldest)) = self.began.pop_front()
        {
            self.give_up(oldest);
        }
        let until = now.saturating_add(HANDSHAKE);
        self.handshakes
            .insert(slot, Handshake { state, from, until });
        self.began.push_back((until, slot));
    }

    /// The handshake under this name, taken out; it ends here or with [`Peers::establish`].
    pub(super) fn third(
        &mut self,
        slot: u32,
        from: Whereabouts,
        now: u64,
    ) -> Option<WaitMessage3<AwsLc>> {
        self.handshakes.get(&slot).filter(|it| it.from == from)?;
        let handshake = self.handshakes.remove(&slot)?;
        self.began.retain(|&(_, began)| began != slot);
        if now >= handshake.until {
            self.release(slot);
            return None;
        }
        Some(handshake.state)
    }

    /// A reserved name is not needed.
    pub(super) fn give_up(&mut self, slot: u32) {
        self.handshakes.remove(&slot);
        self.release(slot);
    }

    /// Handshakes that took too long are forgotten.
    pub(super) fn expire(&mut self, now: u64) {
        while let Some(&(until, slot)) = self.began.front()
            && until <= now
        {
            self.began.pop_front();
            self.give_up(slot);
        }
    }

    /// A session, under a reserved name. The one its device had before is returned.
    pub(super) fn establish(&mut self, slot: u32, session: Session) -> Option<(u32, Session)> {
        let before = self.by_kid.insert(session.kid, slot);
        self.put(slot, Place::Taken(session));
        let before = before.filter(|&before| before != slot)?;
        Some((before, self.end(before)?))
    }

    /// Ends a session.
    pub(super) fn end(&mut self, slot: u32) -> Option<Session> {
        let place = self.place_mut(slot)?;
        if !matches!(place, Place::Taken(_)) {
            return None;
        }
        let Place::Taken(session) = std::mem::take(place) else {
            return None;
        };
        self.free.push(Reverse(slot));
        if self.by_kid.get(&session.kid) == Some(&slot) {
            self.by_kid.remove(&session.kid);
        }
        Some(session)
    }

    /// The session under this name.
    pub(super) fn get(&mut self, slot: u32) -> Option<&mut Session> {
        match self.place_mut(slot)? {
            Place::Taken(session) => Some(session),
            Place::Free | Place::Reserved => None,
        }
    }

    /// The session of a device.
    pub(super) fn of(&self, kid: Kid) -> Option<u32> {
        self.by_kid.get(&kid).copied()
    }

    /// How many sessions there are.
    pub(super) fn len(&self) -> usize {
        self.by_kid.len()
    }

    /// How many handshakes are under way.
    pub(super) fn under_way(&self) -> usize {
        self.handshakes.len()
    }

    /// Bytes that the sessions take, without what an active one has on the heap.
    pub(super) fn bytes(&self) -> usize {
        let chunk = usize::try_from(CHUNK).unwrap_or_default();
        // A B-tree's nodes are at least half full, and have some words beside their entries.
        let entry = 2 * size_of::<(Kid, u32)>() + 4;
        self.chunks.len() * chunk * size_of::<Place>()
            + self.free.capacity() * size_of::<u32>()
            + self.by_kid.len() * entry
            + self.chunks.capacity() * size_of::<Box<[Place]>>()
    }
}

/// The name of a place, as short as can be: one byte that CBOR encodes as itself (RFC 9528, section 3.3.2) for the first 48.
pub(super) fn name(slot: u32) -> Vec<u8> {
    let [_, a, b, c] = slot.to_be_bytes();
    match slot {
        0..24 => vec![c],
        24..48 => vec![c + 8],
        48..0x1_0000 => vec![b, c],
        _ => vec![a, b, c],
    }
}

/// The place that has this name.
pub(super) fn slot(name: &[u8]) -> Option<u32> {
    match *name {
        [c @ 0..24] => Some(c.into()),
        [c @ 32..56] => Some(u32::from(c) - 8),
        [b, c] => Some(u32::from_be_bytes([0, 0, b, c])).filter(|&slot| slot >= 48),
        [a, b, c] => Some(u32::from_be_bytes([0, a, b, c])).filter(|&slot| slot >= 0x1_0000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_name_and_the_name_leads_back() {
        for place in (0..70_000).chain(PLACES - 10..PLACES) {
            assert_eq!(slot(&name(place)), Some(place));
        }
        for none in [&[][..], &[24], &[56], &[0, 47], &[0, 0xff, 0xff], &[0; 4]] {
            assert_eq!(slot(none), None, "{none:?}");
        }
    }

    #[test]
    fn the_shortest_free_name_is_given_and_never_the_peers_own() {
        let mut peers = Peers::default();
        assert_eq!(peers.reserve(&[0]), Some(1));
        assert_eq!(peers.reserve(&[9]), Some(0));
        peers.give_up(1);
        assert_eq!(peers.reserve(&[]), Some(1));
    }
}
