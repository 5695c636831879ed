//! Pushes results of new jobs over many connections, to measure the rate and the latency of a
//! receiver.

mod answer;
mod connection;
mod histogram;
mod message;
mod plan;
mod report;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::{Position, Url};

use self::message::Template;
use self::plan::Plan;
use self::report::Tally;
use super::Sender;
use crate::domain::MsgId;

pub use connection::Trouble;
pub use histogram::Histogram;
pub use report::Report;

#[derive(Clone, Debug)]
pub struct Load {
    /// Keep-alive connections, each with one push at a time.
    pub connections: u16,
    /// For how long to start pushes.
    pub duration: Duration,
    /// Total pushes per second, on a schedule that does not wait for answers; `None` means as fast
    /// as answers arrive.
    pub rate: Option<u32>,
    /// The percentage of pushes that repeat an earlier event: the same body with a new timestamp,
    /// nonce and signature.
    pub repeats: u8,
    /// The id of the first event, from which the others count up.
    pub first_msg_id: MsgId,
    /// The addressee of the events; `None` for a made-up one.
    pub original_id: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// With TLS, its cost would be measured as well.
    #[error("load needs an `http:` URL")]
    NotHttp,
    #[error("the host of the URL has no address")]
    NoAddress(#[source] io::Error),
    #[error("the system gave no random bytes")]
    Random(#[from] getrandom::Error),
}

/// What the workers share.
struct Shared {
    load: Load,
    sender: Sender,
    template: Template,
    addresses: Vec<SocketAddr>,
    /// The `Host` header.
    host: String,
    path: String,
    started: Instant,
    /// Scheduled pushes that a worker has taken.
    taken: AtomicU64,
    /// The next nonce. They count up from a random number: at thousands of pushes a second,
    /// WeChat's, of 32 random bits, would meet.
    nonce: AtomicU64,
    stop: CancellationToken,
    state: Mutex<State>,
}

struct State {
    plan: Plan,
    tally: Tally,
}

impl Load {
    /// Pushes to `url` until the time is over or `stop` is done; pushes under way are waited for, 5
    /// s at most.
    ///
    /// # Errors
    /// [`LoadError`] when it could not begin. Whatever happens later is in the report.
    pub async fn run(
        self,
        url: &Url,
        sender: Sender,
        stop: impl Future<Output = ()>,
    ) -> Result<Report, LoadError> {
        if url.scheme() != "http" {
            return Err(LoadError::NotHttp);
        }
        let shared = Arc::new(Shared {
            sender,
            template: Template::new(self.original_id.as_deref()),
            addresses: addresses(url.clone()).await?,
            host: url[Position::BeforeHost..Position::AfterPort].to_owned(),
            path: url.path().to_owned(),
            started: Instant::now(),
            taken: AtomicU64::new(0),
            nonce: AtomicU64::new(getrandom::u64()?),
            stop: CancellationToken::new(),
            state: Mutex::new(State {
                plan: Plan::new(self.first_msg_id, self.repeats),
                tally: Tally::default(),
            }),
            load: self,
        });
        let mut workers = JoinSet::new();
        for _ in 0..shared.load.connections {
            workers.spawn(worker::run(Arc::clone(&shared)));
        }
        let mut pushed_for = shared.load.duration;
        tokio::select! {
            () = finished(&mut workers) => {}
            () = stop => {
                pushed_for = pushed_for.min(shared.started.elapsed());
                shared.stop.cancel();
                finished(&mut workers).await;
            }
        }
        let took = shared.started.elapsed();
        let due = shared.due(pushed_for);
        let shared = Arc::into_inner(shared).expect("the workers are gone");
        let State { plan, tally } = shared
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(Report::new(tally, plan, due, took))
    }
}

impl Shared {
    /// The number of scheduled pushes in a run of this length.
    fn due(&self, pushed_for: Duration) -> u64 {
        let nanoseconds = pushed_for.as_nanos() * u128::from(self.load.rate.unwrap_or(0));
        u64::try_from(nanoseconds.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
    }
}

async fn finished(workers: &mut JoinSet<()>) {
    while let Some(ended) = workers.join_next().await {
        ended.expect("a worker does not panic");
    }
}

async fn addresses(url: Url) -> Result<Vec<SocketAddr>, LoadError> {
    let looked_up = tokio::task::spawn_blocking(move || url.socket_addrs(|| None)).await;
    looked_up
        .expect("the look-up does not panic")
        .map_err(LoadError::NoAddress)
}
