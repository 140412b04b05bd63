//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_controls::fuzzing;

targets! {
    nft_readback: 1, 500;
    credential_files: 1, 500;
    package_database: 1, 500;
    systemd_unit: 1, 500;
    privileges_texts: 1, 500;
    upnp_settings: 1, 500;
    update_sources: 1, 500;
    mac_record: 1, 500;
    usb_descriptors: 1, 500;
    uboot_env: 1, 500;
}
