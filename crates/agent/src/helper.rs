//! Asking the helper, which has the rights.

use std::path::PathBuf;
use std::time::Duration;

use stockade_api::frame::{self, FrameError};
use stockade_api::helper::{Answer, Progress, Refused, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Requests under way at once; the others wait their turn.
const AT_ONCE: usize = 4;
/// How long the helper may take for one message.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long one step of a plan may take; a service on trial is watched for minutes.
const STEP: Duration = Duration::from_mins(15);

/// Why there is no answer of use.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The helper will not.
    #[error("{}", .0.why)]
    Refused(Refused),
    /// It cannot be reached, or does not keep to the protocol.
    #[error("the helper does not answer")]
    Away(#[from] FrameError),
    /// It takes too long.
    #[error("the helper takes too long")]
    Slow,
}

impl From<std::io::Error> for HelperError {
    fn from(error: std::io::Error) -> Self {
        Self::Away(error.into())
    }
}

/// The way to the helper.
#[derive(Debug)]
pub struct Helper {
    socket: PathBuf,
    turns: Semaphore,
}

impl Helper {
    /// The helper that listens here.
    pub fn at(socket: PathBuf) -> Self {
        Self {
            socket,
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// One request and its answer, which is no refusal.
    pub async fn ask(&self, request: &Request) -> Result<Answer, HelperError> {
        self.converse(request, PATIENCE, |_| ()).await
    }

    /// A request that takes a while: its steps are told as they come.
    pub async fn follow(
        &self,
        request: &Request,
        tell: impl FnMut(Progress),
    ) -> Result<Answer, HelperError> {
        self.converse(request, STEP, tell).await
    }

    async fn converse(
        &self,
        request: &Request,
        patience: Duration,
        mut tell: impl FnMut(Progress),
    ) -> Result<Answer, HelperError> {
        let _turn = self.turns.acquire().await;
        let asked = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(&frame::encode(request)?).await?;
            Ok::<_, HelperError>(stream)
        };
        let mut stream = within(PATIENCE, asked).await?;
        loop {
            match within(patience, next(&mut stream)).await? {
                Answer::Progress(progress) => tell(progress),
                Answer::Refused(refused) => return Err(HelperError::Refused(refused)),
                last => return Ok(last),
            }
        }
    }
}

async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, HelperError>>,
) -> Result<T, HelperError> {
    timeout(patience, work)
        .await
        .unwrap_or(Err(HelperError::Slow))
}

/// [`frame::read`], without a thread that waits.
async fn next(stream: &mut UnixStream) -> Result<Answer, HelperError> {
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > frame::MOST {
        return Err(FrameError::TooLong(length).into());
    }
    let mut body = Zeroizing::new(vec![0; length]);
    stream.read_exact(&mut body).await?;
    Ok(frame::decode(&body)?)
}
