//! Requests of the API whose client has left are given up, so that nobody works for nobody. A push is always finished.

use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::server::Departure;

/// For clients that have only closed their sending side: they look as if they had left, and still wait.
const GRACE: Duration = Duration::from_secs(2);

/// The middleware. Nobody reads the answer to a request that is given up.
pub(in crate::web) async fn give_up(request: Request, next: Next) -> Response {
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
