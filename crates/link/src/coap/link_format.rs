//! The link format (RFC 6690): what `/.well-known/core` says, written into a lent buffer.

use super::exchange::Full;

/// Writes links.
#[derive(Debug)]
pub struct Links<'a> {
    buffer: &'a mut [u8],
    length: usize,
    full: bool,
}

impl<'a> Links<'a> {
    /// No links yet.
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            length: 0,
            full: false,
        }
    }

    /// Adds a resource by its path, which begins with a slash. What a URI's path can not have as it is, is percent-encoded
    /// (RFC 3986, section 3.3).
    pub fn link(&mut self, path: &str) -> &mut Self {
        self.push(if self.length == 0 { b"<" } else { b",<" });
        for byte in path.bytes() {
            if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
                self.push(&[byte]);
            } else {
                let digit =
                    |value: u8| if value < 10 { b'0' } else { b'A' - 10 }.saturating_add(value);
                self.push(&[b'%', digit(byte >> 4), digit(byte & 0x0f)]);
            }
        }
        self.push(b">");
        self
    }

    /// Adds an attribute without a value to the last link, such as `obs`.
    pub fn flag(&mut self, name: &str) -> &mut Self {
        self.push(b";");
        self.push(name.as_bytes());
        self
    }

    /// Adds an attribute with a value to the last link.
    pub fn attribute(&mut self, name: &str, value: &str) -> &mut Self {
        self.flag(name);
        self.push(b"=\"");
        for byte in value.bytes() {
            if matches!(byte, b'"' | b'\\') {
                self.push(b"\\");
            }
            self.push(&[byte]);
        }
        self.push(b"\"");
        self
    }

    /// All of it.
    pub fn finish(self) -> Result<&'a [u8], Full> {
        let written = self.buffer.get(..self.length).filter(|_| !self.full);
        written.ok_or(Full)
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        match self.buffer.get_mut(self.length..end) {
            Some(space) if !self.full => {
                space.copy_from_slice(bytes);
                self.length = end;
            }
            _ => self.full = true,
        }
    }
}
