//! `qunfa simulate load`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use clap::Args;
use clap::value_parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::target::TargetArgs;
use crate::cli::{Failure, Outcome, print};
use crate::config::{ConfigError, Settings};
use crate::domain::MsgId;
use crate::simulator::{Load, LoadError, Report};

/// Open files other than connections.
const OTHER_FILES: u64 = 64;

#[derive(Debug, Args)]
pub(in crate::cli) struct LoadArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Keep-alive connections, each with one push at a time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// For how many seconds to start pushes
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Total pushes per second, on a schedule that does not wait for answers: latency counts from
    /// when a push was due [default: as fast as answers arrive]
    #[arg(long, value_name = "R", value_parser = value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// The percentage of pushes that repeat an earlier event, like WeChat's retries
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = value_parser!(u8).range(0..=100))]
    repeats: u8,
    /// The `MsgID` of the first event, from which the others count up [default: nanoseconds since
    /// 1970, so that runs do not overlap]
    #[arg(long, value_name = "N")]
    first_msg_id: Option<MsgId>,
    /// At the end, write the `MsgID` of each acknowledged event to this file, one per line
    #[arg(long, value_name = "FILE")]
    acknowledged: Option<PathBuf>,
}

/// Pushes until the time is up or SIGINT or SIGTERM arrives, then reports.
pub(in crate::cli) async fn load(
    settings: impl FnOnce() -> Result<Settings, ConfigError>,
    arguments: LoadArgs,
) -> Outcome {
    let target = arguments.target.resolve(settings).await?;
    let file = match &arguments.acknowledged {
        Some(path) => {
            let file = File::create(path)
                .with_context(|| format!("`--acknowledged`: cannot write `{}`", path.display()))
                .map_err(Failure::usage)?;
            Some(file)
        }
        None => None,
    };
    let load = Load {
        connections: arguments.connections,
        duration: Duration::from_secs(arguments.seconds.into()),
        rate: arguments.rate,
        repeats: arguments.repeats,
        first_msg_id: arguments.first_msg_id.unwrap_or_else(msg_id_of_now),
        original_id: Some(target.to_user_name),
    };
    allow_files(load.connections)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let report = load
        .run(&target.url, target.sender, stop)
        .await
        .map_err(|error| match error {
            LoadError::NotHttp => Failure::usage(error),
            LoadError::NoAddress(_) | LoadError::Random(_) => anyhow::Error::from(error).into(),
        })?;
    // The ids first: they cannot be reproduced.
    if let Some(file) = file {
        write_ids(file, &report).context("`--acknowledged`: cannot write")?;
    }
    print(&report)?;
    let unacknowledged = report.pushes - report.acknowledged;
    if unacknowledged > 0 {
        return Err(anyhow!(
            "{unacknowledged} of {} pushes were not answered with 200 and `success` or nothing; the server's log tells why",
            report.pushes
        )
        .into());
    }
    Ok(())
}

fn write_ids(file: File, report: &Report) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    for msg_id in report.acknowledged_ids() {
        writeln!(file, "{msg_id}")?;
    }
    file.into_inner()?.sync_all()
}

/// A run counts more slowly than the clock, so the ids of two runs do not overlap.
fn msg_id_of_now() -> MsgId {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let nanoseconds = i64::try_from(now.as_nanos()).unwrap_or_default();
    MsgId::new(nanoseconds.max(1)).expect("it is at least 1")
}

/// Raises the soft limit on open files, often 1024, to what the connections need.
fn allow_files(connections: u16) -> anyhow::Result<()> {
    let needed = u64::from(connections) + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(needed),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).with_context(|| {
        format!("{connections} connections need a limit on open files of {needed}")
    })
}
