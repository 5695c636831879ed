//! Four replicas on one PostgreSQL: whichever of them receives a push, every job is right and
//! counted once, and all four give the same responses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Client;
use reqwest::header::{ETAG, IF_NONE_MATCH};
use rustix::process::Signal;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::faults::{ANY_FAULT, Load, rounds};
use crate::support::sse::EventStream;
use crate::support::{Backend, PLAIN, SAFE, Server, Setup, eventually};

/// Jobs whose copies and revisions reach all replicas at the same moment.
const COLLIDING: usize = 20;

/// Routes whose response must not depend on the replica. All jobs finish in the first minute of
/// 1970.
const SAME_EVERYWHERE: [&str; 7] = [
    "stats",
    "stats?account=safe",
    "stats/timeline?from=1970-01-01T00:00:00Z&to=1970-01-01T03:00:00Z&bucket=hour&tz=UTC",
    "stats/accounts",
    "stats/reasons",
    "accounts",
    "jobs?limit=500&account=plain",
];

/// Fields of a job for which the stream sends an event when they change, by account and id.
type Jobs = BTreeMap<(String, String), [Value; 3]>;

fn insert(jobs: &mut Jobs, job: &Value) {
    let text = |name: &str| job[name].as_str().unwrap().to_owned();
    let fields = ["revision", "error_count", "finished_at"];
    jobs.insert(
        (text("account"), text("msg_id")),
        fields.map(|name| job[name].clone()),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_replicas_count_every_job_once_and_agree() {
    let first = Server::start(Backend::Postgres).await;
    let others = [(); 3].map(|()| Setup::default().start_on(first.database.shared()));
    let mut replicas = vec![first];
    replicas.extend(others);
    let (_, beginning) = EventStream::follow(&replicas[0], "", None).await;
    let mut followers = Followers::default();
    for number in 0..replicas.len() {
        followers.follow(&replicas, number, None).await;
    }

    let load = Load::on(&replicas[0], &[PLAIN, SAFE]);
    load.aim(&replicas.iter().collect::<Vec<_>>());
    load.collide(COLLIDING).await;
    // The rest of the load then also changes jobs that are in `hour_totals`.
    load.aim(&[]);
    eventually("jobs are rolled up", async || {
        let hours = replicas[0].database.rows("select from hour_totals").await;
        hours.unwrap() > 0
    })
    .await;
    load.aim(&replicas.iter().collect::<Vec<_>>());
    for _ in 0..rounds(1) {
        load.collide(COLLIDING).await;
        replicas[1].kill();
        load.aim(&[&replicas[0], &replicas[2], &replicas[3]]);
        load.goes_on().await;
        load.collide(COLLIDING).await;
        replicas[2].signal(Signal::TERM);
        let ended = replicas[2].wait().await;
        load.aim(&[&replicas[0], &replicas[3]]);
        assert_eq!(ended.code(), Some(0), "{}", replicas[2].log());
        load.goes_on().await;
        replicas[1].restart();
        replicas[2].restart();
        load.aim(&replicas.iter().collect::<Vec<_>>());
        load.goes_on().await;
    }
    load.collide(COLLIDING).await;
    let all: Vec<&Server> = replicas.iter().collect();
    let fault = "four replicas, one killed, one restarted";
    load.settle(fault, ANY_FAULT, &all).await;

    let jobs = listed("jobs", &all).await;
    assert_eq!(jobs, listed("jobs", &all[..1]).await);
    assert_eq!(
        listed("deliveries", &all).await,
        listed("deliveries", &all[2..3]).await
    );
    assert_totals(&jobs, &all).await;
    followers.follow(&replicas, 1, Some(beginning)).await;
    followers.have_seen(&jobs).await;
    assert_are_rolled_up_once(&replicas[0]).await;
    assert_totals(&jobs, &all).await;
}

/// All items of a list, each page from the next replica, with the cursor of the one before.
async fn listed(list: &str, replicas: &[&Server]) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    let mut turns = replicas.iter().cycle();
    loop {
        let path = format!("/api/v1/{list}?limit=97{cursor}");
        let mut page = turns.next().unwrap().ok(&path).await;
        items.append(page["items"].as_array_mut().unwrap());
        let Some(next) = page["next_cursor"].as_str() else {
            return items;
        };
        cursor = format!("&cursor={next}");
    }
}

/// The totals are the sums of the jobs, and all replicas give the same responses with the same
/// `ETag`.
async fn assert_totals(jobs: &[Value], replicas: &[&Server]) {
    let stats = replicas[0].ok("/api/v1/stats").await;
    assert_eq!(stats["jobs"], jobs.len());
    for name in ["total_count", "filter_count", "sent_count", "error_count"] {
        let counts = jobs.iter().map(|job| job[name].as_i64().unwrap());
        assert_eq!(stats[name], counts.sum::<i64>(), "{name}");
    }
    for path in SAME_EVERYWHERE.map(|path| format!("/api/v1/{path}")) {
        let answer = replicas[0].get(&path).await;
        let etag = answer.headers()[ETAG].clone();
        let text = answer.text().await.unwrap();
        for replica in &replicas[1..] {
            assert_eq!(replica.get(&path).await.text().await.unwrap(), text);
            let request = replica.client.get(replica.url(&path));
            let answer = request.header(IF_NONE_MATCH, &etag).send().await;
            assert_eq!(answer.unwrap().status(), 304, "{path}");
        }
    }
}

/// Every replica rolls up new jobs, but each job is in `hour_totals` once.
async fn assert_are_rolled_up_once(replica: &Server) {
    let rows = async |sql| replica.database.rows(sql).await.unwrap();
    eventually("all jobs are rolled up", async || {
        rows("select from jobs where change > (select change from rolled_up)").await == 0
    })
    .await;
    let differences = "select sum(jobs), sum(sent), sum(total_count), sum(filter_count), sum(sent_count), sum(error_count) \
         from hour_totals except \
         select count(*), count(*) filter (where outcome = 'sent'), sum(total_count), sum(filter_count), sum(sent_count), \
         sum(error_count) from jobs";
    assert_eq!(rows(differences).await, 0);
}

/// Clients of the stream, each with the latest state of the jobs that it received.
#[derive(Default)]
struct Followers {
    seen: Vec<Arc<Mutex<Jobs>>>,
    tasks: JoinSet<()>,
}

impl Followers {
    /// Follows a replica; if the stream breaks off, it is resumed on the next one.
    async fn follow(&mut self, replicas: &[Server], number: usize, after: Option<String>) {
        let (mut stream, mut last_id) =
            EventStream::follow(&replicas[number], "", after.as_deref()).await;
        let urls = replicas.iter().map(|replica| replica.url("/api/v1/stream"));
        let urls: Vec<_> = urls.collect();
        let client = replicas[number].client.clone();
        let seen = Arc::<Mutex<Jobs>>::default();
        self.seen.push(Arc::clone(&seen));
        self.tasks.spawn(async move {
            let mut next = urls.iter().cycle().skip(number + 1);
            loop {
                while let Some(block) = stream.block_unless_ended().await {
                    if block.event == "job" {
                        let job = serde_json::from_str(&block.data).unwrap();
                        insert(&mut seen.lock().unwrap(), &job);
                    }
                    last_id = block.id;
                }
                stream = resumed(&client, &mut next, &last_id).await;
            }
        });
    }

    /// Waits until each of them has the current state of all these jobs.
    async fn have_seen(&mut self, jobs: &[Value]) {
        let mut expected = Jobs::new();
        for job in jobs {
            insert(&mut expected, job);
        }
        for (number, seen) in self.seen.iter().enumerate() {
            let what = format!("follower {number} has seen every change");
            eventually(&what, async || *seen.lock().unwrap() == expected).await;
        }
        assert!(self.tasks.try_join_next().is_none(), "all of them go on");
    }
}

/// Resumes the stream after that id, at the first URL that works.
async fn resumed<'a>(
    client: &Client,
    urls: &mut impl Iterator<Item = &'a String>,
    last_id: &str,
) -> EventStream {
    loop {
        let url = urls.next().unwrap();
        match EventStream::open(client, url, Some(last_id)).await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
