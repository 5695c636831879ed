//! Plain values: accounts, jobs, deliveries, reasons. No I/O, and nothing of WeChat's wire format.

mod account;
mod api_key;
mod client;
mod delivery;
mod job;
mod msg_id;
mod network;
mod number;
mod reason;
mod stats;
mod status;
mod time;
mod timeline;
mod zone;

pub use account::{AccountName, InvalidAccountName};
pub use api_key::{ApiKeyHash, InvalidApiKeyHash};
pub use client::{Accounts, ApiClient, ClientName, InvalidClientName, Scope};
pub use delivery::{Delivery, DeliveryState, MASS_SEND_FINISHED, NewDelivery, Reading};
pub use job::{Article, Copyright, Counts, Job, MassSendFinished, SAMPLE_NAME, is_foreign};
pub use msg_id::{InvalidMsgId, MsgId};
pub use network::{InvalidNetwork, Network};
pub use number::whole_number;
pub use reason::{CATALOGUE, Reason, reason};
pub use stats::{AccountStats, ByOutcome, LastJob, ReasonStats, Stats};
pub use status::{Outcome, Status};
pub use time::{InvalidTime, Time};
pub use timeline::{Bucket, InvalidTimeline, Timeline};
pub use zone::{InvalidZone, Zone};
