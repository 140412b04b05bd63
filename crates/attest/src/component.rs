//! What an event measured, in words for a person.

use crate::bytes::{Bytes, utf8, utf16};
use crate::log::Event;

/// Kinds of events (PC Client PFP 1.06 §10.4.1, table 27).
const KINDS: [(u32, &str, &str); 36] = [
    (0x01, "EV_POST_CODE", "firmware code"),
    (0x02, "EV_UNUSED", ""),
    (0x03, "EV_NO_ACTION", "information"),
    (0x04, "EV_SEPARATOR", "separator"),
    (0x05, "EV_ACTION", "firmware action"),
    (0x06, "EV_EVENT_TAG", "tagged event"),
    (0x07, "EV_S_CRTM_CONTENTS", "root of trust"),
    (0x08, "EV_S_CRTM_VERSION", "firmware version"),
    (0x09, "EV_CPU_MICROCODE", "processor microcode"),
    (0x0a, "EV_PLATFORM_CONFIG_FLAGS", "firmware settings"),
    (0x0b, "EV_TABLE_OF_DEVICES", "table of devices"),
    (0x0c, "EV_COMPACT_HASH", "firmware measurement"),
    (0x0d, "EV_IPL", "boot loader measurement"),
    (0x0e, "EV_IPL_PARTITION_DATA", "partition table"),
    (0x0f, "EV_NONHOST_CODE", "code of another processor"),
    (0x10, "EV_NONHOST_CONFIG", "settings of another processor"),
    (0x11, "EV_NONHOST_INFO", "another processor"),
    (
        0x12,
        "EV_OMIT_BOOT_DEVICE_EVENTS",
        "boot devices are not measured",
    ),
    (
        0x8000_0001,
        "EV_EFI_VARIABLE_DRIVER_CONFIG",
        "firmware variable",
    ),
    (0x8000_0002, "EV_EFI_VARIABLE_BOOT", "boot variable"),
    (
        0x8000_0003,
        "EV_EFI_BOOT_SERVICES_APPLICATION",
        "boot loader",
    ),
    (0x8000_0004, "EV_EFI_BOOT_SERVICES_DRIVER", "boot driver"),
    (
        0x8000_0005,
        "EV_EFI_RUNTIME_SERVICES_DRIVER",
        "firmware driver",
    ),
    (0x8000_0006, "EV_EFI_GPT_EVENT", "partition table"),
    (0x8000_0007, "EV_EFI_ACTION", "firmware action"),
    (
        0x8000_0008,
        "EV_EFI_PLATFORM_FIRMWARE_BLOB",
        "firmware code",
    ),
    (0x8000_0009, "EV_EFI_HANDOFF_TABLES", "firmware tables"),
    (
        0x8000_000a,
        "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
        "firmware code",
    ),
    (0x8000_000b, "EV_EFI_HANDOFF_TABLES2", "firmware tables"),
    (0x8000_000c, "EV_EFI_VARIABLE_BOOT2", "boot variable"),
    (0x8000_000d, "EV_EFI_GPT_EVENT2", "partition table"),
    (0x8000_0010, "EV_EFI_HCRTM_EVENT", "root of trust"),
    (
        0x8000_00e0,
        "EV_EFI_VARIABLE_AUTHORITY",
        "key that the boot loader is signed by",
    ),
    (
        0x8000_00e1,
        "EV_EFI_SPDM_FIRMWARE_BLOB",
        "firmware of a device",
    ),
    (
        0x8000_00e2,
        "EV_EFI_SPDM_FIRMWARE_CONFIG",
        "settings of a device",
    ),
    (0x8000_00e3, "EV_EFI_SPDM_DEVICE_POLICY", "keys for devices"),
];

fn known(kind: u32) -> Option<&'static (u32, &'static str, &'static str)> {
    KINDS.iter().find(|(it, _, _)| *it == kind)
}

pub(crate) fn kind_name(kind: u32) -> Option<&'static str> {
    known(kind).map(|(_, name, _)| *name)
}

