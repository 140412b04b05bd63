//! Bytes seen on a wire, parsed once and with bounds: captures, packets, DHCP, LLDP, DNS.
