//! What waits to be written to one connection, and which bytes must wait for the disk.
//!
//! The core appends, the connection's task takes. Bytes behind a gate leave only once everything
//! up to the gate's journal position is on disk.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// How a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Write what is ready, then close in good order.
    Orderly,
    /// Nothing of what waited before may leave; close at once.
    Abort,
    /// As `Abort`, but another connection has taken the session: see whether the peer still lives.
    Displaced,
}

/// The bytes of one connection on their way out.
#[derive(Debug, Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    /// Absolute position of `bytes[0]` in the connection's stream.
    base: u64,
    gates: VecDeque<Gate>,
    waker: Option<Waker>,
    closing: Option<Closing>,
    /// The last packet: it leaves after what is ready, and waits for no gate.
    last: Vec<u8>,
    /// Already on a list of connections to wake.
    listed: bool,
    /// Already on the list of those who wait for the disk.
    parked: bool,
}

#[derive(Debug)]
struct Gate {
    at: u64,
    seq: u64,
}

/// What a take found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The connection is to end once the taken bytes are written.
    pub closing: Option<Closing>,
    /// More bytes wait for this journal position, and the caller must see to it that
    /// [`Outbox::unpark`] is called when it is reached.
    pub park: Option<u64>,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends what `write` adds, to leave once `gate` is durable (0: at once).
    /// True when the caller must put this connection on its list of connections to wake.
    pub fn push(&self, gate: u64, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut inner = self.lock();
        if inner.closing.is_some() {
            return false;
        }
        let before = inner.bytes.len();
        write(&mut inner.bytes);
        if inner.bytes.len() == before {
            return false;
        }
        if gate > inner.gates.back().map_or(0, |g| g.seq) {
            let at = inner.base + before as u64;
            inner.gates.push_back(Gate { at, seq: gate });
        }
        !std::mem::replace(&mut inner.listed, true)
    }

    /// Bytes that wait, behind a gate or not.
    pub fn pending(&self) -> usize {
        self.lock().bytes.len()
    }

    /// Ends the connection; `last` is the packet to say so. After `Abort` nothing else leaves.
    pub fn close(&self, how: Closing, last: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut inner = self.lock();
        match (how, inner.closing) {
            (_, Some(Closing::Abort | Closing::Displaced)) | (Closing::Orderly, Some(_)) => {
                return false;
            }
            (Closing::Orderly, None) => {}
            (Closing::Abort | Closing::Displaced, _) => {
                inner.bytes.clear();
                inner.gates.clear();
            }
        }
        inner.closing = Some(how);
        inner.last.clear();
        last(&mut inner.last);
        !std::mem::replace(&mut inner.listed, true)
    }

    /// Moves every byte that may leave into the empty buffer `into`, and remembers whom to wake.
    pub fn take(&self, durable: u64, into: &mut Vec<u8>, waker: &Waker) -> Taken {
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.listed = false;
        while inner.gates.front().is_some_and(|g| g.seq <= durable) {
            inner.gates.pop_front();
        }
        let held = inner.gates.front().filter(|_| inner.closing.is_none());
        let held = held.map(|g| g.seq);
        let park = park(inner, held);
        let ready = inner.gates.front().map_or(inner.bytes.len(), |g| {
            usize::try_from(g.at.saturating_sub(inner.base))
                .unwrap_or(0)
                .min(inner.bytes.len())
        });
        if ready == inner.bytes.len() && into.is_empty() {
            std::mem::swap(into, &mut inner.bytes);
        } else {
            into.extend(inner.bytes.drain(..ready));
        }
        inner.base += ready as u64;
        if inner.closing.is_some() {
            // What still waits for the disk is not acknowledged: the client will send it again.
            inner.bytes.clear();
            inner.gates.clear();
            into.append(&mut inner.last);
        }
        if inner.bytes.is_empty() && into.is_empty() {
            // At rest a connection keeps no buffer.
            inner.bytes = Vec::new();
        }
        if inner.gates.is_empty() && inner.gates.capacity() > 64 {
            inner.gates = VecDeque::new();
        }
        if !inner.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
            inner.waker = Some(waker.clone());
        }
        Taken {
            closing: inner.closing,
            park,
        }
    }

    /// Takes the connection off the list of those with something new; its task is woken if bytes may
    /// leave or it must end. A position returned asks for the same as [`Taken::park`].
    pub fn flush(&self, durable: u64) -> Option<u64> {
        let mut inner = self.lock();
        inner.listed = false;
        Self::wake(inner, durable)
    }

    /// Takes the connection off the list of those who wait for the disk, otherwise as `flush`.
    pub fn unpark(&self, durable: u64) -> Option<u64> {
        let mut inner = self.lock();
        inner.parked = false;
        Self::wake(inner, durable)
    }

    fn wake(mut inner: MutexGuard<'_, Inner>, durable: u64) -> Option<u64> {
        let first = inner.gates.iter().find(|g| g.seq > durable);
        let (held, ready) = match first {
            Some(g) => (Some(g.seq), g.at > inner.base),
            None => (None, !inner.bytes.is_empty()),
        };
        let held = park(&mut inner, held);
        // The waker stays: a task that waits for its socket does not come by to leave a new one, and an
        // abort must reach it all the same.
        if (ready || inner.closing.is_some())
            && let Some(waker) = &inner.waker
        {
            waker.wake_by_ref();
        }
        held
    }

    /// Lets the connection's task go: nobody wakes it any more.
    pub fn detach(&self) {
        let mut inner = self.lock();
        inner.waker = None;
        inner.closing = Some(Closing::Abort);
        inner.bytes = Vec::new();
        inner.last = Vec::new();
        inner.gates = VecDeque::new();
    }

    /// How the connection is to end, if it is.
    pub fn closing(&self) -> Option<Closing> {
        self.lock().closing
    }
}

