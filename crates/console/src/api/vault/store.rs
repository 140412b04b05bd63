//! The store as a whole: a copy of it, and a look at everything in it. Both may take long, so that the answer begins before.

use std::io::{self, Write};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use crate::api;
use crate::api::records::vault;
use crate::gate::By;
use crate::http::Problem;
use crate::state::{App, Shared};

/// Pieces on their way.
const AHEAD: usize = 8;
/// Bytes in a piece.
const PIECE: usize = 64 << 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FsckBody {
    #[serde(default)]
    repair: bool,
}

pub(crate) async fn backup(State(app): State<Shared>, By(access): By) -> Result<Response, Problem> {
    vault(&app)?;
    Ok(long(&app, "application/octet-stream", move |app, to| {
        let vault = vault(app).map_err(|_| io::Error::other("no vault"))?;
        let mut out = io::BufWriter::with_capacity(PIECE, to);
        vault
            .backup(&access, &mut out, app.now())
            .map_err(io::Error::other)?;
        out.flush()
    }))
}

pub(crate) async fn fsck(
    State(app): State<Shared>,
    By(access): By,
    api::Body(asked): api::Body<FsckBody>,
) -> Result<Response, Problem> {
    vault(&app)?;
    Ok(long(&app, "application/json", move |app, to| {
        let vault = vault(app).map_err(|_| io::Error::other("no vault"))?;
        let answer = match vault.fsck(&access, asked.repair, app.now()) {
            Ok(checked) => serde_json::to_vec(&checked)?,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the vault cannot be checked"
                );
                serde_json::to_vec(&json!({ "error": error.to_string() }))?
            }
        };
        to.write_all(&answer)
    }))
}

/// An answer that `work` writes while it is read. If it fails, the answer breaks off.
fn long(
    app: &Shared,
    kind: &'static str,
    work: impl FnOnce(&App, &mut Pipe) -> io::Result<()> + Send + 'static,
) -> Response {
    let (to, from) = mpsc::channel(AHEAD);
    let app = Shared::clone(app);
    tokio::task::spawn_blocking(move || {
        let mut pipe = Pipe(to);
        if let Err(error) = work(&app, &mut pipe) {
            tracing::error!(%error, "an answer about the vault broke off");
            // Whoever asked may be gone.
            drop(pipe.0.blocking_send(Err(error)));
        }
    });
    let pieces = unfold(from, |mut from| async move {
        let piece: Option<io::Result<Bytes>> = from.recv().await;
        piece.map(|piece| (piece, from))
    });
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response()
}

struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (now, _) = bytes.split_at(bytes.len().min(PIECE));
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(now)))
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
