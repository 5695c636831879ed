//! The loop of one connection: wait for its turn, make an event, push it, count the answer.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::answer::Answer;
use super::connection::{Connection, Trouble};
use super::plan::Event;
use super::{Shared, State};
use crate::domain::Time;
use crate::simulator::{SignedPush, TIMEOUT};

/// The delay after an error, so that a server that is down is not flooded.
const BACKOFF: Duration = Duration::from_millis(100);
/// The resolution of timers, which are late rather than early.
const TICK: Duration = Duration::from_millis(1);
/// How long after the end a push that was due before may still start.
const GRACE: Duration = Duration::from_millis(100);

/// Permission for one push.
struct Turn {
    /// The scheduled time from which latency counts; `None` to count from sending.
    due: Option<Instant>,
}

/// Pushes until the time is up.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut connection = Connection::new(&shared.addresses);
    let mut request = Vec::new();
    while let Some(Turn { due }) = shared.turn().await {
        let now = Time::now();
        let Some(event) = shared.state().plan.next(now) else {
            break;
        };
        shared.write_request(&mut request, event, now);
        let since = due.unwrap_or_else(Instant::now);
        let answer = timeout(TIMEOUT, connection.answer(&request))
            .await
            .unwrap_or(Err(Trouble::TooLate));
        let failed = answer.is_err();
        shared.count(event, answer, since.elapsed());
        if failed {
            shared.stop.run_until_cancelled(sleep(BACKOFF)).await;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a push is due; `None` if the time is up.
    async fn turn(&self) -> Option<Turn> {
        let end = self.started + self.load.duration;
        let Some(rate) = self.load.rate else {
            let over = self.stop.is_cancelled() || Instant::now() >= end;
            return (!over).then_some(Turn { due: None });
        };
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        let after = u128::from(number) * 1_000_000_000 / u128::from(rate);
        let intended = self.started + Duration::from_nanos(u64::try_from(after).ok()?);
        if intended >= end {
            return None;
        }
        // A push may be slightly early, and then counts from sending: late timers are not latency.
        let waited = sleep_until(intended - TICK);
        self.stop.run_until_cancelled(waited).await?;
        let now = Instant::now();
        let due = Some(intended.min(now));
        (now < end + GRACE).then_some(Turn { due })
    }

    /// Replaces `request` with a signed push, head and body.
    fn write_request(&self, request: &mut Vec<u8>, event: Event, now: Time) {
        let message = self.template.message(event);
        let nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
        // WeChat's bytes before the message are random. Under load it is enough that they differ.
        let differing = u128::from(nonce).to_be_bytes();
        let SignedPush { query, body } = self.sender.sign_with(
            message.as_bytes(),
            self.template.to_user_name(),
            now,
            nonce,
            differing,
        );
        request.clear();
        let (path, host, length) = (&self.path, &self.host, body.len());
        // Writing to memory does not fail.
        let _ = write!(
            request,
            "POST {path}?{query} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n"
        );
        request.extend_from_slice(&body);
    }

    fn count(&self, event: Event, answer: Result<Answer, Trouble>, latency: Duration) {
        let mut state = self.state();
        let State { plan, tally } = &mut *state;
        match answer {
            Ok(answer) => {
                tally.latency.record(latency);
                if answer.is_legal {
                    tally.acknowledged += 1;
                    plan.acknowledge(event);
                } else {
                    *tally.others.entry(answer.status).or_default() += 1;
                }
            }
            Err(trouble) => *tally.troubles.entry(trouble).or_default() += 1,
        }
    }
}
