//! Who this board is: the block at the end of its flash, as `stockade device add --constrained` wrote it.

use stockade_link::crypto::Curve;
use stockade_link::crypto::rust::RustKey;
use stockade_link::endpoint::Identity;
use stockade_link::label::Provisioning;

use crate::board;

/// Bytes for a block; what follows is the entropy's. Before it stands its length, in two bytes.
const BLOCK: usize = board::PROVISIONING - 32;

/// Our identity; nothing where the image was never provisioned.
pub fn identity() -> Option<Identity<'static, RustKey>> {
    let (length, rest) = board::provisioning()
        .get(..BLOCK)?
        .split_first_chunk::<2>()?;
    let block = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
    let block = Provisioning::read(block).ok()?;
    Some(Identity {
        name: block.name,
        credential: block.credential?,
        key: RustKey::new(Curve::P256, &block.key?).ok()?,
        gateway: block.gateway,
        authority: block.authority,
    })
}
