//! `qunfa simulate push`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use clap::builder::PossibleValuesParser;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{Failure, Outcome, reachable};
use crate::app::{DEMO, Demo};
use crate::config::{ConfigError, Settings};
use crate::domain::{AccountName, MsgId};
use crate::simulator::{Sample, Sender, Simulator, is_loopback, with_msg_id};
use crate::wechat::{Account, AppId, EncodingAesKey, Encryption, Mode, Token};

const MAX_REPEAT: u32 = 100_000;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true).multiple(true).args(["account", "url"]))]
pub(super) struct PushArgs {
    /// Push to this configured account of the server on this machine; `demo` when none is configured
    #[arg(long, value_name = "NAME", conflicts_with_all = ["token", "token_file", "mode", "aes_key", "aes_key_file", "app_id"])]
    account: Option<AccountName>,
    /// Push to this callback URL; with `--account`, as that account
    #[arg(long)]
    url: Option<Url>,
    /// The token that signs
    #[arg(long, value_name = "T")]
    token: Option<SecretString>,
    /// A file with the token that signs
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
    /// Push this file, byte for byte
    #[arg(long, value_name = "FILE", conflicts_with = "sample")]
    event: Option<PathBuf>,
    /// Push a built-in event
    #[arg(long, value_parser = PossibleValuesParser::new(Sample::ALL.map(Sample::as_str)), default_value = "success")]
    sample: String,
    /// Put this `MsgID` into the event
    #[arg(long, value_name = "N")]
    msg_id: Option<MsgId>,
    /// How many times in all; a repeat is the same body with a new timestamp, nonce and signature
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_REPEAT)))]
    repeat: u32,
}

/// Where to push, and as whom.
struct Target {
    url: Url,
    sender: Sender,
    /// Whom samples are addressed to, where the account insists on it.
    original_id: Option<String>,
}

/// Pushes, and prints each answer.
pub(super) async fn push(
    settings: impl FnOnce() -> Result<Settings, ConfigError>,
    arguments: PushArgs,
) -> Outcome {
    let target = match &arguments.account {
        Some(account) => {
            let configured = configured(&settings()?, account)?;
            match &arguments.url {
                Some(url) => Target {
                    url: http_url(url).map_err(Failure::usage)?,
                    ..configured
                },
                None => configured,
            }
        }
        None => described(&arguments).map_err(Failure::usage)?,
    };
    if !arguments.remote && !is_loopback(&target.url) {
        return Err(Failure::usage(anyhow!(
            "the URL is not on this machine; `--remote` allows that"
        )));
    }
    let message = message(&arguments, target.original_id.as_deref()).map_err(Failure::usage)?;
    let simulator = Simulator::new(target.url, target.sender).map_err(anyhow::Error::from)?;
    let mut illegal = 0_u32;
    for number in 1..=arguments.repeat {
        let answer = simulator
            .push(&message)
            .await
            .map_err(anyhow::Error::from)?;
        illegal += u32::from(!answer.is_legal());
        writeln!(
            io::stdout(),
            "{number}/{} {} {} {} ms",
            arguments.repeat,
            answer.status,
            answer.body.escape_debug(),
            answer.took.as_millis()
        )
        .context("cannot write to standard output")?;
    }
    if illegal > 0 {
        let of = arguments.repeat;
        return Err(anyhow!(
            "{illegal} of {of} answers are not 200 with `success` or nothing; the server's log tells why"
        )
        .into());
    }
    Ok(())
}

/// The target that the configuration describes.
fn configured(settings: &Settings, name: &AccountName) -> Result<Target, Failure> {
    let config = settings.check()?;
    let mut accounts = config.accounts.iter().map(|configured| &configured.account);
    let account: Account = match accounts.find(|account| account.name == *name) {
        Some(account) => account.clone(),
        None if config.accounts.is_empty() && name.as_str() == DEMO => {
            Demo::load(&config.data_dir)
                .context("there is no demo account yet; `qunfa serve` makes it")
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
    Ok(Target {
        url: url.parse().context("the configured address makes no URL")?,
        sender: Sender {
            token: account.token,
            mode: account.mode,
        },
        original_id: account.original_id,
    })
}

/// The target that the command line describes.
fn described(arguments: &PushArgs) -> anyhow::Result<Target> {
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
        original_id: None,
    })
}

fn http_url(url: &Url) -> anyhow::Result<Url> {
    match url.scheme() {
        "http" | "https" => Ok(url.clone()),
        _ => Err(anyhow!("`--url` must start with http:// or https://")),
    }
}

/// A secret from the command line, or from a file, of which white space at the end is cut.
fn secret(
    text: Option<&SecretString>,
    file: Option<&Path>,
) -> anyhow::Result<Option<SecretString>> {
    match (text, file) {
        (Some(text), _) => Ok(Some(text.clone())),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            Ok(Some(text.trim_end().into()))
        }
        (None, None) => Ok(None),
    }
}

fn message(arguments: &PushArgs, original_id: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let message = if let Some(path) = &arguments.event {
        std::fs::read(path)
            .with_context(|| format!("`--event`: cannot read `{}`", path.display()))?
    } else {
        let sample: Sample = arguments
            .sample
            .parse()
            .map_err(|()| anyhow!("`--sample` is not one of the built-in events"))?;
        match original_id {
            Some(original_id) => sample.addressed_to(original_id).into_bytes(),
            None => sample.xml().as_bytes().to_owned(),
        }
    };
    match arguments.msg_id {
        None => Ok(message),
        Some(msg_id) => {
            let text = String::from_utf8(message).context("`--msg-id`: the event is not UTF-8")?;
            Ok(with_msg_id(&text, msg_id)
                .context("`--msg-id`")?
                .into_bytes())
        }
    }
}
