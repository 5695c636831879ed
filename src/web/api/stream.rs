//! Jobs as they change, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State as FromState};
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{AppendHeaders, IntoResponse};
use futures_util::stream::{self, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tracing::debug;
use utoipa::IntoParams;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::path::{Parameter, ParameterIn};

use super::auth::Access;
use super::callers::Share;
use super::event_id::EventIds;
use super::openapi::examples;
use super::parameters::{Query, StreamFilter, described, non_empty};
use super::problem::Problem;
use super::{State, in_time};
use crate::domain::{AccountName, Accounts, Time};
use crate::feed::{Audience, Follower, Start};
use crate::output::JobOut;
use crate::server::Departure;

/// Sent when there is no event for so long: proxies close a connection that is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// When a client should reconnect.
const RETRY_DELAY: Duration = Duration::from_secs(2);
const LAST_EVENT_ID: &str = "Last-Event-ID";
/// Asks nginx to forward each event at once.
const UNBUFFERED: (&str, &str) = ("x-accel-buffering", "no");

/// Jobs as they change, as server-sent events
///
/// An `event: job` with a Job as `data` whenever a job is new, shows other values or has a new
/// `revision`; several changes in quick succession may be sent as one event. Each block has an `id`
/// to resume from; a block without data keeps the connection alive. The server ends a stream when
/// it stops, when its database is unavailable, or when the reader stalls. Reconnect with the last
/// id, and no change is missed.
#[utoipa::path(
    get,
    path = "/api/v1/stream",
    tag = "Live",
    params(StreamFilter, LastEventId),
    responses((
        status = 200,
        description = "The events, without end.",
        headers(("x-accel-buffering" = String, description = "`no`: a proxy must forward each event at once.")),
        content_type = "text/event-stream",
        body = String,
        example = examples::stream,
    )),
)]
pub(in crate::web) async fn stream(
    FromState(state): FromState<State>,
    access: Access,
    departure: Option<Extension<Departure>>,
    headers: HeaderMap,
    Query(StreamFilter { account }): Query<StreamFilter>,
) -> Result<impl IntoResponse, Problem> {
    let share = state.0.callers.share(access.caller());
    let permit = Arc::clone(&share.streams).try_acquire_owned();
    let permit = permit.map_err(|_| Problem::TooManyStreams)?;
    // Read each time: the database behind the address may be another one by now.
    let ids = EventIds::new(in_time(state.0.store.stream_key()).await?);
    let start = start(&headers, &ids)?;
    let audience = Audience {
        accounts: accounts(&access, account),
        turns: Arc::clone(&share.catching_up),
    };
    let follower = in_time(state.0.feed.follow(start, audience)).await?;
    // A client that loses the connection before the first event can resume as well.
    let hello = Event::default()
        .id(ids.write(follower.place()))
        .retry(RETRY_DELAY);
    let following = Following {
        follower,
        access,
        ids,
        _open: (permit, share),
    };
    // Clients of streams do not close only their sending side.
    let news = stream::unfold(following, next).take_until(left(departure));
    let events = stream::once(async { hello }).chain(news);
    let events = events.map(Ok::<_, Infallible>);
    Ok((AppendHeaders([UNBUFFERED]), Sse::new(events)))
}

async fn left(departure: Option<Extension<Departure>>) {
    match departure {
        Some(Extension(departure)) => departure.wait().await,
        None => std::future::pending().await,
    }
}

/// The requested accounts that the key may see.
fn accounts(access: &Access, requested: Option<AccountName>) -> Accounts {
    match requested {
        Some(account) if access.includes(&account) => Accounts::only([account]),
        Some(_) => Accounts::only([]),
        None => access.accounts(),
    }
}

struct Following {
    follower: Follower,
    access: Access,
    ids: EventIds,
    /// One of the open streams of its caller.
    _open: (OwnedSemaphorePermit, Arc<Share>),
}

/// The next event; `None` ends the stream, and the client reconnects.
async fn next(mut following: Following) -> Option<(Event, Following)> {
    let changed = tokio::time::timeout(KEEP_ALIVE, following.job()).await;
    if following.access.has_expired(Time::now()) {
        return None;
    }
    let id = following.ids.write(following.follower.place());
    let at = Event::default().id(id);
    let event = match changed {
        Ok(job) => at.event("job").json_data(job?).ok()?,
        // Clients ignore a block without data.
        Err(_) => at,
    };
    Some((event, following))
}

impl Following {
    async fn job(&mut self) -> Option<JobOut> {
        match self.follower.next().await {
            Ok(change) => change.map(|change| JobOut::from(&change.job)),
            Err(error) => {
                debug!(%error, "a stream ends: the changes that it missed cannot be read");
                None
            }
        }
    }
}

/// The header that resumes a stream.
pub(in crate::web) enum LastEventId {}

impl IntoParams for LastEventId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let id = ObjectBuilder::from(non_empty()).pattern(Some("^([0-9a-f]{48}|[0-9]+-[0-9]+)$"));
        let description = "The `id` of the last event received: the changes since then come first. Without it, the stream starts now.";
        let name = LAST_EVENT_ID.to_ascii_lowercase();
        vec![described(
            ParameterIn::Header,
            &name,
            description,
            id.build(),
        )]
    }
}

fn unknown_id() -> Problem {
    Problem::InvalidParameter(format!(
        "`{LAST_EVENT_ID}` is not the id of an event of this stream"
    ))
}

fn start(headers: &HeaderMap, ids: &EventIds) -> Result<Start, Problem> {
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    let Some(value) = values.next() else {
        return Ok(Start::Now);
    };
    let start = value.to_str().ok().and_then(|id| ids.read(id));
    match (start, values.next()) {
        (Some(start), None) => Ok(start),
        _ => Err(unknown_id()),
    }
}
