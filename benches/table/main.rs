//! The tables of `docs/PERFORMANCE.md`, which explains the figures. Run by `scripts/bench`.
//!
//! All subjects run on one machine in one run and in turns, because machines differ and vary: only
//! ratios are comparable. Each program is a separate process, so that the kernel counts its CPU
//! time.

mod asking;
mod ceiling;
mod machine;
mod measuring;
mod opening;
mod postgres;
mod process;
mod pushing;
mod qunfa_server;
mod rows;
mod size;
mod targets;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};

use self::measuring::Bench;
use self::postgres::Postgres;
use self::rows::Subject;
use self::size::Sizes;

const QUNFA: &str = env!("CARGO_BIN_EXE_qunfa");
const USAGE: &str = "please run it by `scripts/bench [--seconds N] [--quick] [--size N]`";

/// The duration of each load, and the number of rounds.
#[derive(Clone, Copy)]
struct Plan {
    seconds: u32,
    rounds: usize,
    starts: usize,
}

const FULL: Plan = Plan {
    seconds: 5,
    rounds: 3,
    starts: 20,
};
/// To check that it works; its figures mean little.
const QUICK: Plan = Plan {
    seconds: 1,
    rounds: 1,
    starts: 3,
};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq("ceiling").is_some() {
        return ceiling::run();
    }
    let mut plan = FULL;
    let mut seconds = None;
    let mut sizes = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => plan = QUICK,
            "--seconds" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                seconds = Some(
                    number
                        .filter(|seconds| (1..=600).contains(seconds))
                        .context("`--seconds` takes a number from 1 to 600")?,
                );
            }
            "--size" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                sizes = Some(
                    number
                        .filter(|jobs| (10..=100_000_000).contains(jobs))
                        .context("`--size` takes a number from 10 to 100000000")?,
                );
            }
            // Passed by cargo.
            "--bench" => {}
            _ => bail!("`{argument}` is no argument of it; {USAGE}"),
        }
    }
    plan.seconds = seconds.unwrap_or(plan.seconds);
    let variable = |name| std::env::var(name).context(USAGE);
    let postgres = Postgres {
        programs: PathBuf::from(variable("BENCH_POSTGRES_PROGRAMS")?),
        port: variable("BENCH_POSTGRES_PORT")?,
        postmaster: variable("BENCH_POSTMASTER")?.parse().context(USAGE)?,
    };
    let directory = tempfile::tempdir()?;
    let syncs = machine::syncs_per_second(directory.path(), Duration::from_secs(1))?;

    let mut out = io::stdout().lock();
    let (seconds, rounds) = (plan.seconds, plan.rounds);
    writeln!(out, "| machine | |\n|---|---|")?;
    writeln!(out, "| processor | {} |", machine::processor()?)?;
    writeln!(out, "| kernel | {} |", machine::kernel()?)?;
    writeln!(
        out,
        "| disk | {} fdatasync/s of 8 KiB |",
        rows::whole(syncs)
    )?;
    let (version, durability) = (postgres.version()?, postgres.durability()?);
    writeln!(out, "| PostgreSQL | {version}: {durability} |")?;
    writeln!(out, "| commit | {} |", machine::commit())?;
    writeln!(
        out,
        "| rounds | {rounds} in turns, {seconds} s for each row |\n"
    )?;
    let Some(jobs) = sizes else {
        let measured = Bench::new(plan, &postgres, directory.path()).run()?;
        return Ok(measured.write(&mut out)?);
    };
    let sizes = Sizes {
        plan,
        postgres: &postgres,
        directory: directory.path(),
    };
    sizes.run(Subject::Postgres, jobs, &mut out)?;
    sizes.run(Subject::Sqlite, jobs / 10, &mut out)
}
