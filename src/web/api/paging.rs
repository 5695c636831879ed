//! Lists and their pages.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::cursor::{self, Binding};
use super::parameters::{CURSOR, DEFAULT_LIMIT, Filters, Paging, Parameters, Values};
use super::problem::Problem;
use crate::store::Page;

/// A page of a list.
#[derive(Serialize, ToSchema)]
#[schema(as = Page)]
pub(in crate::web) struct PageOut<T> {
    pub(super) items: Vec<T>,
    /// The value of `cursor` for the next page; null on the last page. It is opaque, and valid only
    /// with the same filters.
    pub(super) next_cursor: Option<String>,
}

/// A whole list.
#[derive(Serialize, ToSchema)]
#[schema(as = List)]
pub(in crate::web) struct ListOut<T> {
    pub(super) items: Vec<T>,
}

/// The parameters of a list: its filters, and which page of it.
pub(in crate::web) struct Paged<F, K> {
    pub(super) filters: F,
    /// Has one row more than is shown, which tells whether there is a next page.
    pub(super) page: Page<K>,
    binding: Binding,
}

impl<F: Filters, K: cursor::Key> Parameters for Paged<F, K> {
    fn names() -> Vec<&'static str> {
        [F::names(), Paging::names()].concat()
    }

    fn read(values: &Values) -> Result<Self, Problem> {
        let filters = F::read(values)?;
        let Paging { limit, cursor } = Paging::read(values)?;
        let limit = limit.unwrap_or(DEFAULT_LIMIT) + 1;
        let binding = Binding::of::<K>(&filters, &values.visible);
        let after = match cursor {
            None => None,
            Some(cursor) => match cursor::decode(binding, &cursor) {
                None => return Err(CURSOR.refusal("cursor")),
                after => after,
            },
        };
        let page = Page { after, limit };
        Ok(Self {
            filters,
            page,
            binding,
        })
    }
}

impl<F, K: cursor::Key> Paged<F, K> {
    /// The answer with the rows that were read.
    pub(super) fn answer<'r, R, O>(&self, rows: &'r [R]) -> Json<PageOut<O>>
    where
        O: From<&'r R>,
        K: From<&'r R>,
    {
        let limit = usize::try_from(self.page.limit - 1).unwrap_or(usize::MAX);
        let shown = &rows[..rows.len().min(limit)];
        let next_cursor = match shown.last() {
            Some(last) if rows.len() > limit => Some(cursor::encode(self.binding, &K::from(last))),
            _ => None,
        };
        Json(PageOut {
            items: shown.iter().map(O::from).collect(),
            next_cursor,
        })
    }
}
