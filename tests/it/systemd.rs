//! systemd's interface to `serve`: the listening socket, readiness, stopping, the watchdog.

use std::collections::BTreeSet;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::support::load::{ids_of, jobs};
use crate::support::server::{ONE_SOCKET, handed};
use crate::support::wire::{Wire, push};
use crate::support::workplace::{Ended, MOMENT, Workplace, ended};
use crate::support::{Backend, Event, PLAIN, Setup, eventually, on_both_stores};

const RESTARTS: usize = 5;
const CLIENTS: usize = 8;
/// New pushes between two restarts.
const PUSHES: i64 = 50;

/// A listening socket, as systemd would open it.
fn socket() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Pushes new events one after the other, each on a new connection, until stopped; every one must
/// be acknowledged.
async fn push_on(
    url: String,
    next: Arc<AtomicI64>,
    acknowledged: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
) {
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    while !stop.load(Relaxed) {
        let msg_id = next.fetch_add(1, Relaxed);
        let push = PLAIN.sign(Event::new(msg_id, 10).xml());
        let request = client.post(format!("{url}?{}", push.query)).body(push.body);
        let response = request.send().await.expect("no connection is refused");
        let status = response.status();
        let text = response.text().await.expect("every answer is complete");
        assert_eq!((status.as_u16(), text.as_str()), (200, "success"));
        acknowledged.fetch_add(1, Relaxed);
    }
}

