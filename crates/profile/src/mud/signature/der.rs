//! As much of DER (X.690) as a CMS message needs: elements read strictly, elements written.

use super::SignatureError;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, primitive.
pub(super) const CONTEXT_0_PRIMITIVE: u8 = 0x80;
/// `[0]`, constructed.
pub(super) const CONTEXT_0: u8 = 0xa0;
/// `[1]`, constructed.
pub(super) const CONTEXT_1: u8 = 0xa1;

/// One element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Tag, length and content.
    pub(super) whole: &'a [u8],
}

/// Reads elements one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// What is said where the bytes are no DER, or not the element asked for.
    unreadable: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], unreadable: &'static str) -> Self {
        Self { bytes, unreadable }
    }

    /// The next element, of any kind.
    pub(super) fn any(&mut self) -> Result<Element<'a>, SignatureError> {
        let wrong = self.wrong();
        let (element, after) = split(self.bytes).ok_or(wrong)?;
        self.bytes = after;
        Ok(element)
    }

    /// The next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Element<'a>, SignatureError> {
        let element = self.any()?;
        if element.tag == tag {
            Ok(element)
        } else {
            Err(self.wrong())
        }
    }

    /// The next element, if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, SignatureError> {
        if self.bytes.first() == Some(&tag) {
            return self.any().map(Some);
        }
        Ok(None)
    }

    /// What is in the next element, which must have this tag.
    pub(super) fn inside(&mut self, tag: u8) -> Result<Self, SignatureError> {
        let element = self.expect(tag)?;
        Ok(Self::new(element.content, self.unreadable))
    }

    /// The same, with other words for what can not be read.
    pub(super) fn or_say(self, unreadable: &'static str) -> Self {
        Self { unreadable, ..self }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Nothing may follow.
    pub(super) fn end(self) -> Result<(), SignatureError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.wrong())
        }
    }

    fn wrong(&self) -> SignatureError {
        SignatureError::Message(self.unreadable)
    }
}

/// The first element, and what follows.
fn split(start: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = start.split_first()?;
    // X.690 §8.1.2.4: a tag of more than one byte; CMS has none.
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (length, rest) = length(rest)?;
    let (content, after) = rest.split_at_checked(length)?;
    let whole = start.get(..start.len().checked_sub(after.len())?)?;
    let element = Element {
        tag,
        content,
        whole,
    };
    Some((element, after))
}

/// X.690 §10.1: the definite form, in as few bytes as can be.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let count = usize::from(first & 0x7f);
    // 0 would be BER's indefinite length; four bytes are far more than a message may have.
    if count == 0 || count > 3 {
        return None;
    }
    let (digits, rest) = rest.split_at_checked(count)?;
    let value = digits
        .iter()
        .fold(0_usize, |n, &digit| (n << 8) | usize::from(digit));
    let shortest = match count {
        1 => value >= 0x80,
        2 => value >= 0x100,
        _ => value >= 0x1_0000,
    };
    shortest.then_some((value, rest))
}

/// An element with this content.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let bytes = content.len().to_be_bytes();
    let digits: Vec<u8> = bytes.iter().copied().skip_while(|&b| b == 0).collect();
    let mut out = vec![tag];
    match digits.as_slice() {
        [] => out.push(0),
        [short @ 0..0x80] => out.push(*short),
        long => {
            // A usize has eight bytes at most.
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(u8::MAX));
            out.extend(long);
        }
    }
    out.extend(content);
    out
}

/// A SET OF: its elements in ascending order (X.690 §11.6).
pub(super) fn set_of(tag: u8, mut elements: Vec<Vec<u8>>) -> Vec<u8> {
    elements.sort();
    element(tag, &elements.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let content = vec![7; length];
            let bytes = element(OCTET_STRING, &content);
            let mut reader = Reader::new(&bytes, "");
            let read = reader.expect(OCTET_STRING).unwrap();
            assert_eq!((read.content, read.whole), (&*content, &*bytes));
            assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn lengths_have_one_form() {
        for bad in [
            &[0x04, 0x80, 0, 0][..],      // indefinite
            &[0x04, 0x81, 0x01, 7],       // one byte would do
            &[0x04, 0x82, 0x00, 0x01, 7], // a leading zero
            &[0x04, 0x84, 0, 0, 0, 1, 7], // four bytes
            &[0x04, 0x02, 7],             // cut
            &[0x1f, 0x01, 7],             // a long tag
            &[0x04],
            &[],
        ] {
            assert!(Reader::new(bad, "").any().is_err(), "{bad:02x?}");
        }
    }
}
