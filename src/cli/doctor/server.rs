//! The running server: readiness, metrics, and a test push that is read back.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use jiff::fmt::rfc2822;
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::database::judge_clock;
use super::{DoctorArgs, Report};
use crate::app::{DEMO, Demo};
use crate::cli::reachable;
use crate::cli::secret::secret;
use crate::config::Config;
use crate::domain::{AccountName, MsgId, SAMPLE_NAME, Time};
use crate::simulator::{Sender, Simulator};
use crate::store::{Store, StoreError};
use crate::wechat::Account;

const SUBJECT: &str = "server";
const PUSH: &str = "push";
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often to look for an acknowledged result.
const ATTEMPTS: u32 = 10;
const INTERVAL: Duration = Duration::from_millis(500);
/// The status of the test result, which WeChat never sends.
const STATUS: &str = "qunfa doctor";

pub(super) async fn examine(
    config: &Config,
    arguments: &DoctorArgs,
    store: Option<&dyn Store>,
    report: &mut Report,
) {
    let listen = config.server.listen;
    if listen.port() == 0 {
        report.warn(
            SUBJECT,
            "`server.listen` has port 0, so the running server cannot be found",
        );
        return;
    }
    let base = format!("http://{}", reachable(listen));
    let is_ready = match examine_readiness(&base, report).await {
        Ok(is_ready) => is_ready,
        Err(error) => return report.result(SUBJECT, Err(error)),
    };
    if let Some(listen) = config.metrics.listen.filter(|listen| listen.port() != 0) {
        examine_metrics(listen, config.metrics.is_default, report).await;
    }
    match store {
        Some(store) if is_ready => match push_and_read(config, arguments, &base, store).await {
            Ok(says) => report.ok(PUSH, says),
            Err(error) => report.result(PUSH, Err(error)),
        },
        _ => report.warn(
            PUSH,
            "not tried, because the test result could not be removed afterwards",
        ),
    }
}

async fn examine_metrics(listen: SocketAddr, is_default: bool, report: &mut Report) {
    const SUBJECT: &str = "metrics";
    let url = format!("http://{}/metrics", reachable(listen));
    let reading = async {
        let response = client()?.get(&url).send().await?;
        anyhow::Ok(response.text().await?)
    };
    match reading.await {
        Ok(text) if text.contains("qunfa_build_info{") => {
            report.ok(SUBJECT, format!("{url} answers Prometheus"));
        }
        Ok(_) if is_default => report.warn(
            SUBJECT,
            format!("{url} is answered by something other than qunfa, which serves no metrics while its default address is taken; set `metrics.listen`"),
        ),
        Ok(_) => report.warn(
            SUBJECT,
            format!("{url} is answered by something other than qunfa"),
        ),
        Err(_) => report.warn(
            SUBJECT,
            format!("{url} does not answer: was the server restarted after `metrics.listen` was changed?"),
        ),
    }
}

fn client() -> anyhow::Result<Client> {
    Client::builder()
        .no_proxy()
        .timeout(TIMEOUT)
        .build()
        .context("cannot set up an HTTP client")
}

/// True if the server is ready, neither degraded nor unavailable.
async fn examine_readiness(base: &str, report: &mut Report) -> anyhow::Result<bool> {
    let asked = Time::now();
    let response = client()?
        .get(format!("{base}/readyz"))
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("{base} does not answer; start it with `qunfa serve`"))?;
    let date = response.headers().get("date").cloned();
    let text = response.text().await.context("the answer is incomplete")?;
    let ready: Value = serde_json::from_str(&text)
        .with_context(|| format!("{base} is answered by something other than qunfa"))?;
    let (status, detail) = (&ready["status"], &ready["detail"]);
    let message = format!(
        "{base} is {}: {}",
        status.as_str().unwrap_or("not qunfa"),
        detail.as_str().unwrap_or_default()
    );
    let is_ready = status == "ready";
    match status.as_str() {
        Some("ready") => report.ok(SUBJECT, message),
        Some("degraded") => report.warn(SUBJECT, format!("{message}; see its log")),
        _ => report.fail(SUBJECT, format!("{message}; see its log")),
    }
    let date = date.as_ref().and_then(|date| date.to_str().ok());
    if let Some(clock) = date.and_then(http_date) {
        judge_clock("the server's", clock, asked, report);
    }
    Ok(is_ready)
}

fn http_date(text: &str) -> Option<Time> {
    let time = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Time::from_milliseconds(time.as_millisecond())
}

