//! FF1: NIST SP 800-38G r1 (second public draft, 2025), algorithms 7 and 8, for texts whose halves fit into 128 bits.
//! (Never FF3, which that draft removes.) Every library of it at hand brings big numbers of a version of its own.

use aes::cipher::array::Array;
use aes::cipher::consts::U16;
use aes::cipher::{Block, BlockCipherEncrypt};

/// Most numerals: with it a half is below 2^120 for every radix up to 62.
pub(super) const MOST: usize = 40;
const LARGEST_RADIX: u32 = 62;
/// SP 800-38G r1: fewer texts than this can all be tried.
const LEAST_DOMAIN: u128 = 1_000_000;
const ROUNDS: u8 = 10;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Encrypt,
    Decrypt,
}

/// `numerals` encrypted or decrypted; none if there are too few or too many, or one is no numeral of `radix`.
#[expect(clippy::many_single_char_names, reason = "the names of the standard")]
pub(super) fn ff1(
    cipher: &impl BlockCipherEncrypt<BlockSize = U16>,
    radix: u32,
    tweak: &[u8],
    numerals: &[u8],
    way: Way,
) -> Option<Vec<u8>> {
    let n = numerals.len();
    let base = u128::from(radix);
    let is_numeral = |numeral: &u8| u32::from(*numeral) < radix;
    if !(2..=LARGEST_RADIX).contains(&radix) || n > MOST || !numerals.iter().all(is_numeral) {
        return None;
    }
    // A sum that is cut off at the floor says enough.
    let domain = numerals.iter().fold(1_u128, |domain, _| {
        domain.saturating_mul(base).min(LEAST_DOMAIN)
    });
    if domain < LEAST_DOMAIN {
        return None;
    }
    // Steps 1 and 2.
    let (u, v) = (n / 2, n.div_ceil(2));
    let (left, right) = numerals.split_at_checked(u)?;
    let number = |half: &[u8]| {
        let digit =
            |number: u128, digit: &u8| number.checked_mul(base)?.checked_add((*digit).into());
        half.iter().try_fold(0, digit)
    };
    let (mut a, mut b) = (number(left)?, number(right)?);
    let moduli = [power(base, u)?, power(base, v)?];
    // Steps 3 and 4: ⌈⌈v log₂ radix⌉ / 8⌉ is the length of radix^v - 1.
    let bits = u128::BITS.checked_sub(moduli[1].checked_sub(1)?.leading_zeros())?;
    let bytes = usize::try_from(bits.div_ceil(8)).ok()?;
    let d = bytes.div_ceil(4).checked_mul(4)?.checked_add(4)?;
    let round = Round::new(cipher, radix, (u, n), tweak, bytes)?;
    for count in 0..ROUNDS {
        let i = match way {
            Way::Encrypt => count,
            Way::Decrypt => ROUNDS.checked_sub(count)?.checked_sub(1)?,
        };
        let modulus = moduli[usize::from(i % 2)];
        match way {
            Way::Encrypt => {
                let y = round.number(i, b, d, modulus)?;
                let c = a.checked_add(y)?.checked_rem(modulus)?;
                (a, b) = (b, c);
            }
            Way::Decrypt => {
                let y = round.number(i, a, d, modulus)?;
                let c = b
                    .checked_add(modulus)?
                    .checked_sub(y)?
                    .checked_rem(modulus)?;
                (a, b) = (c, a);
            }
        }
    }
    let mut out = vec![0; n];
    let (left, right) = out.split_at_mut_checked(u)?;
    for (half, mut number) in [(left, a), (right, b)] {
        for numeral in half.iter_mut().rev() {
            *numeral = u8::try_from(number.checked_rem(base)?).ok()?;
            number = number.checked_div(base)?;
        }
    }
    Some(out)
}

fn power(base: u128, exponent: usize) -> Option<u128> {
    base.checked_pow(u32::try_from(exponent).ok()?)
}

/// What all rounds share: the state of the PRF after P, and Q without its end.
struct Round<'a, C: BlockCipherEncrypt<BlockSize = U16>> {
    cipher: &'a C,
    after_p: Block<C>,
    q: Vec<u8>,
    bytes: usize,
}

impl<'a, C: BlockCipherEncrypt<BlockSize = U16>> Round<'a, C> {
    /// Steps 5 and 6 i, as far as they do not depend on the round.
    #[expect(clippy::many_single_char_names, reason = "the names of the standard")]
    fn new(
        cipher: &'a C,
        radix: u32,
        (u, n): (usize, usize),
        tweak: &[u8],
        bytes: usize,
    ) -> Option<Self> {
        let mut p: Block<C> = Array::default();
        let [_, radix @ ..] = radix.to_be_bytes();
        let n = u32::try_from(n).ok()?.to_be_bytes();
        let t = u32::try_from(tweak.len()).ok()?.to_be_bytes();
        let [.., u] = u.to_be_bytes();
        let parts = [&[1, 2, 1], radix.as_slice(), &[10, u], &n, &t].concat();
        for (to, from) in p.iter_mut().zip(parts) {
            *to = from;
        }
        cipher.encrypt_block(&mut p);
        let end = bytes.checked_add(1)?;
        let length = tweak.len().checked_add(end)?.checked_next_multiple_of(16)?;
        let mut q = tweak.to_vec();
        q.resize(length.checked_sub(end)?, 0);
        Some(Self {
            cipher,
            after_p: p,
            q,
            bytes,
        })
    }

