//! `qunfa reprocess`.

use std::io::{self, Write};

use anyhow::{Context, anyhow};

use super::{Failure, Outcome, ReprocessArgs};
use crate::app::{DEMO, open_existing};
use crate::config::{Config, Settings};
use crate::domain::{AccountName, Delivery, DeliveryState, Time};
use crate::store::{DeliveryFilter, DeliveryKey, Page, Reread, Store};
use crate::wechat;

const PAGE: u32 = 200;

/// What a run did.
#[derive(Default)]
struct Tally {
    read: u64,
    changed: u64,
    unparsed: u64,
}

/// Reads stored deliveries again and prints those that changed.
pub(super) async fn run(settings: &Settings, arguments: ReprocessArgs) -> Outcome {
    let config = settings.check()?;
    if let Some(account) = &arguments.account
        && !is_configured(&config, account)
    {
        return Err(Failure::usage(anyhow!(
            "there is no account `{account}` in the configuration"
        )));
    }
    let store = open_existing(&config).await?;
    let filter = DeliveryFilter {
        account: arguments.account,
        state: (!arguments.all).then_some(DeliveryState::Unparsed),
        ..DeliveryFilter::default()
    };
    let tally = reread_all(&*store, &filter, arguments.dry_run).await;
    store.close().await;
    let tally = tally?;
    eprintln!(
        "deliveries read again: {}, {}: {}, not understood: {}",
        tally.read,
        if arguments.dry_run {
            "would change"
        } else {
            "changed"
        },
        tally.changed,
        tally.unparsed
    );
    Ok(())
}

fn is_configured(config: &Config, account: &AccountName) -> bool {
    if config.accounts.is_empty() {
        return account.as_str() == DEMO;
    }
    config
        .accounts
        .iter()
        .any(|configured| configured.account.name == *account)
}

async fn reread_all(
    store: &dyn Store,
    filter: &DeliveryFilter,
    dry_run: bool,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut page = Page {
        after: None,
        limit: PAGE,
    };
    loop {
        let deliveries = store.deliveries(filter, &page).await?;
        let Some(last) = deliveries.last() else {
            return Ok(tally);
        };
        page.after = Some(DeliveryKey::from(last));
        for delivery in &deliveries {
            let reread = store
                .reread(
                    &DeliveryKey::from(delivery),
                    |body| wechat::read(body).reading,
                    Time::now(),
                    dry_run,
                )
                .await
                .with_context(|| format!("delivery {} could not be read again", delivery.id))?;
            let Some(reread) = reread else { continue };
            tally.read += 1;
            tally.unparsed += u64::from(reread.after.state == DeliveryState::Unparsed);
            if reread.changed() {
                tally.changed += 1;
                writeln!(io::stdout(), "{}", describe(&reread))?;
            }
        }
    }
}

fn describe(reread: &Reread) -> String {
    let Reread {
        before,
        after,
        job_changed,
    } = reread;
    let state = |delivery: &Delivery| match &delivery.error {
        Some(error) => format!("{} ({error})", delivery.state.as_str()),
        None => delivery.state.as_str().to_owned(),
    };
    let (was, is) = (state(before), state(after));
    let states = if was == is {
        is
    } else {
        format!("{was} -> {is}")
    };
    let job = match after.msg_id {
        Some(msg_id) if *job_changed => format!(", job {msg_id} changed"),
        Some(msg_id) => format!(", msg_id {msg_id}"),
        None => String::new(),
    };
    format!("{} delivery {}: {states}{job}", after.account, after.id)
}
