//! The stream and the totals when PostgreSQL crashes, is restored, or a standby takes over:
//! transaction ids are reused.

use qunfa::domain::Accounts;
use qunfa::store::{ChangeKey, JobFilter, Store};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, Executor, PgConnection, Row};

use crate::support::cluster::Cluster;
use crate::support::events::{arrival, record};
use crate::support::sse::EventStream;
use crate::support::{Database, Event, PLAIN, Server, Setup, eventually};

/// A database with a role that only has the rights of its owner.
async fn ordinary_database(cluster: &Cluster) -> Database {
    let mut database = cluster.database().await;
    database
        .execute(
            "do $$ begin \
                 if not exists (select from pg_roles where rolname = 'app') then create role app login; end if; \
                 execute format('alter database %I owner to app', current_database()); \
                 execute 'alter schema public owner to app'; \
             end $$",
        )
        .await;
    database.url = database.url.replace("postgres@", "app@");
    database
}

async fn push_all(server: &Server, msg_ids: impl IntoIterator<Item = i64>) {
    for msg_id in msg_ids {
        server.accepts(&PLAIN, Event::new(msg_id, 10).xml()).await;
    }
}

/// A follower that reconnects with the last id, like a browser.
struct Follower<'s> {
    server: &'s Server,
    stream: EventStream,
    last_id: String,
}

impl<'s> Follower<'s> {
    async fn new(server: &'s Server, after: Option<&str>) -> Self {
        let (stream, last_id) = EventStream::follow(server, "", after).await;
        Self {
            server,
            stream,
            last_id,
        }
    }

    /// The next jobs, up to a given one.
    async fn msg_ids_up_to(&mut self, last: i64) -> Vec<i64> {
        let mut msg_ids = Vec::new();
        while msg_ids.last() != Some(&last) {
            if let Some(block) = self.stream.block_unless_ended().await {
                if block.event == "job" {
                    msg_ids.push(block.msg_id());
                }
                self.last_id = block.id;
            } else {
                eventually("there are streams again", async || {
                    self.server.get("/api/v1/stream").await.status() == 200
                })
                .await;
                *self = Self::new(self.server, Some(&self.last_id)).await;
            }
        }
        msg_ids
    }
}

