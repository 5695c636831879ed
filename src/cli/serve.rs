//! `qunfa serve`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Failure, Outcome, reachable, systemd};
use crate::app::{App, Demo, Listeners, exposed_files};
use crate::config::{Config, LogFormat, Metrics, PublicUrl, Settings};
use crate::wechat::Account;
use crate::{server, telemetry};

/// Serves until SIGTERM or SIGINT, on the inherited socket, else on `server.listen`.
pub(super) async fn run(
    settings: &Settings,
    config_flag: Option<&Path>,
    inherited: Option<std::net::TcpListener>,
) -> Outcome {
    let mut config = settings.check_to_serve()?;
    let _last_lines = telemetry::start(config.log.format == LogFormat::Json, config.log.level)
        .context("cannot start the log")?;
    let exposed = exposed_files(&config, settings);
    for warning in config.warnings.iter().chain(&exposed) {
        warn!("{warning}");
    }

    let demo = config
        .accounts
        .is_empty()
        .then(|| Demo::load_or_make(&config.data_dir))
        .transpose()?;
    config
        .accounts
        .extend(demo.as_ref().map(|demo| demo.account.clone()));
    let is_inherited = inherited.is_some();
    let listen = config.server.listen;
    let listener = match inherited {
        Some(listener) => TcpListener::from_std(listener).context("cannot listen")?,
        None => server::listen(listen).with_context(|| format!("cannot listen on {listen}"))?,
    };
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    if is_inherited {
        check_inherited(address, &config)?;
    }
    let metrics = listen_for_metrics(config.metrics)?;
    let api = config.api.listen.map(|listen| {
        server::listen(listen).with_context(|| format!("cannot listen on {listen} for the API"))
    });
    let api = api.transpose()?;
    let api_address = match &api {
        Some(listener) => listener.local_addr(),
        None => Ok(address),
    };
    let api_address = api_address.context("the listener of the API has no address")?;
    let shutdown = shutdown_on_signal()?;
    let app = tokio::select! {
        app = App::open(config.clone()) => app?,
        () = shutdown.cancelled() => return Ok(()),
    };

    let mut banner = format!("qunfa {} listens on {address}\n", env!("CARGO_PKG_VERSION"));
    if is_inherited {
        banner.push_str("the socket was inherited, so `server.listen` is not used\n");
    }
    let metrics_at = match (&metrics, config.metrics.listen) {
        (Some((_, address)), _) => format!("http://{address}/metrics"),
        (None, Some(taken)) => format!("nowhere, as {taken} cannot be used"),
        (None, None) => "nowhere".to_owned(),
    };
    if config.metrics.listen.is_some() {
        let line = format!("metrics for Prometheus: {metrics_at}\n");
        banner.push_str(&line);
    }
    banner.push_str(&urls(
        &config,
        (address, api_address),
        demo.as_ref(),
        config_flag,
    ));
    if let Err(error) = io::stdout().write_all(banner.as_bytes()) {
        warn!(%error, "cannot write the callback URLs to standard output");
    }
    info!(version = env!("CARGO_PKG_VERSION"), %address, is_inherited, %api_address, metrics = metrics_at, store = %config.store.url, "ready");
    tokio::spawn(systemd::run_watchdog());
    let listeners = Listeners {
        main: listener,
        api,
        metrics,
    };
    app.serve(listeners, shutdown).await;
    Ok(())
}

/// The listener for Prometheus and its address. `None` without one, or if the default address,
/// which other exporters use as well, is taken.
fn listen_for_metrics(metrics: Metrics) -> anyhow::Result<Option<(TcpListener, SocketAddr)>> {
    let Some(address) = metrics.listen else {
        return Ok(None);
    };
    let listening = server::listen(address).and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    match listening {
        Ok(listening) => Ok(Some(listening)),
        Err(error) if metrics.is_default => {
            warn!(
                %address,
                %error,
                "there are no metrics: the default of `metrics.listen` cannot be used; \
                 set it to another address, or to \"\" for no metrics"
            );
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot listen on {address} for Prometheus; set `metrics.listen` (QUNFA_METRICS__LISTEN) to another \
                 address, or to \"\" for no metrics"
            )
        }),
    }
}

fn shutdown_on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(
            signal = name,
            "stopping: no new connections, requests under way are finished"
        );
        token.cancel();
        systemd::stopping().await;
    });
    Ok(shutdown)
}

/// Refuses an API that others can read, as the check of `server.listen` does.
fn check_inherited(address: SocketAddr, config: &Config) -> Result<(), Failure> {
    if config.api.listen.is_none()
        && config.api.is_open()
        && !address.ip().to_canonical().is_loopback()
    {
        return Err(Failure::usage(anyhow!(
            "`api.keys` is empty and the inherited socket listens on {address}, which is not a loopback address, \
             so anybody could read the API; add a key from `qunfa key create`, or listen on 127.0.0.1"
        )));
    }
    let listen = config.server.listen;
    if address != listen {
        warn!(
            %address,
            %listen,
            "the inherited socket is not at `server.listen`, where `healthcheck` and `simulate` expect it"
        );
    }
    Ok(())
}

/// What to enter in WeChat's console, and what to try first with the demo account. Never a token.
fn urls(
    config: &Config,
    (address, api_address): (SocketAddr, SocketAddr),
    demo: Option<&Demo>,
    config_flag: Option<&Path>,
) -> String {
    let local = format!("http://{}", reachable(address));
    let page = format!("http://{}", reachable(api_address));
    let public_url = config.server.public_url.as_ref().map(PublicUrl::as_str);
    let mut lines = Vec::new();
    if api_address != address {
        lines.push(format!("the API listens on {api_address}"));
    }
    lines.push(format!("the page, for browsers: {page}/"));
    if let Some(url) = public_url
        && config.api.listen.is_none()
    {
        lines.push(format!(
            "the page, for your colleagues: {url}/ once the proxy lets them in (docs/OPERATIONS.md, \"Open the page to your colleagues\")"
        ));
    }
    for Account { name, mode, .. } in &config.accounts {
        let (mode, url) = (mode.as_str(), public_url.unwrap_or(&local));
        lines.push(format!(
            "callback URL of `{name}` ({mode} mode): {url}/wechat/{name}"
        ));
    }
    if let Some(demo) = demo {
        let program = std::env::args().next();
        let config_flag = config_flag
            .map(|path| format!(" --config {}", quoted(&path.to_string_lossy())))
            .unwrap_or_default();
        lines.push(format!(
            "no account is configured, so `demo` was created for trials; push a signed sample to it:\n  \
             {}{config_flag} simulate push --url {local}/wechat/{} --token-file {}\n\
             then read the job:\n  curl {page}/api/v1/jobs",
            quoted(program.as_deref().unwrap_or("qunfa")),
            demo.account.name,
            quoted(&demo.token_file.to_string_lossy()),
        ));
    }
    lines.join("\n") + "\n"
}

/// The text as one word for a shell.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:=@%".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quoted("target/release/qunfa"), "target/release/qunfa");
        assert_eq!(quoted("my data/x"), "'my data/x'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
