//! Faults of the server, of PostgreSQL and of the connection between them, under load: every
//! acknowledged push is counted once, and every response is valid and in time. `scripts/faults`
//! repeats them for longer.

use std::time::Duration;

use rustix::process::Signal;

use crate::batch_ids::copy_directory;
use crate::support::cluster::Cluster;
use crate::support::faults::{ANY_FAULT, Load, SILENT_DATABASE, random_moment, rounds};
use crate::support::{
    Backend, Cut, Database, End, Moment, PLAIN, Proxy, SAFE, Server, Setup, Way, eventually,
    on_both_stores,
};

/// The duration of a batch, roughly.
const A_BATCH: Duration = Duration::from_millis(40);

on_both_stores! {
    async fn kills_of_the_server_at_random_moments(backend: Backend) {
        let mut server = Server::start(backend).await;
        let load = Load::on(&server, &[PLAIN, SAFE]);
        for _ in 0..rounds(20) {
            load.goes_on().await;
            random_moment(A_BATCH).await;
            server.kill();
            load.aim(&[]);
            server.restart();
            load.aim(&[&server]);
        }
        let fault = format!("SIGKILL of the server, {backend:?}");
        load.settle(&fault, ANY_FAULT, &[&server]).await;
    }

    async fn stops_of_the_server(backend: Backend) {
        let mut server = Server::start(backend).await;
        let load = Load::on(&server, &[PLAIN, SAFE]);
        for round in 0..rounds(4) {
            load.goes_on().await;
            server.signal(if round % 2 == 0 { Signal::TERM } else { Signal::INT });
            let ended = server.wait().await;
            load.aim(&[]);
            assert_eq!(ended.code(), Some(0), "{}", server.log());
            server.restart();
            load.aim(&[&server]);
        }
        let fault = format!("SIGTERM and SIGINT, {backend:?}");
        load.settle(&fault, ANY_FAULT, &[&server]).await;
    }
}

