//! Plain values of the field: accounts, jobs, deliveries, reasons. No I/O, nothing of WeChat's wire format.

mod account;
mod api_key;
mod delivery;
mod job;
mod msg_id;
mod number;
mod reason;
mod status;
mod time;

pub use account::{AccountName, InvalidAccountName};
pub use api_key::{ApiKeyHash, InvalidApiKeyHash};
pub use delivery::{Delivery, DeliveryState, NewDelivery, Reading};
pub use job::{Article, Copyright, Counts, Job, MassSendFinished, Stats};
pub use msg_id::{InvalidMsgId, MsgId};
pub use number::whole_number;
pub use reason::{CATALOGUE, Reason, reason};
pub use status::{Outcome, Status};
pub use time::{InvalidTime, Time};
