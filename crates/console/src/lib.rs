//! The fleet's web page and the administration API.
//!
//! [`router`] holds the pages and the API for https; whoever uses them has logged in. [`admin_router`] holds the API
//! alone, for the Unix socket in the data directory, where the file's mode decides who may. [`serve`] and
//! [`serve_unix`] serve them. The pages work without script; only the live events need it.

mod act;
mod admin;
mod api;
mod assets;
mod attestation;
mod data;
mod findings;
mod fleet;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod headers;
mod http;
mod pages;
mod plot;
mod posture;
mod rollouts;
mod serve;
mod session;
mod state;
#[cfg(test)]
mod test_support;
mod token;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};

pub use admin::{Admin, AdminError, MAX_LENGTH, MIN_LENGTH, OneTimePassword, PasswordFault};
pub use serve::{Peer, SocketError, bind_unix, serve, serve_unix};
pub use session::{ABSOLUTE, COOKIE, IDLE};
pub use state::{Command, ConsoleState, Forget, Forgetting, Info, Published, Publisher};
use stockade_vault::RoleName;
pub use stockade_web::CONTENT_SECURITY_POLICY;
pub use stockade_web::secret::NoRandomness;

/// The pages, and the API behind the same log-in or a token, for https.
pub fn router(state: ConsoleState) -> Router {
    let app = state::App::new(state);
    let api = api::router().layer(from_fn_with_state(Arc::clone(&app), gate::https));
    pages::router()
        .merge(api)
        .merge(assets::router())
        .layer(from_fn(http::in_time))
        .layer(from_fn(http::same_origin))
        .layer(from_fn(headers::secure))
        .with_state(app)
}

/// The API without log-in, for a Unix socket that only its owner can open.
pub fn admin_router(state: ConsoleState) -> Router {
    let app = state::App::new(state);
    api::router()
        .layer(from_fn_with_state(Arc::clone(&app), gate::socket))
        .layer(from_fn(http::in_time))
        .layer(from_fn(headers::secure))
        .with_state(app)
}

/// The table of the API: methods, path, and the roles that may. For the tests that walk it.
#[doc(hidden)]
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str, &'static [RoleName])> {
    api::table::TABLE
        .iter()
        .map(|(path, methods, open)| (*methods, *path, open.to()))
}
