//! Every acknowledged push counts once, whatever happens to the spool and its ids: a cloned or
//! restored data directory, repeated random numbers, and an upgrade from the previous version.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use sha2::{Digest, Sha256};
use sqlx::migrate::Migrator;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};

use crate::support::workplace::ended;
use crate::support::{
    Backend, Database, Event, PLAIN, Proxy, SAFE, Server, Setup, Way, eventually,
};

async fn server_behind_a_proxy() -> (Server, Proxy) {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    (Setup::default().start_on(database), proxy)
}

async fn stop(server: &mut Server) {
    server.signal(Signal::TERM);
    assert_eq!(server.wait().await.code(), Some(0), "{}", server.log());
}

async fn is_drained(server: &Server) {
    eventually("the spool is empty", async || {
        server.json("/readyz").await.1["status"] == "ready"
    })
    .await;
}

fn data(server: &Server) -> PathBuf {
    server.database.directory().join("data")
}

/// Copies the files in `from` to `to`.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

async fn pushes(server: &Server, ids: std::ops::RangeInclusive<i64>) {
    for msg_id in ids {
        server.accepts(&SAFE, Event::new(msg_id, 10).xml()).await;
    }
}

/// Exactly these jobs exist, each with one copy.
async fn jobs_are(server: &Server, count: i64) {
    let mut jobs = server.items("/api/v1/jobs?limit=500&account=safe").await;
    jobs.sort_by_key(|job| job["msg_id"].as_str().unwrap().parse::<i64>().unwrap());
    let found: Vec<_> = jobs
        .iter()
        .map(|job| (job["msg_id"].as_str().unwrap(), job["deliveries"].as_i64()))
        .collect();
    let expected: Vec<_> = (1..=count).map(|id| id.to_string()).collect();
    let expected: Vec<_> = expected.iter().map(|id| (&**id, Some(1))).collect();
    assert_eq!(found, expected, "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_with_clones_of_one_data_directory_lose_nothing() {
    let (mut one, proxy) = server_behind_a_proxy().await;
    stop(&mut one).await;
    let shared = one.database.shared();
    copy_directory(&data(&one), &shared.directory().join("data"));
    let two = Setup::default().start_on(shared);
    one.restart();
    proxy.set(Way::Refused);
    pushes(&one, 1..=5).await;
    pushes(&two, 6..=8).await;
    proxy.set(Way::Open);
    is_drained(&one).await;
    is_drained(&two).await;
    jobs_are(&one, 8).await;
}

/// Both have the same batch with the same id, as it was sent before the copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_two_clones_of_a_spool_have_counts_once() {
    let (mut one, proxy) = server_behind_a_proxy().await;
    proxy.set(Way::Refused);
    pushes(&one, 1..=1).await;
    stop(&mut one).await;
    let shared = one.database.shared();
    copy_directory(&data(&one), &shared.directory().join("data"));
    let two = Setup::default().start_on(shared);
    one.restart();
    proxy.set(Way::Open);
    is_drained(&one).await;
    is_drained(&two).await;
    jobs_are(&one, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_that_is_put_back_loses_nothing() {
    let (mut server, proxy) = server_behind_a_proxy().await;
    stop(&mut server).await;
    let snapshot = server.database.directory().join("snapshot");
    copy_directory(&data(&server), &snapshot);
    server.restart();
    proxy.set(Way::Refused);
    pushes(&server, 1..=3).await;
    proxy.set(Way::Open);
    is_drained(&server).await;

    stop(&mut server).await;
    copy_directory(&snapshot, &data(&server));
    server.restart();
    proxy.set(Way::Refused);
    pushes(&server, 4..=6).await;
    proxy.set(Way::Open);
    is_drained(&server).await;
    jobs_are(&server, 6).await;
}

/// As if a virtual machine were restored with its random state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_come_twice_are_told_and_lose_nothing() {
    let (server, proxy) = server_behind_a_proxy().await;
    pushes(&server, 1..=1).await;
    // The next four random ids exist already.
    server
        .database
        .execute(
            "create sequence drawn; \
             create function is_drawn_again() returns trigger language plpgsql as $$ begin \
                 if pg_trigger_depth() = 1 and nextval('drawn') <= 4 then \
                     insert into batches (id) values (new.id); \
                 end if; \
                 return new; \
             end $$; \
             create trigger draw before insert on batches for each row execute function is_drawn_again()",
        )
        .await;
    // Two in the committer and two in the drainer.
    pushes(&server, 2..=3).await;
    proxy.set(Way::Refused);
    // This one is in doubt and keeps its id.
    pushes(&server, 4..=4).await;
    pushes(&server, 5..=6).await;
    proxy.set(Way::Open);
    is_drained(&server).await;
    pushes(&server, 7..=9).await;
    jobs_are(&server, 9).await;
    let told = "the database has a batch under an id that was just drawn";
    assert!(server.log().contains(told), "{}", server.log());
}

/// Migrates like the previous version.
async fn migrator(kind: &str, last: u32, directory: &Path) -> Migrator {
    let files = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("migrations")
        .join(kind);
    let old = directory.join(format!("old-{kind}"));
    fs::create_dir(&old).unwrap();
    for entry in fs::read_dir(files).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name[..4].parse::<u32>().unwrap() <= last {
            fs::copy(entry.path(), old.join(name)).unwrap();
        }
    }
    Migrator::new(old.as_path()).await.unwrap()
}