pub(crate) fn of(event: &Event<'_>) -> String {
    let plain = known(event.kind).map_or("event of an unknown kind", |(_, _, words)| *words);
    let detail = match event.kind {
        0x04 if event.data == [0, 0, 0, 1] || event.data == [1, 0, 0, 0] => {
            return "error of the firmware".to_owned();
        }
        0x01 | 0x05 | 0x8000_0007 | 0x12 => utf8(event.data),
        0x08 => utf16(event.data),
        0x06 => return tagged(event.data).unwrap_or_else(|| plain.to_owned()),
        0x0d => return loader(event),
        0x8000_0001 | 0x8000_0002 | 0x8000_000c | 0x8000_00e0 => {
            return variable(event).unwrap_or_else(|| plain.to_owned());
        }
        0x8000_0003..=0x8000_0005 => image_path(event.data).unwrap_or_default(),
        0x8000_000a | 0x8000_000b => described(event.data).unwrap_or_default(),
        _ => String::new(),
    };
    if detail.is_empty() {
        plain.to_owned()
    } else {
        format!("{plain} {detail}")
    }
}

/// §10.4.2 `TCG_PCClientTaggedEvent`: Linux and systemd name what they measure by a number.
fn tagged(data: &[u8]) -> Option<String> {
    let mut bytes = Bytes::of(data);
    let tag = bytes.u32()?;
    let length = bytes.length()?;
    let text = utf16(bytes.take(length)?);
    Some(match tag {
        // linux/drivers/firmware/efi/libstub/efistub.h
        0x8f3b_22ec => "initrd".to_owned(),
        0x8f3b_22ed => "kernel command line".to_owned(),
        // systemd src/fundamental/tpm2-pcr.h
        0xf5bc_582a => format!("settings of the boot loader {text}"),
        0xacdd_d6d3 => format!("device tree {text}"),
        0x13d8_4fb0 => format!("addition to the initrd {text}"),
        other => format!("tagged event {other:#010x}"),
    })
}

/// Sections of a unified kernel image, as systemd-stub(7) and `ukify` name them.
pub(crate) fn section(name: &str) -> Option<&'static str> {
    Some(match name {
        ".linux" => "kernel",
        ".osrel" => "name of the system",
        ".cmdline" => "kernel command line",
        ".initrd" => "initrd",
        ".ucode" => "processor microcode",
        ".splash" => "picture at the start",
        ".dtb" | ".dtbauto" => "device tree",
        ".uname" => "version of the kernel",
        ".sbat" => "generations of the boot loader",
        ".pcrpkey" => "key for expected registers",
        _ => return None,
    })
}

/// What boot loaders measure: `EV_IPL` with a text, in one byte a character or in two.
fn loader(event: &Event<'_>) -> String {
    let two = event
        .data
        .get(1..2)
        .is_some_and(|second| second == [0] && event.data.len() > 2);
    let text = if two {
        utf16(event.data)
    } else {
        utf8(event.data)
    };
    if let Some(words) = section(&text) {
        return format!("{words} ({text})");
    }
    let command_line = |line: &str| format!("kernel command line {}", quoted(line));
    // GRUB (docs/grub.texi, Measured Boot) and shim (README.tpm).
    match text.split_once(": ").or_else(|| text.split_once(' ')) {
        Some(("kernel_cmdline" | "grub_kernel_cmdline", line)) => return command_line(line),
        Some(("grub_cmd", command)) => {
            return format!("command of the boot loader {}", quoted(command));
        }
        Some(("module_cmdline", line)) => return format!("boot module {}", quoted(line)),
        _ => (),
    }
    match (event.pcr, text.as_str()) {
        (_, "MokList" | "MokListX" | "MokListTrusted" | "MokSBState" | "MokDBState" | "Shim") => {
            format!("shim's {text}")
        }
        (_, "SbatLevel") => "generations of boot loaders that are refused".to_owned(),
        // systemd: a command line that is not the image's own, additions, and settings of the boot loader.
        (12, line) => command_line(line),
        (13, name) => format!("system extension {}", quoted(name)),
        (_, "") => "boot loader measurement".to_owned(),
        (9, file) => {
            let name = file.rsplit('/').next().unwrap_or_default();
            let what = match name {
                _ if name.starts_with("vmlinu") || name.ends_with("Image") => "kernel",
                _ if name.starts_with("initr") => "initrd",
                _ => "file of the boot loader",
            };
            format!("{what} {file}")
        }
        (_, text) => format!("boot loader measurement {}", quoted(text)),
    }
}

