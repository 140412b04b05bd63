//! How the helper says no.

use stockade_api::helper::{Refusal, Refused};

/// A refusal: why, and what can be done about it.
pub(crate) fn refused(kind: Refusal, why: impl Into<String>, next: impl Into<String>) -> Refused {
    Refused {
        kind,
        why: why.into(),
        next: next.into(),
    }
}

/// Something failed that should not have: all that the error says, causes too.
pub(crate) fn failed(why: &dyn std::error::Error) -> Refused {
    refused(Refusal::Failed, stockade_host::chain(why), "")
}