/// The position to wait for, if nobody sees to that yet.
fn park(inner: &mut Inner, position: Option<u64>) -> Option<u64> {
    position.filter(|_| !std::mem::replace(&mut inner.parked, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(outbox: &Outbox, durable: u64) -> (Vec<u8>, Taken) {
        let mut into = Vec::new();
        let taken = outbox.take(durable, &mut into, Waker::noop());
        (into, taken)
    }

    fn push(outbox: &Outbox, gate: u64, text: &str) {
        outbox.push(gate, |out| out.extend_from_slice(text.as_bytes()));
    }

    #[test]
    fn bytes_behind_a_gate_and_all_after_them_wait_for_the_disk() {
        let outbox = Outbox::default();
        push(&outbox, 0, "a");
        push(&outbox, 5, "b");
        push(&outbox, 0, "c");
        push(&outbox, 7, "d");
        assert_eq!(
            take(&outbox, 4),
            (
                b"a".to_vec(),
                Taken {
                    closing: None,
                    park: Some(5)
                }
            )
        );
        assert_eq!(take(&outbox, 4).0, b"");
        assert_eq!(take(&outbox, 6).0, b"bc");
        assert_eq!(
            take(&outbox, 7),
            (
                b"d".to_vec(),
                Taken {
                    closing: None,
                    park: None
                }
            )
        );
    }

    #[test]
    fn an_older_position_never_opens_a_newer_gate() {
        let outbox = Outbox::default();
        push(&outbox, 9, "new");
        push(&outbox, 3, "old");
        assert_eq!(take(&outbox, 3).0, b"");
        assert_eq!(take(&outbox, 9).0, b"newold");
    }

    #[test]
    fn the_last_packet_does_not_wait_for_the_disk() {
        let outbox = Outbox::default();
        push(&outbox, 0, "ready");
        push(&outbox, 8, "gated");
        outbox.close(Closing::Orderly, |out| out.extend_from_slice(b"bye"));
        let (bytes, taken) = take(&outbox, 0);
        assert_eq!(bytes, b"readybye");
        assert_eq!(
            taken,
            Taken {
                closing: Some(Closing::Orderly),
                park: None
            }
        );
        assert_eq!(take(&outbox, 9).0, b"");
    }

    #[test]
    fn after_an_abort_only_the_last_word_leaves() {
        let outbox = Outbox::default();
        push(&outbox, 0, "queued");
        push(&outbox, 8, "gated");
        outbox.close(Closing::Abort, |out| out.extend_from_slice(b"bye"));
        push(&outbox, 0, "late");
        let (bytes, taken) = take(&outbox, 0);
        assert_eq!(bytes, b"bye");
        assert_eq!(taken.closing, Some(Closing::Abort));
    }
}
