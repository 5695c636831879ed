//! The accounts.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as FromState;

use super::auth::Access;
use super::openapi::{Tagged, examples};
use super::paging::ListOut;
use super::parameters::Query;
use super::{Answer, State, in_time};
use crate::domain::{AccountName, LastJob};
use crate::output::AccountOut;

/// The accounts
///
/// All accounts that are configured or have jobs, in ascending order of name, each with its last
/// job: it shows which account has fallen silent, and which has never had a result.
#[utoipa::path(
    get,
    path = "/api/v1/accounts",
    tag = "Stats",
    operation_id = "all_accounts",
    responses(
        (status = 200, description = "The accounts.", body = ListOut<AccountOut>, example = examples::all_accounts),
        Tagged,
    ),
)]
pub(in crate::web) async fn accounts(
    FromState(state): FromState<State>,
    access: Access,
    _: Query<()>,
) -> Answer<ListOut<AccountOut>> {
    let last_jobs = in_time(state.0.store.last_jobs()).await?;
    let names = in_time(state.0.store.account_names()).await?;
    let configured = state.0.accounts.values().map(|account| &account.name);
    let mut accounts: BTreeMap<&AccountName, Option<&LastJob>> =
        configured.map(|name| (name, None)).collect();
    accounts.extend(last_jobs.iter().map(|job| (&job.account, Some(job))));
    let visible = accounts
        .into_iter()
        .filter(|(name, _)| access.includes(name));
    let items = visible
        .map(|(name, last)| {
            let named = names.iter().find(|named| named.account == *name);
            AccountOut::new(name, last, named)
        })
        .collect();
    Ok(Json(ListOut { items }))
}
