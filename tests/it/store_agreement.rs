//! Both stores give the same results for the same random calls, and their contents are consistent.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use qunfa::domain::{Accounts, Delivery, DeliveryState, MsgId, Outcome, Reading, Stats, Time};
use qunfa::store::{DeliveryFilter, DeliveryKey, JobFilter, JobKey, Page, Reader, Store, Verdict};

use crate::support::events::{
    arrival_as, at, keeping, not_understood, record, reprocess, understood,
};
use crate::support::{Backend, Event};

const ACCOUNTS: [&str; 2] = ["a-", "a"];
const STATUSES: [&str; 5] = ["send success", "send fail", "err(10001)", "err(7)", "?"];

#[derive(Clone, Debug)]
enum Call {
    Record {
        account: usize,
        event: Event,
        received: i64,
        reader: usize,
    },
    /// Of the delivery at that place among all, counted around.
    Reprocess {
        place: usize,
        judge: usize,
        now: i64,
        dry_run: bool,
    },
    Jobs(JobFilter, u32),
    Deliveries(DeliveryFilter, u32),
    Stats(JobFilter),
    /// Between edges that lie so many milliseconds apart.
    Timeline(JobFilter, i64),
    /// So many jobs at most.
    RollUp(u32),
}

/// Parsers of different versions: one moves some events to other jobs, one understands nothing.
const READERS: [Reader; 3] = [understood, moved, not_understood];

/// What becomes of stored deliveries by different versions and configurations: they are read again,
/// forgotten, or opened.
const JUDGES: [fn(&Delivery) -> Verdict; 5] = [
    |delivery| keeping(READERS[0])(delivery),
    |delivery| keeping(READERS[1])(delivery),
    |delivery| keeping(READERS[2])(delivery),
    |_| Verdict::Forget,
    opened,
];

/// Takes the envelope off a delivery: those with a list of articles are envelopes of the event
/// without it.
fn opened(delivery: &Delivery) -> Verdict {
    let text = str::from_utf8(&delivery.body).unwrap();
    let Some((head, _)) = text.split_once("<ArticleUrlResult>") else {
        return keeping(understood)(delivery);
    };
    let body = format!("{head}</xml>").into_bytes();
    Verdict::Keep {
        reading: understood(&body),
        body: Some(body),
    }
}

fn moved(body: &[u8]) -> Reading {
    match understood(body) {
        Reading::Result {
            event,
            mut result,
            note,
        } => {
            result.msg_id = MsgId::new(4 - result.msg_id.get()).unwrap();
            Reading::Result {
                event,
                result,
                note,
            }
        }
        other => other,
    }
}

/// In seconds. Some jobs finish in another hour than others.
const HALF_AN_HOUR: i64 = 1800;

/// One of a few, so that copies, revisions and ties are common.
fn event() -> impl Strategy<Value = Event> {
    (1..=3_i64, 1..=3_i64, 0..2_i64).prop_map(|(msg_id, half_hours, name)| {
        let kind = usize::try_from(msg_id + 2 * half_hours + name).unwrap();
        let event = Event::new(msg_id, half_hours * HALF_AN_HOUR)
            .status(STATUSES[kind % STATUSES.len()])
            .counts([i64::MAX, 100, name, 0]);
        match name {
            0 => event,
            _ => event.rest(
                "<ArticleUrlResult><Count>1</Count><ResultList><item><ArticleIdx>1</ArticleIdx>\
                 <ArticleUrl>群</ArticleUrl></item></ResultList></ArticleUrlResult>",
            ),
        }
    })
}

/// Any, or some of those that there are and one that there is not.
fn accounts() -> impl Strategy<Value = Accounts> {
    let names = [&ACCOUNTS[..], &["nobody"]].concat();
    let some = proptest::sample::subsequence(names.clone(), 0..=names.len());
    of(some).prop_map(|some| match some {
        Some(names) => Accounts::only(names.iter().map(|name| name.parse().unwrap())),
        None => Accounts::All,
    })
}

fn job_filter() -> impl Strategy<Value = JobFilter> {
    let account = of(proptest::sample::select(&ACCOUNTS[..]));
    let outcome = of(proptest::sample::select(&Outcome::ALL[..]));
    let code = of(proptest::sample::select(&[7, 10001][..]));
    let times = (of(0..5_i64), of(0..5_i64), of(0..8_i64));
    (account, accounts(), outcome, code, times, of(1..=3_i64)).prop_map(
        |(account, accounts, outcome, code, (from, to, updated_after), msg_id)| JobFilter {
            account: account.map(|name| name.parse().unwrap()),
            accounts,
            outcome,
            code,
            check_state: None,
            from: from.map(half_hours),
            to: to.map(half_hours),
            updated_after: updated_after.map(at),
            msg_id: msg_id.and_then(MsgId::new),
        },
    )
}

