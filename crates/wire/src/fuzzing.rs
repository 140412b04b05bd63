//! The bodies of the fuzz targets: what must hold for any bytes.

use crate::capture::{Decoder, LinkType, MAX_FRAME, Reader};
use crate::dhcp::{Dhcp, Dhcp6};
use crate::dns::Message;
use crate::lldp::Lldp;
use crate::packet::{self, Network};
use crate::tls::{self, DtlsReader, Said, Version};

/// Reading a capture ends, no frame is longer than the input or the limit, and pieces of any size give the same.
pub fn capture_read(data: &[u8]) {
    let mut reader = Reader::new(data);
    let (mut bytes, mut frames, mut failed) = (0, Vec::new(), false);
    for frame in reader.by_ref() {
        let Ok(frame) = frame else {
            failed = true;
            continue;
        };
        assert!(frame.bytes.len() <= usize::try_from(MAX_FRAME).unwrap_or(usize::MAX));
        bytes = frame.bytes.len().saturating_add(bytes);
        let _any = packet::parse(frame.link, &frame.bytes);
        frames.push(frame);
    }
    assert!(bytes <= data.len(), "frames are made of the input");
    assert!(reader.next().is_none(), "the end stays the end");
    if let Some(at) = reader.cut_at() {
        assert!(usize::try_from(at).is_ok_and(|at| at < data.len()));
    }
    let mut decoder = Decoder::default();
    let mut again = Vec::new();
    for piece in data.chunks(7) {
        decoder.push(piece);
        while let Ok(Some(frame)) = decoder.next_frame() {
            again.push(frame);
        }
    }
    assert!(frames == again, "pieces do not matter");
    if let (Ok(cut_at), false) = (decoder.finish(), failed) {
        assert_eq!(cut_at, reader.cut_at());
    }
}

/// Reading a packet of any link ends, and what it holds is part of the frame.
pub fn packet_parse(data: &[u8]) {
    let links = [
        LinkType::Ethernet,
        LinkType::Raw,
        LinkType::Loopback,
        LinkType::LinuxCooked,
        LinkType::LinuxCooked2,
    ];
    for link in links {
        let Ok(packet) = packet::parse(link, data) else {
            continue;
        };
        match packet.network {
            Network::Ip(ip) => {
                assert!(ip.payload.len() <= data.len());
                assert_eq!(ip.source.is_ipv4(), ip.destination.is_ipv4());
                let _any = crate::neighbour::parse(&ip);
            }
            Network::Other(bytes) => assert!(bytes.len() <= data.len()),
            Network::Arp(_) => {}
        }
    }
}

/// A message that can be read, written and read again is the same; one cut to fit says so.
pub fn dns_message(data: &[u8]) {
    let Ok(message) = Message::read(data) else {
        return;
    };
    for question in &message.questions {
        assert!(!message.chain(&question.name).is_empty());
        let text = question.name.to_string();
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "escaped");
    }
    let whole = message.write(usize::from(u16::MAX));
    // Questions are never left out, and names written in full can make the message longer than there can be.
    if whole.len() > usize::from(u16::MAX) {
        return;
    }
    let again = Message::read(&whole);
    assert!(again.is_ok(), "what is written is read");
    if let Ok(again) = again {
        let count = |message: &Message| (message.authorities.len(), message.additionals.len());
        let all = count(&again) == count(&message) && again.truncated == message.truncated;
        assert!(!all || again == message, "written and read");
    }
    if let Ok(short) = Message::read(&message.write(512)) {
        assert!(short.answers.len() == message.answers.len() || short.truncated);
    }
}

/// Reading DHCP and `DHCPv6` ends, and what comes out is part of the message.
pub fn dhcp_message(data: &[u8]) {
    if let Ok(dhcp) = Dhcp::read(data) {
        for text in [&dhcp.host_name, &dhcp.vendor_class, &dhcp.mud_url] {
            assert!(text.as_ref().is_none_or(|text| text.len() <= data.len()));
        }
    }
    if let Ok(dhcp) = Dhcp6::read(data) {
        assert!(dhcp.mud_url.is_none_or(|url| url.len() <= data.len()));
    }
}

/// Reading LLDP ends, and what comes out is part of the frame.
pub fn lldp_frame(data: &[u8]) {
    if let Ok(lldp) = Lldp::read(data) {
        assert!(lldp.mud_url.is_none_or(|url| url.len() <= data.len()));
    }
}

/// Reading a server's answer ends, and pieces of any size give the same.
pub fn tls_answer(data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let asked = Version::ALL.into_iter().cycle().nth(usize::from(*first));
    let asked = asked.unwrap_or(Version::Tls13);
    let read = |size: usize| {
        let (mut reader, mut all) = (tls::Reader::new(asked), Vec::new());
        for piece in data.chunks(size) {
            reader.push(piece);
            loop {
                match reader.said() {
                    Said::More => break,
                    end @ (Said::Alert(_)
                    | Said::Plain
                    | Said::Broken(_)
                    | Said::Ssl2 { .. }
                    | Said::Ssl2Error(_)) => {
                        all.push(end);
                        return all;
                    }
                    said @ (Said::Hello(_)
                    | Said::Certificates(_)
                    | Said::Cookie(_)
                    | Said::Other(_)) => all.push(said),
                }
            }
        }
        all
    };
    assert!(read(data.len().max(1)) == read(3), "pieces do not matter");
}

/// Reading datagrams ends, each behind its length; what is said is paid for by what came.
pub fn dtls_answer(mut data: &[u8]) {
    let (mut reader, mut said) = (DtlsReader::default(), 0_usize);
    let whole = data.len();
    while let Some(([high, low], rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (datagram, rest) = rest.split_at(length.min(rest.len()));
        said = said.saturating_add(reader.datagram(datagram).len());
        data = rest;
    }
    assert!(said <= whole);
}
