//! How long it takes to verify, decrypt and parse a push.

use std::time::Instant;

use anyhow::ensure;
use qunfa::domain::Time;
use qunfa::wechat::{self, Query};

use super::pushing::{Account, FULL};

const BATCHES: u32 = 101;
const BATCH: u32 = 500;

/// Microseconds for a push of the full sample: the median of batches.
pub(crate) fn microseconds(account: Account) -> anyhow::Result<f64> {
    let now = Time::now();
    let sender = account.sender()?;
    let push = sender.sign(FULL.as_bytes(), now)?;
    let receiver = wechat::Account {
        name: account.name().parse()?,
        mode: sender.mode,
        token: sender.token,
        previous_token: None,
        original_id: None,
        keep_events: Vec::new(),
    };
    let mut batches = Vec::new();
    for _ in 0..BATCHES {
        let bodies = vec![push.body.clone(); BATCH as usize];
        let started = Instant::now();
        for body in bodies {
            let opened = receiver.open(&Query::parse(&push.query), body, now, 600);
            ensure!(opened.is_ok(), "the sample does not open");
        }
        batches.push(started.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH));
    }
    batches.sort_by(f64::total_cmp);
    Ok(batches[batches.len() / 2])
}
