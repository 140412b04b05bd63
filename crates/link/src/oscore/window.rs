//! Which of the peer's numbers were seen (RFC 8613, section 7.4).

/// How far numbers may come out of order.
const WIDTH: u64 = 64;

/// What is known of the numbers received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    /// All of it.
    Known {
        /// One more than the highest number received.
        end: u64,
        /// Bit n: the number `end - 1 - n` was received.
        seen: u64,
    },
    /// It was lost in a restart (appendix B.1.2). A request is fresh if it says `challenge`, our first number since: no earlier
    /// request can have said it (a counter kept over restarts, RFC 9175, appendix A, item 3).
    Lost { challenge: u64 },
}

impl Window {
    /// Nothing was received yet.
    pub(super) const NEW: Self = Self::Known { end: 0, seen: 0 };

    pub(super) const fn lost(challenge: u64) -> Self {
        Self::Lost { challenge }
    }

    /// Whether the number is known to have been received, or is too old to know.
    pub(super) const fn replayed(self, number: u64) -> bool {
        match self {
            Self::Known { end, seen } => match end.checked_sub(number) {
                // `end` or above.
                None | Some(0) => false,
                Some(back) => back > WIDTH || seen & bit(back.saturating_sub(1)) != 0,
            },
            Self::Lost { .. } => false,
        }
    }

    /// The number was received, in a message that is authentic.
    pub(super) const fn accept(&mut self, number: u64) {
        let next = number.saturating_add(1);
        match self {
            Self::Known { end, seen } => match next.checked_sub(*end) {
                None | Some(0) => *seen |= bit(end.saturating_sub(next)),
                Some(ahead) => {
                    *seen = shifted(*seen, ahead) | 1;
                    *end = next;
                }
            },
            // Of what came before, nothing is accepted.
            Self::Lost { .. } => {
                *self = Self::Known {
                    end: next,
                    seen: u64::MAX,
                }
            }
        }
    }
}

/// Bit `n`; none beyond the width.
const fn bit(n: u64) -> u64 {
    shifted(1, n)
}

const fn shifted(bits: u64, by: u64) -> u64 {
    match by {
        // The bits of a number below 64 are in its lowest byte.
        0..WIDTH => bits.wrapping_shl(u32::from_be_bytes([0, 0, 0, by.to_be_bytes()[7]])),
        _ => 0,
    }
}
