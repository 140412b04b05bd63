//! The same device behind a Bluetooth radio, whose controller and host are Bumble's.

#[path = "../../../../tests/bumble/air.rs"]
mod air;

use stockade_link::bearer::gatt::{Peer, VALUE_MAX};
use tokio::net::UdpSocket;

use self::air::Air;
use super::{Ends, device, serve};
use crate::link::bearer::bench::Running;
use crate::link::ble;
use crate::link::tests::world::World;

/// Datagrams between the device and its radio; as values of a characteristic, where there is a peer for these.
async fn far_end(radio: UdpSocket, ends: Ends, mut gatt: Option<Peer>) {
    let Ends {
        to_device,
        mut from_device,
    } = ends;
    let (mut packet, mut other) = ([0; 2048], [0; 2048]);
    loop {
        tokio::select! {
            heard = radio.recv(&mut packet) => {
                let heard = &packet[..heard.unwrap()];
                let Some(peer) = &mut gatt else {
                    drop(to_device.try_send(heard.to_vec()));
                    continue;
                };
                let came = peer.receive(heard, &mut other);
                if let Some(acknowledgement) = came.acknowledgement {
                    drop(to_device.try_send(acknowledgement.to_vec()));
                }
                if came.length > 0 {
                    drop(to_device.try_send(other[..came.length].to_vec()));
                }
            }
            said = from_device.recv() => {
                let Some(said) = said else { return };
                let said = match &mut gatt {
                    None => said,
                    Some(peer) => match peer.send(&said, &mut other[..VALUE_MAX]) {
                        Ok(value) => other[..value.length].to_vec(),
                        Err(_busy) => continue,
                    },
                };
                radio.send(&said).await.unwrap();
            }
        }
    }
}

async fn works(how: &str, gatt: Option<Peer>) {
    let Some(mut air) = Air::new(None) else {
        return;
    };
    let port = air.add("rose-1", 1, how);
    let radio = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    radio.connect(("127.0.0.1", port)).await.unwrap();
    let settings: ble::Settings = air.settings.parse().unwrap();
    let running = Running::start(move |port| ble::run(settings, 0, port));
    let mut world = World::new();
    let (ends, device) = device(&mut world);
    tokio::spawn(far_end(radio, ends, gatt));
    serve(world, running, device).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_works_over_a_bluetooth_channel() {
    works("channel mps=23", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_works_over_gatt() {
    works("gatt mtu=247", Some(Peer::new())).await;
}
