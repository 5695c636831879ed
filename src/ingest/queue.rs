//! A bounded queue of deliveries from the handlers to the committer.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, oneshot};

use super::{Accepted, IngestError};
use crate::domain::NewDelivery;

/// The longest queue, in deliveries. Together with [`MAX_BYTES`] it bounds the memory: a delivery
/// takes its body, about as much again for its reading, and about 1 KiB.
const MAX_WAITING: usize = 4096;
/// The longest queue, in bytes of bodies.
const MAX_BYTES: usize = 16 * 1024 * 1024;
const MAX_BATCH: usize = 256;
const MAX_BATCH_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) delivery: NewDelivery,
    pub(super) since: Instant,
    pub(super) answer: oneshot::Sender<Result<Accepted, IngestError>>,
}

/// First in, first out.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// A delivery was added, or the queue was closed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    bytes: usize,
    is_closed: bool,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics halfway while it holds the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a delivery; its outcome comes through the channel.
    ///
    /// # Errors
    /// [`IngestError::Full`] when the queue is full or closed.
    pub(super) fn push(
        &self,
        delivery: NewDelivery,
    ) -> Result<oneshot::Receiver<Result<Accepted, IngestError>>, IngestError> {
        let (answer, receiver) = oneshot::channel();
        let mut waiting = self.waiting();
        let bytes = waiting.bytes + delivery.body.len();
        if waiting.is_closed || waiting.entries.len() >= MAX_WAITING || bytes > MAX_BYTES {
            return Err(IngestError::Full);
        }
        waiting.bytes = bytes;
        waiting.entries.push_back(Entry {
            delivery,
            since: Instant::now(),
            answer,
        });
        drop(waiting);
        self.changed.notify_one();
        Ok(receiver)
    }

    /// Waits for deliveries and takes up to a batch of them; `None` when the queue is closed and
    /// empty.
    pub(super) async fn take(&self) -> Option<Vec<Entry>> {
        loop {
            {
                let mut waiting = self.waiting();
                let batch = waiting.take();
                if batch.is_some() || waiting.is_closed {
                    return batch;
                }
            }
            self.changed.notified().await;
        }
    }

    /// The length, in deliveries and in bytes of bodies.
    pub(super) fn depth(&self) -> (usize, usize) {
        let waiting = self.waiting();
        (waiting.entries.len(), waiting.bytes)
    }

    /// Refuses new deliveries; those in the queue can still be taken.
    pub(super) fn close(&self) {
        self.waiting().is_closed = true;
        self.changed.notify_one();
    }
}

impl Waiting {
    fn take(&mut self) -> Option<Vec<Entry>> {
        let mut bytes = 0;
        let sizes = self.entries.iter().map(|entry| entry.delivery.body.len());
        let fits = sizes.take(MAX_BATCH).take_while(|size| {
            let is_first = bytes == 0;
            bytes += size;
            is_first || bytes <= MAX_BATCH_BYTES
        });
        let count = fits.count();
        if count == 0 {
            return None;
        }
        let batch: Vec<Entry> = self.entries.drain(..count).collect();
        self.bytes -= batch
            .iter()
            .map(|entry| entry.delivery.body.len())
            .sum::<usize>();
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Reading, Time};

    fn delivery(length: usize) -> NewDelivery {
        NewDelivery {
            account: "main".parse().unwrap(),
            body: vec![b'x'; length],
            body_sha256: [0; 32],
            received_at: Time::EPOCH,
            recorded_at: Time::EPOCH,
            reading: Reading::Other {
                event: None,
                msg_id: None,
            },
        }
    }

    fn lengths(batch: &[Entry]) -> Vec<usize> {
        batch
            .iter()
            .map(|entry| entry.delivery.body.len())
            .collect()
    }

    #[tokio::test]
    async fn what_waits_is_taken_together_in_its_order_up_to_a_batch() {
        let queue = Queue::default();
        for length in 0..=MAX_BATCH {
            queue.push(delivery(length)).unwrap();
        }
        let first: Vec<usize> = (0..MAX_BATCH).collect();
        assert_eq!(lengths(&queue.take().await.unwrap()), first);
        assert_eq!(lengths(&queue.take().await.unwrap()), [MAX_BATCH]);
    }

    #[tokio::test]
    async fn a_batch_is_bounded_in_bytes_but_never_empty() {
        let queue = Queue::default();
        for length in [MAX_BATCH_BYTES + 1, MAX_BATCH_BYTES, 1] {
            queue.push(delivery(length)).unwrap();
        }
        for expected in [MAX_BATCH_BYTES + 1, MAX_BATCH_BYTES, 1] {
            assert_eq!(lengths(&queue.take().await.unwrap()), [expected]);
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_until_something_is_taken() {
        let queue = Queue::default();
        for _ in 0..MAX_WAITING {
            queue.push(delivery(1)).unwrap();
        }
        assert!(queue.push(delivery(1)).is_err());
        assert_eq!(queue.depth(), (MAX_WAITING, MAX_WAITING));
        queue.take().await.unwrap();
        assert!(queue.push(delivery(1)).is_ok());

        let queue = Queue::default();
        queue.push(delivery(MAX_BYTES)).unwrap();
        assert!(queue.push(delivery(1)).is_err());
        queue.take().await.unwrap();
        assert!(queue.push(delivery(MAX_BYTES)).is_ok());
    }

    #[tokio::test]
    async fn a_closed_queue_takes_nothing_more_and_is_emptied() {
        let queue = Queue::default();
        queue.push(delivery(1)).unwrap();
        queue.close();
        assert!(queue.push(delivery(2)).is_err());
        assert_eq!(lengths(&queue.take().await.unwrap()), [1]);
        assert!(queue.take().await.is_none());
        assert!(queue.take().await.is_none());
    }
}
