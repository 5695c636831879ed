//! Logs: one event per thing that happened, to standard error.
//!
//! Only our own events are written, at any level: what libraries log of requests and queries is not ours to vouch for.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Starts logging; a second call changes nothing.
pub fn start(json: bool, level: LevelFilter) {
    let ours = Targets::new().with_target(env!("CARGO_PKG_NAME"), level);
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let layer = if json {
        layer
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    } else {
        layer.with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    let started = tracing_subscriber::registry()
        .with(layer.with_filter(ours))
        .try_init();
    if started.is_err() {
        tracing::debug!("logging had started already");
    }
}
