//! The accounts that there are.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as FromState;
use axum::http::Uri;

use super::auth::Access;
use super::openapi::{Tagged, examples};
use super::paging::ListOut;
use super::parameters::Parameters;
use super::{Answer, State, in_time};
use crate::domain::{AccountName, LastJob};
use crate::output::AccountOut;

/// The accounts
///
/// Those that are configured and those that have jobs, ascending by name, each with its last job: who has fallen silent, and
/// who has never had a result.
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
    uri: Uri,
) -> Answer<ListOut<AccountOut>> {
    Parameters::read(&uri, &[])?;
    let last_jobs = in_time(state.0.store.last_jobs()).await?;
    let names = in_time(state.0.store.account_names()).await?;
    let configured = state.0.accounts.values().map(|account| &account.name);
    let mut accounts: BTreeMap<&AccountName, Option<&LastJob>> =
        configured.map(|name| (name, None)).collect();
    accounts.extend(last_jobs.iter().map(|job| (&job.account, Some(job))));
    let seen = accounts
        .into_iter()
        .filter(|(name, _)| access.includes(name));
    let items = seen
        .map(|(name, last)| {
            let named = names.iter().find(|named| named.account == *name);
            AccountOut::new(name, last, named)
        })
        .collect();
    Ok(Json(ListOut { items }))
}
