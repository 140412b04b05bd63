//! What the tests of this crate share.

use std::sync::Arc;

use stockade_store::{Sqlite, Store};

/// A real store in a directory of its own.
pub(crate) fn store() -> (Arc<dyn Store>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&dir.path().join("state.sqlite")).unwrap();
    (Arc::new(store), dir)
}
