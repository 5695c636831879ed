//! All matching jobs as one file, made page by page, so that its memory does not depend on its
//! length.

use std::sync::Arc;

use super::{JobOut, csv};
use crate::domain::Job;
use crate::store::{JobFilter, JobKey, Page, Queries, StoreError};

/// Jobs for each read.
const PAGE: u32 = 500;
/// Tells spreadsheets that the file is UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A header line and a row for each job, as in RFC 4180. A text that a spreadsheet would take
    /// for a formula is prefixed with `'`.
    Csv {
        /// Starts with a byte-order mark.
        bom: bool,
    },
    /// One line of JSON for each job, as in the API.
    Ndjson,
}

/// An export in progress. Jobs that appear or change meanwhile may be missing; a job is in it twice
/// only if its `finished_at` moves back past the current position.
pub struct Export {
    store: Arc<dyn Queries>,
    filter: JobFilter,
    format: Format,
    progress: Progress,
}

enum Progress {
    Begins,
    After(JobKey),
    Done,
}

impl Export {
    /// Exports the matching jobs, in the order of the list.
    pub fn new(store: Arc<dyn Queries>, filter: JobFilter, format: Format) -> Self {
        Self {
            store,
            filter,
            format,
            progress: Progress::Begins,
        }
    }

    /// The next part of the file; `None` at its end.
    ///
    /// After an error, the parts before are not the whole file.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let (mut part, after) = match &self.progress {
            Progress::Begins => (self.format.head(), None),
            Progress::After(key) => (Vec::new(), Some(key.clone())),
            Progress::Done => return Ok(None),
        };
        let page = Page { after, limit: PAGE };
        let jobs = self.store.jobs(&self.filter, &page).await?;
        let is_last = jobs.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        self.progress = match jobs.last() {
            Some(last) if !is_last => Progress::After(JobKey::from(last)),
            _ => Progress::Done,
        };
        self.format.write(&mut part, &jobs);
        Ok(Some(part))
    }
}

impl Format {
    pub fn head(self) -> Vec<u8> {
        match self {
            Self::Csv { bom } => {
                let mark = if bom { BYTE_ORDER_MARK } else { b"" };
                [mark, &csv::names()].concat()
            }
            Self::Ndjson => Vec::new(),
        }
    }

    pub fn write(self, part: &mut Vec<u8>, jobs: &[Job]) {
        match self {
            Self::Csv { .. } => csv::write(part, jobs),
            Self::Ndjson => {
                for job in jobs {
                    serde_json::to_writer(&mut *part, &JobOut::from(job))
                        .expect("a job can be written as JSON");
                    part.push(b'\n');
                }
            }
        }
    }
}
