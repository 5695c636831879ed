//! Deliveries: everything that is kept, as it was received.

use axum::extract::State as FromState;

use super::auth::Access;
use super::openapi::{Tagged, examples};
use super::paging::{PageOut, Paged};
use super::parameters::{DeliveryFilters, Paging, Query};
use super::{Answer, State, in_time};
use crate::output::DeliveryOut;
use crate::store::{DeliveryFilter, DeliveryKey};

/// Everything that is kept, the latest first
///
/// In descending order of (`received_at`, `id`). A delivery that could not be understood is
/// `unparsed`; one that does not open with the account's key, `AppID` or original id is `sealed`.
#[utoipa::path(
    get,
    path = "/api/v1/deliveries",
    tag = "Deliveries",
    params(DeliveryFilters, Paging),
    responses(
        (status = 200, description = "A page of deliveries.", body = PageOut<DeliveryOut>, example = examples::deliveries),
        Tagged,
    ),
)]
pub(in crate::web) async fn deliveries(
    FromState(state): FromState<State>,
    access: Access,
    Query(query): Query<Paged<DeliveryFilters, DeliveryKey>>,
) -> Answer<PageOut<DeliveryOut>> {
    let filters = &query.filters;
    let filter = DeliveryFilter {
        account: filters.account.clone(),
        accounts: access.accounts(),
        state: filters.state,
        event: filters.event.clone(),
        from: filters.from,
        to: filters.to,
    };
    let deliveries = in_time(state.0.store.deliveries(&filter, &query.page)).await?;
    Ok(query.answer(&deliveries))
}
