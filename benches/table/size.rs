//! The run at size: the latency of every API query on a database of many jobs, at rest and while
//! new results arrive, and the rate of accepted results compared with an empty database.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;
use qunfa::domain::Time;
use qunfa::simulator::{History, PastEvent};

use super::Plan;
use super::asking::Client;
use super::postgres::Postgres;
use super::pushing::{Account, Load};
use super::qunfa_server::serve;
use super::rows::{Subject, fine, median, percentile, whole};

const ACCOUNTS: u64 = 2000;
const DAYS: u64 = 730;
const SEED: u64 = 1;
const DAY: u64 = 86_400_000;
/// New results a second during the queries.
const NEW_RESULTS: u32 = 500;
/// Repetitions of a query, unless the seconds of the plan are over before.
const MOST: usize = 500;
const FULL: &str = "bench_full";
const EMPTY: &str = "bench_empty";

/// A query: its name, and its path for a given event.
type Question = (&'static str, fn(&About) -> String);

/// The subject of a query.
struct About {
    event: PastEvent,
    /// The current time in milliseconds.
    now: u64,
}

impl About {
    fn month(&self) -> String {
        format!("from={}&to={}", self.now - 30 * DAY, self.now)
    }

    /// The day that ends with the event.
    fn day(&self) -> String {
        let end = self.event.finished_at.milliseconds();
        format!("from={}&to={end}", end - 86_400_000)
    }
}

const QUESTIONS: [Question; 37] = [
    ("list", |_| "jobs".to_owned()),
    ("list, `account`", |about| {
        format!("jobs?account={}", about.event.account)
    }),
    ("list, `outcome=sent`", |_| "jobs?outcome=sent".to_owned()),
    ("list, `outcome=failed`", |_| {
        "jobs?outcome=failed".to_owned()
    }),
    ("list, `outcome=rejected`", |_| {
        "jobs?outcome=rejected".to_owned()
    }),
    ("list, `outcome=unknown`", |_| {
        "jobs?outcome=unknown".to_owned()
    }),
    ("list, `code=10001`", |_| "jobs?code=10001".to_owned()),
    ("list, `code` that nobody has", |_| "jobs?code=7".to_owned()),
    ("list, `check_state=1`", |_| "jobs?check_state=1".to_owned()),
    ("list, `check_state=3`", |_| "jobs?check_state=3".to_owned()),
    ("list, `check_state` that nobody has", |_| {
        "jobs?check_state=9".to_owned()
    }),
    ("list, a day of `from`, `to`", |about| {
        format!("jobs?{}", about.day())
    }),
    ("list, `updated_after` a minute ago", |about| {
        format!("jobs?updated_after={}", about.now - 60_000)
    }),
    ("list, `updated_after` a day ago", |about| {
        format!("jobs?updated_after={}", about.now - DAY)
    }),
    ("list, `updated_after` that nothing was", |about| {
        format!("jobs?updated_after={}", about.now + DAY)
    }),
    ("list, `msg_id`", |about| {
        format!("jobs?msg_id={}", about.event.msg_id)
    }),
    ("list, `account`, `outcome=rejected`", |about| {
        format!("jobs?outcome=rejected&account={}", about.event.account)
    }),
    ("list, `account`, `outcome=unknown`", |about| {
        format!("jobs?outcome=unknown&account={}", about.event.account)
    }),
    ("list, `account`, `code=10001`", |about| {
        format!("jobs?code=10001&account={}", about.event.account)
    }),
    ("list, `account`, `check_state=3`", |about| {
        format!("jobs?check_state=3&account={}", about.event.account)
    }),
    ("list, `account`, a day", |about| {
        format!("jobs?account={}&{}", about.event.account, about.day())
    }),
    ("list, `outcome=rejected`, a day", |about| {
        format!("jobs?outcome=rejected&{}", about.day())
    }),
    ("list, `account`, `updated_after` a day ago", |about| {
        format!(
            "jobs?account={}&updated_after={}",
            about.event.account,
            about.now - DAY
        )
    }),
    ("one job", |about| {
        format!("jobs/{}/{}", about.event.account, about.event.msg_id)
    }),
    ("deliveries of a job", |about| {
        format!(
            "jobs/{}/{}/deliveries",
            about.event.account, about.event.msg_id
        )
    }),
    ("deliveries", |_| "deliveries".to_owned()),
    ("deliveries, `account`", |about| {
        format!("deliveries?account={}", about.event.account)
    }),
    ("deliveries, `state=unparsed`", |_| {
        "deliveries?state=unparsed".to_owned()
    }),
    ("totals, 30 days, an account", |about| {
        format!("stats?account={}&{}", about.event.account, about.month())
    }),
    ("totals, 30 days", |about| {
        format!("stats?{}", about.month())
    }),
    ("timeline, 30 days, an account", |about| {
        format!(
            "stats/timeline?account={}&{}",
            about.event.account,
            about.month()
        )
    }),
    ("timeline, 30 days", |about| {
        format!("stats/timeline?{}", about.month())
    }),
    ("timeline, 30 days by hour", |about| {
        format!("stats/timeline?bucket=hour&{}", about.month())
    }),
    ("totals, all time", |_| "stats".to_owned()),
    ("reasons, 30 days", |about| {
        format!("stats/reasons?{}", about.month())
    }),
    ("all accounts", |_| "accounts".to_owned()),
    ("accounts, 30 days", |about| {
        format!("stats/accounts?{}", about.month())
    }),
];

/// Paging through the whole list: the name of the query, and its page size.
const DEEP_PAGES: [(&str, u32); 2] = [("deep pages", 50), ("deep pages of 500", 500)];

/// Sorted milliseconds for each query, and for deep pages.
type Latencies = Vec<Vec<f64>>;

pub(crate) struct Sizes<'a> {
    pub(crate) plan: Plan,
    pub(crate) postgres: &'a Postgres,
    pub(crate) directory: &'a Path,
}