/// Uses up transaction ids without writing, so that a crash forgets them.
async fn use_up_transaction_ids(database: &Database) {
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    for _ in 0..300 {
        connection
            .execute("select pg_current_xact_id()")
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_to_a_standby_that_was_behind_followers_see_every_new_result() {
    let mut primary = Cluster::start().await;
    let database = ordinary_database(&primary).await;
    let server = Setup::default().start_on(database.shared());
    let mut follower = Follower::new(&server, None).await;
    let hello = follower.last_id.clone();
    push_all(&server, 1..=3).await;
    assert_eq!(follower.msg_ids_up_to(3).await, [1, 2, 3]);
    let mut standby = primary.lagging_standby();
    use_up_transaction_ids(&database).await;
    push_all(&server, 4..=6).await;
    assert_eq!(follower.msg_ids_up_to(6).await, [4, 5, 6]);
    let last = follower.last_id.clone();

    primary.kill();
    standby.restart().await;
    standby.promote();
    push_all(&server, 7..=12).await;
    let new: Vec<_> = (7..=12).collect();
    let kept: Vec<_> = (1..=3).chain(7..=12).collect();
    assert_eq!(follower.msg_ids_up_to(12).await, new);
    for (id, expected) in [(last, new), (hello, kept)] {
        let mut resumed = Follower::new(&server, Some(&id)).await;
        assert_eq!(resumed.msg_ids_up_to(12).await, expected);
    }
    assert_eq!(server.ok("/api/v1/stats").await["jobs"], 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_of_postgresql_followers_see_every_new_result() {
    let mut cluster = Cluster::start().await;
    let database = ordinary_database(&cluster).await;
    let server = Setup::default().start_on(database.shared());
    push_all(&server, [1]).await;
    let mut last = 1;
    for crash in ["kill -9 of the server", "kill -9 of a session"] {
        use_up_transaction_ids(&database).await;
        let mut follower = Follower::new(&server, None).await;
        push_all(&server, [last + 1]).await;
        assert_eq!(follower.msg_ids_up_to(last + 1).await, [last + 1]);
        // The last id is ahead of what the server will remember.
        use_up_transaction_ids(&database).await;
        let mut late = Follower::new(&server, None).await;
        let ids = [follower.last_id.clone(), late.last_id.clone()];

        if crash == "kill -9 of the server" {
            cluster.kill();
            cluster.restart().await;
        } else {
            let mut session = PgConnection::connect(&database.url).await.unwrap();
            let pid = sqlx::query("select pg_backend_pid()")
                .fetch_one(&mut session)
                .await
                .unwrap();
            kill_process(Pid::from_raw(pid.get(0)).unwrap(), Signal::KILL).unwrap();
        }
        push_all(&server, last + 2..=last + 7).await;
        let new: Vec<_> = (last + 2..=last + 7).collect();
        last += 7;
        for follower in [&mut follower, &mut late] {
            assert_eq!(follower.msg_ids_up_to(last).await, new, "{crash}");
        }
        for id in &ids {
            let mut resumed = Follower::new(&server, Some(id)).await;
            assert_eq!(resumed.msg_ids_up_to(last).await, new, "{crash}");
        }
    }
}

async fn file(store: &dyn Store, msg_id: i64) {
    record(store, arrival("a", Event::new(msg_id, 10).xml(), 1000))
        .await
        .unwrap();
}

/// The jobs changed since then, and the last change.
async fn changes(store: &dyn Store, after: ChangeKey) -> (Vec<i64>, ChangeKey) {
    let changes = store.changes(&Accounts::All, after, 500).await.unwrap();
    let msg_ids = changes.iter().map(|change| change.job.result.msg_id.get());
    let last = changes.last().map_or(after, |change| change.key);
    (msg_ids.collect(), last)
}

async fn latest(store: &dyn Store) -> ChangeKey {
    store.latest_change().await.unwrap().settled
}

#[tokio::test]
async fn a_server_that_is_put_back_to_an_older_copy_gives_out_higher_numbers() {
    let mut cluster = Cluster::start().await;
    let database = ordinary_database(&cluster).await;
    let store = database.store().await;
    file(&*store, 1).await;
    store.close().await;
    cluster.stop().await;
    let mut older = cluster.copy();
    // Twice, because adding a constant would give the same numbers again.
    for _ in 0..2 {
        cluster.restart().await;
        let store = database.store().await;
        use_up_transaction_ids(&database).await;
        file(&*store, 2).await;
        store.close().await;
        cluster.stop().await;
    }
    cluster.restart().await;
    let given_out = latest(&*database.store().await).await;
    cluster.stop().await;
    older.restart().await;
    let store = database.store().await;
    file(&*store, 3).await;
    assert_eq!(changes(&*store, given_out).await.0, [3]);
    assert_eq!(changes(&*store, ChangeKey::FIRST).await.0, [1, 3]);
}

#[tokio::test]
async fn a_transaction_that_is_prepared_holds_back_the_stream_and_the_totals() {
    let mut cluster = Cluster::create();
    cluster.set("max_prepared_transactions", "2");
    cluster.restart().await;
    let database = ordinary_database(&cluster).await;
    let store = database.store().await;
    for msg_id in 1..=2 {
        file(&*store, msg_id).await;
    }
    let start = latest(&*store).await;
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    other
        .execute(
            "begin; update jobs set change = next_change() where msg_id = 1; prepare transaction 'one'; \
             begin; update jobs set change = next_change() where msg_id = 2; prepare transaction 'two'",
        )
        .await
        .unwrap();
    file(&*store, 3).await;
    assert_eq!(changes(&*store, start).await, (vec![], start));
    let held_back = latest(&*store).await;
    while store.roll_up(100).await.unwrap() {}
    other.execute("commit prepared 'one'").await.unwrap();
    let (jobs, middle) = changes(&*store, start).await;
    assert_eq!(jobs, [1]);
    assert_eq!(changes(&*store, held_back).await.0, [1]);

    // It survives a crash, with its old number.
    cluster.kill();
    cluster.restart().await;
    store.close().await;
    let store = database.store().await;
    file(&*store, 4).await;
    assert_eq!(changes(&*store, middle).await, (vec![], middle));
    while store.roll_up(100).await.unwrap() {}
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    other.execute("commit prepared 'two'").await.unwrap();
    assert_eq!(changes(&*store, middle).await.0, [2, 3, 4]);
    while store.roll_up(100).await.unwrap() {}
    assert_eq!(store.stats(&JobFilter::default()).await.unwrap().jobs, 4);
}
