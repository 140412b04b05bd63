//! Password hashes as `crypt(3)` writes them (man 5 crypt): which scheme, how strong, and whether a guess fits.

use super::des;

/// The digits of `crypt(3)`, least significant bits first.
pub(super) const ALPHABET: &[u8; 64] =
    b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The most memory that trying one guess may take, in bytes; yescrypt as Debian sets it takes 16 MiB.
const MOST_MEMORY: u64 = 32 << 20;

/// How a password is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Des,
    BsdiDes,
    Md5,
    Apr1,
    Sha256,
    Sha512,
    Bcrypt,
    Yescrypt,
    Other,
}

/// A hash that some password could fit.
#[derive(Clone, Copy)]
pub struct Hash<'a> {
    text: &'a str,
    pub(super) scheme: Scheme,
}

impl std::fmt::Debug for Hash<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hash").finish_non_exhaustive()
    }
}

impl<'a> Hash<'a> {
    /// The hash in a password field; none if no password can ever fit: the account is locked.
    pub fn of(field: &'a str) -> Option<Self> {
        let digits = |text: &str| text.bytes().all(|byte| ALPHABET.contains(&byte));
        let scheme = match field.as_bytes() {
            [b'_', ..] if field.len() == 20 && field.get(1..).is_some_and(digits) => {
                Scheme::BsdiDes
            }
            [b'$', ..] => match field.split('$').nth(1)? {
                "1" => Scheme::Md5,
                "apr1" => Scheme::Apr1,
                "5" => Scheme::Sha256,
                "6" => Scheme::Sha512,
                "2a" | "2b" | "2x" | "2y" => Scheme::Bcrypt,
                "y" => Scheme::Yescrypt,
                _ => Scheme::Other,
            },
            _ if field.len() == 13 && digits(field) => Scheme::Des,
            _ => return None,
        };
        Some(Self {
            text: field,
            scheme,
        })
    }

