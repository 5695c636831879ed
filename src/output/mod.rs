//! What outsiders see of the stored data: the shapes of the API's answers, and exports as CSV and
//! NDJSON.

mod csv;
mod export;
mod shapes;
mod totals;

pub use export::{Export, Format};
pub use shapes::{AccountOut, DeliveryOut, JobOut, ReasonOut, TimeOut, delivery_state, outcome};
pub use totals::{AccountStatsOut, BucketOut, ReasonStatsOut, StatsOut};
