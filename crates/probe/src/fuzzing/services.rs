//! Answers of services.

use std::net::SocketAddr;

use crate::services::{datagram, spoken, ssh, understand};
use crate::text::MOST_TOLD;
use crate::upnp::{Place, description, ssdp};
use crate::{credentials, discovery, http, xml};

fn is_told(text: &str) {
    assert!(
        text.is_ascii()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    );
}

/// What comes on a connection is one thing or another, is told in one short line, and no part of it is longer than it was.
pub fn probe_stream(data: &[u8]) {
    if let Some(service) = understand(data) {
        is_told(&service.says);
        // A status, and three parts of a head.
        assert!(service.says.len() <= 4 * MOST_TOLD);
    }
    for protocol in ["HTTP/", "RTSP/"] {
        if let Some(head) = http::head(data, protocol) {
            assert!(head.body <= data.len());
            assert!(head.content(data).len() <= data.len());
            let _whole = head.is_whole(data);
        }
    }
    let _code = credentials::ftp_code(data);
    let _types = spoken::vnc_types(data);
    for packets in [Some(data), ssh::packets(data)].into_iter().flatten() {
        if let Some(offered) = ssh::offers(packets) {
            // What is asked is a packet that is understood here, too.
            if let Some(asked) = ssh::ask_key(&offered) {
                assert!(ssh::offers(&asked).is_some());
            }
        }
        if let Some((_, bits)) = ssh::host_key(packets) {
            assert!(bits.div_ceil(8) <= packets.len());
        }
    }
}

/// What comes as a datagram is told in one short line, whichever protocol it is taken for.
pub fn probe_datagram(data: &[u8]) {
    let said = [
        datagram::coap(data).map(|(code, links)| code + &links),
        datagram::snmp(data),
        datagram::tftp(data),
        datagram::ntp_variables(data),
        datagram::nat_pmp(data),
        discovery::mdns(data),
        discovery::wsd(data),
    ];
    for said in said.into_iter().flatten() {
        assert!(said.len() <= 8 * (MOST_TOLD + 2));
        is_told(&said);
    }
    let _others = (
        datagram::ntp_time(data),
        datagram::dns(data),
        datagram::nat_pmp_mapped(data),
    );
    if let Some(reply) = ssdp::reply(data) {
        assert!(reply.location.is_none_or(|it| it.len() <= 512));
    }
}

/// A description is bounded, and leads nowhere but to the host that gave it.
pub fn upnp_description(data: &[u8]) {
    let host: SocketAddr = ([192, 0, 2, 7], 80).into();
    let _document = xml::read(data);
    let Ok(place) = Place::read("http://192.0.2.7:5000/a/r.xml", host) else {
        return;
    };
    if let Ok(found) = description::read(data, &place) {
        let places = found.services.iter().flat_map(|it| {
            let events = it.events.as_ref().and_then(|it| it.as_ref().ok());
            it.control.as_ref().ok().into_iter().chain(events)
        });
        for place in places {
            assert_eq!(place.to.ip(), host.ip());
            assert!(place.path.starts_with('/') && !place.path.contains(['\r', '\n', ' ']));
        }
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(place) = Place::read(text, host)
    {
        assert_eq!(place.to.ip(), host.ip());
    }
}