    /// The scheme's name, for people.
    pub fn name(&self) -> &'static str {
        match self.scheme {
            Scheme::Des => "DES",
            Scheme::BsdiDes => "BSDi DES",
            Scheme::Md5 => "MD5",
            Scheme::Apr1 => "Apache's MD5",
            Scheme::Sha256 => "SHA-256",
            Scheme::Sha512 => "SHA-512",
            Scheme::Bcrypt => "bcrypt",
            Scheme::Yescrypt => "yescrypt",
            Scheme::Other => "an unknown scheme",
        }
    }

    /// Why a thief of the hash finds the password too easily; none if it is strong enough, or not known.
    pub fn weakness(&self) -> Option<String> {
        let few = |what: &str| Some(format!("{} with {what}", self.name()));
        match self.scheme {
            Scheme::Des | Scheme::BsdiDes | Scheme::Md5 | Scheme::Apr1 => {
                Some(self.name().to_owned())
            }
            Scheme::Sha256 | Scheme::Sha512 => match self.rounds() {
                Some(rounds) if rounds < 5000 => few(&format!("{rounds} rounds")),
                _ => None,
            },
            Scheme::Bcrypt => match self.cost() {
                Some(cost) if cost < 10 => few(&format!("a cost of {cost}")),
                _ => None,
            },
            Scheme::Yescrypt | Scheme::Other => None,
        }
    }

    /// Whether the hash has no salt: every device with this password then has this hash.
    pub(super) fn unsalted(&self) -> bool {
        match self.scheme {
            Scheme::Md5 | Scheme::Apr1 | Scheme::Sha256 | Scheme::Sha512 | Scheme::Yescrypt => {
                self.salt().is_some_and(str::is_empty)
            }
            Scheme::Des | Scheme::BsdiDes | Scheme::Bcrypt | Scheme::Other => false,
        }
    }

    /// About how many microseconds a guess takes on one core of a PC; none if it can not be tried.
    pub fn microseconds(&self) -> Option<u64> {
        match self.scheme {
            Scheme::Des => Some(100),
            Scheme::Md5 | Scheme::Apr1 => Some(200),
            Scheme::Sha256 | Scheme::Sha512 => {
                Some(u64::from(self.rounds()?).saturating_mul(3).div_euclid(5))
            }
            Scheme::Bcrypt => 50_u64.checked_shl(self.cost()?),
            Scheme::Yescrypt => {
                let params = self.yescrypt()?;
                let memory = params.n().checked_mul(u64::from(params.r()))?;
                let memory = memory.checked_mul(128)?;
                (memory <= MOST_MEMORY).then(|| memory.div_euclid(400))
            }
            Scheme::BsdiDes | Scheme::Other => None,
        }
    }

    /// Whether this is the password.
    pub fn fits(&self, guess: &[u8]) -> bool {
        self.made_of(guess)
            .is_some_and(|made| Some(made.as_str()) == self.digest())
    }

    fn made_of(&self, guess: &[u8]) -> Option<String> {
        match self.scheme {
            Scheme::Des => {
                let salt = self.text.as_bytes().first_chunk::<2>()?;
                des::crypt(guess, *salt)
            }
            Scheme::Md5 => Some(md5_crypt(b"$1$", guess, self.salt()?.as_bytes())),
            Scheme::Apr1 => Some(md5_crypt(b"$apr1$", guess, self.salt()?.as_bytes())),
            Scheme::Sha256 => {
                let params = sha_crypt::Params::new(self.rounds()?).ok()?;
                let made = sha_crypt::sha256_crypt(guess, self.sha_salt()?, params);
                Some(sha_digits(&made))
            }
            Scheme::Sha512 => {
                let params = sha_crypt::Params::new(self.rounds()?).ok()?;
                let made = sha_crypt::sha512_crypt(guess, self.sha_salt()?, params);
                Some(sha_digits(&made))
            }
            Scheme::Bcrypt => {
                let salt = bcrypt_bytes(self.text.split('$').nth(3)?.get(..22)?)?;
                let mut key = guess.to_vec();
                key.push(0);
                key.truncate(72);
                let made = bcrypt::bcrypt(self.cost()?, *salt.first_chunk::<16>()?, &key);
                Some(bcrypt_digits(made.first_chunk::<23>()?))
            }
            Scheme::Yescrypt => {
                let params = self.yescrypt()?;
                let mut made = [0; 32];
                let salt = bytes(self.salt()?.as_bytes())?;
                yescrypt::yescrypt(guess, &salt, &params, &mut made).ok()?;
                Some(digits(&made))
            }
            Scheme::BsdiDes | Scheme::Other => None,
        }
    }

    /// What the hash ends in, apart from scheme and salt.
    fn digest(&self) -> Option<&'a str> {
        match self.scheme {
            Scheme::Des => Some(self.text),
            Scheme::Bcrypt => self.text.split('$').nth(3)?.get(22..),
            Scheme::BsdiDes
            | Scheme::Md5
            | Scheme::Apr1
            | Scheme::Sha256
            | Scheme::Sha512
            | Scheme::Yescrypt
            | Scheme::Other => self.text.rsplit('$').next(),
        }
    }

    /// `$id$salt$digest`, `$id$parameters$salt$digest`.
    fn salt(&self) -> Option<&'a str> {
        self.text.rsplit('$').nth(1)
    }

    fn sha_salt(&self) -> Option<&'a [u8]> {
        let salt = self.salt()?.as_bytes();
        Some(salt.get(..16).unwrap_or(salt))
    }

    /// The rounds of SHA-crypt; 5000 if nothing is said.
    fn rounds(&self) -> Option<u32> {
        match self.text.split('$').nth(2)?.strip_prefix("rounds=") {
            Some(rounds) => rounds.parse().ok(),
            None => Some(5000),
        }
    }

    fn cost(&self) -> Option<u32> {
        let cost = self.text.split('$').nth(2)?.parse().ok()?;
        (4..=31).contains(&cost).then_some(cost)
    }

    /// Its parameters where they are flavour, N and r, as everybody writes them; more can make a guess last for ever.
    fn yescrypt(&self) -> Option<yescrypt::Params> {
        let params = self.text.split('$').nth(2)?;
        if params.len() != 3 || !params.starts_with('j') {
            return None;
        }
        params.parse().ok()
    }
}

