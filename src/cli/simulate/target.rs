//! The arguments that say where `simulate` pushes to, and as which account.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use clap::builder::PossibleValuesParser;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::app::{DEMO, Demo, remembered_name};
use crate::cli::secret::secret;
use crate::cli::{Failure, reachable};
use crate::config::{ConfigError, Settings};
use crate::domain::{AccountName, SAMPLE_NAME};
use crate::simulator::{Sender, is_loopback};
use crate::wechat::{Account, AppId, EncodingAesKey, Encryption, Mode, Token};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true).multiple(true).args(["account", "url"]))]
pub(super) struct TargetArgs {
    /// Push as this configured account to the server on this machine; `demo` if none is configured
    #[arg(long, value_name = "NAME", conflicts_with_all = ["token", "token_file", "mode", "aes_key", "aes_key_file", "app_id"])]
    account: Option<AccountName>,
    /// Push to this callback URL; with --account, as that account
    #[arg(long)]
    url: Option<Url>,
    /// The token to sign with
    #[arg(long, value_name = "T")]
    token: Option<SecretString>,
    /// A file with the token to sign with
    #[arg(long, value_name = "F", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// The account's mode
    #[arg(long, value_parser = PossibleValuesParser::new(["plain", "compatible", "safe"]), default_value = "plain")]
    mode: String,
    /// The `EncodingAESKey`, in compatible and safe mode
    #[arg(long, value_name = "K")]
    aes_key: Option<SecretString>,
    /// A file with the `EncodingAESKey`
    #[arg(long, value_name = "F", conflicts_with = "aes_key")]
    aes_key_file: Option<PathBuf>,
    /// The `AppID`, in compatible and safe mode
    #[arg(long, value_name = "A")]
    app_id: Option<String>,
    /// Allow a URL that is not on this machine
    #[arg(long)]
    remote: bool,
}

pub(super) struct Target {
    pub(super) url: Url,
    pub(super) sender: Sender,
    /// The addressee of events, `gh_…`.
    pub(super) to_user_name: String,
}

impl TargetArgs {
    /// `settings` are read only if an account is named.
    pub(super) async fn resolve(
        &self,
        settings: impl FnOnce() -> Result<Settings, ConfigError>,
    ) -> Result<Target, Failure> {
        let target = match &self.account {
            Some(account) => {
                let configured = configured(&settings()?, account).await?;
                match &self.url {
                    Some(url) => Target {
                        url: http_url(url).map_err(Failure::usage)?,
                        ..configured
                    },
                    None => configured,
                }
            }
            None => described(self).map_err(Failure::usage)?,
        };
        if !self.remote && !is_loopback(&target.url) {
            return Err(Failure::usage(anyhow!(
                "the URL is not on this machine; add `--remote` to allow that"
            )));
        }
        Ok(target)
    }
}

/// The target of a configured account.
async fn configured(settings: &Settings, name: &AccountName) -> Result<Target, Failure> {
    let config = settings.check()?;
    let account: Account = match config.account(name) {
        Some(account) => account.clone(),
        None if config.accounts.is_empty() && name.as_str() == DEMO => {
            Demo::load(&config.data_dir)
                .context("there is no demo account yet; `qunfa serve` creates it")
                .map_err(Failure::usage)?
                .account
        }
        None => {
            return Err(Failure::usage(anyhow!(
                "there is no account `{name}` in the configuration"
            )));
        }
    };
    let url = format!("http://{}/wechat/{name}", reachable(config.server.listen));
    let to_user_name = match account.original_id {
        Some(original_id) => Some(original_id),
        None => remembered_name(&config, name).await,
    };
    Ok(Target {
        url: url
            .parse()
            .context("the configured address does not make a URL")?,
        sender: Sender {
            token: account.token,
            mode: account.mode,
        },
        to_user_name: to_user_name.unwrap_or_else(|| SAMPLE_NAME.to_owned()),
    })
}

/// The target of the command line.
fn described(arguments: &TargetArgs) -> anyhow::Result<Target> {
    let url = arguments
        .url
        .as_ref()
        .context("`--url` or `--account` is needed")?;
    let token = secret(arguments.token.as_ref(), arguments.token_file.as_deref())
        .context("`--token-file`")?
        .context("`--url` needs `--token` or `--token-file`")?;
    let key = secret(
        arguments.aes_key.as_ref(),
        arguments.aes_key_file.as_deref(),
    )
    .context("`--aes-key-file`")?;
    let encryption = || {
        let (Some(key), Some(app_id)) = (&key, &arguments.app_id) else {
            return Err(anyhow!(
                "`--mode {}` needs `--aes-key` or `--aes-key-file`, and `--app-id`",
                arguments.mode
            ));
        };
        Ok(Encryption {
            app_id: AppId::new(app_id).context("`--app-id`")?,
            key: EncodingAesKey::new(key.expose_secret()).context("the key to encrypt with")?,
            previous_key: None,
        })
    };
    let mode = match arguments.mode.as_str() {
        "compatible" => Mode::Compatible(encryption()?),
        "safe" => Mode::Safe(encryption()?),
        _ => Mode::Plain,
    };
    Ok(Target {
        url: http_url(url)?,
        sender: Sender {
            token: Token::new(token.expose_secret()).context("the token to sign with")?,
            mode,
        },
        to_user_name: SAMPLE_NAME.to_owned(),
    })
}

fn http_url(url: &Url) -> anyhow::Result<Url> {
    match url.scheme() {
        "http" | "https" => Ok(url.clone()),
        _ => Err(anyhow!("`--url` must start with http:// or https://")),
    }
}
