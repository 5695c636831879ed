//! Jobs as they change, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Extension, State as FromState};
use axum::http::{HeaderMap, Uri};
use axum::response::sse::{Event, Sse};
use axum::response::{AppendHeaders, IntoResponse};
use futures_util::stream::{self, StreamExt};
use tracing::debug;

use super::document::asked::Followed;
use super::document::examples;
use super::out::JobOut;
use super::{ACCOUNT, State, in_time};
use crate::domain::{AccountName, Time, whole_number};
use crate::feed::Follower;
use crate::server::Departure;
use crate::store::ChangeKey;
use crate::web::access::Access;
use crate::web::parameters::Parameters;
use crate::web::problem::Problem;

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
    let follower = in_time(state.0.feed.follow(last_event_id(&headers)?)).await?;
    let follower = follower.ok_or_else(not_ours)?;
    // Whoever loses the connection before the first event has a place to resume from, too.
    let hello = Event::default().id(id(follower.at())).retry(RETRY);
    let following = Following {
        follower,
        access,
        account,
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

struct Following {
    follower: Follower,
    access: Access,
    account: Option<AccountName>,
}

/// The next event; none ends the stream, and the client comes back.
async fn next(mut following: Following) -> Option<(Event, Following)> {
    let changed = tokio::time::timeout(KEEP_ALIVE, following.job()).await;
    if following.access.has_expired(Time::now()) {
        return None;
    }
    let at = Event::default().id(id(following.follower.at()));
    let event = match changed {
        Ok(job) => at.event("job").json_data(job?).ok()?,
        // Without data it is no event, but from there the client resumes.
        Err(_) => at,
    };
    Some((event, following))
}

impl Following {
    /// The next job that is asked for and may be seen.
    async fn job(&mut self) -> Option<JobOut> {
        loop {
            match self.follower.next().await {
                Ok(Some(change)) if self.is_for(&change.job.account) => {
                    return Some(JobOut::from(&change.job));
                }
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => {
                    debug!(%error, "a stream ends: what it missed cannot be read");
                    return None;
                }
            }
        }
    }

    fn is_for(&self, account: &AccountName) -> bool {
        self.access.includes(account) && self.account.as_ref().is_none_or(|asked| asked == account)
    }
}

fn not_ours() -> Problem {
    Problem::InvalidParameter(format!(
        "`{LAST_EVENT_ID}` is not the id of an event of this stream"
    ))
}

fn id(key: ChangeKey) -> String {
    format!("{}-{}", key.change, key.shown_id)
}

/// Where to resume.
fn last_event_id(headers: &HeaderMap) -> Result<Option<ChangeKey>, Problem> {
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.to_str().ok().and_then(|text| {
        let (change, shown_id) = text.split_once('-')?;
        Some(ChangeKey {
            change: whole_number(change)?,
            shown_id: whole_number(shown_id)?,
        })
    });
    match (key, values.next()) {
        (Some(key), None) => Ok(Some(key)),
        _ => Err(not_ours()),
    }
}
