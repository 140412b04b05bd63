//! What services there are.

use std::fmt;

/// What a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Web pages.
    Http,
    /// TLS, with whatever is in it.
    Tls,
    /// MQTT.
    Mqtt,
    /// `CoAP`.
    Coap,
    /// A log-in in plain text.
    Telnet,
    /// A shell that asks nobody who he is.
    Shell,
    /// FTP.
    Ftp,
    /// SSH.
    Ssh,
    /// A camera's control.
    Rtsp,
    /// Modbus.
    Modbus,
    /// Android's debug bridge.
    Adb,
    /// SNMP.
    Snmp,
    /// TFTP.
    Tftp,
    /// A screen, by VNC.
    Vnc,
    /// A screen, by RDP.
    Rdp,
    /// Mail.
    Smtp,
    /// Names.
    Dns,
    /// The time.
    Ntp,
    /// Mapping of ports: NAT-PMP or PCP.
    NatPmp,
    /// SSDP.
    Ssdp,
    /// Names of the local network.
    Mdns,
    /// WS-Discovery.
    WsDiscovery,
    /// A printer's raw port, which is not asked.
    Printer,
    /// Something that answers none of the questions.
    Unknown,
}

impl Kind {
    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Mqtt => "mqtt",
            Self::Coap => "coap",
            Self::Telnet => "telnet",
            Self::Shell => "shell",
            Self::Ftp => "ftp",
            Self::Ssh => "ssh",
            Self::Rtsp => "rtsp",
            Self::Modbus => "modbus",
            Self::Adb => "adb",
            Self::Snmp => "snmp",
            Self::Tftp => "tftp",
            Self::Vnc => "vnc",
            Self::Rdp => "rdp",
            Self::Smtp => "smtp",
            Self::Dns => "dns",
            Self::Ntp => "ntp",
            Self::NatPmp => "nat-pmp",
            Self::Ssdp => "ssdp",
            Self::Mdns => "mdns",
            Self::WsDiscovery => "ws-discovery",
            Self::Printer => "printer",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
