//! Jobs as they change, for whoever follows them.
//!
//! One task reads the changes from the database and hands them to all followers; it reads only while there are any. A
//! follower that resumes, or that was too slow to keep up, reads what it missed by itself. So nothing is missed, and nobody is
//! waited for: filing only leaves a note that there is something to read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::domain::Accounts;
use crate::store::{Announcements, Change, ChangeFeed, ChangeKey, StoreError};

/// How many changes are read at once.
const PAGE: u32 = 200;
/// How many changes wait for a slow follower before it has to read them by itself.
const WAITING: usize = 1024;
/// The pause after a page, and after an announcement, so that they take little from filing: 2,000 changes a second at most
/// for all followers, and as many again for each that has to read by itself.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// After how long the database is asked though nobody said anything: a command changes jobs silently, a note may get lost.
const ROUND: Duration = Duration::from_secs(2);
/// How many changes come again for a follower whose place is not known here.
const REPEATED: u32 = 10_000;

/// Hands out the changes of jobs.
pub struct Feed {
    store: Arc<dyn ChangeFeed>,
    /// Gone once the feed has stopped.
    news: broadcast::WeakSender<News>,
    joined: Arc<Notify>,
}

/// Where a follower begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what changes from now on.
    Now,
    /// After that place, which this database gave out.
    After(ChangeKey),
    /// After a place that anybody may have made up.
    Claimed(ChangeKey),
    /// After a place in another database.
    Unknown,
}

/// Who follows.
#[derive(Clone, Debug)]
pub struct Audience {
    /// Whose jobs they are told of.
    pub accounts: Accounts,
    /// Limits how many followers read what they missed at a time.
    pub turns: Arc<Semaphore>,
}

/// Follows the changes from some place on.
pub struct Follower {
    store: Arc<dyn ChangeFeed>,
    news: broadcast::Receiver<News>,
    audience: Audience,
    /// The last change that was read, of whatever account.
    at: ChangeKey,
    /// The last change that was given out.
    place: ChangeKey,
    /// Whether some were missed, which are read before going on.
    is_behind: bool,
    missed: VecDeque<Change>,
}

#[derive(Clone)]
enum News {
    Changed(Arc<Change>),
    /// Something before was not handed out.
    Skipped,
    /// The database cannot be read: followers end, so that nobody takes silence for "nothing changed".
    Away,
}

/// The task that reads for all.
struct Distributor {
    store: Arc<dyn ChangeFeed>,
    news: broadcast::Sender<News>,
    changed: Arc<Notify>,
    joined: Arc<Notify>,
    /// None while nobody follows.
    at: Option<ChangeKey>,
    announcements: Option<Box<dyn Announcements>>,
}

impl Feed {
    /// Starts to hand out the changes in `store`, until `stop`. This process notes in `changed` that it has changed something.
    pub fn start(
        store: Arc<dyn ChangeFeed>,
        changed: Arc<Notify>,
        stop: CancellationToken,
    ) -> Self {
        let (news, _) = broadcast::channel(WAITING);
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

    /// Follows the changes of these accounts. A place beyond every change that was given out is from another database, or from
    /// before this one was restored: so that nothing is missed, everything comes again. A place that may be made up gets
    /// only the newest changes again, or anybody could make the server read everything.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot say what has changed so far.
    pub async fn follow(&self, start: Start, audience: Audience) -> Result<Follower, StoreError> {
        // First of all, so that nothing falls between what is read and what is heard.
        let news = match self.news.upgrade() {
            Some(news) => news.subscribe(),
            None => broadcast::channel(1).1,
        };
        self.joined.notify_one();
        let latest = self.store.latest_change().await?;
        let but = |count| {
            self.store
                .newest_change(&audience.accounts, latest.settled, count)
        };
        let (at, place) = match start {
            // The place depends on what the follower may see only, so that it does not show how busy others are.
            Start::Now => (latest.settled, but(0).await?),
            Start::After(key) | Start::Claimed(key) if key <= latest.given_out => (key, Some(key)),
            Start::After(_) => (ChangeKey::FIRST, None),
            Start::Claimed(_) | Start::Unknown => {
                let place = but(REPEATED).await?;
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

    /// How many follow.
    pub fn followers(&self) -> usize {
        let news = self.news.upgrade();
        news.map_or(0, |news| news.receiver_count())
    }
}

impl Follower {
    /// The next change; none when the feed has stopped, or its database is away. Nothing is lost when it is not awaited to
    /// the end.
    ///
    /// # Errors
    /// [`StoreError`] when what was missed cannot be read.
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
                // It was read before.
                Ok(News::Changed(_)) => {}
                Ok(News::Skipped) | Err(RecvError::Lagged(_)) => self.is_behind = true,
                Ok(News::Away) | Err(RecvError::Closed) => return Ok(None),
            }
        }
    }

    /// Reads a page of what was missed, when it is this follower's turn.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let _turn = self.audience.turns.acquire().await;
        let accounts = &self.audience.accounts;
        let page = self.store.changes(accounts, self.at, PAGE).await?;
        self.is_behind = page.len() == PAGE as usize;
        self.missed = page.into();
        if self.is_behind {
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The place of the last change that was given out; from there on it can be followed again.
    pub fn place(&self) -> ChangeKey {
        self.place
    }
}

impl Distributor {
    async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.changed.notified() => {
                    // Others look by themselves, if later, when they do not hear of it.
                    let _ = timeout(PATIENCE, self.store.announce()).await;
                    sleep(PAUSE).await;
                }
                () = self.joined.notified() => {}
                () = announced(&mut self.announcements) => {}
                () = sleep(ROUND) => {}
            }
            while self.news.receiver_count() > 0 {
                let handed_out = timeout(PATIENCE, self.hand_out()).await;
                let handed_out = handed_out.unwrap_or(Err(StoreError::TimedOut));
                if let Err(error) = &handed_out {
                    debug!(%error, "changes cannot be read");
                    self.tell(News::Away);
                    self.rest();
                }
                sleep(PAUSE).await;
                if !matches!(handed_out, Ok(true)) {
                    break;
                }
            }
            if self.news.receiver_count() == 0 {
                self.rest();
            }
        }
    }

    /// Hands out a page; whether there is more.
    async fn hand_out(&mut self) -> Result<bool, StoreError> {
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
        // The last follower may have just left.
        let _ = self.news.send(news);
    }

    /// Reads nothing and listens to nobody until the next follower comes, or the next round.
    fn rest(&mut self) {
        self.at = None;
        self.announcements = None;
    }
}

/// Until another process announces something, or can no longer be heard.
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