/// A range over all accounts.
fn range() -> impl Strategy<Value = JobFilter> {
    (of(0..5_i64), of(0..5_i64)).prop_map(|(from, to)| JobFilter {
        from: from.map(half_hours),
        to: to.map(half_hours),
        ..JobFilter::default()
    })
}

fn half_hours(count: i64) -> Time {
    at(count * HALF_AN_HOUR * 1000)
}

/// Of a timeline, in milliseconds.
fn step() -> impl Strategy<Value = i64> {
    prop_oneof![Just(HALF_AN_HOUR * 1000), 1..4 * HALF_AN_HOUR * 1000]
}

fn delivery_filter() -> impl Strategy<Value = DeliveryFilter> {
    let account = of(proptest::sample::select(&ACCOUNTS[..]));
    let states = [DeliveryState::Stored, DeliveryState::Unparsed];
    let event = of(proptest::sample::select(
        &["masssendjobfinish", "MASSSENDJOBFINISH", "x"][..],
    ));
    (
        account,
        accounts(),
        of(proptest::sample::select(states.to_vec())),
        event,
        of(0..8_i64),
        of(0..8_i64),
    )
        .prop_map(
            |(account, accounts, state, event, from, to)| DeliveryFilter {
                account: account.map(|name| name.parse().unwrap()),
                accounts,
                state,
                event: event.map(str::to_owned),
                from: from.map(at),
                to: to.map(at),
            },
        )
}

fn call() -> impl Strategy<Value = Call> {
    let record = (0..ACCOUNTS.len(), event(), 0..8_i64, 0..READERS.len()).prop_map(
        |(account, event, received, reader)| Call::Record {
            account,
            event,
            received,
            reader,
        },
    );
    let reprocess = (any::<usize>(), 0..JUDGES.len(), 0..12_i64, any::<bool>()).prop_map(
        |(place, judge, now, dry_run)| Call::Reprocess {
            place,
            judge,
            now,
            dry_run,
        },
    );
    prop_oneof![
        6 => record,
        3 => reprocess,
        1 => (job_filter(), 1..5_u32).prop_map(|(filter, limit)| Call::Jobs(filter, limit)),
        1 => (delivery_filter(), 1..5_u32).prop_map(|(filter, limit)| Call::Deliveries(filter, limit)),
        1 => job_filter().prop_map(Call::Stats),
        1 => range().prop_map(Call::Stats),
        1 => (job_filter(), step()).prop_map(|(filter, step)| Call::Timeline(filter, step)),
        1 => (range(), step()).prop_map(|(filter, step)| Call::Timeline(filter, step)),
        2 => (1..4_u32).prop_map(Call::RollUp),
    ]
}

/// Every page of a list, one `Vec` a page.
async fn job_pages(store: &dyn Store, filter: &JobFilter, limit: u32) -> String {
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = store.jobs(filter, &Page { after, limit }).await.unwrap();
        after = page.last().map(JobKey::from);
        pages.push(page);
        if after.is_none() {
            return format!("{pages:#?}");
        }
    }
}

async fn deliveries(store: &dyn Store, filter: &DeliveryFilter, limit: u32) -> Vec<Delivery> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = Page { after, limit };
        let page = store.deliveries(filter, &page).await.unwrap();
        after = page.last().map(DeliveryKey::from);
        all.extend(page);
        if after.is_none() {
            return all;
        }
    }
}

/// A number of the store's own; only its order means something.
fn without_id(mut delivery: Delivery) -> Delivery {
    delivery.id = 0;
    delivery
}

/// What the store answers, in a form that both must give alike.
async fn answer(store: &dyn Store, call: &Call) -> String {
    match call {
        Call::Record {
            account,
            event,
            received,
            reader,
        } => {
            let delivery = arrival_as(ACCOUNTS[*account], event.xml(), *received, READERS[*reader]);
            format!("{:?}", record(store, delivery).await.unwrap())
        }
        Call::Reprocess {
            place,
            judge,
            now,
            dry_run,
        } => {
            let all = deliveries(store, &DeliveryFilter::default(), 500).await;
            let Some(delivery) = all.get(place % all.len().max(1)) else {
                return String::new();
            };
            let judge = &JUDGES[*judge];
            let call = async |key: &DeliveryKey, dry_run| {
                let done = reprocess(store, key, judge, at(*now), dry_run)
                    .await
                    .unwrap();
                // Where the same bytes were there twice, once read and once not, they are one from
                // now on.
                let after = done.after.as_ref().map(DeliveryKey::from);
                let job_changed = done.job_changed;
                let deliveries = (without_id(done.before), done.after.map(without_id));
                (format!("{deliveries:#?} {job_changed}"), after)
            };
            let key = DeliveryKey::from(delivery);
            let (told, _) = call(&key, true).await;
            if !dry_run {
                let (done, after) = call(&key, false).await;
                assert_eq!(done, told, "a dry run tells what is done");
                if let Some(after) = after {
                    assert!(
                        call(&after, false).await.0.ends_with("false"),
                        "again changes nothing"
                    );
                }
            }
            told
        }
        Call::Jobs(filter, limit) => job_pages(store, filter, *limit).await,
        Call::Deliveries(filter, limit) => {
            let all = deliveries(store, filter, *limit).await;
            format!("{:#?}", all.into_iter().map(without_id).collect::<Vec<_>>())
        }
        Call::Stats(filter) => stats(store, filter).await,
        Call::Timeline(filter, step) => timeline(store, filter, *step).await,
        // How many jobs have the same number as the last is the store's own.
        Call::RollUp(limit) => store.roll_up(*limit).await.map(|_| String::new()).unwrap(),
    }
}

