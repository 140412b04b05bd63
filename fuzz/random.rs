//! Chance of a fixed seed, for tests: the same damage each time. Included by `#[path]`.

/// xorshift64*.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below a bound; nought below nought.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0.wrapping_shr(12);
        self.0 ^= self.0.wrapping_shl(25);
        self.0 ^= self.0.wrapping_shr(27);
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_shr(33);
        let number = usize::try_from(number).unwrap_or_default();
        number.checked_rem(bound).unwrap_or_default()
    }

    /// The same bytes, damaged: cut short, bits turned, a piece doubled, numbers made huge or nothing, signs put in.
    pub(crate) fn mutated(&mut self, original: &[u8]) -> Vec<u8> {
        let mut bytes = original.to_vec();
        for _ in 0..self.below(4).saturating_add(1) {
            let at = self.below(bytes.len());
            let short = at.saturating_add(self.below(8)).min(bytes.len());
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => bytes.get_mut(at..short).unwrap_or_default().fill(0xff),
                2 => bytes.get_mut(at..short).unwrap_or_default().fill(0),
                3 => {
                    let end = at.saturating_add(self.below(64)).min(bytes.len());
                    let piece = bytes.get(at..end).unwrap_or_default().to_vec();
                    bytes.splice(at..at, piece);
                }
                kind => {
                    let bit = u32::try_from(self.below(8)).unwrap_or_default();
                    let sign = b"\x01\x7f\x80\n$:".get(self.below(6)).copied();
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = match sign {
                            Some(sign) if kind == 4 => sign,
                            _ => *byte ^ 1_u8.wrapping_shl(bit),
                        };
                    }
                }
            }
        }
        bytes
    }
}
