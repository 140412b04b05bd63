//! What miniupnpd is told.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use stockade_controls::firewall::policy::Window;

use super::table::{FILTERED, MAPPED, POSTED, TABLE};

/// Its configuration: the profile's mappings, to the requester's own address, and nothing else.
///
/// A rule of it does not tell TCP from UDP; the table does ([`super::table::text`]).
pub(super) fn text(window: &Window, address: Option<Ipv4Addr>, uuid: &str) -> String {
    let place = &window.place;
    let mut text = format!(
        "ext_ifname={}\nlistening_ip={}\nhttp_port={}\nuuid={uuid}\n\
         enable_upnp=yes\nenable_natpmp=no\nipv6_disable=yes\nsecure_mode=yes\nsystem_uptime=no\n\
         notify_interval=900\nmin_lifetime=60\nmax_lifetime=3600\n\
         upnp_table_name={TABLE}\nupnp_nat_table_name={TABLE}\n\
         upnp_forward_chain={FILTERED}\nupnp_nat_chain={MAPPED}\nupnp_nat_postrouting_chain={POSTED}\n",
        place.outside, place.lan, place.control,
    );
    if let Some(address) = address {
        // Writing to a string can not fail.
        let _written = writeln!(text, "ext_ip={address}");
    }
    for mapping in &window.mappings {
        for network in &place.networks {
            let (ports, inner) = (mapping.external_ports, mapping.internal_port);
            let (first, last) = (ports.first(), ports.last());
            let _written = writeln!(text, "allow {first}-{last} {network} {inner}-{inner}");
        }
    }
    text.push_str("deny 0-65535 0.0.0.0/0 0-65535\n");
    text
}
