//! Upkeep: tasks that run beside the server until it stops, and what commands share with them. They
//! work in small batches with a delay after each, so that recording never waits for long. Any
//! number of servers may run them at once.

mod account_names;
mod hour_totals;
mod metrics;
mod prune;
mod reprocess;

use std::time::Duration;

pub(super) use account_names::{follow_original_ids, original_ids};
pub use account_names::{remembered_name, set_original_ids, unset_original_ids};
pub(super) use hour_totals::update_hour_totals;
pub(super) use metrics::MetricsTask;
pub use prune::prune;
pub(super) use prune::{forget_batches, retain};
pub use reprocess::{ReprocessSums, reprocess};

/// The timeout for one batch.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The delay after a batch that took SQLite's write lock: whoever waits for the lock polls every
/// 100 ms.
const DELAY: Duration = Duration::from_millis(100);
