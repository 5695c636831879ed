//! Answers requests to the API without slowing down pushes: on a separate runtime, a few at a time
//! for each caller, and with a limit on the memory of answers that are being sent.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State as FromState};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, Span};

use super::State;
use super::auth::Access;
use super::callers::{self, Share};
use super::problem::Problem;

/// For an answer, including the wait for its turn and for memory; the client then gets 503.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Answers that are made at the same time, for all callers. Each is in memory up to three times: as
/// rows, as JSON and compressed.
const CONCURRENT: usize = 16;
/// Memory of all answers that are being sent.
pub(super) const MEMORY_KIB: u32 = 64 * 1024;
/// Memory of a download while it lasts: a page of jobs and the state of a compressor.
const DOWNLOAD_KIB: u32 = 1024;

/// Runs what answers requests to the API.
pub(in crate::web) struct Answering {
    runtime: Handle,
    turns: Semaphore,
    memory: Arc<Semaphore>,
}

impl Answering {
    pub(in crate::web) fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            turns: Semaphore::new(CONCURRENT),
            memory: Arc::new(memory(MEMORY_KIB)),
        }
    }

    /// Waits until that much memory is free.
    async fn hold(&self, share: Arc<Share>, kib: u32) -> Option<Held> {
        let of_caller = Arc::clone(&share.memory).acquire_many_owned(kib);
        let of_caller = of_caller.await.ok()?;
        let of_all = Arc::clone(&self.memory).acquire_many_owned(kib);
        Some(Held {
            _of_all: of_all.await.ok()?,
            _of_caller: of_caller,
            _share: share,
        })
    }
}

pub(super) fn memory(kib: u32) -> Semaphore {
    Semaphore::new(usize::try_from(kib).unwrap_or(usize::MAX))
}

/// The memory of an answer, released when dropped.
struct Held {
    _of_all: OwnedSemaphorePermit,
    _of_caller: OwnedSemaphorePermit,
    _share: Arc<Share>,
}

/// Middleware: answers on the API's runtime, and stops when the client disconnects.
pub(in crate::web) async fn answer(
    FromState(state): FromState<State>,
    request: Request,
    next: Next,
) -> Response {
    let Some(access) = request.extensions().get::<Access>() else {
        return Problem::Internal.into_response();
    };
    let share = state.0.callers.share(access.caller());
    let runtime = state.0.answering.runtime.clone();
    let making = async move { make(&state, share, request, next).await };
    let making = AbortOnDropHandle::new(runtime.spawn(making.instrument(Span::current())));
    // The timer is on this runtime, which is not late when the API is busy.
    match timeout(TIMEOUT, making).await {
        Ok(Ok(Some(response))) => response,
        Ok(Ok(None)) | Err(_) => Problem::Unavailable.into_response(),
        Ok(Err(_)) => Problem::Internal.into_response(),
    }
}

/// Makes an answer, which holds its memory until it is sent.
async fn make(state: &State, share: Arc<Share>, request: Request, next: Next) -> Option<Response> {
    let answering = &state.0.answering;
    let turn_of_caller = share.answers.acquire().await.ok()?;
    let turn = answering.turns.acquire().await.ok()?;
    let response = next.run(request).await;
    let (parts, body) = response.into_parts();
    let body = match body.size_hint().exact() {
        Some(0) => body,
        Some(length) => {
            let kib = length
                .div_ceil(1024)
                .try_into()
                .unwrap_or(callers::MEMORY_KIB)
                .min(callers::MEMORY_KIB);
            let held = answering.hold(Arc::clone(&share), kib).await?;
            let bytes = body.collect().await.ok()?.to_bytes();
            Body::from(Bytes::from_owner(Accounted { bytes, _held: held }))
        }
        None if is_event_stream(&parts.headers) => pumped(body, None),
        None => {
            let held = answering.hold(Arc::clone(&share), DOWNLOAD_KIB).await?;
            pumped(body, Some((Arc::clone(&share), held)))
        }
    };
    drop((turn, turn_of_caller));
    Some(Response::from_parts(parts, body))
}

