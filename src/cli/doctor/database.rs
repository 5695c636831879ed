//! The database and the spool.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;

use super::Report;
use crate::app::{STRANDED, open_store, spool_path, stranded};
use crate::config::{Config, StoreUrl};
use crate::domain::{AccountName, DeliveryState, Time};
use crate::store::{
    DeliveryFilter, Depth, Inspection, Migrations, NamedAccount, Page, SealedTotal, Spool, Store,
    StoreError,
};

/// How far clocks may be apart, in milliseconds.
pub(super) const SKEW: i64 = 5000;
const SEALED: &str = "sealed";
const NAMES: &str = "original_id";
/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The store, where it can be opened.
pub(super) async fn examine(config: &Config, report: &mut Report) -> Option<Arc<dyn Store>> {
    const SUBJECT: &str = "database";
    let url = &config.store.url;
    if let StoreUrl::Sqlite(path) = url
        && !path.exists()
    {
        report.fail(
            SUBJECT,
            format!("{url} is not there yet; `qunfa serve` makes it"),
        );
        return None;
    }
    let opening = tokio::time::timeout(PATIENCE, open_store(url, Migrations::Require));
    let store = match opening.await {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => {
            let error = anyhow!(error).context(format!("cannot open {url}"));
            report.failed(SUBJECT, &error);
            return None;
        }
        Err(_) => {
            report.fail(SUBJECT, format!("{url} does not answer"));
            return None;
        }
    };
    match tokio::time::timeout(PATIENCE, store.ping()).await {
        Ok(Ok(())) => report.ok(SUBJECT, format!("{url} is up to date and takes writes")),
        Ok(Err(error)) => {
            let error = anyhow!(error).context(format!("{url} takes no writes"));
            report.failed(SUBJECT, &error);
        }
        Err(_) => report.fail(SUBJECT, format!("{url} does not take a write in time")),
    }
    if let Err(error) = examine_sealed(&*store, report).await {
        report.failed(
            SEALED,
            &anyhow!(error).context("it does not say what is sealed"),
        );
    }
    if let Err(error) = examine_names(&*store, config, report).await {
        report.failed(
            NAMES,
            &anyhow!(error).context("it does not say which WeChat accounts there are"),
        );
    }
    let asked = Time::now();
    match store.inspect().await {
        Ok(inspection) => judge(&inspection, asked, report),
        Err(error) => report.failed(
            SUBJECT,
            &anyhow!(error).context("it does not say what it is"),
        ),
    }
    Some(store)
}

/// What does not open, and why the latest of each account does not.
async fn examine_sealed(store: &dyn Store, report: &mut Report) -> Result<(), StoreError> {
    let mut is_sealed = false;
    for total in store.sealed().await? {
        let SealedTotal {
            account,
            deliveries,
            dropped,
        } = total;
        if deliveries == 0 {
            continue;
        }
        is_sealed = true;
        let filter = DeliveryFilter {
            account: Some(account.clone()),
            state: Some(DeliveryState::Sealed),
            ..DeliveryFilter::default()
        };
        let page = Page {
            after: None,
            limit: 1,
        };
        let latest = store.deliveries(&filter, &page).await?.pop();
        let error = latest.and_then(|latest| latest.error).unwrap_or_default();
        let dropped = match dropped {
            0 => String::new(),
            _ => format!(", {dropped} older ones were deleted"),
        };
        report.fail(
            SEALED,
            format!(
                "{deliveries} deliveries of `{account}` are sealed{dropped}; of the latest: {error}. Correct the \
                 configuration, restart the server, then run `qunfa reprocess`"
            ),
        );
    }
    if !is_sealed {
        report.ok(
            SEALED,
            "every push opens with the configuration of its account",
        );
    }
    Ok(())
}

/// Whether results of one WeChat account only have come to each account.
async fn examine_names(
    store: &dyn Store,
    config: &Config,
    report: &mut Report,
) -> Result<(), StoreError> {
    let has_original_id = |name: &AccountName| {
        let account = config.account(name);
        account.is_some_and(|account| account.original_id.is_some())
    };
    let mut are_mixed = false;
    for named in store.account_names().await? {
        let NamedAccount {
            account,
            name,
            other: Some((other, received_at)),
        } = named
        else {
            continue;
        };
        if has_original_id(&account) {
            continue;
        }
        are_mixed = true;
        report.warn(
            NAMES,
            format!(
                "results of two WeChat accounts come to `{account}`: of {name} first, and of {other}, the latest at \
                 {received_at}, which do not replace those of {name}. Set `original_id` of `{account}` to the one that is right, \
                 restart the server, then run `qunfa reprocess --all`; give the other an account of its own"
            ),
        );
    }
    if !are_mixed {
        report.ok(
            NAMES,
            "the results of each account come from one WeChat account",
        );
    }
    Ok(())
}

