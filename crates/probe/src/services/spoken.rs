//! Services that speak first, by what they say.

use super::{Kind, Service};
use crate::text::{first_line, told};

/// What speaks first in these words; none if nobody known does.
pub fn recognise(bytes: &[u8]) -> Option<Service> {
    let says = told(first_line(bytes));
    let lower = bytes.to_ascii_lowercase();
    let has = |what: &[u8]| lower.windows(what.len()).any(|it| it == what);
    let kind = match bytes {
        // RFC 4253 §4.2: other lines may come before.
        _ if bytes.starts_with(b"SSH-") || has(b"\nssh-") => Kind::Ssh,
        // RFC 854: IAC and one of WILL, WONT, DO, DONT, SB.
        [0xff, 0xfa..=0xfe, ..] => return Some(Service::of(Kind::Telnet, words(bytes))),
        // RFC 6143 §7.1.1.
        [b'R', b'F', b'B', b' ', b'0', ..] => Kind::Vnc,
        // RFC 5321 §4.2, RFC 959 §5.4.
        [b'2', b'2', b'0', b' ' | b'-', ..] if has(b"smtp") => Kind::Smtp,
        [b'2', b'2', b'0', b' ' | b'-', ..] | [b'4', b'2', b'1', b' ', ..] => Kind::Ftp,
        _ if has(b"login:") || has(b"password:") || has(b"username:") => {
            return Some(Service::of(Kind::Telnet, words(bytes)));
        }
        _ if prompt(bytes) => return Some(Service::of(Kind::Shell, words(bytes))),
        _ => return None,
    };
    Some(Service::of(kind, says))
}

/// Whether it ends as a shell does that waits for commands.
fn prompt(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_end();
    bytes.len() <= 512
        && text.is_ascii()
        && matches!(text.last(), Some(b'#' | b'$' | b'>'))
        && !text.starts_with(b"<")
}

/// What is said to a telnet client, in words, and whether a shell waits there: none where neither a shell nor a log-in shows.
pub(crate) fn telnet(bytes: &[u8]) -> (String, Option<bool>) {
    let plain = plain(bytes);
    let asks = [&b"login"[..], b"password", b"username", b"user name"];
    let lower = plain.to_ascii_lowercase();
    let asks = asks
        .iter()
        .any(|it| lower.windows(it.len()).any(|its| its == *it));
    let open = match (asks, prompt(&plain)) {
        (true, _) => Some(false),
        (false, true) => Some(true),
        (false, false) => None,
    };
    (words(bytes), open)
}

/// What is left of a conversation of telnet when its commands are taken out (RFC 854, RFC 855).
fn plain(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = bytes.iter();
    while let Some(&byte) = rest.next() {
        if byte != 0xff {
            plain.push(byte);
            continue;
        }
        match rest.next() {
            // The options have one byte more; a subnegotiation goes on to IAC SE.
            Some(0xfb..=0xfe) => drop(rest.next()),
            Some(0xfa) => while rest.next().is_some_and(|it| *it != 0xf0) {},
            _ => (),
        }
    }
    plain
}

fn words(bytes: &[u8]) -> String {
    let words = told(plain(bytes).trim_ascii());
    if words.is_empty() && !bytes.is_empty() {
        return "negotiates options".to_owned();
    }
    words
}

/// The security types that a VNC server offers (RFC 6143 §7.1.2); 1 is none.
pub fn vnc_types(bytes: &[u8]) -> Option<&[u8]> {
    let (count, rest) = bytes.split_first()?;
    rest.get(..usize::from(*count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_first_is_known_by_his_words() {
        let kind = |bytes: &[u8]| recognise(bytes).map(|it| it.kind);
        assert_eq!(kind(b"SSH-2.0-dropbear_2022.83\r\n"), Some(Kind::Ssh));
        assert_eq!(kind(b"hello\r\nSSH-1.99-x\r\n"), Some(Kind::Ssh));
        assert_eq!(kind(b"220 (vsFTPd 3.0.3)\r\n"), Some(Kind::Ftp));
        assert_eq!(kind(b"220 mail ESMTP Postfix\r\n"), Some(Kind::Smtp));
        assert_eq!(kind(b"RFB 003.008\n"), Some(Kind::Vnc));
        assert_eq!(kind(b"\xff\xfd\x01"), Some(Kind::Telnet));
        assert_eq!(kind(b"\r\ncam login: "), Some(Kind::Telnet));
        assert_eq!(kind(b"/ # "), Some(Kind::Shell));
        assert_eq!(kind(b"HTTP/1.1 400 Bad"), None);
        assert_eq!(kind(b""), None);
    }

    #[test]
    fn the_words_of_telnet_are_without_its_commands() {
        let said = recognise(b"\xff\xfd\x01\xff\xfb\x03\xff\xfa\x18\x01\xff\xf0\r\ncam-2 login: ");
        assert_eq!(said.expect("telnet").says, "cam-2 login:");
        assert_eq!(words(b"\xff\xfa\x01\x02"), "negotiates options");
        let shell = b"\xff\xfd\x01\r\nBusyBox v1.35 built-in shell (ash)\r\n\r\n/ # ";
        assert_eq!(telnet(shell).1, Some(true));
        assert_eq!(telnet(b"\xff\xfd\x01\r\ncam-2 login: ").1, Some(false));
        assert_eq!(telnet(b"\xff\xfd\x01").1, None);
    }
}
