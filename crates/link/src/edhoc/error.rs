//! Error messages (RFC 9528, section 6).

use crate::cbor::{Kind, Reader, Writer};

use super::{EdhocError, Suite, SuiteSet};

/// The codes (section 6, table 3).
const UNSPECIFIED: u64 = 1;
const WRONG_SUITE: u64 = 2;
const UNKNOWN_CREDENTIAL: u64 = 3;

/// What a peer says went wrong. Nothing protects it: anybody may have sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerError<'m> {
    /// Code 1, in the peer's words.
    Unspecified(&'m str),
    /// Code 2: of the suites known here, the peer has these.
    WrongSuite(SuiteSet),
    /// Code 3: the peer does not know the credential that we named.
    UnknownCredential,
    /// A code that is not known here.
    Other(i64),
}

/// What the peer is told of an error: which suites we have, that its credential is not known, or only that it was refused.
pub fn error_message<'o>(error: &EdhocError, out: &'o mut [u8]) -> Result<&'o [u8], EdhocError> {
    let mut writer = Writer::new(out);
    match error {
        EdhocError::WrongSuite(suites) => {
            writer.uint(WRONG_SUITE);
            write_suites(
                suites.each().map(|suite| suite.number().into()),
                &mut writer,
            );
        }
        EdhocError::UnknownCredential => {
            writer.uint(UNKNOWN_CREDENTIAL).bool(true);
        }
        EdhocError::Malformed
        | EdhocError::Method
        | EdhocError::LongIdentifier
        | EdhocError::SameIdentifier
        | EdhocError::CriticalItem(_)
        | EdhocError::Credential
        | EdhocError::Reflected
        | EdhocError::NotAuthentic
        | EdhocError::BadPublicKey
        | EdhocError::Crypto(_)
        | EdhocError::Full => {
            writer.uint(UNSPECIFIED).text("refused");
        }
    }
    Ok(writer.finish()?)
}

/// Reads an error message. Other messages that a session waits for are not mistaken for one: they begin with a byte string.
pub fn read_error(message: &[u8]) -> Result<PeerError<'_>, EdhocError> {
    let mut reader = Reader::new(message);
    let code = reader.int()?;
    let error = match u64::try_from(code) {
        // Reserved for success, which nobody sends (section 6.1).
        Ok(0) => return Err(EdhocError::Malformed),
        Ok(UNSPECIFIED) => PeerError::Unspecified(reader.text()?),
        Ok(WRONG_SUITE) => {
            let mut suites = SuiteSet::default();
            read_suites(&mut reader, |number| {
                if let Some(suite) = Suite::of(number) {
                    suites = SuiteSet(suites.0 | SuiteSet::bit(suite));
                }
            })?;
            PeerError::WrongSuite(suites)
        }
        Ok(UNKNOWN_CREDENTIAL) if reader.bool()? => PeerError::UnknownCredential,
        Ok(UNKNOWN_CREDENTIAL) => return Err(EdhocError::Malformed),
        _ => {
            reader.skip()?;
            PeerError::Other(code)
        }
    };
    reader.end()?;
    Ok(error)
}

/// Writes `suites`: one as an integer, more as an array (section 5.2.1).
pub(super) fn write_suites(numbers: impl Iterator<Item = i64> + Clone, writer: &mut Writer<'_>) {
    let count = numbers.clone().count();
    if count != 1 {
        writer.array(count);
    }
    for number in numbers {
        writer.int(number);
    }
}

/// Reads `suites`, one after the other.
pub(super) fn read_suites(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(i64),
) -> Result<(), EdhocError> {
    if reader.peek()? != Kind::Array {
        each(reader.int()?);
        return Ok(());
    }
    let count = reader.array()?;
    if count < 2 {
        return Err(EdhocError::Malformed);
    }
    for _ in 0..count {
        each(reader.int()?);
    }
    Ok(())
}
