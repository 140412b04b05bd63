//! One message between two processes: its length in four bytes, the greatest first, then JSON.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// The longest message, in bytes.
pub const MOST: usize = 384 * 1024;

/// Why a message did not cross.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side went away or is too slow.
    #[error("the connection broke")]
    Broken(#[from] io::Error),
    /// It is longer than any message may be.
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    /// It is not a message of the kind that was expected.
    #[error("a message that makes no sense: {0}")]
    Content(String),
}

/// Writes a message.
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> Result<(), FrameError> {
    let frame = encode(message)?;
    to.write_all(&frame)?;
    Ok(to.flush()?)
}

/// A message as it crosses; wiped when it is dropped, as it may hold a password.
pub fn encode<T: Serialize>(message: &T) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    // With room for all of it where there is a password: a buffer that grows would leave a copy behind.
    let mut frame = Zeroizing::new(Vec::with_capacity(8 * 1024));
    frame.extend([0; 4]);
    serde_json::to_writer(&mut *frame, message)
        .map_err(|why| FrameError::Content(why.to_string()))?;
    let length = frame.len().saturating_sub(4);
    let head = u32::try_from(length).ok().filter(|_| length <= MOST);
    let head = head.ok_or(FrameError::TooLong(length))?.to_be_bytes();
    for (to, from) in frame.iter_mut().zip(head) {
        *to = from;
    }
    Ok(frame)
}

/// Reads a message; none if the other side ended before one began.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut head = [0; 4];
    let some = loop {
        match from.read(&mut head) {
            // A process that is traced or stopped is interrupted while it waits; nothing was lost.
            Err(why) if why.kind() == io::ErrorKind::Interrupted => (),
            other => break other?,
        }
    };
    if some == 0 {
        return Ok(None);
    }
    from.read_exact(head.get_mut(some..).unwrap_or_default())?;
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > MOST {
        return Err(FrameError::TooLong(length));
    }
    let mut body = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut body)?;
    decode(&body).map(Some)
}

/// What a message's bytes say.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(body).map_err(|why| FrameError::Content(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interrupted before each read that brings something.
    struct Interrupted<'a>(&'a [u8], bool);

    impl Read for Interrupted<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let most = to.len().min(1);
            self.0.read(&mut to[..most])
        }
    }

    #[test]
    fn a_reader_that_is_interrupted_goes_on() {
        let mut from = Interrupted(b"\0\0\0\x03\"a\"", false);
        assert_eq!(read::<String>(&mut from).expect("read"), Some("a".into()));
        assert_eq!(read::<String>(&mut from).expect("the end"), None);
    }

    #[test]
    fn a_message_is_read_as_it_was_written_and_no_longer_one_is_read() {
        let mut bytes = Vec::new();
        write(&mut bytes, &"a").expect("written");
        assert_eq!(bytes, *b"\0\0\0\x03\"a\"");
        let mut all = bytes.as_slice();
        assert_eq!(read::<String>(&mut all).expect("read"), Some("a".into()));
        assert_eq!(read::<String>(&mut all).expect("the end"), None);
        let long = (u32::try_from(MOST).expect("small") + 1).to_be_bytes();
        let refused = read::<String>(&mut long.as_slice());
        assert!(
            matches!(refused, Err(FrameError::TooLong(_))),
            "{refused:?}"
        );
        let cut = read::<String>(&mut &bytes[..5]);
        assert!(matches!(cut, Err(FrameError::Broken(_))), "{cut:?}");
        assert!(matches!(
            encode(&"x".repeat(MOST)),
            Err(FrameError::TooLong(_))
        ));
    }
}
