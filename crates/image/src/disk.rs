//! Disks: partitions of both kinds, and images of virtual machines and phones that leave holes out.

pub(crate) mod gpt;
pub(crate) mod mbr;
pub(crate) mod qcow2;
pub(crate) mod sparse;
