//! The accounts that there are.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as FromState;
use axum::http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use super::document::examples;
use super::out::TimeOut;
use super::{Answer, ListOut, State, Tagged, in_time};
use crate::domain::{AccountName, LastJob};
use crate::store::NamedAccount;
use crate::web::access::Access;
use crate::web::parameters::Parameters;

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

/// An account and its last job.
#[derive(Serialize, ToSchema)]
#[schema(as = Account)]
pub(in crate::web) struct AccountOut {
    /// The account.
    account: String,
    /// When the last of its jobs finished; null while it has none.
    last_finished_at: Option<TimeOut>,
    /// When the latest delivery of that job came; null while it has none.
    last_received_at: Option<TimeOut>,
    /// The WeChat account that it stands for, `gh_…`. Only present together with `other_to_user_name`.
    #[schema(value_type = String, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    to_user_name: Option<String>,
    /// Another WeChat account whose results came, too. They replace nothing, and `original_id` should be set. Only present if there
    /// is one.
    #[schema(value_type = String, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    other_to_user_name: Option<String>,
}

impl AccountOut {
    pub(super) fn new(
        account: &AccountName,
        last: Option<&LastJob>,
        named: Option<&NamedAccount>,
    ) -> Self {
        let other = named.and_then(|named| named.other.as_ref());
        Self {
            account: account.to_string(),
            last_finished_at: last.map(|job| TimeOut(job.finished_at)),
            last_received_at: last.map(|job| TimeOut(job.received_at)),
            to_user_name: other.and_then(|_| Some(named?.name.clone())),
            other_to_user_name: other.map(|(other, _)| other.clone()),
        }
    }
}
