//! Deliveries: everything that is kept, as it was received.

use axum::extract::State as FromState;
use axum::http::Uri;

use super::auth::Access;
use super::openapi::parameters::{DeliveryFilters, Paging};
use super::openapi::{Tagged, examples};
use super::paging::{PAGE, PageOut, page, page_out};
use super::parameters::{ACCOUNT, Parameters, TIME, bound};
use super::{Answer, State, in_time};
use crate::output::DeliveryOut;
use crate::store::DeliveryFilter;

const STATE: &str = "stored, unparsed or sealed";
const EVENT: &str = "the name of an event";

/// Everything that is kept, the latest first
///
/// Descending by (`received_at`, `id`). A delivery that could not be understood is `unparsed`, one that the account's key,
/// `AppID` or original id does not open is `sealed`.
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
    uri: Uri,
) -> Answer<PageOut<DeliveryOut>> {
    let parameters = Parameters::read(&uri, &[&["account", "state", "event", "from", "to"], PAGE])?;
    let filter = DeliveryFilter {
        account: parameters.get("account", ACCOUNT)?,
        accounts: access.accounts(),
        state: parameters.get("state", STATE)?,
        event: parameters.get_with("event", EVENT, event)?,
        from: parameters.get_with("from", TIME, bound)?,
        to: parameters.get_with("to", TIME, bound)?,
    };
    let page = page(&parameters, &filter)?;
    let deliveries = in_time(state.0.store.deliveries(&filter, &page)).await?;
    Ok(page_out(&filter, &page, &deliveries))
}

/// No event is called by a NUL, which PostgreSQL takes in no text.
fn event(text: &str) -> Option<String> {
    (!text.contains('\0')).then(|| text.to_owned())
}
