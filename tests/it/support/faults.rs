//! A load that goes on through faults, and a ledger of its pushes that is checked afterwards.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;
use tokio::task::JoinSet;

use super::server::client;
use super::{Account, Event, Server, eventually, load};

const PUSHERS: usize = 8;
/// WeChat's timeout.
pub(crate) const ANY_FAULT: Duration = Duration::from_secs(5);
/// Our guarantee while the database does not respond.
pub(crate) const SILENT_DATABASE: Duration = Duration::from_secs(2);
/// How long `/readyz` caches a response.
const SHELF_LIFE: Duration = Duration::from_secs(1);

/// Rounds of a fault: `QUNFA_FAULT_ROUNDS`, which `scripts/faults` sets, or `few`.
pub(crate) fn rounds(few: usize) -> usize {
    match std::env::var("QUNFA_FAULT_ROUNDS") {
        Ok(rounds) => rounds.parse().unwrap(),
        Err(_) => few,
    }
}

/// Waits for a random time.
pub(crate) async fn random_moment(below: Duration) {
    tokio::time::sleep(below * (getrandom::u32().unwrap() >> 16) / (1 << 16)).await;
}

/// Eight tasks that push job results, some twice, some with several revisions, some of each other's
/// jobs.
pub(crate) struct Load {
    shared: Arc<Shared>,
    pushers: JoinSet<()>,
}

struct Shared {
    client: Client,
    accounts: Vec<Account>,
    /// Targets of the pushes, in turn.
    addresses: Mutex<Vec<SocketAddr>>,
    turn: AtomicUsize,
    next: AtomicI64,
    is_over: AtomicBool,
    ledger: Mutex<Ledger>,
}

