//! What can be asked of the vault: a file a verb.

pub(crate) mod erase;
pub(super) mod keys;
pub(crate) mod log;
pub(super) mod readers;
pub(crate) mod release;
pub(crate) mod stat;
pub(super) mod store;
pub(super) mod stream;