fn quoted(text: &str) -> String {
    format!("`{text}`")
}

/// §10.4.3 `UEFI_VARIABLE_DATA`: GUID, two lengths, the name in UTF-16, the data.
fn variable(event: &Event<'_>) -> Option<String> {
    let mut bytes = Bytes::of(event.data);
    bytes.take(16)?;
    let characters = bytes.long()?;
    let length = bytes.long()?;
    let name = utf16(bytes.take(characters.checked_mul(2)?)?);
    let data = bytes.take(length).unwrap_or_default();
    let authority = event.kind == 0x8000_00e0;
    let boot = matches!(event.kind, 0x8000_0002 | 0x8000_000c);
    Some(match name.as_str() {
        "SecureBoot" => "Secure Boot state".to_owned(),
        // UEFI 2.10 §32.3: who owns the platform, who may change the lists, the lists.
        "PK" | "KEK" | "db" | "dbx" | "dbr" | "dbt" if !authority => format!("Secure Boot {name}"),
        "BootOrder" => "order of boot entries".to_owned(),
        _ if boot => match boot_option(data) {
            Some(described) => format!("boot entry {name} `{described}`"),
            None => format!("boot entry {name}"),
        },
        _ if authority => format!("key that the boot loader is signed by ({name})"),
        _ => format!("firmware variable {name}"),
    })
}

/// UEFI 2.10 §3.1.3 `EFI_LOAD_OPTION`: attributes, the length of the path, a description.
fn boot_option(data: &[u8]) -> Option<String> {
    let mut bytes = Bytes::of(data);
    bytes.take(6)?;
    Some(utf16(bytes.rest())).filter(|text| !text.is_empty())
}

/// §10.4.4 `UEFI_IMAGE_LOAD_EVENT`: address, length, link address, length of the path, the path.
fn image_path(data: &[u8]) -> Option<String> {
    let mut bytes = Bytes::of(data);
    bytes.take(24)?;
    let length = bytes.long()?;
    Some(device_path(bytes.take(length)?))
}

/// The files in a device path (UEFI 2.10 §10.3), shown as paths; of one without, its last node that says something.
fn device_path(path: &[u8]) -> String {
    let mut bytes = Bytes::of(path);
    let (mut files, mut other) = (String::new(), None);
    while let (Some(kind), Some(sub), Some(length)) = (bytes.u8(), bytes.u8(), bytes.u16()) {
        // §10.2: the end of the whole path; a node has at least its head.
        let Some(length) = length.checked_sub(4).filter(|_| kind != 0x7f) else {
            break;
        };
        let Some(node) = bytes.take(length.into()) else {
            break;
        };
        match (kind, sub) {
            // §10.3.5.4: a file on a medium.
            (4, 4) => files.push_str(&utf16(node).replace('\\', "/")),
            // §10.3.5.6 and 7: a file or a volume in the firmware.
            (4, 6 | 7) => other = Some("in the firmware".to_owned()),
            // §10.3.2.1 and 10.3.4.24: a card's memory, the network.
            (2, 1) => other = Some("of an expansion card".to_owned()),
            (3, 24) => other = Some(format!("from {}", utf8(node))),
            _ => (),
        }
    }
    if files.is_empty() {
        other.unwrap_or_default()
    } else {
        files
    }
}

/// §10.4.6 `UEFI_PLATFORM_FIRMWARE_BLOB2` and `UEFI_HANDOFF_TABLE_POINTERS2`: a length of one byte and a description.
fn described(data: &[u8]) -> Option<String> {
    let mut bytes = Bytes::of(data);
    let length = bytes.u8()?;
    Some(utf8(bytes.take(length.into())?))
}
