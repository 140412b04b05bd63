//! How the link does.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use stockade_gateway::link::{BearerStatus, Standing};

use crate::http::Problem;
use crate::state::Shared;

#[derive(Serialize)]
pub(super) struct LinkBody {
    sessions: usize,
    /// Bytes that the sessions take.
    session_bytes: usize,
    /// Devices that say or observe something now.
    active: usize,
    handshakes_under_way: usize,
    handshakes: u64,
    handshakes_refused: u64,
    /// Handshakes for which an Echo was demanded.
    echoes: u64,
    /// Handshakes that were not even answered.
    silenced: u64,
    requests: u64,
    bad_tags: u64,
    replays: u64,
    unprotected: u64,
    /// Those of short range, by their numbers.
    bearers: Vec<BearerBody>,
}

#[derive(Serialize)]
struct BearerBody {
    bearer: String,
    /// `starts`, `open` (nobody was heard so far), `works` or `failed`.
    state: &'static str,
    /// Why it failed.
    why: Option<String>,
}

impl BearerBody {
    fn of(bearer: &BearerStatus) -> Self {
        let (state, why) = match bearer.standing() {
            Standing::Starts => ("starts", None),
            Standing::Open => ("open", None),
            Standing::Works => ("works", None),
            Standing::Failed(why) => ("failed", Some(why)),
        };
        Self {
            bearer: bearer.name().to_owned(),
            state,
            why,
        }
    }
}

pub(super) async fn show(State(app): State<Shared>) -> Result<Json<LinkBody>, Problem> {
    let link = app.state.link.as_deref().ok_or_else(|| {
        Problem::not_found("there is no link in this process", "ask the gateway itself")
    })?;
    let counted = link.counters();
    let bearers = link.bearers().iter();
    Ok(Json(LinkBody {
        sessions: counted.sessions,
        session_bytes: counted.bytes,
        active: counted.active,
        handshakes_under_way: counted.handshakes_under_way,
        handshakes: counted.handshakes,
        handshakes_refused: counted.handshakes_refused,
        echoes: counted.echoes,
        silenced: counted.silenced,
        requests: counted.requests,
        bad_tags: counted.bad_tags,
        replays: counted.replays,
        unprotected: counted.unprotected,
        bearers: bearers.map(|bearer| BearerBody::of(bearer)).collect(),
    }))
}
