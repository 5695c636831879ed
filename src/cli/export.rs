//! `qunfa export`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};

use super::{Failure, Outcome};
use crate::app::open_existing;
use crate::config::Settings;
use crate::domain::{AccountName, MsgId, Outcome as JobOutcome, Time};
use crate::output::{Export, Format};
use crate::store::JobFilter;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The new file, never overwritten; without it, standard output
    file: Option<PathBuf>,
    /// csv: a row for each job; ndjson: a line of JSON, as the API shows it
    #[arg(long, value_enum, default_value_t = FormatWord::Csv)]
    format: FormatWord,
    /// Begin CSV with a byte-order mark, without which Excel takes UTF-8 for something else
    #[arg(long)]
    bom: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatWord {
    Csv,
    Ndjson,
}

/// The filters of the list of jobs.
#[derive(Debug, Args)]
struct FilterArgs {
    /// Of this account, configured or not
    #[arg(long, value_name = "NAME")]
    account: Option<AccountName>,
    /// sent, failed, rejected or unknown
    #[arg(long, value_parser = outcome)]
    outcome: Option<JobOutcome>,
    /// Rejected with this code
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    code: Option<i32>,
    /// With this `CheckState`
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    check_state: Option<i64>,
    /// Finished at that time or later: RFC 3339, or milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = Time::parse_rounding_up)]
    from: Option<Time>,
    /// Finished before that time
    #[arg(long, value_name = "TIME", value_parser = Time::parse_rounding_up)]
    to: Option<Time>,
    /// Changed after that time
    #[arg(long, value_name = "TIME", value_parser = Time::parse_rounding_down)]
    updated_after: Option<Time>,
    /// With this id, in any account
    #[arg(long, value_name = "N")]
    msg_id: Option<MsgId>,
}

fn outcome(text: &str) -> Result<JobOutcome, &'static str> {
    text.parse()
        .map_err(|()| "allowed are sent, failed, rejected, unknown")
}

impl FilterArgs {
    fn filter(self) -> JobFilter {
        JobFilter {
            account: self.account,
            outcome: self.outcome,
            code: self.code,
            check_state: self.check_state,
            from: self.from,
            to: self.to,
            updated_after: self.updated_after,
            msg_id: self.msg_id,
            ..JobFilter::default()
        }
    }
}

/// Writes the jobs that match.
pub(super) async fn run(settings: &Settings, arguments: ExportArgs) -> Outcome {
    let format = match (arguments.format, arguments.bom) {
        (FormatWord::Csv, bom) => Format::Csv { bom },
        (FormatWord::Ndjson, false) => Format::Ndjson,
        (FormatWord::Ndjson, true) => {
            return Err(Failure::usage(anyhow!("`--bom` is for CSV alone")));
        }
    };
    let config = settings.check()?;
    let store = open_existing(&config).await?;
    let export = Export::new(store.clone(), arguments.filter.filter(), format);
    let outcome = match &arguments.file {
        Some(path) => into_file(export, path).await,
        None => write(export, &mut io::stdout().lock())
            .await
            .context("the export is not whole"),
    };
    store.close().await;
    Ok(outcome?)
}

/// For the user's eyes only. When it returns, the whole file is on disk; or else it is not there.
async fn into_file(export: Export, path: &Path) -> anyhow::Result<()> {
    let cannot = || format!("`{}` cannot be written", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                anyhow!("`{}` exists already; it was left as it is", path.display())
            }
            _ => anyhow::Error::new(error).context(cannot()),
        })?;
    let written = write(export, &mut file).await.and_then(|()| synced(&file));
    if written.is_err() {
        fs::remove_file(path).with_context(cannot)?;
    }
    written.with_context(cannot)
}

fn synced(file: &File) -> anyhow::Result<()> {
    Ok(file.sync_all()?)
}

async fn write(mut export: Export, output: &mut impl Write) -> anyhow::Result<()> {
    let mut output = BufWriter::new(output);
    while let Some(part) = export.next().await? {
        output.write_all(&part)?;
    }
    Ok(output.flush()?)
}