/// Totals in all, by account and by reason.
async fn stats(store: &dyn Store, filter: &JobFilter) -> String {
    let stats = store.stats(filter).await.unwrap();
    let reasons = store.reasons(filter).await.unwrap();
    let accounts = store.accounts(filter).await.unwrap();
    let rejected: i64 = reasons.iter().map(|reason| reason.jobs).sum();
    assert_eq!(rejected, stats.by_outcome.rejected, "{reasons:?}");
    let of_accounts = accounts.iter().map(|account| &account.stats);
    assert_eq!(sum(of_accounts), stats, "{accounts:?}");
    format!("{stats:?} {reasons:?} {accounts:?}")
}

/// A timeline of that step, which adds up to the totals.
async fn timeline(store: &dyn Store, filter: &JobFilter, step: i64) -> String {
    let from = filter.from.unwrap_or(at(0));
    let to = filter.to.filter(|to| *to > from);
    let to = to.unwrap_or(at(from.milliseconds() + 5 * step));
    let mut edges = vec![from];
    edges.extend(
        (1..)
            .map(|count| at(from.milliseconds() + count * step))
            .take_while(|edge| *edge < to),
    );
    edges.push(to);
    let filter = JobFilter {
        from: None,
        to: None,
        ..filter.clone()
    };
    let timeline = store.timeline(&filter, &edges).await.unwrap();
    let range = JobFilter {
        from: Some(from),
        to: Some(to),
        ..filter
    };
    assert_eq!(
        sum(&timeline),
        store.stats(&range).await.unwrap(),
        "{edges:?}"
    );
    format!("{timeline:?}")
}

fn sum<'s>(parts: impl IntoIterator<Item = &'s Stats>) -> Stats {
    let mut sum = Stats::default();
    for part in parts {
        sum += *part;
    }
    sum
}

/// Every job is the sum of its deliveries, and every job result stands in one.
async fn adds_up(store: &dyn Store) {
    let page = Page {
        after: None,
        limit: 500,
    };
    let mut listed = 0;
    for job in store.jobs(&JobFilter::default(), &page).await.unwrap() {
        let contents = store.job_deliveries(&job.account, job.result.msg_id).await;
        let contents = contents.unwrap();
        listed += contents.len();
        let times: i64 = contents.iter().map(|content| content.times).sum();
        let first = contents.iter().map(|content| content.received_at).min();
        let last = contents
            .iter()
            .map(|content| content.last_received_at)
            .max();
        assert_eq!(job.deliveries, times, "{job:#?}");
        assert_eq!(job.revision, i64::try_from(contents.len()).unwrap());
        assert_eq!(Some(job.first_received_at), first, "{job:#?}");
        assert_eq!(Some(job.last_received_at), last, "{job:#?}");
    }
    let stored = DeliveryFilter {
        state: Some(DeliveryState::Stored),
        ..DeliveryFilter::default()
    };
    assert_eq!(listed, deliveries(store, &stored, 500).await.len());
}

async fn agree(calls: &[Call]) {
    let databases = [
        Backend::Sqlite.database().await,
        Backend::Postgres.database().await,
    ];
    let [sqlite, postgres]: [Arc<dyn Store>; 2] =
        [databases[0].store().await, databases[1].store().await];
    let everything = [
        Call::Jobs(JobFilter::default(), 500),
        Call::Deliveries(DeliveryFilter::default(), 500),
        Call::Stats(JobFilter::default()),
        Call::Timeline(JobFilter::default(), HALF_AN_HOUR * 1000),
        Call::RollUp(100),
        Call::Stats(JobFilter::default()),
        Call::Timeline(JobFilter::default(), HALF_AN_HOUR * 1000),
    ];
    for call in calls.iter().chain(&everything) {
        assert_eq!(
            answer(&*sqlite, call).await,
            answer(&*postgres, call).await,
            "SQLite, then PostgreSQL, to {call:?}"
        );
    }
    adds_up(&*sqlite).await;
    adds_up(&*postgres).await;
    sqlite.close().await;
    postgres.close().await;
}

#[test]
fn both_stores_give_the_same_answers_to_the_same_calls() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config {
        cases: 40,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&vec(call(), 1..40), |calls| {
            runtime.block_on(agree(&calls));
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}
