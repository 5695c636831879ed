//! The PostgreSQL server of the run: its figures, and `pgbench`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use super::process;
use super::pushing::FULL;

const UPSERT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/table/upsert.sql");
const UPSERT_TABLE: &str = include_str!("upsert_table.sql");

/// The server that `scripts/bench` has started; its superuser needs no password.
pub(crate) struct Postgres {
    /// The directory of its programs.
    pub(crate) programs: PathBuf,
    pub(crate) port: String,
    /// Its main process, the parent of all others.
    pub(crate) postmaster: u32,
}

/// Counters of a database, and the server's CPU time; two of them are subtracted.
#[derive(Clone, Copy)]
pub(crate) struct Counters {
    /// Transactions that wrote something.
    pub(crate) commits: f64,
    /// Bytes of the write-ahead log.
    pub(crate) wal: f64,
    /// CPU time in microseconds.
    pub(crate) cpu: f64,
}

/// The report of `pgbench`. Latencies, in milliseconds, are of every tenth transaction.
pub(crate) struct PgbenchReport {
    pub(crate) transactions: f64,
    pub(crate) failed: f64,
    pub(crate) rate: f64,
    pub(crate) latencies: Vec<f64>,
}

impl Postgres {
    /// Creates an empty database, replacing an earlier one of that name, and runs a checkpoint.
    pub(crate) fn new_database(&self, name: &str) -> anyhow::Result<()> {
        self.ask("postgres", &format!("drop database if exists {name}"))?;
        self.ask("postgres", &format!("create database {name}"))?;
        self.ask("postgres", "checkpoint")?;
        Ok(())
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    pub(crate) fn version(&self) -> anyhow::Result<String> {
        self.ask("postgres", "show server_version")
    }

    /// The settings that durability depends on.
    pub(crate) fn durability(&self) -> anyhow::Result<String> {
        let settings = ["fsync", "synchronous_commit", "full_page_writes"];
        let values = settings.iter().map(|name| {
            let value = self.ask("postgres", &format!("show {name}"))?;
            anyhow::Ok(format!("{name} {value}"))
        });
        Ok(values.collect::<Result<Vec<_>, _>>()?.join(", "))
    }

    pub(crate) fn counters(&self) -> anyhow::Result<Counters> {
        // Only writing transactions get an id, one after the other. pg_stat_database lags by up to
        // a second.
        let text = self.ask(
            "postgres",
            "select pg_snapshot_xmax(pg_current_snapshot()), pg_current_wal_insert_lsn() - '0/0'::pg_lsn",
        )?;
        let (commits, wal) = text.split_once('|').context("psql answered otherwise")?;
        Ok(Counters {
            commits: commits.parse()?,
            wal: wal.parse()?,
            cpu: process::cpu_of_family(self.postmaster)?,
        })
    }

    /// Runs the single-row upsert for some seconds, on a new table.
    pub(crate) fn pgbench(
        &self,
        database: &str,
        clients: u16,
        seconds: u32,
        directory: &Path,
    ) -> anyhow::Result<PgbenchReport> {
        self.ask(database, UPSERT_TABLE)?;
        self.ask("postgres", "checkpoint")?;
        let log = directory.join("pgbench");
        let output = self
            .client("pgbench", database)
            .args(["--no-vacuum", "--protocol=prepared", "--file", UPSERT])
            .args(["--client", &clients.to_string()])
            .args(["--jobs", if clients == 1 { "1" } else { "2" }])
            .args(["--time", &seconds.to_string()])
            .args(["--define", "number=0", "--define", &format!("body={FULL}")])
            .args(["--log", "--sampling-rate=0.1", "--log-prefix"])
            .arg(&log)
            .output()
            .context("cannot start pgbench")?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.success(),
            "pgbench failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(PgbenchReport {
            transactions: number(&text, "number of transactions actually processed: ")?,
            failed: number(&text, "number of failed transactions: ")?,
            rate: number(&text, "tps = ")?,
            latencies: latencies(directory)?,
        })
    }

    /// Runs one statement and returns what it prints.
    pub(crate) fn ask(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let output = self
            .client("psql", database)
            .args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet"])
            .args(["--set", "ON_ERROR_STOP=1", "--command", sql])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start psql")?;
        if !output.status.success() {
            bail!("psql failed; its message stands above");
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    fn client(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .args(["--host", "127.0.0.1", "--username", "postgres"])
            .args(["--port", &self.port])
            .env("PGDATABASE", database);
        command
    }
}

impl std::ops::Sub for Counters {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            commits: self.commits - before.commits,
            wal: self.wal - before.wal,
            cpu: self.cpu - before.cpu,
        }
    }
}

/// The number after a label.
fn number(text: &str, label: &str) -> anyhow::Result<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label));
    let word = rest.and_then(|rest| rest.split_ascii_whitespace().next());
    word.and_then(|word| word.parse().ok())
        .with_context(|| format!("pgbench printed no `{label}`"))
}

/// The third field of each line of the logs, in microseconds. Removes the logs.
fn latencies(directory: &Path) -> anyhow::Result<Vec<f64>> {
    let mut latencies = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if !name.is_some_and(|name| name.starts_with("pgbench.")) {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let fields = text.lines().filter_map(|line| line.split(' ').nth(2));
        latencies.extend(fields.filter_map(|field| Some(field.parse::<f64>().ok()? / 1000.0)));
        fs::remove_file(&path)?;
    }
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}
