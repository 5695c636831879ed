//! Jobs as they change, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Extension, State as FromState};
use axum::http::{HeaderMap, Uri};
use axum::response::sse::{Event, Sse};
use axum::response::{AppendHeaders, IntoResponse};
use futures_util::stream::{self, StreamExt};
use tracing::debug;

use super::auth::Access;
use super::event_id::EventIds;
use super::openapi::examples;
use super::openapi::parameters::Followed;
use super::parameters::{ACCOUNT, Parameters};
use super::problem::Problem;
use super::streams::OpenStream;
use super::{State, in_time};
use crate::domain::{AccountName, Accounts, Time};
use crate::feed::{Audience, Follower, Start};
use crate::output::JobOut;
use crate::server::Departure;

/// After how long without an event something is sent all the same: proxies close what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client should wait before it connects again.
const RETRY: Duration = Duration::from_secs(2);
const LAST_EVENT_ID: &str = "Last-Event-ID";
/// Asks nginx to pass on each event as it comes.
const UNBUFFERED: (&str, &str) = ("x-accel-buffering", "no");

/// Jobs as they change, as server-sent events
///
/// `event: job` with a Job as `data` whenever a job is new, shows other values or has a new `revision`; several changes in
/// short order may come as one. Each block has an `id` to resume from; one without data keeps the connection alive. The server
/// ends streams when it stops or its database is away, and those of readers that stall: connect again with the last id, and
/// nothing is missed.
#[utoipa::path(
    get,
    path = "/api/v1/stream",
    tag = "Live",
    params(Followed),
    responses((
        status = 200,
        description = "The events; they do not end.",
        headers(("x-accel-buffering" = String, description = "`no`: a proxy shall pass on each event as it comes.")),
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
    uri: Uri,
) -> Result<impl IntoResponse, Problem> {
    let parameters = Parameters::read(&uri, &[&["account"]])?;
    let account = parameters.get("account", ACCOUNT)?;
    let stream = state.0.streams.open(access.caller());
    let stream = stream.ok_or(Problem::TooManyStreams)?;
    // Asked each time, as the server behind the address may be another one by now.
    let ids = EventIds::new(in_time(state.0.store.stream_key()).await?);
    let start = start(&headers, &ids)?;
    let audience = Audience {
        accounts: accounts(&access, account),
        turns: stream.turns(),
    };
    let follower = in_time(state.0.feed.follow(start, audience)).await?;
    // Whoever loses the connection before the first event has a place to resume from, too.
    let hello = Event::default()
        .id(ids.write(follower.place()))
        .retry(RETRY);
    let following = Following {
        follower,
        access,
        ids,
        _stream: stream,
    };
    // Nobody who follows closes only the sending side.
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

/// The accounts that are asked for and may be seen.
fn accounts(access: &Access, asked: Option<AccountName>) -> Accounts {
    match asked {
        Some(account) if access.includes(&account) => Accounts::only([account]),
        Some(_) => Accounts::only([]),
        None => access.accounts(),
    }
}

struct Following {
    follower: Follower,
    access: Access,
    ids: EventIds,
    _stream: OpenStream,
}

/// The next event; none ends the stream, and the client comes back.
async fn next(mut following: Following) -> Option<(Event, Following)> {
    let changed = tokio::time::timeout(KEEP_ALIVE, following.job()).await;
    if following.access.has_expired(Time::now()) {
        return None;
    }
    let id = following.ids.write(following.follower.place());
    let at = Event::default().id(id);
    let event = match changed {
        Ok(job) => at.event("job").json_data(job?).ok()?,
        // Without data it is not an event.
        Err(_) => at,
    };
    Some((event, following))
}

impl Following {
    async fn job(&mut self) -> Option<JobOut> {
        match self.follower.next().await {
            Ok(change) => change.map(|change| JobOut::from(&change.job)),
            Err(error) => {
                debug!(%error, "a stream ends: what it missed cannot be read");
                None
            }
        }
    }
}

fn not_ours() -> Problem {
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
        _ => Err(not_ours()),
    }
}
