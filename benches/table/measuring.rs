//! The run: every load in turn, round by round, and the other figures that the targets need.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::postgres::{Counters, Postgres};
use super::process::{self, Memory, Server};
use super::pushing::{Account, Load, push_one};
use super::qunfa_server::serve;
use super::rows::{Figures, Key, Pace, PostgresFigures, Rows, Subject, percentile};
use super::{Plan, opening};

/// Numbers of connections; `pgbench` runs with the first and the last.
pub(crate) const CONNECTIONS: [u16; 3] = [1, 16, 64];
const DATABASE: &str = "bench";

/// All results.
pub(crate) struct Measured {
    pub(crate) rows: Rows,
    /// In the order of `Subject::STORES`.
    pub(crate) memory: Vec<StoreMemory>,
    /// Milliseconds from exec to the first acknowledged event, sorted.
    pub(crate) starts_new: Vec<f64>,
    /// The same on an existing database.
    pub(crate) starts_again: Vec<f64>,
    /// Microseconds, in the order of `Account::ALL`.
    pub(crate) open: [f64; 2],
}

/// Memory in MiB of a server that has gone through the loads of a round; the maximum of all rounds.
#[derive(Clone, Copy)]
pub(crate) struct StoreMemory {
    pub(crate) store: Subject,
    pub(crate) at_start: f64,
    pub(crate) peak: f64,
    pub(crate) after: f64,
}

