//! Pages of a list.

use std::fmt::Debug;

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::cursor;
use super::parameters::Parameters;
use super::problem::Problem;
use crate::domain::whole_number;
use crate::store::Page;

pub(super) const DEFAULT_LIMIT: u32 = 50;
pub(super) const MAX_LIMIT: u32 = 500;
const LIMIT: &str = "a number from 1 to 500";
const CURSOR: &str = "the `next_cursor` of a page with the same filters";

/// What chooses a page of a list.
pub(super) const PAGE: &[&str] = &["limit", "cursor"];

/// A page of a list.
#[derive(Serialize, ToSchema)]
#[schema(as = Page)]
pub(in crate::web) struct PageOut<T> {
    pub(super) items: Vec<T>,
    /// For the parameter `cursor` of the next page; null on the last one. Opaque, and good with the same filters only.
    pub(super) next_cursor: Option<String>,
}

/// A whole list.
#[derive(Serialize, ToSchema)]
#[schema(as = List)]
pub(in crate::web) struct ListOut<T> {
    pub(super) items: Vec<T>,
}

/// One row more than asked for is fetched: it tells whether there is a next page.
pub(super) fn page<K: cursor::Key>(
    parameters: &Parameters,
    filter: &impl Debug,
) -> Result<Page<K>, Problem> {
    let limit = parameters.get_with("limit", LIMIT, |text| {
        whole_number(text).filter(|limit| (1..=MAX_LIMIT).contains(limit))
    })?;
    Ok(Page {
        after: parameters.get_with("cursor", CURSOR, |text| cursor::decode(filter, text))?,
        limit: limit.unwrap_or(DEFAULT_LIMIT) + 1,
    })
}

pub(super) fn page_out<'r, R, O, K>(
    filter: &impl Debug,
    page: &Page<K>,
    rows: &'r [R],
) -> Json<PageOut<O>>
where
    O: From<&'r R>,
    K: From<&'r R> + cursor::Key,
{
    let limit = usize::try_from(page.limit - 1).unwrap_or(usize::MAX);
    let shown = &rows[..rows.len().min(limit)];
    let next_cursor = match shown.last() {
        Some(last) if rows.len() > limit => Some(cursor::encode(filter, &K::from(last))),
        _ => None,
    };
    Json(PageOut {
        items: shown.iter().map(O::from).collect(),
        next_cursor,
    })
}