on_both_stores! {
    async fn a_restart_refuses_no_connection_and_loses_no_push(backend: Backend) {
        let mut server = Setup::default().socket(socket()).start(backend).await;
        let address = server.address;
        let [next, acknowledged] = [1, 0].map(|count| Arc::new(AtomicI64::new(count)));
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(push_on(
                server.url("/wechat/plain"),
                Arc::clone(&next),
                Arc::clone(&acknowledged),
                Arc::clone(&stop),
            ));
        }
        for _ in 0..RESTARTS {
            let before = acknowledged.load(Relaxed);
            eventually("pushes are acknowledged", async || {
                let given_up = clients.try_join_next();
                assert!(given_up.is_none(), "{given_up:?}");
                acknowledged.load(Relaxed) > before + PUSHES
            })
            .await;
            server.signal(Signal::TERM);
            assert_eq!(server.wait().await.code(), Some(0), "{}", server.log());
            server.restart();
            assert_eq!(server.address, address);
        }
        stop.store(true, Relaxed);
        clients.join_all().await;
        let pushed = 1..next.load(Relaxed);
        let pushed: BTreeSet<String> = pushed.map(|msg_id| msg_id.to_string()).collect();
        assert_eq!(ids_of(&jobs(&server, &PLAIN).await), pushed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_comes_while_nobody_serves_waits_for_the_next_start() {
    let mut server = Setup::default()
        .socket(socket())
        .start(Backend::Sqlite)
        .await;
    server.signal(Signal::TERM);
    assert_eq!(server.wait().await.code(), Some(0), "{}", server.log());
    let mut waiting = Wire::connect(server.address).await;
    let (head, body) = push(&PLAIN, Event::new(7, 10).xml());
    waiting.send([head, body].concat()).await;
    server.restart();
    assert!(waiting.reply().await.unwrap().is_success());
    assert_eq!(server.job(&PLAIN, "7").await["deliveries"], 1);
}

/// Runs `serve` with that socket to its end.
fn serve_with(socket: impl Into<OwnedFd>, announcement: &str, listen: &str) -> Ended {
    let place = Workplace::new();
    let mut command = place.program();
    command.arg("serve").env("QUNFA_SERVER__LISTEN", listen);
    ended(handed(&command, socket, announcement))
}

#[test]
fn what_is_no_listening_tcp_socket_is_exit_code_2() {
    let place = Workplace::new();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(place.path("socket")).unwrap();
    let file = std::fs::File::create(place.path("file")).unwrap();
    let listener = socket();
    let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let sockets: [(OwnedFd, &str); 4] = [
        (datagrams.into(), "not a TCP socket"),
        (unix.into(), "not a TCP socket"),
        (file.into(), "not a TCP socket"),
        (connected.into(), "does not listen"),
    ];
    for (socket, problem) in sockets {
        let ended = serve_with(socket, ONE_SOCKET, "127.0.0.1:0").with_code(2);
        assert!(ended.talk.contains(problem), "{ended:?}");
        assert_eq!(ended.output, "");
    }
}

#[test]
fn more_than_one_socket_is_exit_code_2() {
    let announcement = "LISTEN_FDS=2 LISTEN_PID=$$";
    let ended = serve_with(socket(), announcement, "127.0.0.1:0").with_code(2);
    assert!(ended.talk.contains("2 sockets"), "{ended:?}");
}

#[test]
fn a_socket_for_another_process_or_for_nobody_is_not_taken() {
    for announcement in ["LISTEN_FDS=1 LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_PID=$$"] {
        let socket = socket();
        let address = socket.local_addr().unwrap().to_string();
        // If it took the socket it would serve. Without it, it cannot listen on an address in use.
        let ended = serve_with(socket, announcement, &address).with_code(1);
        let problem = format!("cannot listen on {address}");
        assert!(ended.talk.contains(&problem), "{announcement}: {ended:?}");
    }
}

#[test]
fn an_open_api_is_refused_on_an_inherited_socket_too() {
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let ended = serve_with(open, ONE_SOCKET, "127.0.0.1:0").with_code(2);
    assert!(ended.talk.contains("`api.keys` is empty"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_that_the_socket_was_handed_over() {
    let socket = socket();
    let address = socket.local_addr().unwrap();
    let server = Setup::default().socket(socket).start(Backend::Sqlite).await;
    assert_eq!(server.address, address);
    eventually("it is logged", async || {
        let ready = format!("address={address} is_inherited=true");
        server.log().contains(&ready)
    })
    .await;
}

/// The next notification to systemd, except for the watchdog's.
fn next_notice(notices: &UnixDatagram) -> String {
    loop {
        let notice = any_notice(notices);
        if notice != "WATCHDOG=1" {
            return notice;
        }
    }
}

fn any_notice(notices: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = notices.recv(&mut buffer).expect("systemd is told in time");
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_of_the_start_the_life_and_the_stop() {
    let place = Workplace::new();
    let path = place.path("notify");
    let notices = UnixDatagram::bind(&path).unwrap();
    notices.set_read_timeout(Some(MOMENT)).unwrap();
    let mut server = Setup::default()
        .variable("NOTIFY_SOCKET", path.to_str().unwrap())
        .variable("WATCHDOG_USEC", "2000")
        .start(Backend::Sqlite)
        .await;
    assert_eq!(any_notice(&notices), "READY=1");
    server.accepts(&PLAIN, Event::new(7, 10).xml()).await;
    for _ in 0..3 {
        assert_eq!(any_notice(&notices), "WATCHDOG=1");
    }
    server.signal(Signal::TERM);
    assert_eq!(next_notice(&notices), "STOPPING=1");
    // From here on nobody reads its notifications, and it ends all the same.
    assert_eq!(server.wait().await.code(), Some(0), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_at_an_abstract_address_too() {
    let name = format!("qunfa-test-{}", std::process::id());
    let address = UnixAddress::from_abstract_name(&name).unwrap();
    let notices = UnixDatagram::bind_addr(&address).unwrap();
    notices.set_read_timeout(Some(MOMENT)).unwrap();
    let mut server = Setup::default()
        .variable("NOTIFY_SOCKET", format!("@{name}"))
        .start(Backend::Sqlite)
        .await;
    assert_eq!(any_notice(&notices), "READY=1");
    server.signal(Signal::TERM);
    assert_eq!(any_notice(&notices), "STOPPING=1");
    assert_eq!(server.wait().await.code(), Some(0), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_systemd_that_cannot_be_told_changes_nothing() {
    let nowhere = Workplace::new().path("nobody");
    let mut server = Setup::default()
        .variable("NOTIFY_SOCKET", nowhere.to_str().unwrap())
        .variable("WATCHDOG_USEC", "0")
        .start(Backend::Sqlite)
        .await;
    server.accepts(&PLAIN, Event::new(7, 10).xml()).await;
    eventually("it is told", async || {
        server.log().contains("cannot notify systemd")
    })
    .await;
    server.signal(Signal::TERM);
    assert_eq!(server.wait().await.code(), Some(0), "{}", server.log());
}
