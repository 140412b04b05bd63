//! AES-CCM with keys of 128 bits and nonces of 13 bytes (RFC 3610; RFC 9053, section 4.2), on the block cipher alone.
//!
//! A step of the MAC and one of the stream go through the cipher together: a 32-bit processor computes two blocks at the cost of one.

use aes::cipher::consts::U16;
use aes::cipher::typenum::Unsigned as _;
use aes::cipher::{
    BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt as _, BlockSizeUser,
    KeyInit as _, ParBlocks,
};
use aes::{Aes128, Block};

use crate::crypto::{Aead, CryptoError};

/// Encrypts or, if it `opens`, decrypts `text` in place; the tag is the first bytes of what comes back.
pub(super) fn apply(
    (aead, key, nonce): (Aead, &[u8; 16], &[u8; 13]),
    aad: &[u8],
    text: &mut [u8],
    opens: bool,
) -> Result<[u8; 16], CryptoError> {
    let length = u16::try_from(text.len()).map_err(|_| CryptoError::Length)?;
    let aad_length = u16::try_from(aad.len()).map_err(|_| CryptoError::Length)?;
    // From here on its length has another encoding (RFC 3610, section 2.2), which no message of ours needs.
    if aad_length >= 0xFF00 {
        return Err(CryptoError::Length);
    }
    let tag = match aead {
        Aead::Ccm16Tag64 => 3 << 3,
        Aead::Ccm16Tag128 => 7 << 3,
    };
    let has_aad = if aad.is_empty() { 0 } else { 1 << 6 };
    let mut mac = block(has_aad | tag | 1, nonce, length);
    Aes128::new(key.into()).encrypt_with_backend(Message {
        nonce,
        aad_length,
        aad,
        text,
        opens,
        mac: &mut mac,
    });
    Ok(mac.into())
}

struct Message<'a> {
    nonce: &'a [u8; 13],
    aad_length: u16,
    aad: &'a [u8],
    text: &'a mut [u8],
    opens: bool,
    /// What the MAC encrypts next, and in the end the tag.
    mac: &'a mut Block,
}

impl BlockSizeUser for Message<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Message<'_> {
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, cipher: &B) {
        if !self.aad.is_empty() {
            let head = self.aad_length.to_be_bytes();
            let mut bytes = head.iter().chain(self.aad).peekable();
            while bytes.peek().is_some() {
                step(cipher, self.mac, self.nonce, 0);
                for (mac, byte) in self.mac.iter_mut().zip(&mut bytes) {
                    *mac ^= byte;
                }
            }
        }
        for (chunk, counter) in self.text.chunks_mut(16).zip(1..) {
            let stream = step(cipher, self.mac, self.nonce, counter);
            for ((byte, mask), mac) in chunk.iter_mut().zip(stream).zip(&mut *self.mac) {
                let other = *byte ^ mask;
                *mac ^= if self.opens { other } else { *byte };
                *byte = other;
            }
        }
        let stream = step(cipher, self.mac, self.nonce, 0);
        for (mac, mask) in self.mac.iter_mut().zip(stream) {
            *mac ^= mask;
        }
    }
}

/// Encrypts what is in the MAC, and gives the block of the stream with this number.
#[cfg_attr(target_os = "none", inline(never))]
fn step<B: BlockCipherEncBackend<BlockSize = U16>>(
    cipher: &B,
    mac: &mut Block,
    nonce: &[u8; 13],
    counter: u16,
) -> Block {
    let mut stream = block(1, nonce, counter);
    if B::ParBlocksSize::USIZE == 2 {
        let mut both = ParBlocks::<B>::default();
        for (place, block) in both.iter_mut().zip([*mac, stream]) {
            *place = block;
        }
        cipher.encrypt_par_blocks_inplace(&mut both);
        for (place, block) in [mac, &mut stream].into_iter().zip(both) {
            *place = block;
        }
    } else {
        cipher.encrypt_block_inplace(mac);
        cipher.encrypt_block_inplace(&mut stream);
    }
    stream
}

/// The first block of the MAC, or a counter block: the length's or the counter's field has 2 bytes.
fn block(flags: u8, nonce: &[u8; 13], number: u16) -> Block {
    let mut block = Block::default();
    let [first, middle @ .., high, low] = &mut block.0;
    *first = flags;
    *middle = *nonce;
    [*high, *low] = number.to_be_bytes();
    block
}
