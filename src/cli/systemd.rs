//! What systemd and `serve` have to say to each other; without systemd, nothing.
//!
//! The protocols are `sd_listen_fds(3)`, `sd_notify(3)` and `sd_watchdog_enabled(3)`.

use std::ffi::OsStr;
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use tokio::net::UnixDatagram;
use tracing::warn;

use super::Failure;

/// The TCP socket that was handed over to this process, which stays open while `serve` restarts. Takes the variables
/// that announce it out of the environment, so there must be no second thread yet.
pub(super) fn inherited_listener() -> Result<Option<TcpListener>, Failure> {
    // Without a process id, `listenfd` would take whatever stands in the place of a socket.
    let has_addressee = std::env::var_os("LISTEN_PID").is_some_and(|pid| !pid.is_empty());
    let mut sockets = ListenFd::from_env();
    if !has_addressee || sockets.len() == 0 {
        return Ok(None);
    }
    if sockets.len() > 1 {
        let error = anyhow!(
            "{} sockets were handed over, and `serve` takes one",
            sockets.len()
        );
        return Err(Failure::usage(error));
    }
    let listener = sockets
        .take_tcp_listener(0)
        .context("the socket that was handed over is no TCP socket")
        .map_err(Failure::usage)?;
    let Some(listener) = listener else {
        return Ok(None);
    };
    if !socket_acceptconn(&listener).map_err(anyhow::Error::from)? {
        let error = anyhow!("the TCP socket that was handed over does not listen");
        return Err(Failure::usage(error));
    }
    listener
        .set_nonblocking(true)
        .context("cannot use the socket that was handed over")?;
    Ok(Some(listener))
}

/// Says that pushes are taken from now on, and then shows signs of life as often as they are wanted. In a runtime that
/// hangs they end, and systemd starts `serve` again.
pub(super) async fn ready_and_alive() {
    tell("READY=1").await;
    let Some(limit) = watchdog_limit() else {
        return;
    };
    // Twice as often as needed, as systemd advises.
    let mut interval = tokio::time::interval(limit / 2);
    loop {
        interval.tick().await;
        tell("WATCHDOG=1").await;
    }
}

/// Says that the end has begun.
pub(super) async fn stopping() {
    tell("STOPPING=1").await;
}

/// After how long without a sign of life systemd would start `serve` again, if it would.
fn watchdog_limit() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let microseconds = number("WATCHDOG_USEC").filter(|limit| is_ours && *limit > 1)?;
    Some(Duration::from_micros(microseconds))
}

/// Waits while systemd does not read, so nothing may wait for this.
async fn tell(state: &str) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let told = async {
        let address = notify_address(&address)?;
        let socket = std::os::unix::net::UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        UnixDatagram::from_std(socket)?.send(state.as_bytes()).await
    };
    if let Err(error) = told.await {
        warn!(%error, state, "cannot notify systemd");
    }
}

/// The path, or the abstract name behind an `@`.
fn notify_address(text: &OsStr) -> io::Result<SocketAddr> {
    match text.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        path => SocketAddr::from_pathname(OsStr::from_bytes(path)),
    }
}