/// Job 1 is in the database, recorded by batch 5 of writer 0xaa….
const OLD_DATABASE: &str = "insert into jobs (account, msg_id, outcome, articles, finished_at, first_received_at, \
         last_received_at, updated_at, deliveries, revision, shown_id, shown_event, shown_body, shown_sha256, \
         shown_received_at, shown_last_received_at, shown_times) \
     values ('safe', 1, 'sent', '[]', now(), now(), now(), now(), 1, 1, nextval('delivery_ids'), 'MASSSENDJOBFINISH', '', \
         '', now(), now(), 1); \
     insert into writers (id, last_batch, wrote_at) values \
         ('\\xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 5, now()), ('\\xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 300, now())";

async fn put_in_old_spool(
    spool: &mut sqlx::SqliteConnection,
    ticket: Option<(&[u8], i64)>,
    msg_id: i64,
    refusal: Option<&str>,
) {
    let body = Event::new(msg_id, 10).xml().into_bytes();
    let put = "insert into spooled (writer, number, account, body, body_sha256, received_at, refusal) \
         values ($1, $2, 'safe', $3, $4, 1767225700000, $5)";
    sqlx::query(put)
        .bind(ticket.map(|(writer, _)| writer))
        .bind(ticket.map(|(_, number)| number))
        .bind(&body[..])
        .bind(Sha256::digest(&body).to_vec())
        .bind(refusal)
        .execute(spool)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_and_a_spool_of_the_version_before_are_taken_over() {
    let database = Backend::Postgres.database().await;
    let directory = database.directory();
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let old = migrator("postgres", 4, &directory).await;
    old.run(&mut connection).await.unwrap();
    connection.execute(OLD_DATABASE).await.unwrap();

    fs::create_dir(directory.join("data")).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(directory.join("data/spool.db"))
        .create_if_missing(true);
    let mut spool = options.connect().await.unwrap();
    let old = migrator("spool", 1, &directory).await;
    old.run(&mut spool).await.unwrap();
    let (recorded, unrecorded) = ([0xaa; 16], [0xcc; 16]);
    put_in_old_spool(&mut spool, Some((&recorded, 5)), 1, None).await;
    // The previous batch of its writer was not recorded; neither was any of this writer.
    put_in_old_spool(&mut spool, Some((&unrecorded, 1)), 2, None).await;
    put_in_old_spool(&mut spool, Some((&unrecorded, 1)), 3, None).await;
    put_in_old_spool(&mut spool, None, 4, None).await;
    put_in_old_spool(&mut spool, Some((&[0xbb; 16], 301)), 5, Some("no")).await;
    put_in_old_spool(&mut spool, None, 6, Some("no")).await;
    spool.close().await.unwrap();

    let server = Setup::default().start_on(database);
    eventually("the spool is moved", async || {
        server.json("/readyz").await.1["spool"]["waiting"] == 0
    })
    .await;
    jobs_are(&server, 4).await;
    let mut retry = server.command();
    retry.args(["spool", "--retry"]);
    let retried = ended(retry).with_code(0);
    assert!(retried.talk.starts_with("2 deliveries"), "{retried:?}");
    eventually("what was refused is recorded", async || {
        server.ok("/api/v1/stats?account=safe").await["jobs"] == 6
    })
    .await;
    jobs_are(&server, 6).await;
    let writers = "select from pg_tables where tablename = 'writers'";
    assert_eq!(server.database.rows(writers).await.unwrap(), 0);
}

#[tokio::test]
async fn a_sqlite_database_of_the_version_before_is_taken_over() {
    let database: Database = Backend::Sqlite.database().await;
    let path = database.url.strip_prefix("sqlite://").unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    let old = migrator("sqlite", 4, &database.directory()).await;
    old.run(&mut connection).await.unwrap();
    let writer = "insert into writers (id, last_batch, wrote_at) values (randomblob(16), 5, 0)";
    connection.execute(writer).await.unwrap();
    connection.close().await.unwrap();
    let server = Setup::default().start_on(database);
    server.accepts(&PLAIN, Event::new(1, 10).xml()).await;
    assert_eq!(server.job(&PLAIN, "1").await["deliveries"], 1);
}