/// A new hash of a password with SHA-512, 5000 rounds, which every `crypt(3)` knows; the salt is made of these random bytes.
pub fn new_hash(password: &[u8], random: [u8; 12]) -> String {
    let salt = digits(&random);
    let params = sha_crypt::Params::RECOMMENDED;
    let made = sha_crypt::sha512_crypt(password, salt.as_bytes(), params);
    format!("$6${salt}${}", sha_digits(&made))
}

/// Bytes as digits, the least significant bits first.
fn digits(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let value = chunk
            .iter()
            .rev()
            .fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
        for at in 0..=chunk.len() {
            push(
                &mut text,
                value.checked_shr(6_u32.saturating_mul(small(at))),
            );
        }
    }
    text
}

/// The bytes that are written so; none if something else stands there.
fn bytes(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for chunk in text.chunks(4) {
        let mut value = 0_u32;
        for byte in chunk.iter().rev() {
            let digit = ALPHABET.iter().position(|it| it == byte)?;
            value = value << 6 | small(digit);
        }
        out.extend(value.to_le_bytes().iter().take(chunk.len().checked_sub(1)?));
    }
    Some(out)
}

/// The digest of SHA-crypt in its order: each group of three begins where the one before it says.
fn sha_digits(digest: &[u8]) -> String {
    let third = digest.len().div_euclid(3);
    let mut order = [0, third, third.saturating_mul(2)];
    let mut text = String::new();
    let byte = |at: usize| digest.get(at).copied().unwrap_or(0);
    for _ in 0..third {
        text.push_str(&digits(&[byte(order[2]), byte(order[1]), byte(order[0])]));
        let [a, b, c] = order.map(|at| at.saturating_add(1));
        order = if third == 21 { [b, c, a] } else { [c, a, b] };
    }
    match digest {
        [.., one, two] if third == 10 => text.push_str(&digits(&[*one, *two])),
        [.., last] => text.push_str(&digits(&[*last])),
        [] => (),
    }
    text
}

/// MD5-crypt, of which Apache's is the same by another name (FreeBSD `crypt-md5.c`, APR `apr_md5.c`): its digest in digits.
fn md5_crypt(magic: &[u8], guess: &[u8], salt: &[u8]) -> String {
    let salt = salt.get(..8).unwrap_or(salt);
    let md5 = |parts: &[&[u8]]| {
        let mut context = md5::Context::new();
        for part in parts {
            context.consume(part);
        }
        context.finalize().0
    };
    let inner = md5(&[guess, salt, guess]);
    // As many bytes of the inner digest as the guess has, then for each bit of its length a zero or its first byte.
    let repeated: Vec<u8> = inner.iter().cycle().take(guess.len()).copied().collect();
    let first = guess.first().copied().unwrap_or(0);
    let mut bits = Vec::new();
    let mut length = guess.len();
    while length != 0 {
        bits.push(if length & 1 == 1 { 0 } else { first });
        length >>= 1;
    }
    let mut digest = md5(&[guess, magic, salt, &repeated, &bits]);
    for round in 0..1000_u32 {
        let odd = round & 1 == 1;
        let every = |n: u32, part| {
            if round.is_multiple_of(n) {
                &[][..]
            } else {
                part
            }
        };
        let (begin, end): (&[u8], &[u8]) = if odd {
            (guess, &digest)
        } else {
            (&digest, guess)
        };
        digest = md5(&[begin, every(3, salt), every(7, guess), end]);
    }
    // The bytes in the order in which they are written.
    let order = [12_usize, 6, 0, 13, 7, 1, 14, 8, 2, 15, 9, 3, 5, 10, 4, 11];
    let byte = |at: &usize| digest.get(*at).copied().unwrap_or(0);
    let bytes: Vec<u8> = order.iter().map(byte).collect();
    digits(&bytes)
}

