//! What a job shows and counts: the one place that decides, for both databases.

pub(super) mod batch;
pub(super) mod job_rows;
mod recompute;
pub(super) mod record;
pub(super) mod reprocess;
pub(super) mod statements;
pub(super) mod tally;
