//! Errors of the API as `application/problem+json` (RFC 9457), with a closed list of types.

use std::any::Any;
use std::error::Error;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::{error, warn};
use utoipa::ToSchema;

use crate::domain::Scope;
use crate::store::StoreError;
use crate::web::rate_limit::OF_KEYS;

/// Why a request to the API failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::web) enum Problem {
    /// There is no key, or it is not configured.
    Unauthorized,
    /// The key is wrong, and too many wrong keys came from this address before.
    TooManyRequests,
    /// The API has no keys, and `Host` is not a name of this machine.
    ForeignHost,
    /// The caller has the maximum number of open streams.
    TooManyStreams,
    /// The key lacks this scope.
    Forbidden(Scope),
    /// A parameter is unknown, given twice, empty or malformed. The text says which and what is
    /// valid.
    InvalidParameter(String),
    /// The route, job or account does not exist.
    NotFound(&'static str),
    /// Only GET and HEAD are allowed.
    MethodNotAllowed,
    /// The database is unavailable or slow.
    Unavailable,
    /// A bug; the log has the details.
    Internal,
}

/// An error (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(in crate::web) struct ProblemOut<'a> {
    /// `urn:qunfa:problem:` and a stable id.
    #[schema(pattern = "^urn:qunfa:problem:[a-z-]+$")]
    r#type: String,
    /// The meaning of the type.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request, for people.
    detail: &'a str,
    /// Finds the request in the log.
    request_id: &'a str,
}

impl Problem {
    pub(in crate::web) const fn id(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::TooManyRequests | Self::TooManyStreams => "too-many-requests",
            Self::ForeignHost | Self::Forbidden(_) => "forbidden",
            Self::InvalidParameter(_) => "invalid-parameter",
            Self::NotFound(_) => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    pub(in crate::web) const fn title(&self) -> &'static str {
        match self {
            Self::Unauthorized => "An API key is required",
            Self::TooManyRequests | Self::TooManyStreams => "Too many requests",
            Self::ForeignHost => "`Host` is not a name of this server",
            Self::Forbidden(_) => "The key does not allow this",
            Self::InvalidParameter(_) => "A parameter is invalid",
            Self::NotFound(_) => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Unavailable => "The database is not available",
            Self::Internal => "Internal error",
        }
    }

    pub(in crate::web) const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::TooManyRequests | Self::TooManyStreams => StatusCode::TOO_MANY_REQUESTS,
            Self::ForeignHost | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::InvalidParameter(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn detail(&self) -> &str {
        match self {
            Self::Unauthorized => "send `Authorization: Bearer KEY` with a configured key",
            Self::TooManyRequests => {
                "too many wrong keys were sent from this address; a configured key is accepted at any time"
            }
            Self::ForeignHost => {
                "without an API key, only `localhost`, loopback addresses and the host of `server.public_url` are served"
            }
            Self::TooManyStreams => {
                "100 streams are already open with this key, or from this address if no key is required; close one first"
            }
            Self::Forbidden(Scope::Read) => "this requires a key with the scope `read`",
            Self::Forbidden(Scope::Export) => "this requires a key with the scope `export`",
            Self::Forbidden(Scope::Admin) => "this requires a key with the scope `admin`",
            Self::InvalidParameter(detail) => detail,
            Self::NotFound(detail) => detail,
            Self::MethodNotAllowed => "the API accepts GET and HEAD only",
            Self::Unavailable => "the database did not answer in time; try again in a moment",
            Self::Internal => "the log has the details under the request id",
        }
    }

    pub(in crate::web) fn body<'a>(&'a self, request_id: &'a str) -> ProblemOut<'a> {
        ProblemOut {
            r#type: format!("urn:qunfa:problem:{}", self.id()),
            title: self.title(),
            status: self.status().as_u16(),
            detail: self.detail(),
            request_id,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(store_error: StoreError) -> Self {
        let cause = store_error.source().map(ToString::to_string);
        match &store_error {
            StoreError::Unavailable(_)
            | StoreError::NotOpen(_)
            | StoreError::TimedOut
            | StoreError::Contended
            | StoreError::Locked(_) => {
                warn!(error = %store_error, cause, "the database is not available");
                Self::Unavailable
            }
            StoreError::Unexpected(_) | StoreError::Refused(_) => {
                error!(error = %store_error, cause, "the database answered unexpectedly");
                Self::Internal
            }
        }
    }
}

impl IntoResponse for Problem {
    /// The status and headers. [`complete`] writes the body, where the request id is known.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        let headers = response.headers_mut();
        let set = |headers: &mut HeaderMap, name, value| {
            headers.insert(name, HeaderValue::from_static(value))
        };
        match self {
            Self::Unauthorized => set(headers, header::WWW_AUTHENTICATE, "Bearer realm=\"qunfa\""),
            Self::TooManyRequests => {
                let seconds = HeaderValue::from(OF_KEYS.refill.as_secs());
                headers.insert(header::RETRY_AFTER, seconds)
            }
            Self::TooManyStreams => set(headers, header::RETRY_AFTER, "30"),
            Self::MethodNotAllowed => set(headers, header::ALLOW, "GET,HEAD"),
            Self::Unavailable => set(headers, header::RETRY_AFTER, "5"),
            Self::ForeignHost
            | Self::Forbidden(_)
            | Self::InvalidParameter(_)
            | Self::NotFound(_)
            | Self::Internal => None,
        };
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of a problem; any other response stays as it is.
pub(in crate::web) fn complete(mut response: Response, request_id: &str) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let body = problem.body(request_id);
    let body = serde_json::to_vec(&body).expect("a problem can be written as JSON");
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    *response.body_mut() = Body::from(body);
    response
}

/// The answer after a handler panicked.
pub(in crate::web) fn after_panic(_: Box<dyn Any + Send>) -> Response {
    error!("a handler panicked");
    Problem::Internal.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_problem_has_an_id_and_a_fitting_status() {
        let problems = [
            (Problem::Unauthorized, 401, "unauthorized"),
            (Problem::TooManyRequests, 429, "too-many-requests"),
            (Problem::ForeignHost, 403, "forbidden"),
            (Problem::TooManyStreams, 429, "too-many-requests"),
            (Problem::Forbidden(Scope::Read), 403, "forbidden"),
            (
                Problem::InvalidParameter("x".into()),
                400,
                "invalid-parameter",
            ),
            (Problem::NotFound("x"), 404, "not-found"),
            (Problem::MethodNotAllowed, 405, "method-not-allowed"),
            (Problem::Unavailable, 503, "unavailable"),
            (Problem::Internal, 500, "internal"),
        ];
        for (problem, status, id) in problems {
            let response = complete(problem.into_response(), "r-1");
            assert_eq!(response.status(), status);
            let body = axum::body::to_bytes(response.into_body(), 4096)
                .await
                .unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["type"], format!("urn:qunfa:problem:{id}"));
            assert_eq!(body["status"], status);
            assert_eq!(body["request_id"], "r-1");
        }
    }
}
