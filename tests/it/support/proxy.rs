//! A connection to the database on which anything can go wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Database;

/// What happens to the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It arrives.
    Open,
    /// Connections are closed, old and new.
    Refused,
    /// Connections are reset, old and new.
    Reset,
    /// It is lost silently, and neither end notices. A connection that was open meanwhile never
    /// works again, as after a failover.
    BlackHole,
    /// It arrives that much later, in both directions.
    Slow(Duration),
    /// It arrives, except for some exchanges.
    Cut(Cut),
}

/// An exchange with the database that is cut, together with its connection. Only connections that
/// have recorded a batch are cut: the roll-up commits, too, whenever it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Text that the client sends in it.
    pub(crate) text: &'static str,
    pub(crate) moment: Moment,
    pub(crate) end: End,
}

/// When an exchange is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before the server has the whole request: nothing is done.
    Asking,
    /// After the server has done it, before the client is told.
    Answering,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
    /// Both ends wait for each other.
    Silent,
}

impl Way {
    fn end(self) -> Option<End> {
        match self {
            Self::Refused => Some(End::Closed),
            Self::Reset => Some(End::Reset),
            Self::BlackHole => Some(End::Silent),
            Self::Open | Self::Slow(_) | Self::Cut(_) => None,
        }
    }
}

/// Forwards TCP to one address.
pub(crate) struct Proxy {
    way: watch::Sender<Way>,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    /// Puts a proxy in front of a PostgreSQL database; connections to its URL now go through it.
    pub(crate) async fn before(database: &mut Database) -> Self {
        let mut url: url::Url = database.url.parse().unwrap();
        let upstream: SocketAddr = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())
            .parse()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port()))
            .unwrap();
        database.url = url.to_string();
        let (way, receiver) = watch::channel(Way::Open);
        let cuts = Arc::default();
        let left = Arc::clone(&cuts);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let link = Link {
                    way: receiver.clone(),
                    cuts: Arc::clone(&left),
                };
                tokio::spawn(link.forward(near, upstream));
            }
        });
        Self { way, cuts }
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Cuts the next exchanges of that kind.
    pub(crate) fn cut(&self, times: usize, cut: Cut) {
        self.cuts.store(times, SeqCst);
        self.set(Way::Cut(cut));
    }

    /// The number of exchanges still to be cut.
    pub(crate) fn cuts_left(&self) -> usize {
        self.cuts.load(SeqCst)
    }
}

/// The state of one connection.
struct Link {
    way: watch::Receiver<Way>,
    cuts: Arc<AtomicUsize>,
}

impl Link {
    async fn forward(mut self, mut near: TcpStream, upstream: SocketAddr) {
        let way = *self.way.borrow_and_update();
        let (end, _far) = match way.end() {
            Some(end) => (end, None),
            None => match TcpStream::connect(upstream).await {
                Ok(mut far) => {
                    // Otherwise data in two pieces is delayed by 40 ms.
                    near.set_nodelay(true).unwrap();
                    far.set_nodelay(true).unwrap();
                    (self.carry(&mut near, &mut far).await, Some(far))
                }
                Err(_) => (End::Closed, None),
            },
        };
        match end {
            End::Closed => {}
            End::Reset => near.set_zero_linger().unwrap(),
            // Held open until the test's runtime ends.
            End::Silent => std::future::pending().await,
        }
    }

    /// Forwards data in both directions until the connection ends.
    async fn carry(&mut self, near: &mut TcpStream, far: &mut TcpStream) -> End {
        /// `ReadyForQuery`, outside of a transaction.
        const DONE: &[u8] = b"Z\0\0\0\x05I";
        /// Text that only a batch contains.
        const BATCH: &[u8] = b"MASSSENDJOBFINISH";
        let (mut asked, mut answered) = (vec![0; 8192], vec![0; 8192]);
        let (mut question, mut answer) = (Tail::default(), Tail::default());
        let (mut batch, mut records) = (Tail::default(), false);
        let mut cut: Option<Cut> = None;
        loop {
            tokio::select! {
                changed = self.way.changed() => {
                    let way = *self.way.borrow_and_update();
                    if let Some(end) = changed.map_or(Some(End::Closed), |()| way.end()) {
                        return end;
                    }
                }
                read = near.read(&mut asked) => {
                    let Ok(length @ 1..) = read else {
                        return End::Closed;
                    };
                    records = records || batch.has(&asked[..length], BATCH);
                    let way = *self.way.borrow();
                    if let Way::Cut(next) = way
                        && records
                        && question.has(&asked[..length], next.text.as_bytes())
                        && self.takes_cut()
                    {
                        if next.moment == Moment::Asking {
                            return next.end;
                        }
                        cut = Some(next);
                    }
                    self.delay().await;
                    if far.write_all(&asked[..length]).await.is_err() {
                        return End::Closed;
                    }
                }
                read = far.read(&mut answered) => {
                    let Ok(length @ 1..) = read else {
                        return End::Closed;
                    };
                    match cut {
                        Some(cut) if answer.has(&answered[..length], DONE) => return cut.end,
                        Some(_) => {}
                        None => {
                            self.delay().await;
                            if near.write_all(&answered[..length]).await.is_err() {
                                return End::Closed;
                            }
                        }
                    }
                }
            }
        }
    }

    /// Waits until the delay is over, or the setting changes.
    async fn delay(&mut self) {
        let way = *self.way.borrow();
        if let Way::Slow(delay) = way {
            let _ = tokio::time::timeout(delay, self.way.wait_for(|now| *now != way)).await;
            self.way.mark_changed();
        }
    }

    fn takes_cut(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.cuts.fetch_update(SeqCst, SeqCst, one_less).is_ok()
    }
}

/// Finds texts that may arrive in pieces.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// True if the text is complete with this piece.
    fn has(&mut self, piece: &[u8], text: &[u8]) -> bool {
        self.0.extend_from_slice(piece);
        let has = self.0.windows(text.len()).any(|part| part == text);
        let kept = if has { 0 } else { text.len() - 1 };
        self.0.drain(..self.0.len().saturating_sub(kept));
        has
    }
}
