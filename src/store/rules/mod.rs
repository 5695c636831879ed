//! What a job shows and counts: the one place that decides, for both databases.

pub(super) mod batch;
pub(super) mod job_rows;
pub(super) mod reprocess;
pub(super) mod tally;
