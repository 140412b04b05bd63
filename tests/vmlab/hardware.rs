//! What can be plugged into a guest, or is simulated in it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use stockade_controls::engine::{Case, Own, assess};
use stockade_controls::ports::Ports;
use stockade_e2e::tools::{eventually, say, without};
use stockade_e2e::vmlab::lab;
use stockade_host::view::Live;

const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn usb_devices_come_and_go_and_the_network_reaches_this_machine() {
    let Some(lab) = lab("USB and a network") else {
        return;
    };
    let guest = lab.guest("device").usb().net().boot();
    let disks = || guest.sh("cat /sys/block/sd*/device/../../../../serial 2>/dev/null; true");

    let stick = guest.plug_usb_storage("STICK-1");
    guest.plug_usb_keyboard();
    eventually("the stick is a disk", PATIENCE, || {
        Ok((disks().trim() == "STICK-1").then_some(()))
    })
    .expect("plugged");
    let names = guest.sh("cat /sys/bus/usb/devices/*/product");
    assert!(names.contains("QEMU USB Keyboard"), "{names}");
    guest.unplug(&stick);
    eventually("the disk is gone", PATIENCE, || {
        Ok(disks().is_empty().then_some(()))
    })
    .expect("unplugged");

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a guest");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("words");
        stream.write_all(b"heard").expect("an answer");
        said
    });
    assert_eq!(
        guest.sh(&format!("echo hello | busybox nc 10.0.2.2 {port}")),
        "heard"
    );
    assert_eq!(heard.join().expect("heard"), "hello\n");
    guest.power_off();
}

#[test]
fn lines_of_a_gpio_chip_move_and_a_virtual_radio_appears() {
    let Some(lab) = lab("GPIO and Bluetooth") else {
        return;
    };
    if !lab.has_gpio() || without(&["gpiofind", "btvirt"]) {
        return;
    }
    let guest = lab
        .guest("device")
        .gpio(&["CASE_OPEN", "LID"])
        .modules(&["hci_vhci"])
        .boot();

    let chip = guest.sh("gpiofind LID");
    assert_eq!(chip, "gpiochip0 1\n");
    let read = || guest.sh("gpioget gpiochip0 0 1");
    assert_eq!(read(), "0 0\n");
    guest.gpio_line("LID", true);
    assert_eq!(read(), "0 1\n");
    // An edge reaches who waits for it.
    let edges = guest.start("gpiomon --num-events=2 --format=%e gpiochip0 0");
    guest.sh("until lsof /dev/gpiochip0 >/dev/null 2>&1 || grep -q gpiomon /proc/[0-9]*/comm; do sleep 0.1; done; sleep 1");
    guest.gpio_line("CASE_OPEN", true);
    guest.gpio_line("CASE_OPEN", false);
    assert_eq!(guest.wait(edges, PATIENCE).text, "1\n0\n");

    guest.start("btvirt -l1");
    eventually("the radio appears", PATIENCE, || {
        Ok((guest.run("ls /sys/class/bluetooth").text == "hci0\n").then_some(()))
    })
    .expect("a radio");
    // Our control sees it, until it is switched off.
    let program = std::env::current_exe().expect("this program");
    let look = format!(
        "{} --exact the_control_looks --include-ignored --nocapture",
        program.display()
    );
    let seen = guest.sh(&look);
    assert!(seen.contains("ports/radios: bluetooth hci0"), "{seen}");
    guest.sh("echo 1 >/sys/class/rfkill/rfkill0/soft");
    let seen = guest.sh(&look);
    assert!(!seen.contains("ports/radios"), "{seen}");
    guest.power_off();
}

#[test]
#[ignore = "run in a guest by the test above"]
fn the_control_looks() {
    let profile = "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"radio-1\"\nversion = 1\nclass = \"linux\"\n";
    let case = Case {
        host: &Live::open().expect("this system"),
        profile: &stockade_profile::parse(profile).expect("a profile"),
        now: 0,
        own: &Own::default(),
    };
    for finding in assess(&case, &[&Ports]).findings() {
        say(&format!("{}: {}", finding.rule.id, finding.subject));
    }
}
