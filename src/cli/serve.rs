//! `qunfa serve`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Outcome, reachable};
use crate::app::{App, Demo};
use crate::config::{Config, LogFormat, Settings};
use crate::telemetry;
use crate::wechat::Account;

/// Serves until SIGTERM or SIGINT.
pub(super) async fn run(settings: &Settings, config_flag: Option<&Path>) -> Outcome {
    let config = settings.check_to_serve()?;
    let level = config
        .log
        .level
        .parse()
        .context("the log level is checked")?;
    telemetry::start(config.log.format == LogFormat::Json, level);
    for warning in &config.warnings {
        warn!("{warning}");
    }

    let demo = config
        .accounts
        .is_empty()
        .then(|| Demo::load_or_make(&config.data_dir))
        .transpose()?;
    let accounts: Vec<Account> = match &demo {
        Some(demo) => vec![demo.account.clone()],
        None => config
            .accounts
            .iter()
            .map(|configured| configured.account.clone())
            .collect(),
    };
    let listen = config.server.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    let shutdown = shutdown_on_signal()?;
    let app = tokio::select! {
        app = App::open(&config, accounts.clone()) => app?,
        () = shutdown.cancelled() => return Ok(()),
    };

    let banner = banner(&config, address, &accounts, demo.as_ref(), config_flag);
    if let Err(error) = io::stdout().write_all(banner.as_bytes()) {
        warn!(%error, "cannot write the callback URLs to standard output");
    }
    info!(version = env!("CARGO_PKG_VERSION"), %address, store = %config.store.url, "ready");
    app.serve(listener, shutdown).await;
    Ok(())
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
    });
    Ok(shutdown)
}

/// What to enter in WeChat's console, and for the demo account, what to try first. Never a token.
fn banner(
    config: &Config,
    address: SocketAddr,
    accounts: &[Account],
    demo: Option<&Demo>,
    config_flag: Option<&Path>,
) -> String {
    let local = format!("http://{}", reachable(address));
    let public = config
        .server
        .public_url
        .as_ref()
        .map_or(local.as_str(), |url| url.as_str());
    let mut lines = vec![format!(
        "qunfa {} listens on {address}",
        env!("CARGO_PKG_VERSION")
    )];
    lines.extend(accounts.iter().map(|Account { name, mode, .. }| {
        format!(
            "callback URL of `{name}` ({} mode): {public}/wechat/{name}",
            mode.as_str()
        )
    }));
    if let Some(demo) = demo {
        let program = std::env::args()
            .next()
            .unwrap_or_else(|| "qunfa".to_owned());
        let config_flag = config_flag
            .map(|path| format!(" --config {}", quoted(&path.to_string_lossy())))
            .unwrap_or_default();
        lines.push(
            "no account is configured, so `demo` was made for trials; push a signed sample to it:"
                .to_owned(),
        );
        lines.push(format!(
            "  {}{config_flag} simulate push --url {local}/wechat/{} --token-file {}",
            quoted(&program),
            demo.account.name,
            quoted(&demo.token_file.to_string_lossy()),
        ));
        lines.push("then read what became of it:".to_owned());
        lines.push(format!("  curl {local}/api/v1/jobs"));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The text as one word of a shell.
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
