//! Job results in the form in which WeChat pushes them, and as the store receives them.

use qunfa::domain::{Delivery, NewDelivery, Reading, Time};
use qunfa::store::{
    BatchId, BatchOutcome, DeliveryFilter, DeliveryKey, Judge, Page, Recorded, Reprocessed, Store,
    StoreError, StoredDelivery, Verdict,
};
use qunfa::wechat;
use sha2::{Digest, Sha256};

/// A job result that is well-formed; any part of it can be another.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) msg_id: i64,
    /// In seconds.
    pub(crate) create_time: i64,
    pub(crate) status: String,
    /// `TotalCount`, `FilterCount`, `SentCount`, `ErrorCount`.
    pub(crate) counts: [i64; 4],
    /// Elements at the end; unknown ones make other bytes that say the same.
    pub(crate) rest: String,
}

impl Event {
    pub(crate) fn new(msg_id: i64, create_time: i64) -> Self {
        Self {
            msg_id,
            create_time,
            status: "send success".to_owned(),
            counts: [100, 80, 75, 5],
            rest: String::new(),
        }
    }

    pub(crate) fn status(mut self, status: &str) -> Self {
        status.clone_into(&mut self.status);
        self
    }

    pub(crate) fn counts(mut self, counts: [i64; 4]) -> Self {
        self.counts = counts;
        self
    }

    pub(crate) fn rest(mut self, rest: &str) -> Self {
        rest.clone_into(&mut self.rest);
        self
    }

    pub(crate) fn xml(&self) -> String {
        let Self {
            msg_id,
            create_time,
            status,
            counts: [total, filter, sent, error],
            rest,
        } = self;
        format!(
            "<xml><ToUserName>gh_0a1b2c3d4e5f</ToUserName><FromUserName>oAbCdEfGhIjKlMnOpQrStUvWxYz0</FromUserName>\
             <CreateTime>{create_time}</CreateTime><MsgType>event</MsgType><Event>MASSSENDJOBFINISH</Event>\
             <MsgID>{msg_id}</MsgID><Status>{status}</Status><TotalCount>{total}</TotalCount>\
             <FilterCount>{filter}</FilterCount><SentCount>{sent}</SentCount><ErrorCount>{error}</ErrorCount>{rest}</xml>"
        )
    }
}

/// The reading of today's parser.
pub(crate) fn understood(body: &[u8]) -> Reading {
    wechat::read(body).reading
}

/// The reading of a parser that understands nothing.
pub(crate) fn not_understood(_: &[u8]) -> Reading {
    Reading::Unparsed {
        error: "not understood".to_owned(),
        event: None,
        msg_id: None,
    }
}

/// A body that has come in at that millisecond, as today's parser reads it.
pub(crate) fn arrival(account: &str, body: impl Into<Vec<u8>>, millisecond: i64) -> NewDelivery {
    arrival_as(account, body, millisecond, understood)
}

/// A body that has come in at that millisecond, as that parser reads it.
pub(crate) fn arrival_as(
    account: &str,
    body: impl Into<Vec<u8>>,
    millisecond: i64,
    read: fn(&[u8]) -> Reading,
) -> NewDelivery {
    let body = body.into();
    NewDelivery {
        account: account.parse().unwrap(),
        body_sha256: Sha256::digest(&body).into(),
        received_at: at(millisecond),
        recorded_at: at(millisecond),
        reading: read(&body),
        body,
    }
}

/// Everything is kept as that parser reads it.
pub(crate) fn keeping(read: fn(&[u8]) -> Reading) -> impl Fn(&Delivery) -> Verdict {
    move |delivery| Verdict::Keep {
        body: None,
        reading: read(&delivery.body),
    }
}

/// A delivery with what its job shows.
pub(crate) async fn stored(store: &dyn Store, key: &DeliveryKey) -> Option<StoredDelivery> {
    let page = Page {
        after: None,
        limit: 1000,
    };
    let all = store.stored(&DeliveryFilter::default(), &page).await;
    let mut all = all.unwrap().into_iter();
    all.find(|stored| DeliveryKey::from(&stored.delivery) == *key)
}

/// Reprocesses one delivery, in a batch of its own.
pub(crate) async fn reprocess(
    store: &dyn Store,
    key: &DeliveryKey,
    judge: &Judge<'_>,
    now: Time,
    dry_run: bool,
) -> Option<Reprocessed> {
    let stored = stored(store, key).await?;
    let changes = stored.is_changed_by(judge(&stored.delivery));
    let mut done = store
        .reprocess(&[stored], judge, now, dry_run)
        .await
        .unwrap();
    let done = done.remove(0).unwrap();
    // What is seen without a lock is what is done with it, but for jobs of further contents.
    assert!(changes || !done.changed(), "{done:#?}");
    Some(done)
}

/// That millisecond since 1970.
pub(crate) fn at(millisecond: i64) -> Time {
    Time::from_milliseconds(millisecond).unwrap()
}

/// Records one delivery, in a batch of its own and without an id.
pub(crate) async fn record(
    store: &dyn Store,
    delivery: NewDelivery,
) -> Result<Recorded, StoreError> {
    match record_batch(store, &[delivery], None).await? {
        BatchOutcome::Recorded(recorded) => Ok(recorded[0]),
        other => panic!("it has no id: {other:?}"),
    }
}

/// Records a batch. Where another session has held a lock for longer than a batch waits, it is recorded later, as from the
/// spool.
pub(crate) async fn record_batch(
    store: &dyn Store,
    batch: &[NewDelivery],
    id: Option<BatchId>,
) -> Result<BatchOutcome, StoreError> {
    loop {
        match store.record(batch, id).await {
            Err(StoreError::Locked(_)) => {}
            outcome => return outcome,
        }
    }
}
