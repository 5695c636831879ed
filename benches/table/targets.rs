//! The performance targets of the project, and the measured values.

use std::io::{self, Write};

use super::measuring::Measured;
use super::pushing::Account;
use super::rows::{Figures, Key, Pace, Subject, fine, median, tenths, whole};

/// The rate of the best peer at 64 connections, on a machine with the ceiling `CEILING_THERE`.
/// Peers are not measured here.
const BEST_PEER: [f64; 2] = [2193.0, 2928.0];
const CEILING_THERE: f64 = 72_340.0;

/// A target: its text, the measured value, its ratio to the limit, and if it is reached.
struct Target {
    what: String,
    mode: &'static str,
    measured: String,
    ratio: String,
    holds: bool,
}

impl Measured {
    /// The table in Markdown.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        self.rows.write(out)?;
        writeln!(
            out,
            "\n| resident memory, MiB | after the start | peak under load | after the load |"
        )?;
        writeln!(out, "|---|---:|---:|---:|")?;
        for memory in &self.memory {
            let (start, peak, after) = (memory.at_start, memory.peak, memory.after);
            writeln!(
                out,
                "| {} | {start:.1} | {peak:.1} | {after:.1} |",
                memory.store.as_str()
            )?;
        }
        writeln!(
            out,
            "\n| start to the first acknowledged event, SQLite, ms | median | longest |\n|---|---:|---:|"
        )?;
        for (what, starts) in [
            ("new database", &self.starts_new),
            ("the same again", &self.starts_again),
        ] {
            let longest = starts.last().copied().unwrap_or(0.0);
            writeln!(out, "| {what} | {:.1} | {longest:.1} |", median(starts))?;
        }
        writeln!(
            out,
            "\n| target | mode | measured | ratio | |\n|---|---|---:|---:|---|"
        )?;
        for target in self.targets() {
            let Target {
                what,
                mode,
                measured,
                ratio,
                holds,
            } = target;
            let holds = if holds { "holds" } else { "does not hold" };
            writeln!(out, "| {what} | {mode} | {measured} | {ratio} | {holds} |")?;
        }
        writeln!(out, "\n{}", self.remark())
    }

    fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for account in Account::ALL {
            targets.extend(self.throughput(account));
        }
        for store in Subject::STORES {
            for account in Account::ALL {
                let key = Key {
                    pace: Pace::Half,
                    ..Key::at_peak(store, Some(account), 64)
                };
                let p99 = self
                    .figures(key)
                    .map_or(f64::INFINITY, |figures| figures.p99);
                targets.push(below(
                    format!(
                        "{}: p99 at half of the peak rate under 10 ms",
                        store.as_str()
                    ),
                    account.name(),
                    p99,
                    10.0,
                    " ms",
                ));
            }
        }
        for (account, limit) in [(Account::Plain, 6.0), (Account::Safe, 15.0)] {
            let measured = self.open[account as usize];
            targets.push(below(
                format!("open under {limit} µs"),
                account.name(),
                measured,
                limit,
                " µs",
            ));
        }
        for memory in &self.memory {
            let store = memory.store.as_str();
            targets.push(below(
                format!("{store}: under 48 MiB under load"),
                "both",
                memory.peak,
                48.0,
                " MiB",
            ));
            targets.push(below(
                format!("{store}: under 16 MiB at rest"),
                "–",
                memory.at_start,
                16.0,
                " MiB",
            ));
        }
        let start = median(&self.starts_new);
        targets.push(below(
            "start to the first acknowledged event, SQLite, under 100 ms".to_owned(),
            "plain",
            start,
            100.0,
            " ms",
        ));
        targets
    }

    fn throughput(&self, account: Account) -> Vec<Target> {
        let rate = |subject, account, connections| {
            self.figures(Key::at_peak(subject, account, connections))
                .map_or(0.0, |figures| figures.rate)
        };
        let ours = |store, connections| rate(store, Some(account), connections);
        let postgres = ours(Subject::Postgres, 64);
        let mut targets: Vec<_> = BEST_PEER
            .iter()
            .map(|peer| {
                let what = format!(
                    "PostgreSQL, 64 connections: 10 × the best peer's {} there",
                    whole(*peer)
                );
                at_least(what, account, postgres, *peer, 10.0)
            })
            .collect();
        let pgbench = |clients| rate(Subject::Pgbench, None, clients);
        let ceiling = rate(Subject::Ceiling, Some(account), 64);
        targets.push(at_least(
            "PostgreSQL, 64 connections: 1.5 × pgbench at 64 clients".to_owned(),
            account,
            postgres,
            pgbench(64),
            1.5,
        ));
        targets.push(at_least(
            "SQLite, 64 connections: a third of the ceiling".to_owned(),
            account,
            ours(Subject::Sqlite, 64),
            ceiling,
            1.0 / 3.0,
        ));
        targets.push(at_least(
            "PostgreSQL, 1 connection: 0.6 × pgbench at 1 client".to_owned(),
            account,
            ours(Subject::Postgres, 1),
            pgbench(1),
            0.6,
        ));
        targets
    }

    fn figures(&self, key: Key) -> Option<Figures> {
        self.rows.median(key)
    }

    fn remark(&self) -> String {
        let key = Key::at_peak(Subject::Ceiling, Some(Account::Plain), 64);
        let ceiling = self.figures(key).map_or(0.0, |figures| figures.rate);
        format!(
            "Peers were measured on another machine (\"there\"), where bare axum took {} events/s at 64 connections; here it took {}, {} of that. So the ratios to peers compare machines, too.",
            whole(CEILING_THERE),
            whole(ceiling),
            fine(ceiling / CEILING_THERE),
        )
    }
}

fn at_least(what: String, account: Account, measured: f64, other: f64, factor: f64) -> Target {
    let ratio = measured / other;
    Target {
        what,
        mode: account.name(),
        measured: format!("{}/s", whole(measured)),
        ratio: fine(ratio),
        holds: ratio >= factor,
    }
}

fn below(what: String, mode: &'static str, measured: f64, limit: f64, unit: &str) -> Target {
    Target {
        what,
        mode,
        measured: format!("{}{unit}", tenths(measured)),
        ratio: fine(measured / limit),
        holds: measured < limit,
    }
}
