//! The change feed: jobs as they change, for any number of followers.
//!
//! One task reads the changes from the database and broadcasts them; it reads only while there are
//! followers. A follower that resumes, or is too slow to keep up, reads what it missed by itself.
//! So no change is missed, and nobody waits for a follower: recording only notifies the task.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::domain::Accounts;
use crate::store::{Announcements, Change, ChangeFeed, ChangeKey, StoreError, within};

const PAGE: u32 = 200;
/// How many changes are buffered for a slow follower before it has to read them by itself.
const BUFFER: usize = 1024;
/// The delay after a page, and after an announcement, so that recording is not slowed down: at most
/// 2,000 changes a second for all followers, and as many again for each that reads by itself.
const DELAY: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often the database is polled without a notification: commands change jobs without one, and
/// one may get lost.
const INTERVAL: Duration = Duration::from_secs(2);
/// How many changes are repeated for a follower whose place is unknown in this database.
const REPEATED: u32 = 10_000;

/// Broadcasts the changes of jobs.
pub struct Feed {
    store: Arc<dyn ChangeFeed>,
    /// Dropped once the feed has stopped.
    news: broadcast::WeakSender<News>,
    joined: Arc<Notify>,
}

/// Where a follower starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Changes from now on.
    Now,
    /// After a place that this database gave out.
    After(ChangeKey),
    /// After a place that the client may have invented.
    Claimed(ChangeKey),
    /// After a place in another database.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Audience {
    pub accounts: Accounts,
    /// Limits how many followers read what they missed at the same time.
    pub turns: Arc<Semaphore>,
}

pub struct Follower {
    store: Arc<dyn ChangeFeed>,
    news: broadcast::Receiver<News>,
    audience: Audience,
    /// The last change that was read, in any account.
    at: ChangeKey,
    /// The last change that was returned.
    place: ChangeKey,
    /// Some changes were missed, and must be read before going on.
    is_behind: bool,
    missed: VecDeque<Change>,
}

#[derive(Clone)]
enum News {
    Changed(Arc<Change>),
    /// Changes before this were not broadcast.
    Skipped,
    /// The database cannot be read: followers end, so that silence is not taken for "nothing
    /// changed".
    Down,
}

/// The task that reads for all followers.
struct Distributor {
    store: Arc<dyn ChangeFeed>,
    news: broadcast::Sender<News>,
    changed: Arc<Notify>,
    joined: Arc<Notify>,
    /// `None` while there are no followers.
    at: Option<ChangeKey>,
    announcements: Option<Box<dyn Announcements>>,
}

impl Feed {
    /// Starts to broadcast the changes in `store`, until `stop`. `changed` is notified of changes
    /// by this process.
    pub fn start(
        store: Arc<dyn ChangeFeed>,
        changed: Arc<Notify>,
        stop: CancellationToken,
    ) -> Self {
        let (news, _) = broadcast::channel(BUFFER);
        let feed = Self {
            store: Arc::clone(&store),
            news: news.downgrade(),
            joined: Arc::default(),
        };
        let distributor = Distributor {
            store,
            news,
            changed,
            joined: Arc::clone(&feed.joined),
            at: None,
            announcements: None,
        };
        tokio::spawn(stop.run_until_cancelled_owned(distributor.run()));
        feed
    }

    /// Follows the changes of these accounts. A place beyond all changes given out so far is from
    /// another database, or from before this one was restored, so everything is repeated. For a
    /// place that may be invented only the newest changes are repeated, or anybody could make the
    /// server read everything.
    pub async fn follow(&self, start: Start, audience: Audience) -> Result<Follower, StoreError> {
        // Before anything is read, so that no change falls in between.
        let news = match self.news.upgrade() {
            Some(news) => news.subscribe(),
            None => broadcast::channel(1).1,
        };
        self.joined.notify_one();
        let latest = self.store.latest_change().await?;
        let before_newest = |count| {
            self.store
                .newest_change(&audience.accounts, latest.settled, count)
        };
        let (at, place) = match start {
            // The place depends only on what the follower may see, so it does not show how busy
            // other accounts are.
            Start::Now => (latest.settled, before_newest(0).await?),
            Start::After(key) | Start::Claimed(key) if key <= latest.given_out => (key, Some(key)),
            Start::After(_) => (ChangeKey::FIRST, None),
            Start::Claimed(_) | Start::Unknown => {
                let place = before_newest(REPEATED).await?;
                (place.unwrap_or(ChangeKey::FIRST), place)
            }
        };
        Ok(Follower {
            store: Arc::clone(&self.store),
            news,
            audience,
            at,
            place: place.unwrap_or(ChangeKey::FIRST),
            is_behind: start != Start::Now,
            missed: VecDeque::new(),
        })
    }

