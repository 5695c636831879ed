//! `qunfa simulate push`.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::target::TargetArgs;
use crate::cli::{Failure, Outcome};
use crate::config::{ConfigError, Settings};
use crate::domain::MsgId;
use crate::simulator::{Sample, Simulator, with_msg_id};

const MAX_REPEAT: u32 = 100_000;

#[derive(Debug, Args)]
pub(in crate::cli) struct PushArgs {
    #[command(flatten)]
    target: TargetArgs,
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

/// Pushes, and prints each answer.
pub(in crate::cli) async fn push(
    settings: impl FnOnce() -> Result<Settings, ConfigError>,
    arguments: PushArgs,
) -> Outcome {
    let target = arguments.target.resolve(settings)?;
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
