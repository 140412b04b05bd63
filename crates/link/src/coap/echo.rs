//! Echo values (RFC 9175): a request that repeats one was made since it was given out, and its sender reads what is sent there.
//!
//! Nothing is kept: the value is a time and a MAC of it and of the peer's address (RFC 9175, appendix A, item 2).

use subtle::ConstantTimeEq as _;

use super::option;
use crate::crypto::{Crypto, CryptoError, Secret};

/// The bytes of a value: 32 bits of time, 64 of MAC.
pub const LENGTH: usize = 12;

/// How long a response to an address may be that nobody has verified, if the request was this long: three times that, and 136
/// bytes always (RFC 9175, section 2.4, item 3). Such a response is piggybacked or non-confirmable, so that it is never repeated.
pub const fn response_limit(request: usize) -> usize {
    let limit = request.saturating_mul(3);
    if limit > 136 { limit } else { 136 }
}

/// A value for a peer. `now` counts seconds from any beginning; the key is made anew when that is lost.
pub fn value<C: Crypto>(
    crypto: &mut C,
    key: &Secret<32>,
    now: u32,
    peer: &[u8],
) -> Result<[u8; LENGTH], CryptoError> {
    let time = now.to_be_bytes();
    // The option's number tells these MACs from others of the same key.
    let number = option::ECHO.to_be_bytes();
    let mac = crypto.hmac_sha256(key.expose(), &[&number, &time, peer])?;
    let mut value = [0; LENGTH];
    for (to, from) in value.iter_mut().zip(time.iter().chain(mac.expose())) {
        *to = *from;
    }
    Ok(value)
}

/// Whether a value was given to this peer and is at most `window` seconds old.
pub fn is_fresh<C: Crypto>(
    crypto: &mut C,
    key: &Secret<32>,
    echo: &[u8],
    now: u32,
    peer: &[u8],
    window: u32,
) -> Result<bool, CryptoError> {
    let Some((time, _)) = echo.split_first_chunk::<4>() else {
        return Ok(false);
    };
    let time = u32::from_be_bytes(*time);
    if now.checked_sub(time).is_none_or(|age| age > window) {
        return Ok(false);
    }
    Ok(value(crypto, key, time, peer)?.ct_eq(echo).into())
}