    pub fn followers(&self) -> usize {
        let news = self.news.upgrade();
        news.map_or(0, |news| news.receiver_count())
    }
}

impl Follower {
    /// The next change; `None` when the feed has stopped or its database is down. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Arc<Change>>, StoreError> {
        loop {
            if let Some(change) = self.missed.pop_front() {
                self.at = change.key;
                self.place = change.key;
                return Ok(Some(Arc::new(change)));
            }
            if self.is_behind {
                self.catch_up().await?;
                continue;
            }
            match self.news.recv().await {
                Ok(News::Changed(change)) if change.key > self.at => {
                    self.at = change.key;
                    if self.audience.accounts.include(&change.job.account) {
                        self.place = change.key;
                        return Ok(Some(change));
                    }
                }
                // It has been read already.
                Ok(News::Changed(_)) => {}
                Ok(News::Skipped) | Err(RecvError::Lagged(_)) => self.is_behind = true,
                Ok(News::Down) | Err(RecvError::Closed) => return Ok(None),
            }
        }
    }

    /// Reads a page of missed changes, when it is this follower's turn.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let _turn = self.audience.turns.acquire().await;
        let accounts = &self.audience.accounts;
        let page = self.store.changes(accounts, self.at, PAGE).await?;
        self.is_behind = page.len() == PAGE as usize;
        self.missed = page.into();
        if self.is_behind {
            sleep(DELAY).await;
        }
        Ok(())
    }

    /// The place of the last change that was returned, from which it can resume.
    pub fn place(&self) -> ChangeKey {
        self.place
    }
}

impl Distributor {
    async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.changed.notified() => {
                    // Other servers poll, so they see the change later if this fails.
                    let _ = within(TIMEOUT, self.store.announce()).await;
                    sleep(DELAY).await;
                }
                () = self.joined.notified() => {}
                () = announced(&mut self.announcements) => {}
                () = sleep(INTERVAL) => {}
            }
            while self.news.receiver_count() > 0 {
                let page_read = within(TIMEOUT, self.read_page()).await;
                if let Err(error) = &page_read {
                    debug!(%error, "changes cannot be read");
                    self.tell(News::Down);
                    self.rest();
                }
                sleep(DELAY).await;
                if !matches!(page_read, Ok(true)) {
                    break;
                }
            }
            if self.news.receiver_count() == 0 {
                self.rest();
            }
        }
    }

    /// Broadcasts a page; returns true if there may be more.
    async fn read_page(&mut self) -> Result<bool, StoreError> {
        if self.announcements.is_none() {
            self.announcements = Some(self.store.announcements().await?);
        }
        let mut at = if let Some(at) = self.at {
            at
        } else {
            let latest = self.store.latest_change().await?;
            self.tell(News::Skipped);
            latest.settled
        };
        let page = self.store.changes(&Accounts::All, at, PAGE).await?;
        let is_full = page.len() == PAGE as usize;
        for change in page {
            at = change.key;
            self.tell(News::Changed(Arc::new(change)));
        }
        self.at = Some(at);
        Ok(is_full)
    }

    fn tell(&self, news: News) {
        // The last follower may have left.
        let _ = self.news.send(news);
    }

    /// Forgets its place and stops listening, until there are followers and the database answers.
    fn rest(&mut self) {
        self.at = None;
        self.announcements = None;
    }
}

/// Waits until another process announces a change, or the connection that hears it is lost.
async fn announced(announcements: &mut Option<Box<dyn Announcements>>) {
    match announcements {
        Some(heard) => {
            if heard.next().await.is_err() {
                *announcements = None;
            }
        }
        None => std::future::pending().await,
    }
}
