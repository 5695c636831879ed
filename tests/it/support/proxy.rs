//! A way to the database that can be cut.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Database;

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It arrives.
    Open,
    /// Connections are closed, old and new.
    Refused,
    /// It is lost without a word. A connection that has been here never works again, as after a failover.
    BlackHole,
}

/// Forwards TCP to one address, as long as it may.
pub(crate) struct Proxy {
    way: watch::Sender<Way>,
}

impl Proxy {
    /// Puts a proxy between that PostgreSQL database and whoever opens its URL from now on.
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
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(stream, upstream, receiver.clone()));
            }
        });
        Self { way }
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn forward(mut near: TcpStream, upstream: SocketAddr, mut way: watch::Receiver<Way>) {
    let open = *way.borrow_and_update();
    if open == Way::Open {
        let mut far = TcpStream::connect(upstream).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
            changed = way.changed() => if changed.is_err() || *way.borrow() == Way::Refused { return },
        }
    }
    if *way.borrow() != Way::Refused {
        // In the black hole: held open until the test's runtime ends.
        std::future::pending::<()>().await;
    }
}
