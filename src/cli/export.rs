//! `qunfa export`.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};

use super::{Failure, Outcome, new_file, with_store};
use crate::config::Settings;
use crate::domain::{AccountName, MsgId, Outcome as JobOutcome, Time};
use crate::output::{Export, Format};
use crate::store::JobFilter;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The new file; an existing one is never overwritten [default: standard output]
    file: Option<PathBuf>,
    /// csv: a row for each job; ndjson: a line of JSON for each job, as in the API
    #[arg(long, value_enum, default_value_t = FormatWord::Csv)]
    format: FormatWord,
    /// Begin CSV with a byte-order mark, which Excel needs to recognize UTF-8
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

#[derive(Debug, Args)]
struct FilterArgs {
    /// Only this account, configured or not
    #[arg(long, value_name = "NAME")]
    account: Option<AccountName>,
    /// sent, failed, rejected or unknown
    #[arg(long, value_parser = outcome)]
    outcome: Option<JobOutcome>,
    /// Only jobs rejected with this code
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    code: Option<i32>,
    /// Only jobs with this `CheckState`
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    check_state: Option<i64>,
    /// Finished at this time or later: RFC 3339, or milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = Time::parse_rounding_up)]
    from: Option<Time>,
    /// Finished before this time
    #[arg(long, value_name = "TIME", value_parser = Time::parse_rounding_up)]
    to: Option<Time>,
    /// Changed after this time
    #[arg(long, value_name = "TIME", value_parser = Time::parse_rounding_down)]
    updated_after: Option<Time>,
    /// Only jobs with this id, in any account
    #[arg(long, value_name = "N")]
    msg_id: Option<MsgId>,
}

fn outcome(text: &str) -> Result<JobOutcome, &'static str> {
    text.parse()
        .map_err(|()| "must be `sent`, `failed`, `rejected` or `unknown`")
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

pub(super) async fn run(settings: &Settings, arguments: ExportArgs) -> Outcome {
    let format = match (arguments.format, arguments.bom) {
        (FormatWord::Csv, bom) => Format::Csv { bom },
        (FormatWord::Ndjson, false) => Format::Ndjson,
        (FormatWord::Ndjson, true) => {
            return Err(Failure::usage(anyhow!("`--bom` is only for CSV")));
        }
    };
    let config = settings.check()?;
    let ExportArgs { file, filter, .. } = arguments;
    let exported = with_store(&config, async |store| {
        let export = Export::new(store, filter.filter(), format);
        match file {
            Some(path) => into_file(export, &path).await,
            None => write(export, &mut io::stdout().lock())
                .await
                .context("the export is incomplete"),
        }
    });
    Ok(exported.await?)
}

/// Writes a private file. It is complete and on disk on return, or does not exist.
async fn into_file(export: Export, path: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write `{}`", path.display());
    let mut file = new_file(path)?;
    let written = match write(export, &mut file).await {
        Ok(()) => file.sync_all().map_err(anyhow::Error::from),
        failed => failed,
    };
    if written.is_err() {
        fs::remove_file(path).with_context(cannot)?;
    }
    written.with_context(cannot)
}

async fn write(mut export: Export, output: &mut impl Write) -> anyhow::Result<()> {
    let mut output = BufWriter::new(output);
    while let Some(part) = export.next().await? {
        output.write_all(&part)?;
    }
    Ok(output.flush()?)
}
