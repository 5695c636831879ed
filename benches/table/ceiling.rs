//! The ceiling: axum in its plainest form, which answers `success` and does nothing else.

use std::io::{self, Write};

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

/// Answers until it is killed. Its first line says, as `qunfa serve` does, where it listens.
#[tokio::main]
pub(crate) async fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    writeln!(io::stdout(), "the ceiling listens on {address}")?;
    let listener = listener.tap_io(|stream| {
        // It fails when the client has left already, and then nothing matters.
        let _ = stream.set_nodelay(true);
    });
    // Whoever receives pushes has to read their bodies.
    let router = Router::new().route("/wechat/{account}", post(async |_: Bytes| "success"));
    axum::serve(listener, router).await.context("cannot serve")
}
