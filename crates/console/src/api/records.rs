//! What the vault keeps, for whoever may ask.

use axum::extract::State;
use axum::response::Response;

use crate::http::Problem;
use crate::state::Shared;

pub(super) async fn list(State(_app): State<Shared>) -> Result<Response, Problem> {
    Err(Problem::conflict(
        "no vault runs in this process",
        "ask where it runs",
    ))
}
