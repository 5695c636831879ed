//! The ceiling: a bare axum server that only answers `success`.

use std::io::{self, Write};

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

/// Serves until it is killed. Its first line has the address, like that of `qunfa serve`.
#[tokio::main]
pub(crate) async fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    writeln!(io::stdout(), "the ceiling listens on {address}")?;
    let listener = listener.tap_io(|stream| {
        // This fails if the client has disconnected already, which does not matter.
        let _ = stream.set_nodelay(true);
    });
    // A receiver of pushes has to read their bodies.
    let router = Router::new().route("/wechat/{account}", post(async |_: Bytes| "success"));
    axum::serve(listener, router).await.context("cannot serve")
}
