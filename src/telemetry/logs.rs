//! Logs, written to standard error.
//!
//! Events of libraries are not logged at any level: they might contain secrets of requests and
//! queries. Nothing waits for a line to be written, so that a reader that hangs cannot stop the
//! server.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use prometheus::IntCounter;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, error};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::writer::LogWriter;

/// The log of this process, set by [`start`].
static LOG: OnceLock<LogWriter> = OnceLock::new();

/// Writes the last lines on drop, for up to a second.
#[must_use]
pub struct LastLines(());

/// Starts logging; a second call changes nothing.
///
/// # Errors
/// If no thread can be started.
pub fn start(json: bool, level: LevelFilter) -> io::Result<LastLines> {
    let is_terminal = io::stderr().is_terminal();
    let writer = LogWriter::default();
    let subscriber = subscriber(json, level, is_terminal, writer.clone());
    if subscriber.try_init().is_ok() {
        writer.start(io::stderr())?;
        let _ = LOG.set(writer);
        // The default hook writes to standard error itself, and waits for it.
        std::panic::set_hook(Box::new(|panic| {
            let panic = panic.to_string().replace('\n', " ");
            error!(panic, "a panic");
        }));
    }
    Ok(LastLines(()))
}

/// The metric for lines that were dropped because they could not be written in time.
pub(super) struct DroppedLines(IntCounter);

impl DroppedLines {
    pub(super) fn new() -> Self {
        let counter = IntCounter::new(
            "qunfa_log_lines_dropped_total",
            "Lines of the log that were dropped because they could not be written in time.",
        );
        Self(counter.expect("the name is valid"))
    }
}

impl Collector for DroppedLines {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let dropped = LOG.get().map_or(0, LogWriter::dropped);
        self.0.inc_by(dropped.saturating_sub(self.0.get()));
        self.0.collect()
    }
}

impl Drop for LastLines {
    fn drop(&mut self) {
        if let Some(writer) = LOG.get() {
            writer.flush();
        }
    }
}

fn subscriber<W>(json: bool, level: LevelFilter, is_terminal: bool, writer: W) -> impl Subscriber
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_target(false);
    let layer = if json {
        layer
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    } else {
        layer.with_ansi(is_terminal).boxed()
    };
    // Not a filter of the layer: it would lose our next event after a library has only asked
    // whether it may log.
    let ours = Targets::new().with_target(env!("CARGO_PKG_NAME"), level);
    tracing_subscriber::registry().with(layer).with(ours)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(false, LevelFilter::INFO, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, log);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// Without logging anything, as sqlx does for each PostgreSQL notice.
    fn a_library_asks_whether_it_may_log() {
        let span = tracing::info_span!(target: "sqlx", "foreign");
        let metadata = span.metadata().unwrap();
        tracing::dispatcher::get_default(|dispatch| dispatch.enabled(metadata));
    }

    #[test]
    fn only_our_events_are_written() {
        let log = written(|| {
            tracing::warn!(account = "main", "one");
            tracing::debug!("two");
            tracing::error!(target: "sqlx", "three");
            tracing::error!("four");
        });
        let lines: Vec<_> = log.lines().collect();
        assert_eq!(lines.len(), 2, "{log}");
        assert!(lines[0].ends_with(" WARN one account=\"main\""), "{log}");
        assert!(lines[1].ends_with("ERROR four"), "{log}");
    }

    #[test]
    fn no_event_is_lost_after_a_library_has_asked_whether_it_may_log() {
        let log = written(|| {
            a_library_asks_whether_it_may_log();
            tracing::error!("four");
        });
        assert!(log.contains("four"), "{log}");
    }
}
