//! The store's calls on a database with some jobs: SQLite in a temporary directory, and PostgreSQL
//! if `BENCH_POSTGRES_URL` names an empty database, in which the jobs stay.

use std::ops::RangeFrom;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use qunfa::domain::{MsgId, NewDelivery, Time};
use qunfa::simulator::with_msg_id;
use qunfa::store::{JobFilter, Migrations, Page, PostgresStore, SqliteStore, Store};
use qunfa::wechat;
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

/// An event with both result lists, of two articles each.
const FULL: &str = include_str!("../src/simulator/samples/full.xml");
const ACCOUNT: &str = "bench";
/// Jobs in the database before the first call is measured.
const JOBS: i64 = 10_000;
/// As many as may be waiting while 64 connections push.
const BATCH: u32 = 48;

fn sqlite(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("it starts");
    let directory = tempfile::tempdir().expect("there is a directory for temporary files");
    let path = directory.path().join("qunfa.db");
    let store = runtime.block_on(SqliteStore::open(&path, Migrations::Apply));
    calls(criterion, &runtime, "sqlite", &store.expect("it opens"));
}

fn postgres(criterion: &mut Criterion) {
    let Ok(url) = std::env::var("BENCH_POSTGRES_URL") else {
        eprintln!("PostgreSQL is not measured: set BENCH_POSTGRES_URL to an empty database");
        return;
    };
    let runtime = Runtime::new().expect("it starts");
    let store = runtime.block_on(PostgresStore::open(&url, Migrations::Apply));
    calls(criterion, &runtime, "postgres", &store.expect("it opens"));
}

fn calls(criterion: &mut Criterion, runtime: &Runtime, name: &str, store: &dyn Store) {
    let mut group = criterion.benchmark_group(name);
    let record = |batch: Vec<NewDelivery>| {
        runtime
            .block_on(store.record(&batch, None))
            .expect("it is filed")
    };
    let mut ids = 1..;
    while ids.start <= JOBS {
        record(deliveries(&mut ids, BATCH));
    }
    let account = ACCOUNT.parse().expect("it is a name");

    for size in [1, BATCH] {
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(format!("record {size}"), |bencher| {
            bencher.iter_batched(|| deliveries(&mut ids, size), record, BatchSize::SmallInput);
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("job", |bencher| {
        let msg_id = MsgId::new(JOBS / 2).expect("it is positive");
        bencher.iter(|| {
            let job = runtime.block_on(store.job(&account, msg_id));
            job.expect("it answers").expect("it is there")
        });
    });
    group.bench_function("list of 50 jobs", |bencher| {
        let filter = JobFilter {
            account: Some(account.clone()),
            ..JobFilter::default()
        };
        let page = Page {
            after: None,
            limit: 50,
        };
        bencher.iter(|| {
            runtime
                .block_on(store.jobs(&filter, &page))
                .expect("it answers")
        });
    });
    group.finish();
    runtime.block_on(store.close());
}

/// Results of new jobs.
fn deliveries(ids: &mut RangeFrom<i64>, number: u32) -> Vec<NewDelivery> {
    let delivery = |id| {
        let now = Time::now();
        let msg_id = MsgId::new(id).expect("it is positive");
        let body = with_msg_id(FULL, msg_id).expect("the sample has a MsgID");
        NewDelivery {
            account: ACCOUNT.parse().expect("it is a name"),
            body_sha256: Sha256::digest(&body).into(),
            received_at: now,
            recorded_at: now,
            reading: wechat::read(body.as_bytes()).reading,
            body: body.into_bytes(),
        }
    };
    ids.by_ref().take(number as usize).map(delivery).collect()
}

criterion_group!(benches, sqlite, postgres);
criterion_main!(benches);
