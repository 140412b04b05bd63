//! What the guard may do: change the network's rules and listen on it, and nothing else of what root may.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

/// The rules, the marks and the interface's settings; frames as they pass.
const KEPT: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW);

/// Why the rights are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    /// They are not there.
    #[error("the guard needs the rights CAP_NET_ADMIN and CAP_NET_RAW: run it as root")]
    Missing,
    /// The kernel refused.
    #[error("cannot give up rights")]
    Kernel(#[from] io::Error),
}

/// Gives up all rights but those two, for this thread and every one and every program it starts. Before there is another
/// thread: rights are a thread's.
pub fn give_up_rights() -> Result<(), RightsError> {
    let have = capabilities(None).map_err(io::Error::from)?.permitted;
    if !have.contains(KEPT) {
        return Err(RightsError::Missing);
    }
    // Without this right nothing can be taken out of the bounding set; then it is what whoever started us chose.
    if have.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(KEPT).iter() {
            // One that this kernel does not know is not in it.
            if capability_is_in_bounding_set(capability).unwrap_or(false) {
                remove_capability_from_bounding_set(capability).map_err(io::Error::from)?;
            }
        }
    }
    let sets = CapabilitySets {
        effective: KEPT,
        permitted: KEPT,
        inheritable: KEPT,
    };
    set_capabilities(None, sets).map_err(io::Error::from)?;
    // For `nft`, where this is not root.
    for capability in KEPT.iter() {
        configure_capability_in_ambient_set(capability, true).map_err(io::Error::from)?;
    }
    // Nothing that is started from here gains any right by its file (prctl(2)).
    set_no_new_privs(true).map_err(io::Error::from)?;
    Ok(())
}
