//! Randomness for the emulated board, which has no source of it.
//!
//! `cargo xtask firmware --provision` puts a fresh seed into each image; what comes of it is different at each start by a number that
//! a reset leaves. An image that is started twice after the power was off says the same twice: **this is for the emulator alone**. A
//! product hands its processor's generator to [`RustCrypto::new`] instead.

use stockade_link::crypto::rust::RustCrypto;
use stockade_link::crypto::{Crypto as _, CryptoError, Secret};

use crate::board;

/// Says that the count of starts is one.
const COUNTED: u32 = 0x5374_6172;
/// Bytes of the seed, at the end of the provisioning page.
const SEED: usize = 32;

/// A generator that forgets: from its state nothing can be computed of what it said before.
pub struct Entropy(Secret<32>);

impl Entropy {
    /// Of this start; nothing where the image was never provisioned.
    pub fn start() -> Option<Self> {
        let seed = board::provisioning().last_chunk::<SEED>()?;
        if seed.iter().all(|byte| *byte == 0xFF) {
            return None;
        }
        let (mark, starts) = (board::kept(0), board::kept(1));
        if mark.read() != COUNTED {
            starts.write(0);
            mark.write(COUNTED);
        }
        let start = starts.read().wrapping_add(1);
        starts.write(start);
        hash(seed, &start.to_be_bytes()).ok().map(Self)
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        for chunk in out.chunks_mut(32) {
            let block = hash(self.0.expose(), b"out")?;
            self.0 = hash(self.0.expose(), b"next")?;
            chunk.copy_from_slice(&block.expose()[..chunk.len()]);
        }
        Ok(())
    }
}

fn hash(key: &[u8], what: &[u8]) -> Result<Secret<32>, CryptoError> {
    RustCrypto::new(|_: &mut [u8]| Err(CryptoError::Failed)).hmac_sha256(key, &[what])
}
