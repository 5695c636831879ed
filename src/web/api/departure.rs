//! Abandons API requests whose client has disconnected. A push is always finished.

use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::server::Departure;

/// A client that closed only its sending side looks disconnected, but still waits for the answer.
const GRACE: Duration = Duration::from_secs(2);

/// Middleware. Nobody reads the answer to an abandoned request.
pub(in crate::web) async fn abandon(request: Request, next: Next) -> Response {
    let departure = request.extensions().get::<Departure>().cloned();
    let left = async {
        match departure {
            Some(departure) => departure.wait().await,
            None => std::future::pending().await,
        }
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        response = next.run(request) => response,
        () = left => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}