/// A server that reaches its database through a proxy.
async fn behind_a_proxy(mut database: Database) -> (Server, Proxy) {
    let proxy = Proxy::before(&mut database).await;
    (Setup::default().start_on(database), proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_stops_of_postgresql() {
    let mut cluster = Cluster::start().await;
    let server = Setup::default().start_on(cluster.database().await);
    let load = Load::on(&server, &[PLAIN, SAFE]);
    for round in 0..rounds(4) {
        load.goes_on().await;
        random_moment(A_BATCH).await;
        if round % 4 == 3 {
            cluster.stop().await;
        } else {
            cluster.kill();
        }
        load.goes_on().await;
        cluster.restart().await;
    }
    let settled = load
        .settle("SIGKILL of PostgreSQL", ANY_FAULT, &[&server])
        .await;
    assert_eq!(settled.unanswered, 0);
}

async fn way_to_postgresql(fault: &str, way: Way, limit: Duration) {
    let (server, proxy) = behind_a_proxy(Backend::Postgres.database().await).await;
    let load = Load::on(&server, &[PLAIN, SAFE]);
    for _ in 0..rounds(3) {
        load.goes_on().await;
        random_moment(A_BATCH).await;
        proxy.set(way);
        load.goes_on().await;
        proxy.set(Way::Open);
    }
    let settled = load.settle(fault, limit, &[&server]).await;
    assert_eq!(settled.unanswered, 0);
    assert!(server.log().contains("deliveries go to the spool"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_refuses_connections() {
    way_to_postgresql("PostgreSQL refuses connections", Way::Refused, ANY_FAULT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_postgresql_are_reset() {
    way_to_postgresql("connections are reset", Way::Reset, ANY_FAULT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_in_a_black_hole() {
    let fault = "PostgreSQL in a black hole";
    way_to_postgresql(fault, Way::BlackHole, SILENT_DATABASE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_answers_ten_seconds_late() {
    let way = Way::Slow(Duration::from_secs(10));
    way_to_postgresql("PostgreSQL is 10 s late", way, ANY_FAULT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_break_in_the_middle_of_a_commit() {
    let (server, proxy) = behind_a_proxy(Backend::Postgres.database().await).await;
    let load = Load::on(&server, &[PLAIN, SAFE]);
    // A round has twelve kinds of cuts.
    for _ in 0..rounds(12).div_ceil(12) {
        for end in [End::Closed, End::Reset, End::Silent] {
            for moment in [Moment::Asking, Moment::Answering] {
                // A batch of one statement, and the end of a batch of several.
                for text in ["MASSSENDJOBFINISH", "COMMIT"] {
                    // A silently lost connection keeps its locks for 5 s.
                    let times = if end == End::Silent { 1 } else { 2 };
                    proxy.cut(times, Cut { text, moment, end });
                    let what = format!("{text} is cut");
                    eventually(&what, async || proxy.cuts_left() == 0).await;
                }
            }
        }
    }
    proxy.set(Way::Open);
    let fault = "cut in the middle of a commit";
    let settled = load.settle(fault, ANY_FAULT, &[&server]).await;
    assert_eq!(settled.unanswered, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_restarted_one_after_the_other() {
    let mut one = Server::start(Backend::Postgres).await;
    let mut two = Setup::default().start_on(one.database.shared());
    let load = Load::on(&one, &[PLAIN, SAFE]);
    load.aim(&[&one, &two]);
    for _ in 0..rounds(3) {
        for of_two in [false, true] {
            load.goes_on().await;
            let replica = if of_two { &mut two } else { &mut one };
            replica.signal(Signal::TERM);
            assert_eq!(replica.wait().await.code(), Some(0), "{}", replica.log());
            load.aim(&[if of_two { &one } else { &two }]);
            load.goes_on().await;
            if of_two { &mut two } else { &mut one }.restart();
            load.aim(&[&one, &two]);
        }
    }
    let fault = "rolling restart of two replicas";
    load.settle(fault, ANY_FAULT, &[&one, &two]).await;
}

/// Two servers on one database: in turn, one gets a clone of the other's data directory, and its
/// own from the start restored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_directories_are_cloned_and_put_back() {
    let (mut one, proxy) = behind_a_proxy(Backend::Postgres.database().await).await;
    let mut two = Setup::default().start_on(one.database.shared());
    let data = |server: &Server| server.database.directory().join("data");
    let snapshot = one.database.directory().join("snapshot");
    let load = Load::on(&one, &[PLAIN, SAFE]);
    for round in 0..rounds(2) {
        load.aim(&[]);
        for server in [&mut one, &mut two] {
            eventually("the spool is empty", async || {
                server.json("/readyz").await.1["status"] == "ready"
            })
            .await;
            server.signal(Signal::TERM);
            assert_eq!(server.wait().await.code(), Some(0), "{}", server.log());
        }
        if round == 0 {
            copy_directory(&data(&one), &snapshot);
        }
        if round % 2 == 0 {
            copy_directory(&data(&one), &data(&two));
        } else {
            copy_directory(&snapshot, &data(&one));
        }
        one.restart();
        two.restart();
        load.aim(&[&one, &two]);
        load.goes_on().await;
        proxy.set(Way::Refused);
        load.goes_on().await;
        proxy.set(Way::Open);
        load.goes_on().await;
    }
    let fault = "data directories are cloned and put back";
    load.settle(fault, ANY_FAULT, &[&one, &two]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_is_full() {
    let mut server = Setup::default()
        .file_limit_kib(600)
        .start(Backend::Sqlite)
        .await;
    let load = Load::on(&server, &[PLAIN, SAFE]);
    load.is_turned_away().await;
    server.kill();
    load.aim(&[]);
    server.file_limit_kib = None;
    server.restart();
    load.aim(&[&server]);
    load.goes_on().await;
    let settled = load
        .settle("disk full, Sqlite", ANY_FAULT, &[&server])
        .await;
    assert!(settled.unavailable > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_the_spool_is_full() {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    let mut server = Setup::default().file_limit_kib(600).start_on(database);
    let load = Load::on(&server, &[PLAIN, SAFE]);
    load.goes_on().await;
    proxy.set(Way::Refused);
    load.is_turned_away().await;
    // PostgreSQL is available again before there is disk space.
    proxy.set(Way::Open);
    load.goes_on().await;
    server.kill();
    load.aim(&[]);
    server.file_limit_kib = None;
    server.restart();
    let settled = load
        .settle("disk of the spool full", ANY_FAULT, &[&server])
        .await;
    assert!(settled.unavailable > 0);
}
