//! The system clock jumps: timeouts do not follow it, and nothing is lost or shown wrongly.

use std::path::Path;

use serde_json::Value;

use crate::support::clock::Clock;
use crate::support::faults::{ANY_FAULT, Load, rounds};
use crate::support::{Backend, Event, Proxy, SAFE, Setup, Way, eventually, on_both_stores};

const HOUR: i64 = 3600;
const DECADE: i64 = 10 * 365 * 24 * HOUR;

/// Accounts in safe mode: in plain mode, a push with an old timestamp is refused.
const ACCOUNTS: [crate::support::Account; 1] = [SAFE];

fn year(time: &Value) -> i64 {
    time.as_str().unwrap()[..4].parse().unwrap()
}

on_both_stores! {
    async fn jumps_of_the_clock_under_load(backend: Backend) {
        let database = backend.database().await;
        let (setup, clock) = Clock::before(Setup::default(), &database.directory());
        let server = setup.start_on(database);
        let load = Load::on(&server, &ACCOUNTS);
        // A round has eight jumps.
        for _ in 0..rounds(8).div_ceil(8) {
            for seconds in [HOUR, -HOUR, 0, DECADE, -DECADE, 1, -1, 0] {
                clock.jump(seconds);
                load.goes_on().await;
            }
        }
        let fault = format!("jumps of the clock, {backend:?}");
        let settled = load.settle(&fault, ANY_FAULT, &[&server]).await;
        assert_eq!((settled.unanswered, settled.unavailable), (0, 0));
    }

    async fn what_came_while_the_clock_was_back_is_filed_as_ever(backend: Backend) {
        let database = backend.database().await;
        let (setup, clock) = Clock::before(Setup::default(), &database.directory());
        let server = setup.start_on(database);
        let push = async |create_time, sent| {
            let event = Event::new(7, create_time).counts([9, 9, sent, 0]);
            server.accepts(&SAFE, event.xml()).await;
            server.job(&SAFE, "7").await
        };
        clock.jump(DECADE);
        let first = push(10, 1).await;
        clock.jump(0);
        // A later result is shown although the clock has gone back; an earlier one is not.
        let second = push(20, 2).await;
        assert_eq!((&second["sent_count"], &second["revision"]), (&2.into(), &2.into()));
        assert_eq!(year(&first["first_received_at"]) - year(&second["first_received_at"]), 10);
        // Polling clients ask for changes after the last one that they saw.
        assert!(second["updated_at"].as_str() >= first["updated_at"].as_str());
        let third = push(15, 3).await;
        assert_eq!((&third["sent_count"], &third["revision"], &third["deliveries"]), (&2.into(), &3.into(), &3.into()));
        assert!(third["last_received_at"].as_str() >= third["first_received_at"].as_str());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_jumps_while_deliveries_are_in_the_spool() {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    let (setup, clock) = Clock::before(Setup::default(), &database.directory());
    let server = setup.start_on(database);
    let load = Load::on(&server, &ACCOUNTS);
    for seconds in [DECADE, -DECADE, 0] {
        load.goes_on().await;
        proxy.set(Way::Refused);
        load.goes_on().await;
        clock.jump(seconds);
        load.goes_on().await;
        proxy.set(Way::Open);
        // Delays between retries do not use the system clock either.
        eventually("the database is used again", async || {
            server
                .log()
                .lines()
                .rfind(|line| {
                    line.contains("database works again") || line.contains("go to the spool")
                })
                .is_some_and(|line| line.contains("works again"))
        })
        .await;
    }
    let fault = "jumps of the clock, with deliveries in the spool";
    load.settle(fault, ANY_FAULT, &[&server]).await;
}

/// The files that may use the system clock: for timestamps, signatures, and configured dates. All
/// waiting uses `Instant`, which is monotonic.
#[test]
fn only_what_is_stamped_or_signed_asks_the_clock() {
    let may = [
        "app/clock.rs",
        "app/tasks/prune.rs",
        "app/tasks/reprocess.rs",
        "cli/doctor/database.rs",
        "cli/doctor/server.rs",
        "cli/key.rs",
        "cli/prune.rs",
        "cli/simulate/load.rs",
        "cli/simulate/push.rs",
        "domain/time.rs",
        "ingest/drainer.rs",
        "simulator/load/worker.rs",
        "simulator/mod.rs",
        "telemetry/process.rs",
        "web/api/auth/mod.rs",
        "web/api/stats.rs",
        "web/api/stream.rs",
        "web/callback/mod.rs",
        "web/health.rs",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut asking = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            let code = source.split("#[cfg(test)]").next().unwrap();
            if code.contains("Time::now()") {
                let path = path.strip_prefix(&root).unwrap();
                asking.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    asking.sort();
    assert_eq!(asking, may);
}
