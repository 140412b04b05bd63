//! Packets as fast as they go, and how many of them came out at the other end.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, bind, send, socket};

use nix::time::{ClockId, clock_gettime};

use crate::cables::Mac;

/// The first source port of a flood.
const FIRST_PORT: u16 = 1_024;
/// Ethernet, IPv4 without options, UDP, and a payload that makes the smallest frame.
const LENGTH: usize = 60;
const UDP: u8 = 17;

/// Who sends to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) mac: Mac,
    pub(crate) from: Ipv4Addr,
    pub(crate) to: Ipv4Addr,
    pub(crate) port: u16,
}

impl Flow {
    /// The same packet from the other end.
    fn answer(&self, source_port: u16, mac: Mac, router: Mac) -> [u8; LENGTH] {
        frame(router, mac, (self.to, self.port), (self.from, source_port))
    }
}

/// An end of a cable that frames are put on.
pub(crate) struct Sender(OwnedFd);

impl Sender {
    /// Opens an interface of the namespace the calling thread is in.
    pub(crate) fn open(interface: &str) -> Result<Self> {
        // No protocol: nothing is received, nothing queues up.
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        bind(socket.as_raw_fd(), &link(interface)?)?;
        Ok(Self(socket))
    }

    fn put(&self, frame: &[u8]) -> Result<()> {
        loop {
            match send(self.0.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(error) => return Err(error).context("cannot send a frame"),
            }
        }
    }

    /// Each packet the first of a flow: the flows in turn, then again from the next port. Gives the time it took of a core.
    ///
    /// A frame that is put on a virtual cable has been forwarded when the call returns, so this thread's time is that of
    /// sending and forwarding, and none of other programs.
    pub(crate) fn first_packets(
        &self,
        flows: &[Flow],
        count: usize,
        gateway: Mac,
    ) -> Result<Duration> {
        let begun = cpu()?;
        for number in 0..count {
            let (flow, port) = nth(flows, number)?;
            self.put(&frame(
                flow.mac,
                gateway,
                (flow.from, port),
                (flow.to, flow.port),
            ))?;
        }
        Ok(cpu()?.saturating_sub(begun))
    }

    /// Answers to the first packets of as many flows, from the other side.
    pub(crate) fn answers(
        &self,
        flows: &[Flow],
        count: usize,
        gateway: Mac,
        router: Mac,
    ) -> Result<()> {
        for number in 0..count {
            let (flow, port) = nth(flows, number)?;
            self.put(&flow.answer(port, gateway, router))?;
        }
        Ok(())
    }
}

/// What the calling thread has had of a core.
fn cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn nth(flows: &[Flow], number: usize) -> Result<(&Flow, u16)> {
    let flow = flows.get(number % flows.len()).context("no flows")?;
    let round = u16::try_from(number / flows.len())?;
    Ok((flow, FIRST_PORT.saturating_add(round)))
}

fn link(interface: &str) -> Result<LinkAddr> {
    nix::ifaddrs::getifaddrs()?
        .filter(|found| found.interface_name == interface)
        .find_map(|found| found.address?.as_link_addr().copied())
        .with_context(|| format!("there is no interface {interface}"))
}

/// A UDP packet without a checksum, which IPv4 allows (RFC 768).
fn frame(
    from: Mac,
    to: Mac,
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
) -> [u8; LENGTH] {
    let mut frame = [0; LENGTH];
    let (ethernet, packet) = frame.split_at_mut(14);
    ethernet[..6].copy_from_slice(&to);
    ethernet[6..12].copy_from_slice(&from);
    ethernet[12..].copy_from_slice(&[0x08, 0x00]);
    let total = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    let (ip, udp) = packet.split_at_mut(20);
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[8] = 64;
    ip[9] = UDP;
    ip[12..16].copy_from_slice(&source.0.octets());
    ip[16..20].copy_from_slice(&destination.0.octets());
    let sum = checksum(ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    udp[..2].copy_from_slice(&source.1.to_be_bytes());
    udp[2..4].copy_from_slice(&destination.1.to_be_bytes());
    udp[4..6].copy_from_slice(&(total - 20).to_be_bytes());
    frame
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_sums_up_to_nothing() {
        let flow = frame(
            [2; 6],
            [4; 6],
            (Ipv4Addr::new(10, 77, 1, 2), 1_024),
            (Ipv4Addr::new(198, 51, 100, 7), 123),
        );
        assert_eq!(checksum(&flow[14..34]), 0);
        assert_eq!(&flow[36..38], &123_u16.to_be_bytes());
    }
}