pub(crate) struct Bench<'a> {
    plan: Plan,
    postgres: &'a Postgres,
    directory: &'a Path,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(plan: Plan, postgres: &'a Postgres, directory: &'a Path) -> Self {
        Self {
            plan,
            postgres,
            directory,
        }
    }

    pub(crate) fn run(&self) -> anyhow::Result<Measured> {
        let mut rows = Rows::default();
        let mut memory = Vec::new();
        for round in 1..=self.plan.rounds {
            say(&format!("round {round} of {}", self.plan.rounds));
            self.ceiling(&mut rows)?;
            self.pgbench(&mut rows)?;
            for store in Subject::STORES {
                memory.push(self.store(store, &mut rows)?);
            }
        }
        for round in 1..=self.plan.rounds {
            say(&format!(
                "half of the peak rates, round {round} of {}",
                self.plan.rounds
            ));
            for store in Subject::STORES {
                self.half_of_peak(store, &mut rows)?;
            }
        }
        say("starts");
        let (starts_new, starts_again) = self.starts()?;
        say("opening");
        let [plain, safe] = Account::ALL.map(opening::microseconds);
        Ok(Measured {
            memory: most(&memory),
            rows,
            starts_new,
            starts_again,
            open: [plain?, safe?],
        })
    }

    fn ceiling(&self, rows: &mut Rows) -> anyhow::Result<()> {
        let program = std::env::current_exe()?;
        let server = Server::start(
            Command::new(program)
                .arg("ceiling")
                .stderr(Stdio::inherit()),
        )?;
        for account in Account::ALL {
            for connections in CONNECTIONS {
                let key = Key::at_peak(Subject::Ceiling, Some(account), connections);
                rows.add(key, self.push(&server, key, None)?);
            }
        }
        Ok(())
    }

    fn pgbench(&self, rows: &mut Rows) -> anyhow::Result<()> {
        self.postgres.new_database(DATABASE)?;
        for clients in [CONNECTIONS[0], CONNECTIONS[2]] {
            let before = self.postgres.counters()?;
            let load_cpu = process::cpu_of_ended_children()?;
            let report =
                self.postgres
                    .pgbench(DATABASE, clients, self.plan.seconds, self.directory)?;
            let load_cpu = process::cpu_of_ended_children()? - load_cpu;
            let written = self.postgres.counters()? - before;
            let events = report.transactions;
            let seconds = events / report.rate;
            let figures = Figures {
                rate: report.rate,
                p50: percentile(&report.latencies, 50),
                p90: percentile(&report.latencies, 90),
                p99: percentile(&report.latencies, 99),
                max: None,
                failed: report.failed,
                server_cpu: None,
                load_cpu: load_cpu / events,
                postgres: Some(per_event(written, events, seconds)),
            };
            rows.add(Key::at_peak(Subject::Pgbench, None, clients), figures);
        }
        Ok(())
    }

    /// All loads on one server with a new database.
    fn store(&self, store: Subject, rows: &mut Rows) -> anyhow::Result<StoreMemory> {
        let server = self.serve(store)?;
        push_one(server.address)?;
        let start = Memory::of(server.id())?;
        for account in Account::ALL {
            for connections in CONNECTIONS {
                let key = Key::at_peak(store, Some(account), connections);
                rows.add(key, self.push(&server, key, None)?);
            }
        }
        let end = Memory::of(server.id())?;
        Ok(StoreMemory {
            store,
            at_start: start.now,
            peak: end.peak,
            after: end.now,
        })
    }

    fn half_of_peak(&self, store: Subject, rows: &mut Rows) -> anyhow::Result<()> {
        for account in Account::ALL {
            let connections = CONNECTIONS[2];
            let peak = CONNECTIONS
                .iter()
                .filter_map(|connections| {
                    let key = Key::at_peak(store, Some(account), *connections);
                    Some(rows.median(key)?.rate)
                })
                .fold(0.0, f64::max);
            let server = self.serve(store)?;
            let key = Key {
                pace: Pace::Half,
                ..Key::at_peak(store, Some(account), connections)
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rate is positive and far below 2^32"
            )]
            let rate = (peak / 2.0).max(1.0) as u32;
            rows.add(key, self.push(&server, key, Some(rate))?);
        }
        Ok(())
    }

    /// Starts qunfa on a new database.
    fn serve(&self, store: Subject) -> anyhow::Result<Server> {
        let directory = self.directory.join("data");
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        self.postgres.new_database(DATABASE)?;
        let url = (store == Subject::Postgres).then(|| self.postgres.url(DATABASE));
        serve(&directory, url.as_deref())
    }

    fn push(&self, server: &Server, key: Key, rate: Option<u32>) -> anyhow::Result<Figures> {
        let load = Load {
            account: key.account.unwrap_or(Account::Plain),
            connections: key.connections,
            rate,
            seconds: self.plan.seconds,
        };
        let postgres = (key.subject == Subject::Postgres).then_some(self.postgres);
        let counters = || postgres.map(Postgres::counters).transpose();
        let before = counters()?;
        let server_cpu = process::cpu(server.id())?;
        let load_cpu = process::cpu_of_ended_children()?;
        let report = load.run(server.address)?;
        let load_cpu = process::cpu_of_ended_children()? - load_cpu;
        let server_cpu = process::cpu(server.id())? - server_cpu;
        let written = counters()?
            .zip(before)
            .map(|(after, before)| after - before);
        let events = report.acknowledged.max(1.0);
        Ok(Figures {
            rate: report.rate,
            p50: report.p50,
            p90: report.p90,
            p99: report.p99,
            max: Some(report.max),
            failed: report.failed,
            server_cpu: Some(server_cpu / events),
            load_cpu: load_cpu / events,
            postgres: written.map(|written| per_event(written, events, report.seconds)),
        })
    }

    /// Milliseconds from exec to the first acknowledged event on SQLite: with a new database, and
    /// with the same again.
    fn starts(&self) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
        let directory = self.directory.join("start");
        let start = || {
            let started = Instant::now();
            let server = serve(&directory, None)?;
            push_one(server.address)?;
            anyhow::Ok(started.elapsed().as_secs_f64() * 1000.0)
        };
        let (mut new, mut again) = (Vec::new(), Vec::new());
        for _ in 0..self.plan.starts {
            new.push(start()?);
            again.push(start()?);
            fs::remove_dir_all(&directory)?;
        }
        new.sort_by(f64::total_cmp);
        again.sort_by(f64::total_cmp);
        Ok((new, again))
    }
}

fn per_event(written: Counters, events: f64, seconds: f64) -> PostgresFigures {
    PostgresFigures {
        cpu: written.cpu / events,
        commits: written.commits / seconds,
        events_per_commit: events / written.commits.max(1.0),
        wal: written.wal / events,
    }
}

/// For each store, the maximum of all rounds.
fn most(rounds: &[StoreMemory]) -> Vec<StoreMemory> {
    let stores = Subject::STORES.into_iter();
    stores
        .filter_map(|store| {
            let rounds = rounds.iter().filter(|memory| memory.store == store);
            rounds.copied().reduce(|one, other| StoreMemory {
                store,
                at_start: one.at_start.max(other.at_start),
                peak: one.peak.max(other.peak),
                after: one.after.max(other.after),
            })
        })
        .collect()
}

fn say(text: &str) {
    eprintln!("scripts/bench: {text}");
}
