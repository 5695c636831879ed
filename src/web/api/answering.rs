//! How requests to the API are answered without slowing down pushes: on a runtime of their own, a few at a time for each
//! caller, and with a bound on the memory of answers that are still going out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
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
use super::auth::{Access, Caller};
use super::problem::Problem;

/// How long an answer may take, including the wait for a turn and for memory; the client then gets 503.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Answers that are made at the same time, for all callers. One that is being made is in memory up to three times: as
/// rows, as JSON and compressed.
const MADE_AT_ONCE: usize = 16;
/// What answers that are going out may take, in KiB.
const BUDGET: u32 = 64 * 1024;
/// How much of that one caller may take, so that its slow readers do not stop others. A larger answer counts as this much.
const SHARE: u32 = BUDGET / 4;
/// What a download takes for as long as it lasts, in KiB: a page of jobs and the state of a compressor.
const DOWNLOAD: u32 = 1024;
/// From this many callers on, those without a request are forgotten.
const CALLERS: usize = 1_000;

/// Runs what answers requests to the API.
pub(in crate::web) struct Answering {
    runtime: Handle,
    made_at_once_by_caller: usize,
    turns: Semaphore,
    memory: Arc<Semaphore>,
    callers: Mutex<HashMap<Caller, Arc<Share>>>,
}

/// What one caller may use.
struct Share {
    turns: Semaphore,
    memory: Arc<Semaphore>,
}

impl Answering {
    /// `readers`: how many questions the store answers at the same time. A caller may have a third of them, so that it takes
    /// several to keep the others waiting.
    pub(in crate::web) fn new(runtime: Handle, readers: usize) -> Self {
        Self {
            runtime,
            made_at_once_by_caller: (readers / 3).max(1),
            turns: Semaphore::new(MADE_AT_ONCE),
            memory: Arc::new(memory(BUDGET)),
            callers: Mutex::default(),
        }
    }

    fn share(&self, caller: Caller) -> Arc<Share> {
        // Nothing that holds the lock can panic half-way.
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= CALLERS {
            callers.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share = callers.entry(caller).or_insert_with(|| {
            Arc::new(Share {
                turns: Semaphore::new(self.made_at_once_by_caller),
                memory: Arc::new(memory(SHARE)),
            })
        });
        Arc::clone(share)
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

fn memory(kib: u32) -> Semaphore {
    Semaphore::new(usize::try_from(kib).unwrap_or(usize::MAX))
}

/// Memory that an answer takes; given back when dropped.
struct Held {
    _of_all: OwnedSemaphorePermit,
    _of_caller: OwnedSemaphorePermit,
    /// It is not forgotten before.
    _share: Arc<Share>,
}

/// The middleware: answers on the API's runtime. A client that leaves ends the work for it.
pub(in crate::web) async fn answer(
    FromState(state): FromState<State>,
    request: Request,
    next: Next,
) -> Response {
    let Some(access) = request.extensions().get::<Access>() else {
        return Problem::Internal.into_response();
    };
    let share = state.0.answering.share(access.caller());
    let runtime = state.0.answering.runtime.clone();
    let making = async move { make(&state, share, request, next).await };
    let making = AbortOnDropHandle::new(runtime.spawn(making.instrument(Span::current())));
    // The time runs here, where nothing is late because the API is busy.
    match timeout(TIMEOUT, making).await {
        Ok(Ok(Some(response))) => response,
        Ok(Ok(None)) | Err(_) => Problem::Unavailable.into_response(),
        Ok(Err(_)) => Problem::Internal.into_response(),
    }
}

/// An answer that holds the memory that it takes.
async fn make(state: &State, share: Arc<Share>, request: Request, next: Next) -> Option<Response> {
    let answering = &state.0.answering;
    let turn_of_caller = share.turns.acquire().await.ok()?;
    let turn = answering.turns.acquire().await.ok()?;
    let response = next.run(request).await;
    let (parts, body) = response.into_parts();
    let body = match body.size_hint().exact() {
        Some(0) => body,
        Some(length) => {
            let kib = length.div_ceil(1024).try_into().unwrap_or(SHARE).min(SHARE);
            let held = answering.hold(Arc::clone(&share), kib).await?;
            let bytes = body.collect().await.ok()?.to_bytes();
            Body::from(Bytes::from_owner(Accounted { bytes, _held: held }))
        }
        None if is_event_stream(&parts.headers) => pumped(body, None),
        None => {
            let held = answering.hold(Arc::clone(&share), DOWNLOAD).await?;
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

/// The bytes of an answer, with the memory that they take.
struct Accounted {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Accounted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A piece of a body, or its regular end: a body that just stops is broken off.
type Piece = Option<Result<Bytes, axum::Error>>;

/// Makes a body piece by piece on this runtime, wherever it is sent from. A download takes a turn for each piece.
fn pumped(mut body: Body, download: Option<(Arc<Share>, Held)>) -> Body {
    let (sender, receiver) = mpsc::channel::<Piece>(1);
    let pumping = async move {
        loop {
            let next = async {
                let _turn = match &download {
                    Some((share, _)) => share.turns.acquire().await.ok(),
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
            None => Some((Err(axum::Error::new(BrokenOff)), receiver)),
        },
    ))
}

/// What made the body has ended before its time.
#[derive(Debug, thiserror::Error)]
#[error("the answer was broken off")]
struct BrokenOff;

#[cfg(test)]
mod tests {
    use super::*;

    fn answering() -> Answering {
        Answering::new(Handle::current(), 6)
    }

    fn caller(last: u8) -> Caller {
        Caller::Network([127, 0, 0, last].into())
    }

    #[tokio::test]
    async fn a_caller_that_holds_its_share_does_not_keep_others_waiting() {
        let answering = answering();
        let (greedy, other) = (answering.share(caller(1)), answering.share(caller(2)));
        let held = answering.hold(greedy.clone(), SHARE).await;
        let more = answering.hold(greedy.clone(), 1);
        let more = timeout(Duration::from_millis(50), more).await;
        assert!(more.is_err(), "it has more than its share");
        let others = timeout(Duration::from_secs(5), answering.hold(other, SHARE)).await;
        assert!(others.unwrap().is_some());
        drop(held);
        let again = timeout(Duration::from_secs(5), answering.hold(greedy, SHARE)).await;
        assert!(again.unwrap().is_some(), "it was not given back");
    }

    #[tokio::test]
    async fn memory_is_free_again_once_the_last_byte_is_gone() {
        let answering = answering();
        let share = answering.share(caller(1));
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
    async fn callers_without_a_request_are_forgotten() {
        let answering = answering();
        let kept = answering.share(caller(1));
        let before = Arc::as_ptr(&kept);
        for number in 0..2 * u32::try_from(CALLERS).unwrap() {
            answering.share(Caller::Network(std::net::Ipv4Addr::from(number).into()));
        }
        assert!(answering.callers.lock().unwrap().len() <= CALLERS);
        assert_eq!(Arc::as_ptr(&answering.share(caller(1))), before);
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_regularly_is_broken_off() {
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
