//! Socket activation, readiness and watchdog, if `serve` runs under systemd.
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

/// The TCP socket inherited from systemd, which stays open while `serve` restarts. Removes the
/// variables that announce it from the environment, so there must be no second thread yet.
pub(super) fn inherited_listener() -> Result<Option<TcpListener>, Failure> {
    // Without a process id, `listenfd` would use any open file as a socket.
    let has_addressee = std::env::var_os("LISTEN_PID").is_some_and(|pid| !pid.is_empty());
    let mut sockets = ListenFd::from_env();
    if !has_addressee || sockets.len() == 0 {
        return Ok(None);
    }
    if sockets.len() > 1 {
        let error = anyhow!(
            "{} sockets were inherited, but `serve` needs exactly one",
            sockets.len()
        );
        return Err(Failure::usage(error));
    }
    let listener = sockets
        .take_tcp_listener(0)
        .context("the inherited socket is not a TCP socket")
        .map_err(Failure::usage)?;
    let Some(listener) = listener else {
        return Ok(None);
    };
    if !socket_acceptconn(&listener).map_err(anyhow::Error::from)? {
        let error = anyhow!("the inherited TCP socket does not listen");
        return Err(Failure::usage(error));
    }
    listener
        .set_nonblocking(true)
        .context("cannot use the inherited socket")?;
    Ok(Some(listener))
}

/// Reports that the server is ready, and then sends the watchdog notifications that systemd wants.
/// If the runtime hangs they end, and systemd restarts `serve`.
pub(super) async fn run_watchdog() {
    notify("READY=1").await;
    let Some(timeout) = watchdog_timeout() else {
        return;
    };
    // Twice as often as needed, as systemd advises.
    let mut interval = tokio::time::interval(timeout / 2);
    loop {
        interval.tick().await;
        notify("WATCHDOG=1").await;
    }
}

pub(super) async fn stopping() {
    notify("STOPPING=1").await;
}

/// How long systemd waits for a watchdog notification before it restarts `serve`; `None` means for
/// ever.
fn watchdog_timeout() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let microseconds = number("WATCHDOG_USEC").filter(|limit| is_ours && *limit > 1)?;
    Some(Duration::from_micros(microseconds))
}

/// Blocks while systemd does not read, so nothing must wait for it.
async fn notify(state: &str) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = async {
        let address = notify_address(&address)?;
        let socket = std::os::unix::net::UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        UnixDatagram::from_std(socket)?.send(state.as_bytes()).await
    };
    if let Err(error) = sent.await {
        warn!(%error, state, "cannot notify systemd");
    }
}

/// A path, or an abstract name after `@`.
fn notify_address(text: &OsStr) -> io::Result<SocketAddr> {
    match text.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        path => SocketAddr::from_pathname(OsStr::from_bytes(path)),
    }
}
