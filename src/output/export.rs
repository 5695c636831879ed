//! The whole list of jobs as one file, made page by page, so that it takes the same memory however long it is.

use std::sync::Arc;

use super::{JobOut, csv};
use crate::domain::Job;
use crate::store::{JobFilter, JobKey, Page, Queries, StoreError};

/// Jobs for each question to the store.
const PAGE: u32 = 500;
/// It tells spreadsheets that what follows is UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How the file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A row for each job behind a row of names, by RFC 4180, perhaps behind a byte-order mark. A text that a spreadsheet
    /// would take for a formula has a `'` before it.
    Csv {
        /// Whether the mark stands at the beginning.
        bom: bool,
    },
    /// A line of JSON for each job, as the API shows it.
    Ndjson,
}

/// An export under way. Jobs that come or change meanwhile may be in it or not; none stands in it twice unless its
/// `finished_at` moves back past the place that was reached.
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
    /// Jobs that match, in the order of the list.
    pub fn new(store: Arc<dyn Queries>, filter: JobFilter, format: Format) -> Self {
        Self {
            store,
            filter,
            format,
            progress: Progress::Begins,
        }
    }

    /// The next part of the file; none at its end.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer. What was given before is then not the whole.
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
    pub(crate) fn head(self) -> Vec<u8> {
        match self {
            Self::Csv { bom } => {
                let mark = if bom { BYTE_ORDER_MARK } else { b"" };
                [mark, &csv::names()].concat()
            }
            Self::Ndjson => Vec::new(),
        }
    }

    pub(crate) fn write(self, part: &mut Vec<u8>, jobs: &[Job]) {
        match self {
            Self::Csv { .. } => csv::write(part, jobs),
            Self::Ndjson => {
                for job in jobs {
                    serde_json::to_writer(&mut *part, &JobOut::from(job))
                        .expect("a job is texts and numbers");
                    part.push(b'\n');
                }
            }
        }
    }
}
