//! ARM's MPS2 board with the FPGA image AN386 (a Cortex-M4), as `qemu-system-arm -M mps2-an386` emulates it: how it starts,
//! its serial lines, its clock. A product has its maker's hardware library instead of this crate.
#![no_std]

pub mod board;
pub mod entropy;
pub mod flash;
pub mod host;
pub mod provisioning;
pub mod serial;
pub mod step;
