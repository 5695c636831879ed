//! `qunfa simulate seed`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, anyhow};
use clap::{Args, value_parser};
use sha2::{Digest, Sha256};

use crate::app::{migrations, open_store};
use crate::cli::{Outcome, print};
use crate::config::Settings;
use crate::domain::{NewDelivery, Time};
use crate::simulator::{History, PastEvent};
use crate::store::{DeliveryFilter, JobFilter, Page, Store};
use crate::wechat;

const BATCH: u64 = 500;
/// Jobs added to `hour_totals` at once.
const ROLLED_UP: u32 = 50_000;
/// So that batches are generated while others are recorded.
const WORKERS: usize = 3;
const DAY: u64 = 24 * 3600;

#[derive(Debug, Args)]
pub(in crate::cli) struct SeedArgs {
    /// Number of jobs
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u64).range(1..=100_000_000))]
    jobs: u64,
    /// Number of accounts
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u64).range(1..=1_000_000))]
    accounts: u64,
    /// Number of days over which they are spread
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = value_parser!(u64).range(1..=7300))]
    days: u64,
    /// The end of these days: RFC 3339, or milliseconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", value_parser = Time::parse_rounding_down)]
    end: Option<Time>,
    /// Seed of the random numbers: the same seed and end give the same jobs
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Records a history in the order of time.
pub(in crate::cli) async fn seed(settings: &Settings, arguments: SeedArgs) -> Outcome {
    let config = settings.check()?;
    let url = &config.store.url;
    let store = open_store(url, migrations(&config))
        .await
        .with_context(|| format!("cannot open {url}"))?;
    let history = History {
        jobs: arguments.jobs,
        accounts: arguments.accounts,
        seconds: arguments.days * DAY,
        end: arguments.end.unwrap_or_else(Time::now),
        seed: arguments.seed,
    };
    let outcome = fill(&store, history).await;
    store.close().await;
    outcome?;
    Ok(print(format_args!("jobs {}\n", arguments.jobs))?)
}

async fn fill(store: &Arc<dyn Store>, history: History) -> anyhow::Result<()> {
    if !is_empty(&**store).await? {
        return Err(anyhow!(
            "the database is not empty; made-up results would be mixed with real ones"
        ));
    }
    let history = Arc::new(history);
    let next = Arc::new(AtomicU64::new(0));
    let workers = (0..WORKERS).map(|_| {
        let (store, history, next) = (store.clone(), history.clone(), next.clone());
        tokio::spawn(async move {
            loop {
                let start = next.fetch_add(BATCH, Ordering::Relaxed);
                let end = history.jobs.min(start + BATCH);
                if start >= end {
                    return anyhow::Ok(());
                }
                let batch: Vec<_> = (start..end)
                    .map(|number| delivery(history.event(number)))
                    .collect();
                store.record(&batch, None).await?;
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.context("a worker has failed")??;
    }
    while store.roll_up(ROLLED_UP).await? {}
    Ok(())
}

async fn is_empty(store: &dyn Store) -> anyhow::Result<bool> {
    let jobs = Page {
        after: None,
        limit: 1,
    };
    let deliveries = Page {
        after: None,
        limit: 1,
    };
    Ok(store.jobs(&JobFilter::default(), &jobs).await?.is_empty()
        && store
            .deliveries(&DeliveryFilter::default(), &deliveries)
            .await?
            .is_empty())
}

fn delivery(event: PastEvent) -> NewDelivery {
    let body = event.body.into_bytes();
    NewDelivery {
        account: event.account,
        body_sha256: Sha256::digest(&body).into(),
        received_at: event.received_at,
        recorded_at: event.received_at,
        reading: wechat::read(&body).reading,
        body,
    }
}
