//! Raw deliveries that go once they are old.

use crate::domain::Time;
use crate::store::DeliveryKey;

/// Both halves are cut to a page, so that each comes off its index and none is sorted whole. Bodies are not fetched.
pub(super) const PRUNABLE: &str = "select received_at, id, bytes from ( \
         select * from ( \
             select received_at, id, cast(length(body) as bigint) as bytes from other_deliveries \
             where received_at < $1 and (state = 'stored' or state = 'unparsed' and $2 or state = 'sealed' and $6) and (received_at, id) > ($3, $4) \
             order by received_at, id limit $5 \
         ) as others \
         union all \
         select * from ( \
             select shown_received_at, shown_id, cast(length(shown_body) as bigint) from jobs \
             where shown_body is not null and shown_received_at < $1 and (shown_received_at, shown_id) > ($3, $4) \
             order by shown_received_at, shown_id limit $5 \
         ) as shown \
     ) as prunable order by received_at, id limit $5";

/// What goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prune {
    /// First received before.
    pub received_before: Time,
    /// Whether what could not be understood goes, too: nothing else tells what it said.
    pub unparsed: bool,
    /// Whether what is sealed goes, too: it may still be opened with another configuration.
    pub sealed: bool,
}

/// A delivery that would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prunable {
    /// Where it stands in the list of deliveries.
    pub key: DeliveryKey,
    /// The length of its body.
    pub bytes: i64,
}

/// How many deliveries have gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Those that jobs show.
    pub shown: u64,
    /// All others.
    pub others: u64,
}
