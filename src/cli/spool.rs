//! `qunfa spool`.

use anyhow::{Context, anyhow};
use clap::Args;

use super::{Failure, Outcome, print};
use crate::app::{STRANDED, spool_path};
use crate::config::{Settings, StoreUrl};
use crate::store::{Depth, Spool, Spooled};

#[derive(Debug, Args)]
pub(super) struct SpoolArgs {
    /// Retry the deliveries that the database refused; the running server does it, or the next one
    #[arg(long)]
    retry: bool,
}

pub(super) async fn run(settings: &Settings, arguments: SpoolArgs) -> Outcome {
    let config = settings.check()?;
    let path = spool_path(&config);
    let is_sqlite = matches!(config.store.url, StoreUrl::Sqlite(_));
    if is_sqlite && !path.exists() {
        return Err(Failure::usage(anyhow!(
            "SQLite needs no spool; it is for times when PostgreSQL is unavailable"
        )));
    }
    if !path.exists() {
        return Err(anyhow!(
            "the spool `{}` does not exist; `qunfa serve` creates it",
            path.display()
        )
        .into());
    }
    let cannot = || format!("cannot use the spool `{}`", path.display());
    let spool = Spool::open(&path).await.with_context(cannot)?;
    let outcome = async {
        let retried = if arguments.retry {
            Some(spool.retry_refused().await.with_context(cannot)?)
        } else {
            None
        };
        let depth = spool.depth().await.with_context(cannot)?;
        let refused = spool.refused().await.with_context(cannot)?;
        print(lines(&depth, &refused))?;
        if let Some(retried) = retried {
            eprintln!("{retried} deliveries will be retried; a running server does so within 10 s");
        }
        if is_sqlite && depth.waiting + depth.refused > 0 {
            eprintln!(
                "they belong to a PostgreSQL database, and are not in {}: {STRANDED}",
                config.store.url
            );
        }
        anyhow::Ok(())
    };
    let outcome = outcome.await;
    spool.close().await;
    Ok(outcome?)
}

/// `NAME VALUE` lines, then a line for each refused delivery.
fn lines(depth: &Depth, refused: &[Spooled]) -> String {
    let mut lines = vec![format!("waiting {}", depth.waiting)];
    lines.extend(depth.oldest.map(|oldest| format!("oldest {oldest}")));
    lines.push(format!("refused {}", depth.refused));
    for delivery in refused {
        let Spooled {
            account,
            received_at,
            body,
            refusal,
            ..
        } = delivery;
        let refusal = refusal.as_deref().unwrap_or_default().escape_debug();
        let length = body.len();
        lines.push(format!("{account} {received_at} {length} bytes: {refusal}"));
    }
    lines.join("\n") + "\n"
}
