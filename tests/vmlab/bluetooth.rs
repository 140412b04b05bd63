//! Bluetooth LE in a real kernel: the gateway has one controller for itself, the kernel's own stack is a device on the other.

use std::time::Duration;

use stockade_e2e::tools::{eventually, root, stockade, without};
use stockade_e2e::vmlab::lab;

const PATIENCE: Duration = Duration::from_mins(2);

/// RFC 9529, section 3.2: `message_1` of method 3, suites 6 and 2, of which 2 is selected.
const MESSAGE_1: &str =
    "0382060258208af6f430ebe18d34184017a9a11bf511c8dff8f834730b96c1b7c8dbca2fc3b637";

/// Confirmable, a token of one byte, POST /.well-known/edhoc, application/cid-edhoc+cbor-seq: true, and `message_1`.
fn handshake(id: u8) -> String {
    let path = "bb2e77656c6c2d6b6e6f776e056564686f63";
    format!("410200{id:02x}aa{path}1141fff5{MESSAGE_1}")
}

#[test]
fn the_gateway_answers_a_device_on_bluez_and_once_more_when_it_comes_back() {
    let Some(lab) = lab("Bluetooth") else {
        return;
    };
    if without(&["btvirt", "hciconfig"]) {
        return;
    }
    let program = stockade().expect("built");
    let guest = lab
        .guest("air")
        .modules(&["hci_vhci", "ecb", "cmac"])
        .boot();
    guest.start("btvirt -L -l2");
    eventually("two controllers appear", PATIENCE, || {
        Ok((guest.run("ls /sys/class/bluetooth").text == "hci0\nhci1\n").then_some(()))
    })
    .expect("radios");
    // The kernel gives away what nobody uses: it looks at a new controller itself for two seconds.
    let gateway = guest.start(&format!(
        "until hciconfig hci0 down; do sleep 0.1; done
         mkdir /run/gateway && cd /run/gateway && printf 'schema = 1\\n' >stockade.toml
         exec {} up --bearer ble:hci0 --config stockade.toml",
        program.display()
    ));
    let script = root().join("tests/clients/ble_kernel.py");
    let device = format!(
        "timeout 100 python3 {} 1 {} bye {}",
        script.display(),
        handshake(1),
        handshake(2)
    );
    let device = guest.run_within(&device, PATIENCE);
    let said = format!("{}\n{}", device.text, guest.so_far(gateway));
    let answers: Vec<&str> = device
        .text
        .lines()
        .filter(|line| line.starts_with('6'))
        .collect();
    assert_eq!((device.code, answers.len()), (0, 2), "{said}");
    for (id, answer) in (1..).zip(answers) {
        // Acknowledgement, 2.04 Changed, application/edhoc+cbor-seq: `message_2` is a byte string of G_Y and a ciphertext.
        let expected = format!("614400{id:02x}aac140ff58");
        assert!(answer.starts_with(&expected), "{said}");
    }
    guest.power_off();
}
