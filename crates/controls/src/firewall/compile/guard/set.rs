//! The names of the sets and maps that devices are put into.

/// Hardware address and IPv4 address to the chain of what a device sends.
pub(super) const FROM4: &str = "from4";
/// The same for IPv6.
pub(super) const FROM6: &str = "from6";
/// IPv4 address to the chain of what a device is sent.
pub(super) const TO4: &str = "to4";
/// The same for IPv6.
pub(super) const TO6: &str = "to6";
/// Hardware addresses whose DNS is their own affair.
pub(super) const TRUSTED: &str = "trusted";
/// IPv6 addresses that are somebody's.
pub(super) const KNOWN6: &str = "known6";
/// The same, as targets of neighbour messages.
pub(super) const TARGET: &str = "target";
/// Hardware addresses and the targets that they may claim.
pub(super) const CLAIM: &str = "claim";
/// IPv4 addresses that are somebody's; for ARP.
pub(super) const KNOWN4: &str = "known4";
/// Hardware addresses and the IPv4 addresses that they may claim; for ARP.
pub(super) const BOUND4: &str = "bound4";
/// Hardware addresses and what frames they may send.
pub(super) const FRAMES_OUT: &str = "frames_out";
/// The same, to one station.
pub(super) const FRAMES_OUT_TO: &str = "frames_out_to";
/// Hardware addresses and what frames they may be sent.
pub(super) const FRAMES_IN: &str = "frames_in";
/// The same, from one station.
pub(super) const FRAMES_IN_FROM: &str = "frames_in_from";