/// Account, job and number of the content.
type Content = (&'static str, i64, i64);

#[derive(Clone, Debug, Default)]
struct Ledger {
    copies: BTreeMap<Content, Copies>,
    /// Pushes answered 503.
    unavailable: usize,
    /// Pushes without a response, because a server was stopping or killed.
    unanswered: usize,
    illegal: Vec<String>,
    longest: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Copies {
    acknowledged: i64,
    sent: i64,
}

/// The result of a load.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) acknowledged: i64,
    pub(crate) unavailable: usize,
    pub(crate) unanswered: usize,
}

fn event((_, msg_id, content): Content) -> Event {
    Event::new(msg_id, 10 + content).counts([100, 100, msg_id, content])
}

impl Load {
    /// Starts to push to these accounts of that server, in turn.
    pub(crate) fn on(server: &Server, accounts: &[Account]) -> Self {
        let shared = Arc::new(Shared {
            client: client(),
            accounts: accounts.to_vec(),
            addresses: Mutex::new(vec![server.address]),
            turn: AtomicUsize::new(0),
            next: AtomicI64::new(1),
            is_over: AtomicBool::new(false),
            ledger: Mutex::default(),
        });
        let pusher = || Arc::clone(&shared).push_on();
        Self {
            pushers: (0..PUSHERS).map(|_| pusher()).collect(),
            shared,
        }
    }

    /// Pushes to these servers from now on.
    pub(crate) fn aim(&self, servers: &[&Server]) {
        let addresses = servers.iter().map(|server| server.address);
        *self.shared.addresses.lock().unwrap() = addresses.collect();
    }

    /// Pushes copies and revisions of new jobs to the servers in turn, all those of a job at the
    /// same moment.
    pub(crate) async fn collide(&self, jobs: usize) {
        for _ in 0..jobs {
            let msg_id = self.shared.next.fetch_add(1, Relaxed);
            let pushes = [0, 1, 2, 0, 1, 2, 2, 0].map(|content| {
                let shared = Arc::clone(&self.shared);
                async move {
                    let account = shared.account_of(msg_id);
                    shared.push(account, (account.name, msg_id, content)).await;
                }
            });
            JoinSet::from_iter(pushes).join_all().await;
        }
    }

    /// Waits until more pushes have been acknowledged.
    pub(crate) async fn goes_on(&self) {
        let goal = self.shared.ledger().acknowledged() + 50;
        eventually("the load goes on", async || {
            self.shared.ledger().acknowledged() >= goal
        })
        .await;
    }

    /// Waits until more pushes have been answered 503.
    pub(crate) async fn is_turned_away(&self) {
        let goal = self.shared.ledger().unavailable + 20;
        eventually("the load is turned away", async || {
            self.shared.ledger().unavailable >= goal
        })
        .await;
    }

    /// Ends the load, waits until the spools of these servers are empty, and compares the data of
    /// the first server with the ledger: every acknowledged copy is counted once, and every
    /// response was valid and came within `limit`.
    pub(crate) async fn settle(
        mut self,
        fault: &str,
        limit: Duration,
        servers: &[&Server],
    ) -> Settled {
        self.shared.is_over.store(true, Relaxed);
        while let Some(ended) = self.pushers.join_next().await {
            ended.unwrap();
        }
        let ended = Instant::now();
        for server in servers {
            spool_is_empty(server, ended).await;
        }
        let ledger = self.shared.ledger().clone();
        let mut found = HashMap::new();
        for account in &self.shared.accounts {
            ledger.check(servers[0], account, &mut found).await;
        }
        let missing = |(content, copies): (&Content, &Copies)| {
            (copies.acknowledged - found.get(content).unwrap_or(&0)).max(0)
        };
        let lost: i64 = ledger.copies.iter().map(missing).sum();
        let settled = Settled {
            acknowledged: ledger.acknowledged(),
            unavailable: ledger.unavailable,
            unanswered: ledger.unanswered,
        };
        println!(
            "\nfault: {fault}: acknowledged {}, lost {lost}, answered 503 {}, unanswered {}, longest answer {} ms",
            settled.acknowledged,
            settled.unavailable,
            settled.unanswered,
            ledger.longest.as_millis()
        );
        assert_eq!(lost, 0, "{ledger:?}\n{found:?}");
        assert_eq!(ledger.illegal, [""; 0]);
        assert!(ledger.longest < limit, "{:?}", ledger.longest);
        settled
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    async fn push_on(self: Arc<Self>) {
        while !self.is_over.load(Relaxed) {
            let msg_id = self.next.fetch_add(1, Relaxed);
            let account = self.account_of(msg_id);
            let contents: &[(i64, i64)] = match msg_id % 6 {
                // A retry; a revision; revisions out of order; a job that another task may be
                // pushing.
                0 => &[(msg_id, 0), (msg_id, 0)],
                1 => &[(msg_id, 0), (msg_id, 1)],
                2 => &[(msg_id, 1), (msg_id, 0), (msg_id, 2), (msg_id, 1)],
                3 => &[(msg_id, 0), (msg_id - 6, 0)],
                _ => &[(msg_id, 0)],
            };
            for (id, content) in contents {
                if *id > 0 {
                    self.push(account, (account.name, *id, *content)).await;
                }
            }
        }
    }

    fn account_of(&self, msg_id: i64) -> &Account {
        &self.accounts[usize::try_from(msg_id).unwrap() % self.accounts.len()]
    }

    async fn push(&self, account: &Account, content: Content) {
        let Some(address) = self.address() else {
            return pause().await;
        };
        self.ledger().copies.entry(content).or_default().sent += 1;
        let push = account.sign(event(content).xml());
        let url = format!("http://{address}/wechat/{}?{}", account.name, push.query);
        let asked = Instant::now();
        let answer = async {
            let response = self.client.post(url).body(push.body).send().await?;
            let status = response.status().as_u16();
            Ok((status, response.text().await?))
        };
        let answer: reqwest::Result<(u16, String)> = answer.await;
        let took = asked.elapsed();
        match answer {
            Ok(answer) => self.ledger().note(content, &answer, took),
            Err(error) if error.is_timeout() => {
                let illegal = format!("nothing after {took:?}");
                self.ledger().illegal.push(illegal);
            }
            Err(_) => {
                self.ledger().unanswered += 1;
                pause().await;
            }
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        let addresses = self.addresses.lock().unwrap();
        let turn = self.turn.fetch_add(1, Relaxed);
        addresses.get(turn.checked_rem(addresses.len())?).copied()
    }
}

/// The delay before a retry.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

impl Ledger {
    fn note(&mut self, content: Content, answer: &(u16, String), took: Duration) {
        self.longest = self.longest.max(took);
        match (answer.0, &*answer.1) {
            (200, "success") => self.copies.entry(content).or_default().acknowledged += 1,
            (503, "unavailable") => self.unavailable += 1,
            _ => self.illegal.push(format!("{answer:?}")),
        }
    }

    fn acknowledged(&self) -> i64 {
        self.copies.values().map(|copies| copies.acknowledged).sum()
    }

    /// Adds the copies that the server has to `found`. All of them must have been sent, and each
    /// job must be the sum of its deliveries.
    async fn check(&self, server: &Server, account: &Account, found: &mut HashMap<Content, i64>) {
        let contents = self
            .copies
            .keys()
            .filter(|(name, ..)| *name == account.name);
        let by_body: HashMap<String, Content> = contents
            .map(|content| (event(*content).xml(), *content))
            .collect();
        let mut jobs: BTreeMap<i64, Job> = BTreeMap::new();
        for delivery in load::pages(server, "deliveries", account).await {
            let content = by_body[delivery["body"].as_str().unwrap()];
            let times = delivery["times"].as_i64().unwrap();
            let sent = self.copies[&content].sent;
            assert!(
                times <= sent,
                "of {content:?}, {sent} sent, {times} counted"
            );
            assert_eq!(found.insert(content, times), None, "{content:?} twice");
            jobs.entry(content.1).or_default().add(content.2, times);
        }
        let mut listed = HashSet::new();
        for job in load::pages(server, "jobs", account).await {
            let msg_id = job["msg_id"].as_str().unwrap().parse().unwrap();
            jobs[&msg_id].check(&job);
            listed.insert(msg_id);
        }
        assert_eq!(listed.len(), jobs.len());
    }
}

/// The sum of the deliveries of a job.
#[derive(Debug, Default)]
struct Job {
    deliveries: i64,
    revision: i64,
    shown: i64,
}

impl Job {
    fn add(&mut self, content: i64, times: i64) {
        self.deliveries += times;
        self.revision += 1;
        self.shown = self.shown.max(content);
    }

    fn check(&self, job: &Value) {
        assert_eq!(job["deliveries"], self.deliveries, "{self:?} {job}");
        assert_eq!(job["revision"], self.revision, "{self:?} {job}");
        assert_eq!(job["error_count"], self.shown, "{self:?} {job}");
        assert_eq!(
            job["sent_count"].to_string(),
            job["msg_id"].as_str().unwrap()
        );
    }
}

/// Waits until the spool is empty, as long as it shrinks.
async fn spool_is_empty(server: &Server, ended: Instant) {
    let mut least = i64::MAX;
    let mut is_empty = false;
    while !is_empty {
        eventually("the spool gets emptier", async || {
            let is_fresh = ended.elapsed() > SHELF_LIFE;
            let ready = server.json("/readyz").await.1;
            is_empty = is_fresh && ready["status"] == "ready";
            let waiting = ready["spool"]["waiting"].as_i64().unwrap_or_default();
            let is_emptier = (1..least).contains(&waiting);
            least = if is_emptier { waiting } else { least };
            is_empty || is_emptier
        })
        .await;
    }
}
