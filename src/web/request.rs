//! Middleware around every request: an id, a tracing span, a log line for the answer, and the body
//! of a problem.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State as FromState};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument, debug, error_span, info};

use super::State;
use super::api::auth::Access;
use super::api::problem;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Random, so that it does not reveal the number of requests. An id from outside is never used, as
/// it would let others write into the log.
fn new_id() -> String {
    let mut id = [0; 8];
    getrandom::fill(&mut id).expect("the system has random bytes once it has started");
    hex::encode(id)
}

/// Middleware. Logs name the template of the route, never the path or the query.
pub(super) async fn trace(
    FromState(state): FromState<State>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = new_id();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let span = error_span!("request", request_id = %id, method = method(request.method()), route);

    let response = next.run(request).instrument(span.clone()).await;
    let mut response = problem::complete(response, &id);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }

    let _entered = span.entered();
    let took = started.elapsed();
    // Pushes have their own metrics.
    if !route.starts_with("/wechat") {
        state.0.metrics.answered(route, response.status(), took);
    }
    let status = response.status().as_u16();
    // A wider number would be a string in JSON.
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    // Only requests with a valid key or a signature of WeChat may fill the log.
    let is_known = response.extensions().get::<Access>().is_some();
    let is_failed_push = route.starts_with("/wechat") && status >= 500;
    if is_known || is_failed_push {
        info!(status, duration_ms, "answered");
    } else {
        debug!(status, duration_ms, "answered");
    }
    response
}

/// One of a few words, because a client may send any method.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