/// Pushes a result that cannot be real, reads it back, and removes it.
async fn push_and_read(
    config: &Config,
    arguments: &DoctorArgs,
    base: &str,
    store: &dyn Store,
) -> anyhow::Result<String> {
    let account = account(config, arguments.account.as_ref())?;
    let key = secret(None, arguments.api_key_file.as_deref()).context("`--api-key-file`")?;
    let msg_id = unreal_msg_id()?;
    let name = account.name.clone();
    let to = match &account.original_id {
        Some(original_id) => Some(original_id.clone()),
        None => remembered_name(store, &name).await?,
    };
    let message = message(to.as_deref().unwrap_or(SAMPLE_NAME), msg_id);
    let url = format!("{base}/wechat/{name}");
    let sender = Sender {
        token: account.token,
        mode: account.mode,
    };
    let simulator = Simulator::new(
        url.parse().context("the address does not make a URL")?,
        sender,
    )?;
    let push = simulator.sign(message.as_bytes())?;
    let envelope = Sha256::digest(&push.body).into();
    let answer = simulator.send(push).await?;
    if !answer.is_legal() {
        return Err(anyhow!(
            "{url} answers {}; see the log of the server: was it restarted after the configuration was changed?",
            answer.status
        ));
    }
    // With port 0, the port in use is unknown.
    let is_known = config.api_address().port() != 0;
    let through_api = is_known && (config.api.is_open() || key.is_some());
    let read = if through_api {
        let base = format!("http://{}", reachable(config.api_address()));
        read_api(&base, key.as_ref(), &name, msg_id).await
    } else {
        read_store(store, &name, msg_id).await
    };
    // Whether it was found or not. Nothing but this message is removed.
    let is_gone = store
        .withdraw(&name, msg_id, &Sha256::digest(message.as_bytes()).into())
        .await
        .with_context(|| format!("job {msg_id} of `{name}` was created and cannot be removed"))?;
    let is_sealed = store
        .withdraw_sealed(&name, &envelope)
        .await
        .context("a sealed delivery was created and cannot be removed")?;
    if is_sealed {
        return Err(anyhow!(
            "{url} acknowledged a result but could not open it: the running server has a different key, AppID or \
             original_id for `{name}`; restart it"
        ));
    }
    read?;
    if !is_gone {
        return Err(anyhow!(
            "job {msg_id} of `{name}` was created, but not in {}: the running server has a different configuration",
            config.store.url
        ));
    }
    let source = if through_api {
        "from the API"
    } else {
        "from the database (for the API, give `--api-key-file`)"
    };
    Ok(format!(
        "a result pushed to {url} was acknowledged in {} ms, read back {source}, and removed",
        answer.took.as_millis()
    ))
}

fn account(config: &Config, name: Option<&AccountName>) -> anyhow::Result<Account> {
    if config.accounts.is_empty() && name.is_none_or(|name| name.as_str() == DEMO) {
        return Ok(Demo::load(&config.data_dir)?.account);
    }
    let found = match name {
        Some(name) => config.account(name),
        None => config.accounts.first(),
    };
    found
        .cloned()
        .context("the configuration has no such account")
}

/// One of the highest 2^32, which WeChat's counters do not reach.
fn unreal_msg_id() -> anyhow::Result<MsgId> {
    let random = getrandom::u32().context("the system gave no random bytes")?;
    MsgId::new(i64::MAX - i64::from(random)).context("it is positive")
}

async fn remembered_name(
    store: &dyn Store,
    account: &AccountName,
) -> Result<Option<String>, StoreError> {
    let mut names = store.account_names().await?.into_iter();
    let named = names.find(|named| named.account == *account);
    Ok(named.map(|named| named.name))
}

fn message(to: &str, msg_id: MsgId) -> String {
    let now = Time::now().seconds();
    format!(
        "<xml><ToUserName>{to}</ToUserName><FromUserName>doctor</FromUserName><CreateTime>{now}</CreateTime>\
         <MsgType>event</MsgType><Event>MASSSENDJOBFINISH</Event><MsgID>{msg_id}</MsgID><Status>{STATUS}</Status>\
         <TotalCount>0</TotalCount><FilterCount>0</FilterCount><SentCount>0</SentCount><ErrorCount>0</ErrorCount></xml>"
    )
}

async fn read_api(
    base: &str,
    key: Option<&SecretString>,
    account: &AccountName,
    msg_id: MsgId,
) -> anyhow::Result<()> {
    let url = format!("{base}/api/v1/jobs/{account}/{msg_id}");
    let client = client()?;
    let mut attempt = 1;
    loop {
        let mut request = client.get(&url);
        if let Some(key) = key {
            request = request.bearer_auth(key.expose_secret());
        }
        let response = request.send().await.context("the API does not answer")?;
        let status = response.status();
        let text = response.text().await.context("the answer is incomplete")?;
        match status {
            StatusCode::OK => {
                let job: Value = serde_json::from_str(&text).context("the answer is not JSON")?;
                let is_ours = job["status"] == STATUS && job["deliveries"] == 1;
                return is_ours
                    .then_some(())
                    .with_context(|| format!("{url} is a different job"));
            }
            StatusCode::UNAUTHORIZED => {
                return Err(anyhow!("the API refuses the key: {url} answers 401"));
            }
            // It may have gone through the spool.
            _ if attempt < ATTEMPTS => tokio::time::sleep(INTERVAL).await,
            _ => {
                return Err(anyhow!(
                    "it was acknowledged, but {url} answers {status}; it may still be in the spool"
                ));
            }
        }
        attempt += 1;
    }
}

async fn read_store(store: &dyn Store, account: &AccountName, msg_id: MsgId) -> anyhow::Result<()> {
    for _ in 0..ATTEMPTS {
        if let Some(job) = store.job(account, msg_id).await? {
            let is_ours = job.result.status.text.as_deref() == Some(STATUS);
            return is_ours
                .then_some(())
                .with_context(|| format!("job {msg_id} of `{account}` is a different one"));
        }
        tokio::time::sleep(INTERVAL).await;
    }
    Err(anyhow!(
        "it was acknowledged, but job {msg_id} of `{account}` is not in the database; it may still be in the spool, \
         or the running server has a different configuration"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_header_is_a_time() {
        assert_eq!(
            http_date("Sun, 06 Nov 1994 08:49:37 GMT").map(Time::seconds),
            Some(784_111_777)
        );
        assert_eq!(http_date("yesterday"), None);
    }
}