    /// Steps 6 i to 6 iv: NUM(S), modulo radix^m.
    fn number(&self, i: u8, half: u128, d: usize, modulus: u128) -> Option<u128> {
        let half = half.to_be_bytes();
        let half = half.get(half.len().checked_sub(self.bytes)?..)?;
        let mut r = self.after_p;
        let mut q = self.q.iter().chain([&i]).chain(half).peekable();
        while q.peek().is_some() {
            for byte in &mut r {
                *byte ^= q.next()?;
            }
            self.cipher.encrypt_block(&mut r);
        }
        let mut more = r;
        let [.., last] = &mut more.0;
        *last ^= 1;
        self.cipher.encrypt_block(&mut more);
        let blocks = [r, more].concat();
        // A number below 2^64 has room for eight bytes more, one below 2^120 for one.
        let at_once = if modulus <= 1 << 64 { 8 } else { 1 };
        // d is 20 at most, so two blocks are enough.
        let mut number = 0_u128;
        for bytes in blocks.get(..d)?.chunks(at_once) {
            for byte in bytes {
                number = number.checked_mul(256)?.checked_add((*byte).into())?;
            }
            number = number.checked_rem(modulus)?;
        }
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use aes::cipher::KeyInit as _;
    use aes::{Aes128, Aes256};

    use super::*;

    /// NIST, "Block Cipher Modes of Operation: FF1 Samples": radix, tweak, plain and cipher text.
    const SAMPLES: [(u32, &str, &str, [&str; 2]); 3] = [
        (10, "", "0123456789", ["2433477484", "6657667009"]),
        (
            10,
            "39383736353433323130",
            "0123456789",
            ["6124200773", "1001623463"],
        ),
        (
            36,
            "3737373770717273373737",
            "0123456789abcdefghi",
            ["a9tv40mll9kdu509eum", "xs8a0azh2avyalyzuwd"],
        ),
    ];
    const KEY: &str = "2b7e151628aed2a6abf7158809cf4f3cef4359d8d580aa4f7f036d6f04fc6a94";

    fn hex(text: &str) -> Vec<u8> {
        let digit = |c: &u8| u8::try_from(char::from(*c).to_digit(16)?).ok();
        let pair = |pair: &[u8]| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?);
        let bytes = text.as_bytes().chunks(2).map(pair);
        bytes.collect::<Option<_>>().expect("hexadecimal")
    }

    fn numerals(text: &str) -> Vec<u8> {
        let numeral = |c: char| u8::try_from(c.to_digit(36).expect("a numeral")).expect("small");
        text.chars().map(numeral).collect()
    }

    #[test]
    fn the_samples_of_nist_come_out() {
        let key = hex(KEY);
        let short = Aes128::new_from_slice(&key[..16]).expect("a key");
        let long = Aes256::new_from_slice(&key).expect("a key");
        for (radix, tweak, plain, [by_128, by_256]) in SAMPLES {
            let (tweak, plain) = (hex(tweak), numerals(plain));
            let sealed = ff1(&short, radix, &tweak, &plain, Way::Encrypt);
            assert_eq!(sealed, Some(numerals(by_128)));
            let sealed = ff1(&long, radix, &tweak, &plain, Way::Encrypt).expect("a text");
            assert_eq!(sealed, numerals(by_256));
            assert_eq!(
                ff1(&long, radix, &tweak, &sealed, Way::Decrypt),
                Some(plain)
            );
        }
    }

    #[test]
    fn every_length_goes_there_and_back_and_small_domains_are_refused() {
        let cipher = Aes256::new_from_slice(&[7; 32]).expect("a key");
        for radix in [2_u32, 10, 16, 36, 62] {
            for length in 0..=MOST + 1 {
                let plain: Vec<u8> = (0..length)
                    .map(|at| u8::try_from((at * 31 + 5) % radix as usize).expect("small"))
                    .collect();
                let sealed = ff1(&cipher, radix, b"field", &plain, Way::Encrypt);
                let least = match radix {
                    2 => 20,
                    10 => 6,
                    16 => 5,
                    _ => 4,
                };
                let large = length >= least;
                assert_eq!(
                    sealed.is_some(),
                    large && length <= MOST,
                    "{radix}^{length}"
                );
                let Some(sealed) = sealed else { continue };
                assert_eq!(
                    ff1(&cipher, radix, b"field", &sealed, Way::Decrypt),
                    Some(plain)
                );
                assert_ne!(ff1(&cipher, radix, b"other", &sealed, Way::Decrypt), None);
            }
        }
        assert_eq!(ff1(&cipher, 10, b"", &[10; 8], Way::Encrypt), None);
    }
}
