//! `qunfa spool`.

use std::io::{self, Write};

use anyhow::{Context, anyhow};
use clap::Args;

use super::{Failure, Outcome};
use crate::app::{STRANDED, spool_path};
use crate::config::{Settings, StoreUrl};
use crate::store::{Depth, Spool, Spooled};

#[derive(Debug, Args)]
pub(super) struct SpoolArgs {
    /// Let what the database refused be tried again, by the running server or the next one
    #[arg(long)]
    retry: bool,
}

/// Shows what is in the spool.
pub(super) async fn run(settings: &Settings, arguments: SpoolArgs) -> Outcome {
    let config = settings.check()?;
    let path = spool_path(&config);
    let is_sqlite = matches!(config.store.url, StoreUrl::Sqlite(_));
    if is_sqlite && !path.exists() {
        return Err(Failure::usage(anyhow!(
            "with SQLite there is no spool: it stands in for a PostgreSQL server that is away"
        )));
    }
    if !path.exists() {
        return Err(anyhow!(
            "there is no spool `{}`; `qunfa serve` makes it",
            path.display()
        )
        .into());
    }
    let cannot = || format!("the spool `{}` does not work", path.display());
    let spool = Spool::open(&path).await.with_context(cannot)?;
    let outcome = async {
        let retried = if arguments.retry {
            Some(spool.retry_refused().await.with_context(cannot)?)
        } else {
            None
        };
        let depth = spool.depth().await.with_context(cannot)?;
        let refused = spool.refused().await.with_context(cannot)?;
        print(&depth, &refused).context("cannot write to standard output")?;
        if let Some(retried) = retried {
            eprintln!("{retried} deliveries will be tried again, by a running server within 10 s");
        }
        if is_sqlite && depth.waiting + depth.refused > 0 {
            eprintln!(
                "these are for a PostgreSQL database, and not in {}: {STRANDED}",
                config.store.url
            );
        }
        anyhow::Ok(())
    };
    let outcome = outcome.await;
    spool.close().await;
    Ok(outcome?)
}

/// `NAME VALUE` lines, then a line for each delivery that is refused.
fn print(depth: &Depth, refused: &[Spooled]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "waiting {}", depth.waiting)?;
    if let Some(oldest) = depth.oldest {
        writeln!(output, "oldest {oldest}")?;
    }
    writeln!(output, "refused {}", depth.refused)?;
    for delivery in refused {
        let Spooled {
            account,
            received_at,
            body,
            refusal,
            ..
        } = delivery;
        let refusal = refusal.as_deref().unwrap_or_default().escape_debug();
        writeln!(
            output,
            "{account} {received_at} {} bytes: {refusal}",
            body.len()
        )?;
    }
    Ok(())
}
