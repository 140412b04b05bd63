//! The variables of OVMF, written before its first start: keys are enrolled without anybody at the machine.
//!
//! The layout is EDK II's, `MdeModulePkg/Include/Guid/VariableFormat.h`; the lists of keys are UEFI's, §32.4.1.

use anyhow::{Result, ensure};

/// Non-volatile, for boot services, at run time, and changed only by who signs (UEFI §8.2).
const SIGNED: u32 = 0x27;
/// Non-volatile, for boot services.
const SETTING: u32 = 0x03;
/// A variable that is whole and not deleted.
const ADDED: u8 = 0x3f;
/// The firmware volume's header, then the store's.
const HEADERS: usize = 0x48 + 28;
/// Where the store says how long it is.
const SIZE: usize = 0x48 + 16;

const GLOBAL: &str = "61dfe48bca93d211aa0d00e098032b8c";
const IMAGES: &str = "cbb219d73a3d9645a3bcdad00e67656f";
const ENABLE: &str = "c70ba3f008af564599c4001009c93a44";
const X509: &str = "a159c0a5e494a74a87b5ab155c2bf072";
/// Who enrolled them: us.
const OWNER: &str = "73746f636b6164652d74657374732d31";

/// The empty store with these certificates (DER) as `PK`, `KEK` and `db`, and Secure Boot on.
pub(super) fn with_keys(empty: &[u8], certificates: &[(&str, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for (name, certificate) in certificates {
        let vendor = if *name == "db" { IMAGES } else { GLOBAL };
        append(&mut all, name, vendor, SIGNED, &list(certificate)?)?;
    }
    append(&mut all, "SecureBootEnable", ENABLE, SETTING, &[1])?;
    let room = empty
        .get(HEADERS..HEADERS + all.len())
        .is_some_and(|room| room.iter().all(|&byte| byte == 0xff));
    ensure!(
        room && empty.get(SIZE).is_some(),
        "OVMF's variables are not empty, or laid out in another way"
    );
    let mut store = empty.to_vec();
    store.splice(HEADERS..HEADERS + all.len(), all);
    Ok(store)
}

/// `AUTHENTICATED_VARIABLE_HEADER`, name, data.
fn append(all: &mut Vec<u8>, name: &str, vendor: &str, attributes: u32, data: &[u8]) -> Result<()> {
    let name: Vec<u8> = name
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    all.extend([0xaa, 0x55, ADDED, 0]);
    all.extend(attributes.to_le_bytes());
    // No count and no public key's index. A time that any update is later than.
    all.extend([0; 8]);
    all.extend([0xda, 0x07, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    all.extend([0; 4]);
    all.extend(u32::try_from(name.len())?.to_le_bytes());
    all.extend(u32::try_from(data.len())?.to_le_bytes());
    all.extend(bytes(vendor));
    all.extend(name);
    all.extend(data);
    all.resize(all.len().next_multiple_of(4), 0xff);
    Ok(())
}

/// `EFI_SIGNATURE_LIST` of one certificate.
fn list(certificate: &[u8]) -> Result<Vec<u8>> {
    let one = u32::try_from(16 + certificate.len())?;
    let mut list = bytes(X509);
    for number in [28 + one, 0, one] {
        list.extend(number.to_le_bytes());
    }
    list.extend(bytes(OWNER));
    list.extend(certificate);
    Ok(list)
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u8> = hexadecimal
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect()
}
