//! The database and the spool.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::Report;
use crate::app::{STRANDED, open_store, spool_path, stranded};
use crate::config::{Config, StoreUrl};
use crate::domain::{AccountName, DeliveryState, Time};
use crate::store::{
    DeliveryFilter, Depth, Migrations, NamedAccount, Page, SealedTotal, Spool, Store, StoreError,
    within,
};

/// The largest difference between clocks, in milliseconds.
const MAX_SKEW: i64 = 5000;
const SEALED: &str = "sealed";
const NAMES: &str = "original_id";
const TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the store, if it can be opened.
pub(super) async fn examine(config: &Config, report: &mut Report) -> Option<Arc<dyn Store>> {
    const SUBJECT: &str = "database";
    let url = &config.store.url;
    if let StoreUrl::Sqlite(path) = url
        && !path.exists()
    {
        report.fail(
            SUBJECT,
            format!("{url} does not exist yet; `qunfa serve` creates it"),
        );
        return None;
    }
    let opening = tokio::time::timeout(TIMEOUT, open_store(url, Migrations::Require));
    let store = match opening.await {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => {
            let failed = Err(error).with_context(|| format!("cannot open {url}"));
            report.result(SUBJECT, failed);
            return None;
        }
        Err(_) => {
            report.fail(SUBJECT, format!("{url} does not answer"));
            return None;
        }
    };
    match within(TIMEOUT, store.ping()).await {
        Ok(()) => report.ok(SUBJECT, format!("{url} is up to date and accepts writes")),
        Err(error) => {
            let failed = Err(error).with_context(|| format!("{url} does not accept writes"));
            report.result(SUBJECT, failed);
        }
    }
    let sealed = examine_sealed(&*store, report).await;
    report.result(
        SEALED,
        sealed.context("cannot read which deliveries are sealed"),
    );
    let names = examine_names(&*store, config, report).await;
    report.result(NAMES, names.context("cannot read the WeChat accounts"));
    let durability = examine_durability(&*store, report).await;
    report.result(
        SUBJECT,
        durability.context("cannot read its version and settings"),
    );
    Some(store)
}

/// Sealed deliveries of each account, with the error of the latest.
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
                "{deliveries} deliveries of `{account}` are sealed{dropped}; the error of the latest: {error}. Correct the \
                 configuration, restart the server, then run `qunfa reprocess`"
            ),
        );
    }
    if !is_sealed {
        report.ok(SEALED, "no delivery is sealed");
    }
    Ok(())
}

/// Checks that the results of each account come from one WeChat account.
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
                "`{account}` receives results of two WeChat accounts: first of {name}, then of {other}, the latest at \
                 {received_at}; those of {other} do not replace those of {name}. Set `original_id` of `{account}` to the right \
                 one, restart the server, then run `qunfa reprocess --all`; configure a separate account for the other"
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

async fn examine_durability(store: &dyn Store, report: &mut Report) -> Result<(), StoreError> {
    const SUBJECT: &str = "durability";
    let asked = Time::now();
    let inspection = store.inspect().await?;
    let settings: Vec<_> = inspection
        .settings
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let is_set = |setting: &str| settings.iter().any(|found| found == setting);
    let summary = format!("{}, {}", inspection.version, settings.join(", "));
    if is_set("fsync off") {
        report.fail(
            SUBJECT,
            format!("{summary}: with fsync off, a crash loses acknowledged results; turn it on"),
        );
    } else if is_set("full_page_writes off") {
        report.warn(
            SUBJECT,
            format!("{summary}: full_page_writes is only safe to turn off if the file system never tears a page"),
        );
    } else {
        report.ok(SUBJECT, summary);
    }
    if let Some(clock) = inspection.clock {
        judge_clock("the database's", clock, asked, report);
    }
    Ok(())
}

/// Compares a clock with this machine's, which showed `asked` before the question.
pub(super) fn judge_clock(whose: &str, clock: Time, asked: Time, report: &mut Report) {
    const SUBJECT: &str = "clock";
    let ahead = clock.milliseconds() - Time::now().milliseconds();
    let behind = asked.milliseconds() - clock.milliseconds();
    let skew = ahead.max(behind);
    if skew > MAX_SKEW {
        report.warn(
            SUBJECT,
            format!(
                "{whose} differs from this machine's by {} s; check NTP on both",
                skew / 1000
            ),
        );
    } else {
        report.ok(SUBJECT, format!("{whose} agrees with this machine's"));
    }
}

/// The numbers of deliveries, and the time of the oldest.
fn depth_in_words(depth: &Depth) -> String {
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
    let cannot_use = || format!("cannot use `{shown}`");
    if matches!(config.store.url, StoreUrl::Sqlite(_)) {
        match stranded(config).await {
            Ok(None) => {}
            Ok(Some(depth)) => report.fail(
                SUBJECT,
                format!(
                    "`{shown}` has results for a PostgreSQL database, {}; {STRANDED}",
                    depth_in_words(&depth)
                ),
            ),
            Err(error) => report.result(SUBJECT, Err(error).with_context(cannot_use)),
        }
        return;
    }
    if !path.exists() {
        report.warn(
            SUBJECT,
            format!("`{shown}` does not exist yet; `qunfa serve` creates it"),
        );
        return;
    }
    // Opening it takes the write lock.
    let depth = async {
        let spool = Spool::open(&path).await?;
        let depth = spool.depth().await;
        spool.close().await;
        anyhow::Ok(depth?)
    };
    match depth.await {
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
                format!("{} deliveries wait in `{shown}`, the oldest for {age} s; a running server moves them once the database is available", depth.waiting),
            );
        }
        Ok(_) => report.ok(SUBJECT, format!("`{shown}` accepts writes and is empty")),
        Err(error) => report.result(SUBJECT, Err(error).with_context(cannot_use)),
    }
}