const BCRYPT: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Bytes in the digits of bcrypt, the most significant bits first.
fn bcrypt_digits(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let value = at(0) << 16 | at(1) << 8 | at(2);
        for shift in [18_u32, 12, 6, 0]
            .iter()
            .take(chunk.len().saturating_add(1))
        {
            let digit = value.checked_shr(*shift).unwrap_or(0) & 63;
            let digit = usize::try_from(digit).ok().and_then(|at| BCRYPT.get(at));
            text.extend(digit.map(|byte| char::from(*byte)));
        }
    }
    text
}

fn bcrypt_bytes(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        let mut value = 0_u32;
        for at in 0..4 {
            let digit = match chunk.get(at) {
                Some(byte) => BCRYPT.iter().position(|it| it == byte)?,
                None => 0,
            };
            value = value << 6 | small(digit);
        }
        let [_, rest @ ..] = value.to_be_bytes();
        out.extend(rest.iter().take(chunk.len().checked_sub(1)?));
    }
    Some(out)
}

fn push(text: &mut String, value: Option<u32>) {
    let digit = usize::try_from(value.unwrap_or(0) & 63).ok();
    let digit = digit.and_then(|at| ALPHABET.get(at));
    text.extend(digit.map(|byte| char::from(*byte)));
}

fn small(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by libxcrypt 4.4 of `xc3511`, and the third by OpenSSL.
    const KNOWN: [&str; 10] = [
        "absxcfbgXtb3o",
        "$1$abcdefgh$/ehdsgh6T85pypwniuldr1",
        "$apr1$abcdefgh$2dFsxY98J9MenKm8PdLtN/",
        "$5$saltsalt$sU3nvsBsCq1lLM4.cqT4JkW0awDij63SWO5OhkZ4XIC",
        "$6$rounds=1000$saltsalt$NbJeEVBNOGYgZoHbENKGzEXyTfhZ/lpX.ewJMh9fAx0b0VR1NqzCLhrqh9OjDkdUveWID08X5vXgB/g.58ClX.",
        "$2b$05$abcdefghijklmnopqrstuus5tHJ8Pk2iuRkwUSRwL8QyDtDv7FGCe",
        "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$poDxgCYtMC2UhoNctCcgvUwnFPU1ix2e68k6RYsqqZB",
        "$y$j75$F5Jx5fExrKuPp53xLKQ..1$RmW5B/Zz3NVig.aYMQBSyoPHjBb.AlMzvXGkWsEL.K9",
        "_J9..rasmvBmwSi4y0ss",
        "$7$CU..../....salt$suC/t9.YmXhfFQngWPHTcqWR1RbWXszEuHouREQNnn0",
    ];

    #[test]
    fn the_password_fits_and_no_other_does() {
        for (at, text) in KNOWN.into_iter().enumerate() {
            let hash = Hash::of(text).expect("a hash");
            let can_be_tried = at < 8;
            assert_eq!(hash.microseconds().is_some(), can_be_tried, "{text}");
            assert_eq!(hash.fits(b"xc3511"), can_be_tried, "{text}");
            assert!(!hash.fits(b"xc3512") && !hash.fits(b""), "{text}");
        }
    }

    #[test]
    fn a_new_hash_fits_its_password() {
        let text = new_hash(b"a new one", *b"twelve bytes");
        assert!(Hash::of(&text).expect("a hash").fits(b"a new one"));
        assert!(!Hash::of(&text).expect("a hash").fits(b"another"));
    }

    #[test]
    fn what_no_password_fits_is_no_hash() {
        for locked in [
            "!",
            "*",
            "x",
            "!$6$a$b",
            "!!",
            "*LK*",
            "abc",
            "NP",
            "0123456789abc!",
        ] {
            assert!(Hash::of(locked).is_none(), "{locked}");
        }
    }

    #[test]
    fn a_hash_that_would_take_for_ever_or_all_memory_is_not_tried() {
        let y = Hash::of("$y$jz/$abcd$abcd").expect("a hash");
        assert_eq!(y.microseconds(), None);
        let long = Hash::of("$6$rounds=999999999$a$b").expect("a hash");
        assert!(long.microseconds().expect("a time") > 100_000_000);
        let bcrypt = Hash::of("$2b$99$abcdefghijklmnopqrstuu").expect("a hash");
        assert_eq!(bcrypt.microseconds(), None);
    }
}
