//! The rows of the table: the results of each load in each round, and the representative round.

use std::io::{self, Write};

use super::pushing::Account;

/// A measured program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Ceiling,
    Pgbench,
    Postgres,
    Sqlite,
}

impl Subject {
    /// qunfa on each store.
    pub(crate) const STORES: [Self; 2] = [Self::Postgres, Self::Sqlite];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ceiling => "bare axum, `success` only",
            Self::Pgbench => "pgbench, single-row upsert",
            Self::Postgres => "qunfa, PostgreSQL",
            Self::Sqlite => "qunfa, SQLite",
        }
    }
}

/// The rate of events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as responses arrive.
    Full,
    /// At half of the highest rate.
    Half,
}

/// The parameters of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) subject: Subject,
    /// `None` for `pgbench`.
    pub(crate) account: Option<Account>,
    pub(crate) connections: u16,
    pub(crate) pace: Pace,
}

impl Key {
    pub(crate) const fn at_peak(
        subject: Subject,
        account: Option<Account>,
        connections: u16,
    ) -> Self {
        Self {
            subject,
            account,
            connections,
            pace: Pace::Full,
        }
    }
}

/// The results of one round. Latencies are in milliseconds, CPU time in microseconds per event.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    /// Acknowledged events a second.
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: Option<f64>,
    pub(crate) failed: f64,
    /// `None` if PostgreSQL is the only server.
    pub(crate) server_cpu: Option<f64>,
    pub(crate) load_cpu: f64,
    pub(crate) postgres: Option<PostgresFigures>,
}

/// Figures of PostgreSQL.
#[derive(Clone, Copy)]
pub(crate) struct PostgresFigures {
    /// CPU time of all its processes in microseconds per event.
    pub(crate) cpu: f64,
    /// Writing transactions a second.
    pub(crate) commits: f64,
    pub(crate) events_per_commit: f64,
    /// Bytes of the write-ahead log per event.
    pub(crate) wal: f64,
}

/// All rows in the order of the run.
#[derive(Default)]
pub(crate) struct Rows(Vec<(Key, Vec<Figures>)>);

impl Rows {
    pub(crate) fn add(&mut self, key: Key, figures: Figures) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, rounds)) => rounds.push(figures),
            None => self.0.push((key, vec![figures])),
        }
    }

    /// The representative round of a row: the median by rate or, if the rate is fixed, by p99.
    pub(crate) fn median(&self, key: Key) -> Option<Figures> {
        let (_, rounds) = self.0.iter().find(|(known, _)| *known == key)?;
        let mut rounds = rounds.clone();
        rounds.sort_by(|one, other| match key.pace {
            Pace::Full => one.rate.total_cmp(&other.rate),
            Pace::Half => one.p99.total_cmp(&other.p99),
        });
        rounds.get(rounds.len() / 2).copied()
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "| subject | mode | connections | events/s | lowest–highest | p50 ms | p90 | p99 | max | errors | server µs | load µs | PostgreSQL µs | commits/s | events a commit | WAL bytes |"
        )?;
        writeln!(out, "|---|---|{}", "---:|".repeat(14))?;
        for (key, rounds) in &self.0 {
            let Some(figures) = self.median(*key) else {
                continue;
            };
            let rates = rounds.iter().map(|figures| figures.rate);
            let lowest = rates.clone().fold(f64::INFINITY, f64::min);
            let highest = rates.fold(0.0, f64::max);
            let postgres =
                |figure: fn(PostgresFigures) -> String| figures.postgres.map_or_else(none, figure);
            let cells = [
                key.subject.as_str().to_owned(),
                key.account
                    .map_or_else(none, |account| account.name().to_owned()),
                match key.pace {
                    Pace::Full => key.connections.to_string(),
                    Pace::Half => format!("{}, half of the peak", key.connections),
                },
                whole(figures.rate),
                format!("{}–{}", whole(lowest), whole(highest)),
                fine(figures.p50),
                fine(figures.p90),
                fine(figures.p99),
                figures.max.map_or_else(none, fine),
                whole(figures.failed),
                figures.server_cpu.map_or_else(none, tenths),
                tenths(figures.load_cpu),
                postgres(|postgres| tenths(postgres.cpu)),
                postgres(|postgres| whole(postgres.commits)),
                postgres(|postgres| tenths(postgres.events_per_commit)),
                postgres(|postgres| whole(postgres.wal)),
            ];
            writeln!(out, "| {} |", cells.join(" | "))?;
        }
        Ok(())
    }
}

/// The median; zero if there are no values.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    percentile(sorted, 50)
}

/// A percentile; zero if there are no values.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

fn none() -> String {
    "–".to_owned()
}

pub(crate) fn fine(number: f64) -> String {
    format!("{number:.2}")
}

pub(crate) fn tenths(number: f64) -> String {
    format!("{number:.1}")
}

/// A rounded number with a space as thousands separator.
pub(crate) fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut spaced = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            spaced.push(' ');
        }
        spaced.push(digit);
    }
    spaced
}