fn judge(inspection: &Inspection, asked: Time, report: &mut Report) {
    const SUBJECT: &str = "durability";
    let settings: Vec<_> = inspection
        .settings
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let says = format!("{}, {}", inspection.version, settings.join(", "));
    let is = |name, value| {
        inspection
            .settings
            .iter()
            .any(|(found, is)| *found == name && is == value)
    };
    if is("fsync", "off") {
        report.fail(
            SUBJECT,
            format!("{says}: with fsync off, a crash loses what was acknowledged; turn it on"),
        );
    } else if is("full_page_writes", "off") {
        report.warn(
            SUBJECT,
            format!("{says}: full_page_writes is only safe to turn off where the file system never tears a page"),
        );
    } else {
        report.ok(SUBJECT, says);
    }
    if let Some(clock) = inspection.clock {
        judge_clock("the database's", clock, asked, report);
    }
}

/// Compares a clock with ours, which was read before, and now.
pub(super) fn judge_clock(whose: &str, clock: Time, asked: Time, report: &mut Report) {
    const SUBJECT: &str = "clock";
    let ahead = clock.milliseconds() - Time::now().milliseconds();
    let behind = asked.milliseconds() - clock.milliseconds();
    let skew = ahead.max(behind);
    if skew > SKEW {
        report.warn(
            SUBJECT,
            format!(
                "{whose} is {} s away from this machine's; check NTP on both",
                skew / 1000
            ),
        );
    } else {
        report.ok(SUBJECT, format!("{whose} agrees with this machine's"));
    }
}

/// How many, and since when.
fn stranded_words(depth: &Depth) -> String {
    let since = depth
        .oldest
        .map(|oldest| format!(" since {oldest}"))
        .unwrap_or_default();
    format!(
        "{} waiting{since}, {} refused",
        depth.waiting, depth.refused
    )
}

pub(super) async fn examine_spool(config: &Config, report: &mut Report) {
    const SUBJECT: &str = "spool";
    let path = spool_path(config);
    let shown = path.display();
    if matches!(config.store.url, StoreUrl::Sqlite(_)) {
        match stranded(config).await {
            Ok(None) => {}
            Ok(Some(depth)) => report.fail(
                SUBJECT,
                format!(
                    "`{shown}` holds results for a PostgreSQL database, {}; {STRANDED}",
                    stranded_words(&depth)
                ),
            ),
            Err(error) => {
                let error = anyhow!(error).context(format!("`{shown}` does not work"));
                report.failed(SUBJECT, &error);
            }
        }
        return;
    }
    if !path.exists() {
        report.warn(
            SUBJECT,
            format!("`{shown}` is not there yet; `qunfa serve` makes it"),
        );
        return;
    }
    // Opening takes the lock for writing.
    let depth = match Spool::open(&path).await {
        Ok(spool) => {
            let depth = spool.depth().await.map_err(anyhow::Error::from);
            spool.close().await;
            depth
        }
        Err(error) => Err(error.into()),
    };
    match depth {
        Ok(depth) if depth.refused > 0 => report.warn(
            SUBJECT,
            format!(
                "the database refuses {} deliveries in `{shown}`; see `qunfa spool`",
                depth.refused
            ),
        ),
        Ok(depth) if depth.waiting > 0 => {
            let oldest = depth.oldest.unwrap_or_else(Time::now);
            let age = Time::now().seconds().saturating_sub(oldest.seconds());
            report.warn(
                SUBJECT,
                format!("{} deliveries wait in `{shown}`, the oldest for {age} s; a running server moves them when the database works", depth.waiting),
            );
        }
        Ok(_) => report.ok(SUBJECT, format!("`{shown}` takes writes and is empty")),
        Err(error) => {
            report.failed(SUBJECT, &error.context(format!("`{shown}` does not work")));
        }
    }
}
