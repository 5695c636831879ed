//! `qunfa simulate push`.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::target::TargetArgs;
use crate::cli::{Failure, Outcome, print};
use crate::config::{ConfigError, Settings};
use crate::domain::{MsgId, Time};
use crate::simulator::{Sample, Simulator, with_create_time, with_msg_id};

const MAX_REPEAT: u32 = 100_000;
/// The last second of the year 9999.
const MAX_CREATE_TIME: i64 = 253_402_300_799;

#[derive(Debug, Args)]
pub(in crate::cli) struct PushArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Push this file unchanged
    #[arg(long, value_name = "FILE", conflicts_with = "sample")]
    event: Option<PathBuf>,
    /// Push a built-in event
    #[arg(long, value_parser = PossibleValuesParser::new(Sample::ALL.map(Sample::as_str)), default_value = "success")]
    sample: String,
    /// Set the `MsgID` of the event [default: a new one for a built-in event]
    #[arg(long, value_name = "N")]
    msg_id: Option<MsgId>,
    /// Set the `CreateTime` of the event, in seconds since 1970 [default: now for a built-in event]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(0..=MAX_CREATE_TIME))]
    create_time: Option<i64>,
    /// How many times to push; each repeat has the same body with a new timestamp, nonce and
    /// signature
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_REPEAT)))]
    repeat: u32,
}

/// Pushes, and prints each answer.
pub(in crate::cli) async fn push(
    settings: impl FnOnce() -> Result<Settings, ConfigError>,
    arguments: PushArgs,
) -> Outcome {
    let target = arguments.target.resolve(settings).await?;
    let message = message(&arguments, &target.to_user_name).map_err(Failure::usage)?;
    let simulator = Simulator::new(target.url, target.sender).map_err(anyhow::Error::from)?;
    let mut illegal = 0_u32;
    for number in 1..=arguments.repeat {
        let answer = simulator
            .push(&message)
            .await
            .map_err(anyhow::Error::from)?;
        illegal += u32::from(!answer.is_legal());
        print(format_args!(
            "{number}/{} {} {} {} ms\n",
            arguments.repeat,
            answer.status,
            answer.body.escape_debug(),
            answer.took.as_millis()
        ))?;
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

/// The event to push: a file, or a built-in event that has just happened, changed as the arguments
/// say.
fn message(arguments: &PushArgs, to_user_name: &str) -> anyhow::Result<Vec<u8>> {
    let (message, msg_id, create_time) = if let Some(path) = &arguments.event {
        let event = std::fs::read(path)
            .with_context(|| format!("`--event`: cannot read `{}`", path.display()))?;
        (event, arguments.msg_id, arguments.create_time)
    } else {
        let sample: Sample = arguments
            .sample
            .parse()
            .map_err(|()| anyhow!("`--sample` is not one of the built-in events"))?;
        let event = sample.addressed_to(to_user_name);
        let msg_id = arguments.msg_id.or_else(new_msg_id);
        let now = Time::now().seconds();
        let create_time = arguments.create_time.unwrap_or(now);
        (event.into_bytes(), msg_id, Some(create_time))
    };
    if msg_id.is_none() && create_time.is_none() {
        return Ok(message);
    }
    let mut text = String::from_utf8(message)
        .context("`--msg-id` and `--create-time` need an event in UTF-8")?;
    if let Some(msg_id) = msg_id {
        text = with_msg_id(&text, msg_id).context("`--msg-id`")?;
    }
    if let Some(create_time) = create_time {
        text = with_create_time(&text, create_time).context("`--create-time`")?;
    }
    Ok(text.into_bytes())
}

/// Rises with time, as WeChat's ids do. It has 15 digits because spreadsheets round longer numbers.
fn new_msg_id() -> Option<MsgId> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    MsgId::new(i64::try_from(now.as_micros() / 10).ok()?)
}