fn is_event_stream(headers: &axum::http::HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    value.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// The bytes of an answer, with the memory that is reserved for them.
struct Accounted {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Accounted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A piece of a body, or its regular end. A body that stops without one was aborted.
type Piece = Option<Result<Bytes, axum::Error>>;

/// Makes a body piece by piece on this runtime, whichever runtime sends it. Each piece of a
/// download waits for a turn of its caller.
fn pumped(mut body: Body, download: Option<(Arc<Share>, Held)>) -> Body {
    let (sender, receiver) = mpsc::channel::<Piece>(1);
    let pumping = async move {
        loop {
            let next = async {
                let _turn = match &download {
                    Some((share, _)) => share.answers.acquire().await.ok(),
                    None => None,
                };
                body.frame().await
            };
            let frame = tokio::select! {
                frame = next => frame,
                () = sender.closed() => return,
            };
            let is_last = frame.is_none();
            let piece = frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default()));
            if sender.send(piece).await.is_err() || is_last {
                return;
            }
        }
    };
    tokio::spawn(pumping.in_current_span());
    Body::from_stream(stream::unfold(
        receiver,
        async |mut receiver| match receiver.recv().await {
            Some(piece) => Some((piece?, receiver)),
            None => Some((Err(axum::Error::new(Aborted)), receiver)),
        },
    ))
}

/// The task that makes the body ended early.
#[derive(Debug, thiserror::Error)]
#[error("the answer was aborted")]
struct Aborted;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::api::auth::Caller;
    use crate::web::api::callers::{Callers, MEMORY_KIB as SHARE};

    fn share(callers: &Callers, last: u8) -> Arc<Share> {
        callers.share(Caller::Network([127, 0, 0, last].into()))
    }

    #[tokio::test]
    async fn a_caller_that_holds_its_share_does_not_keep_others_waiting() {
        let (answering, callers) = (Answering::new(Handle::current()), Callers::new(6));
        let (greedy, other) = (share(&callers, 1), share(&callers, 2));
        let held = answering.hold(greedy.clone(), SHARE).await;
        let more = answering.hold(greedy.clone(), 1);
        let more = timeout(Duration::from_millis(50), more).await;
        assert!(more.is_err(), "it has more than its share");
        let others = timeout(Duration::from_secs(5), answering.hold(other, SHARE)).await;
        assert!(others.unwrap().is_some());
        drop(held);
        let again = timeout(Duration::from_secs(5), answering.hold(greedy, SHARE)).await;
        assert!(again.unwrap().is_some(), "it was not released");
    }

    #[tokio::test]
    async fn memory_is_free_again_once_the_last_byte_is_gone() {
        let answering = Answering::new(Handle::current());
        let share = share(&Callers::new(6), 1);
        let held = answering.hold(share.clone(), SHARE).await.unwrap();
        let bytes = Bytes::from_static(b"abc");
        let bytes = Bytes::from_owner(Accounted { bytes, _held: held });
        let rest = bytes.slice(2..);
        drop(bytes);
        assert_eq!(share.memory.available_permits(), 0);
        drop(rest);
        assert_eq!(
            share.memory.available_permits(),
            memory(SHARE).available_permits()
        );
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_regularly_is_aborted() {
        let pieces = |panics: bool| {
            let pieces = stream::unfold(0, move |number| async move {
                assert!(!panics || number < 2, "on purpose");
                let piece = Ok::<_, std::convert::Infallible>(Bytes::from_static(b"x"));
                (number < 3).then_some((piece, number + 1))
            });
            pumped(Body::from_stream(pieces), None)
        };
        let whole = pieces(false).collect().await.unwrap().to_bytes();
        assert_eq!(whole, "xxx");
        assert!(pieces(true).collect().await.is_err());
    }
}
