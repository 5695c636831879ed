//! Which raw deliveries are pruned.

use crate::domain::Time;
use crate::store::DeliveryKey;

/// Each half is limited to a page, so that it is read from its index and not sorted as a whole.
/// Bodies are not fetched.
pub(super) const PRUNABLE: &str = "select received_at, id, bytes from ( \
         select * from ( \
             select received_at, id, cast(length(body) as bigint) as bytes from other_deliveries \
             where received_at < $1 and (state = 'stored' or state = 'unparsed' and $2 or state = 'sealed' and $6) \
                 and (received_at, id) > ($3, $4) \
             order by received_at, id limit $5 \
         ) as others \
         union all \
         select * from ( \
             select shown_received_at, shown_id, cast(length(shown_body) as bigint) from jobs \
             where shown_body is not null and shown_received_at < $1 and (shown_received_at, shown_id) > ($3, $4) \
             order by shown_received_at, shown_id limit $5 \
         ) as shown \
     ) as prunable order by received_at, id limit $5";

/// What to prune.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prune {
    /// First received before this time.
    pub received_before: Time,
    /// Also deliveries that were not understood, though nothing else keeps what they said.
    pub unparsed: bool,
    /// Also sealed deliveries, though another configuration may open them.
    pub sealed: bool,
}

/// A delivery that would be pruned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prunable {
    pub key: DeliveryKey,
    /// The length of its body.
    pub bytes: i64,
}

/// The number of deliveries that were pruned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Shown by jobs.
    pub shown: u64,
    /// All others.
    pub others: u64,
}
