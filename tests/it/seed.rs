//! `simulate seed` fills an empty database with made-up results, the same on both stores.

use qunfa::domain::Job;
use qunfa::store::{JobFilter, Page};

use crate::support::workplace::{Ended, Workplace};
use crate::support::{Backend, Database};

fn seed(database: &Database, arguments: &[&str]) -> Ended {
    let all = [
        &["simulate", "seed", "--end", "2026-01-01T00:00:00Z"],
        arguments,
    ];
    let variables = [("QUNFA_STORE__URL", database.url.as_str())];
    Workplace::new().run_with(&variables, &all.concat())
}

async fn jobs(database: &Database) -> Vec<Job> {
    let store = database.store().await;
    let page = Page {
        after: None,
        limit: 5000,
    };
    let jobs = store.jobs(&JobFilter::default(), &page).await.unwrap();
    store.close().await;
    jobs
}

#[tokio::test]
async fn the_same_seed_makes_the_same_jobs_in_both_stores() {
    let mut made = Vec::new();
    for (backend, seed_number) in [
        (Backend::Sqlite, "1"),
        (Backend::Postgres, "1"),
        (Backend::Sqlite, "2"),
    ] {
        let database = backend.database().await;
        let arguments = [
            "--jobs",
            "1700",
            "--accounts",
            "7",
            "--days",
            "3",
            "--seed",
            seed_number,
        ];
        let ended = seed(&database, &arguments).with_code(0);
        assert_eq!(ended.output, "jobs 1700\n");
        made.push(jobs(&database).await);

        let again = seed(&database, &arguments).with_code(1);
        assert!(again.talk.contains("not empty"), "{again:?}");
        assert_eq!(jobs(&database).await.len(), 1700);
    }
    assert_eq!(made[0].len(), 1700);
    assert!(made[0] == made[1], "both stores hold the same");
    assert!(made[0] != made[2], "another seed makes others");
    let times = made[0].iter().map(|job| job.result.finished_at.to_string());
    // Three days before the end, and a quarter of an hour.
    assert!(
        times
            .clone()
            .all(|time| *"2025-12-28T23:44" < *time && *time < *"2026-01-01"),
        "{times:?}"
    );
}
