//! `qunfa copy`.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::secret::secret;
use super::{Failure, Outcome, print};
use crate::app::open_store;
use crate::config::{Settings, StoreUrl};
use crate::domain::Outcome as JobOutcome;
use crate::store::{self, CopySums, Migrations, Store};

/// Progress is reported each time so many rows are copied.
const PROGRESS_ROWS: u64 = 100_000;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("urls").required(true).multiple(true).args(["from", "from_file", "to", "to_file"]))]
pub(super) struct CopyArgs {
    /// The database to copy from, as in `store.url` [default: the configured one]
    #[arg(long, value_name = "URL")]
    from: Option<SecretString>,
    /// A file with the URL of --from
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    from_file: Option<PathBuf>,
    /// The database to copy into, as in `store.url` [default: the configured one]
    #[arg(long, value_name = "URL")]
    to: Option<SecretString>,
    /// A file with the URL of --to
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    to_file: Option<PathBuf>,
}

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
            "source and target are both {from}; give another database with `--from` or `--to`"
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
        return Err(anyhow!("{to} is not empty; nothing was copied"));
    }
    eprintln!("{to} is locked until the copy is done");
    let mut snapshot = source.copy_source().await.with_context(cannot_read)?;
    let here = snapshot.sums().await.with_context(cannot_read)?;
    let mut reported = 0;
    store::copy(&mut snapshot, &mut into, |rows| {
        if rows / PROGRESS_ROWS > reported {
            reported = rows / PROGRESS_ROWS;
            eprintln!("copied {rows} rows");
        }
    })
    .await
    .context("nothing was copied")?;
    drop(snapshot);
    let there = into.sums().await.with_context(cannot_write)?;
    print(lines(&here, &there))?;
    if here != there {
        return Err(anyhow!("the copy differs; nothing was copied"));
    }
    let mut after = source.copy_source().await.with_context(cannot_read)?;
    if after.sums().await.with_context(cannot_read)? != here {
        return Err(anyhow!(
            "{from} changed during the copy; nothing was copied: stop its server first"
        ));
    }
    into.commit().await.with_context(cannot_write)?;
    eprintln!("copied everything from {from} to {to}");
    Ok(())
}

/// `NAME FROM TO` lines.
fn lines(here: &CopySums, there: &CopySums) -> String {
    let values = |sums: &CopySums| {
        let CopySums { stats, .. } = sums;
        let mut values: Vec<(&str, i128)> = vec![("jobs", stats.jobs.into())];
        for outcome in JobOutcome::ALL {
            values.push((outcome.as_str(), stats.by_outcome.of(outcome).into()));
        }
        values.extend([
            ("total_count", stats.total_count),
            ("filter_count", stats.filter_count),
            ("sent_count", stats.sent_count),
            ("error_count", stats.error_count),
            ("deliveries", sums.deliveries.into()),
            ("revisions", sums.revisions.into()),
            ("bodies", sums.bodies.into()),
        ]);
        values
    };
    let both = values(here).into_iter().zip(values(there));
    let lines = both.map(|((name, here), (_, there))| format!("{name} {here} {there}\n"));
    lines.collect::<Vec<_>>().concat()
}