impl Sizes<'_> {
    /// Measures a store with that many jobs and prints the tables.
    pub(crate) fn run(
        &self,
        store: Subject,
        jobs: u64,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let history = History {
            jobs,
            accounts: ACCOUNTS,
            seconds: DAYS * DAY / 1000,
            end: Time::now(),
            seed: SEED,
        };
        say(&format!("{}, {jobs} jobs", store.as_str()));
        let (seeding, size) = self.fill(store, &history)?;
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..self.plan.rounds {
            for (name, rates) in [EMPTY, FULL].into_iter().zip(&mut rates) {
                rates.push(self.acceptance(store, name)?);
            }
        }
        rates
            .iter_mut()
            .for_each(|rates| rates.sort_by(f64::total_cmp));
        let server = serve(&self.directory.join(FULL), self.url(store, FULL).as_deref())?;
        say("questions at rest");
        let (at_rest, _) = self.ask(&history, server.address, None)?;
        say("questions while new results come");
        let load = Load {
            account: Account::Plain,
            connections: 16,
            rate: Some(NEW_RESULTS),
            seconds: self.plan.seconds,
        };
        let (under_load, late) = self.ask(&history, server.address, Some(load))?;

        let (empty, full) = (median(&rates[0]), median(&rates[1]));
        writeln!(
            out,
            "### {}, {} jobs\n",
            store.as_str(),
            whole(to_float(jobs))
        )?;
        writeln!(
            out,
            "Filed in {} s, {} GB. Accepted a second, 64 connections, plain mode: {} into the empty database, {} into \
             the full one ({}). New results that came while all 16 connections waited, or were refused: {}.\n",
            whole(seeding.as_secs_f64()),
            fine(size / 1e9),
            whole(empty),
            whole(full),
            fine(full / empty),
            whole(late)
        )?;
        writeln!(
            out,
            "| question | p50 ms | p99 | p50 with {NEW_RESULTS} new results/s | p99 |"
        )?;
        writeln!(out, "|---|---:|---:|---:|---:|")?;
        let names = QUESTIONS
            .iter()
            .map(|(name, _)| *name)
            .chain(DEEP_PAGES.map(|(name, _)| name));
        for (name, (rest, load)) in names.zip(at_rest.iter().zip(&under_load)) {
            let [p50, p99] = [50, 99].map(|percent| fine(percentile(rest, percent)));
            let [load50, load99] = [50, 99].map(|percent| fine(percentile(load, percent)));
            writeln!(out, "| {name} | {p50} | {p99} | {load50} | {load99} |")?;
        }
        writeln!(out).map_err(io::Error::into)
    }

    fn url(&self, store: Subject, name: &str) -> Option<String> {
        (store == Subject::Postgres).then(|| self.postgres.url(name))
    }

    /// Fills the database. Returns the duration and the size in bytes.
    fn fill(&self, store: Subject, history: &History) -> anyhow::Result<(Duration, f64)> {
        let directory = self.directory.join(FULL);
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        std::fs::create_dir_all(&directory)?;
        if store == Subject::Postgres {
            self.postgres.new_database(FULL)?;
        }
        let started = Instant::now();
        let status = Command::new(super::QUNFA)
            .args(["simulate", "seed", "--jobs", &history.jobs.to_string()])
            .args([
                "--accounts",
                &history.accounts.to_string(),
                "--days",
                &DAYS.to_string(),
            ])
            .args([
                "--end",
                &history.end.milliseconds().to_string(),
                "--seed",
                &history.seed.to_string(),
            ])
            .current_dir(&directory)
            .env_clear()
            .env("QUNFA_DATA_DIR", &directory)
            .envs(self.url(store, FULL).map(|url| ("QUNFA_STORE__URL", url)))
            .stdout(Stdio::null())
            .status()?;
        ensure!(
            status.success(),
            "`simulate seed` failed; its message stands above"
        );
        let took = started.elapsed();
        if store == Subject::Postgres {
            // Autovacuum would do this after a while.
            self.postgres.ask(FULL, "vacuum (analyze) jobs")?;
            self.postgres.ask("postgres", "checkpoint")?;
            let size = self
                .postgres
                .ask(FULL, "select pg_database_size(current_database())")?;
            return Ok((took, size.parse()?));
        }
        let size = std::fs::metadata(directory.join("qunfa.db"))?.len();
        Ok((took, to_float(size)))
    }

    /// Accepted results a second.
    fn acceptance(&self, store: Subject, name: &str) -> anyhow::Result<f64> {
        let directory = self.directory.join(name);
        if name == EMPTY {
            if directory.exists() {
                std::fs::remove_dir_all(&directory)?;
            }
            self.postgres.new_database(EMPTY)?;
        }
        let server = serve(&directory, self.url(store, name).as_deref())?;
        let load = Load {
            account: Account::Plain,
            connections: 64,
            rate: None,
            seconds: self.plan.seconds,
        };
        let report = load.run(server.address)?;
        ensure!(report.failed == 0.0, "results were not accepted");
        Ok(report.rate)
    }

    fn ask(
        &self,
        history: &History,
        address: std::net::SocketAddr,
        load: Option<Load>,
    ) -> anyhow::Result<(Latencies, f64)> {
        let (mut latencies, mut late) = (Vec::new(), 0.0);
        let most = Duration::from_secs(self.plan.seconds.into());
        let mut during =
            |question: &mut dyn FnMut(&mut Client, u64) -> anyhow::Result<Duration>| {
                let mut client = Client::new(address);
                std::thread::scope(|scope| {
                    let load = load.map(|load| scope.spawn(move || load.run(address)));
                    let started = Instant::now();
                    let mut times = Vec::new();
                    while started.elapsed() < most && (times.len() < MOST || load.is_some()) {
                        let number = number_of(times.len(), history.jobs);
                        times.push(question(&mut client, number)?.as_secs_f64() * 1000.0);
                    }
                    if let Some(load) = load {
                        late += load.join().expect("it does not panic")?.failed;
                    }
                    times.sort_by(f64::total_cmp);
                    latencies.push(times);
                    anyhow::Ok(())
                })
            };
        for (_, path) in QUESTIONS {
            during(&mut |client, number| {
                let about = About {
                    event: history.event(number),
                    now: u64::try_from(history.end.milliseconds())?,
                };
                Ok(client.get(&format!("/api/v1/{}", path(&about)))?.took)
            })?;
        }
        for (_, limit) in DEEP_PAGES {
            let mut cursor = None;
            during(&mut |client, _| {
                let page = match &cursor {
                    Some(cursor) => format!("/api/v1/jobs?limit={limit}&cursor={cursor}"),
                    None => format!("/api/v1/jobs?limit={limit}"),
                };
                let answer = client.get(&page)?;
                cursor = answer.next_cursor()?;
                Ok(answer.took)
            })?;
        }
        Ok((latencies, late))
    }
}

/// Events from the whole history, the same in each run.
fn number_of(request: usize, jobs: u64) -> u64 {
    let mixed = (request as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u64::try_from((u128::from(mixed) * u128::from(jobs)) >> 64).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "figures are rounded anyway")]
fn to_float(number: u64) -> f64 {
    number as f64
}

fn say(text: &str) {
    eprintln!("scripts/bench: {text}");
}
