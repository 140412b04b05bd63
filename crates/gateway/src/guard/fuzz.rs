//! The bodies of the guard's fuzz targets: whatever comes from the wire or over the socket, what must hold of the state holds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use stockade_profile::{LinkAddress, Network};
use time::{Duration, OffsetDateTime};

use super::core::{Core, MAX_DEVICES, MAX_LEARNED, MAX_UNKNOWN, Standing};
use super::device::By;
use super::mud::{Accept, MudPolicy};
use super::request::{MAX_ADDRESSES, Request};
use super::watch::look;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn fresh() -> Core {
    let own = [
        IpAddr::from([192, 0, 2, 1]),
        IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]),
    ];
    let lan = Network::around(own[0], 24);
    let standing = Standing {
        mac: LinkAddress::new([2, 0, 0, 0, 0, 1]),
        index: 1,
        own: own.to_vec(),
        lan: lan.into_iter().collect(),
    };
    let policy = MudPolicy {
        fetch: true,
        accept: Accept::Any,
    };
    Core::new(standing, policy)
}

/// An address has one owner, who knows of it; the gateway's own has none; nobody has more than is allowed.
fn holds(core: &Core) {
    let mut owners = BTreeMap::new();
    let mut unknown = 0;
    for device in core.devices() {
        unknown += usize::from(!device.is_settled());
        let (mut four, mut six) = (0, 0);
        for binding in &device.addresses {
            assert!(
                owners.insert(binding.address, device.mac).is_none(),
                "two devices have {}",
                binding.address
            );
            assert!(
                !core.standing().own.contains(&binding.address),
                "a device has the gateway's address"
            );
            if binding.by != By::Hand {
                match binding.address {
                    IpAddr::V4(_) => four += 1,
                    IpAddr::V6(_) => six += 1,
                }
            }
        }
        assert!(
            four <= MAX_LEARNED && six <= MAX_LEARNED,
            "too many learned"
        );
    }
    for (address, mac) in &owners {
        let owner = core.owner(*address).map(|device| device.mac);
        assert_eq!(owner, Some(*mac), "the owner of {address}");
    }
    assert!(core.devices().len() <= MAX_DEVICES && unknown <= MAX_UNKNOWN + 1);
}

/// Frames, each behind two bytes of its length and one that says which way it went.
pub fn guard_frame(mut data: &[u8]) {
    let mut core = fresh();
    let mut now = NOW;
    while let [high, low, way, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (frame, next) = rest.split_at(length);
        for seen in look(frame, way & 1 == 1) {
            core.handle_sighting(&seen, now);
        }
        // The rest of the byte is how much later the next one comes.
        now += Duration::minutes(i64::from(way >> 1));
        holds(&core);
        data = next;
    }
    core.handle_tick(now + Duration::days(2));
    holds(&core);
}

/// Requests, one a line.
pub fn guard_request(data: &[u8]) {
    let mut core = fresh();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let Ok(request) = Request::read(line) else {
            continue;
        };
        assert_eq!(
            Request::read(&request.write()).as_ref(),
            Ok(&request),
            "a request does not read back"
        );
        // A refusal is as good as a decision: both leave a sound state.
        let _decided = match &request {
            Request::Add(add) => {
                assert!(add.addresses.len() <= MAX_ADDRESSES);
                core.add(add, NOW).is_ok()
            }
            Request::Remove { mac } => core.remove(*mac).is_ok(),
            Request::Accept { mac } => core.accept(*mac, NOW).is_ok(),
            Request::Quarantine { mac, reason } => core.quarantine(*mac, reason, NOW).is_ok(),
            Request::Release { mac } => core.release(*mac).is_ok(),
            Request::Gateway { device, isolated } => {
                !core.gateway(device, isolated.as_ref(), NOW).is_empty()
            }
            Request::Uninstall { model } => core.uninstall(model).is_ok(),
            _ => false,
        };
        holds(&core);
    }
}
