//! `qunfa copy`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::secret::secret;
use super::{Failure, Outcome};
use crate::app::open_store;
use crate::config::{Settings, StoreUrl};
use crate::domain::Outcome as JobOutcome;
use crate::store::{self, CopySums, Migrations, Store};

/// How many rows are copied from one line about it to the next.
const STEP: u64 = 100_000;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("urls").required(true).multiple(true).args(["from", "from_file", "to", "to_file"]))]
pub(super) struct CopyArgs {
    /// The database to copy from, as in `store.url` [default: the configured one]
    #[arg(long, value_name = "URL")]
    from: Option<SecretString>,
    /// A file with its URL
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    from_file: Option<PathBuf>,
    /// The database to copy into, as in `store.url` [default: the configured one]
    #[arg(long, value_name = "URL")]
    to: Option<SecretString>,
    /// A file with its URL
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    to_file: Option<PathBuf>,
}

/// Copies everything, or nothing.
pub(super) async fn run(settings: &Settings, arguments: CopyArgs) -> Outcome {
    let configured = settings.check()?.store.url;
    let given = |text: &Option<_>, file: &Option<PathBuf>, name| {
        let given = given(text.as_ref(), file.as_deref(), name).map_err(Failure::usage)?;
        Ok::<_, Failure>(given.unwrap_or_else(|| configured.clone()))
    };
    let from = given(&arguments.from, &arguments.from_file, "--from")?;
    let to = given(&arguments.to, &arguments.to_file, "--to")?;
    if is_same(&from, &to) {
        return Err(Failure::usage(anyhow!(
            "both are {from}; name another database with `--from` or `--to`"
        )));
    }
    let source = open_store(&from, Migrations::Require)
        .await
        .with_context(|| format!("cannot open {from}"))?;
    let target = open_store(&to, Migrations::Apply)
        .await
        .with_context(|| format!("cannot open {to}"))?;
    let copied = copy(&*source, &from, &*target, &to).await;
    source.close().await;
    target.close().await;
    Ok(copied?)
}

fn given(
    text: Option<&SecretString>,
    file: Option<&Path>,
    name: &str,
) -> anyhow::Result<Option<StoreUrl>> {
    let url = secret(text, file).with_context(|| format!("`{name}-file`"))?;
    let url = url.map(|url| url.expose_secret().parse::<StoreUrl>());
    url.transpose()
        .map_err(|problem| anyhow!("the URL of `{name}` {problem}"))
}

fn is_same(one: &StoreUrl, other: &StoreUrl) -> bool {
    match (one, other) {
        (StoreUrl::Sqlite(one), StoreUrl::Sqlite(other)) => {
            one == other
                || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
        }
        (StoreUrl::Postgres(one), StoreUrl::Postgres(other)) => {
            one.expose_secret() == other.expose_secret()
        }
        _ => false,
    }
}

async fn copy(
    source: &dyn Store,
    from: &StoreUrl,
    target: &dyn Store,
    to: &StoreUrl,
) -> anyhow::Result<()> {
    let cannot_write = || format!("cannot write to {to}");
    let cannot_read = || format!("cannot read {from}");
    let mut into = target.copy_target().await.with_context(cannot_write)?;
    if !into.is_empty().await.with_context(cannot_read)? {
        return Err(anyhow!(
            "{to} is not empty; it was left as it is, and nothing was copied"
        ));
    }
    eprintln!("{to} is locked until the copy is done");
    let mut snapshot = source.copy_source().await.with_context(cannot_read)?;
    let here = snapshot.sums().await.with_context(cannot_read)?;
    let mut said = 0;
    store::copy(&mut snapshot, &mut into, |rows| {
        if rows / STEP > said {
            said = rows / STEP;
            eprintln!("{rows} rows are copied");
        }
    })
    .await
    .context("nothing was copied")?;
    drop(snapshot);
    let there = into.sums().await.with_context(cannot_write)?;
    print(&here, &there).context("cannot write to standard output")?;
    if here != there {
        return Err(anyhow!("the copy differs; nothing was copied"));
    }
    let mut again = source.copy_source().await.with_context(cannot_read)?;
    if again.sums().await.with_context(cannot_read)? != here {
        return Err(anyhow!(
            "{from} was written to in the meantime; nothing was copied: stop its server first"
        ));
    }
    into.commit().await.with_context(cannot_write)?;
    eprintln!("everything in {from} is in {to}");
    Ok(())
}

/// `NAME FROM TO` lines.
fn print(here: &CopySums, there: &CopySums) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let mut line = |name: &str, value: &dyn Fn(&CopySums) -> i128| {
        writeln!(output, "{name} {} {}", value(here), value(there))
    };
    line("jobs", &|sums| sums.stats.jobs.into())?;
    for (index, outcome) in JobOutcome::ALL.iter().enumerate() {
        line(outcome.as_str(), &|sums| {
            sums.stats.by_outcome[index].into()
        })?;
    }
    line("total_count", &|sums| sums.stats.total_count)?;
    line("filter_count", &|sums| sums.stats.filter_count)?;
    line("sent_count", &|sums| sums.stats.sent_count)?;
    line("error_count", &|sums| sums.stats.error_count)?;
    line("deliveries", &|sums| sums.deliveries.into())?;
    line("revisions", &|sums| sums.revisions.into())?;
    line("bodies", &|sums| sums.bodies.into())
}
