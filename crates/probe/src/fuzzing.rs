//! The bodies of the fuzz targets: what must hold for any bytes.

mod services;

pub use services::{probe_datagram, probe_stream, upnp_description};

use crate::tls::certificate::Certificate;

/// Reading a server's certificate ends, and what is told of it is part of it.
pub fn server_certificate(data: &[u8]) {
    if let Ok(read) = Certificate::read(data) {
        assert!(data.windows(read.spki.len()).any(|part| part == read.spki));
        assert!(read.names.len() <= data.len(), "a name has a byte");
        let _any = (read.is_for("camera.example.org"), read.is_weak_key());
        let _any = (read.is_weakly_signed(), read.default_of());
    }
}
