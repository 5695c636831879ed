//! A headless Chromium, controlled over a pipe with its own protocol: no port is needed, and
//! it ends with the pipe.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::eventually;

/// For a response of the browser.
const TIMEOUT: Duration = Duration::from_secs(30);

const ARGUMENTS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--lang=en-GB",
    "--remote-debugging-pipe",
];

/// A browser with one tab; ends when dropped.
pub(crate) struct Browser {
    child: Child,
    commands: Mutex<ChildStdin>,
    last_id: AtomicU64,
    heard: Arc<Heard>,
    /// The session of the tab.
    session: String,
    _profile: TempDir,
}

/// Messages from the browser.
#[derive(Default)]
struct Heard {
    /// Callers that wait for a response, by the id of their command.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    events: Mutex<Vec<Value>>,
}

impl Browser {
    /// Starts a browser, 1280 pixels wide, with light colours and the time zone of Shanghai.
    pub(crate) async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let program = std::env::var("TEST_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        let mut child = Command::new("bash")
            .args([
                "-c",
                "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1",
                "bash",
            ])
            .arg(program)
            .args(ARGUMENTS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let heard = Arc::new(Heard::default());
        let answers = child.stdout.take().unwrap();
        let listener = Arc::clone(&heard);
        std::thread::spawn(move || listener.listen(BufReader::new(answers)));
        let mut browser = Self {
            commands: Mutex::new(child.stdin.take().unwrap()),
            child,
            last_id: AtomicU64::new(0),
            heard,
            session: String::new(),
            _profile: profile,
        };
        let tab = browser
            .call("Target.createTarget", json!({ "url": "about:blank" }))
            .await;
        let attach = json!({ "targetId": tab["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await;
        attached["sessionId"]
            .as_str()
            .unwrap()
            .clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        let zone = json!({ "timezoneId": "Asia/Shanghai" });
        browser.call("Emulation.setTimezoneOverride", zone).await;
        browser.width(1280).await;
        browser.prefers("light").await;
        browser
    }

    /// Loads a URL, even if it is the current one.
    pub(crate) async fn open(&self, url: &str) {
        self.call("Page.navigate", json!({ "url": "about:blank" }))
            .await;
        self.call("Page.navigate", json!({ "url": url })).await;
    }

    /// Reloads the page, and waits until it has been replaced.
    pub(crate) async fn reload(&self) {
        self.eval("window.isOld = true").await;
        self.call("Page.reload", json!({})).await;
        self.until("!window.isOld && document.readyState === 'complete'")
            .await;
    }

    /// The value of an expression; promises are awaited.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        let answer = self.evaluate(expression).await;
        let mut answer = answer.unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert!(
            answer.get("exceptionDetails").is_none(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].take()
    }

    /// Fails while the page is being replaced.
    async fn evaluate(&self, expression: &str) -> Result<Value, Value> {
        let parameters =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        self.try_call("Runtime.evaluate", parameters).await
    }

    /// Waits until an expression is true. One that throws counts as false, because its element may
    /// not be there yet.
    pub(crate) async fn until(&self, expression: &str) {
        eventually(expression, async || {
            let answer = self.evaluate(&format!("Boolean({expression})")).await;
            answer.is_ok_and(|answer| answer["result"]["value"] == true)
        })
        .await;
    }

    /// Waits until the page shows the text.
    pub(crate) async fn shows(&self, text: &str) {
        self.until(&format!("document.body?.innerText.includes({text:?})"))
            .await;
    }

    /// Waits for the element, and clicks it.
    pub(crate) async fn click(&self, selector: &str) {
        self.until(&format!("document.querySelector({selector:?})"))
            .await;
        self.eval(&format!("document.querySelector({selector:?}).click()"))
            .await;
    }

    /// Sets the value of a field, as a user would.
    pub(crate) async fn choose(&self, selector: &str, value: &str) {
        self.until(&format!("document.querySelector({selector:?})"))
            .await;
        self.eval(&format!(
            "(field => {{ field.value = {value:?}; field.dispatchEvent(new Event('change', {{ bubbles: true }})) }})\
             (document.querySelector({selector:?}))"
        ))
        .await;
    }

    /// Presses a key, such as `Tab` or `Enter`.
    pub(crate) async fn press(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            _ => panic!("add the code of {key}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if key == "Enter" && kind == "keyDown" {
                event["text"] = "\r".into();
            }
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Types into what has the focus.
    pub(crate) async fn write(&self, text: &str) {
        self.call("Input.insertText", json!({ "text": text })).await;
    }

    pub(crate) async fn width(&self, width: u32) {
        self.size(width, 800).await;
    }

    async fn size(&self, width: u32, height: u64) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", metrics)
            .await;
    }

    /// Sets the system's colour scheme: "light" or "dark".
    pub(crate) async fn prefers(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// Sets the browser's languages.
    pub(crate) async fn speaks(&self, languages: &str) {
        let version = self.call("Browser.getVersion", json!({})).await;
        let agent = json!({ "userAgent": version["userAgent"], "acceptLanguage": languages });
        self.call("Emulation.setUserAgentOverride", agent).await;
    }

    /// Disconnects the network, or connects it.
    pub(crate) async fn offline(&self, offline: bool) {
        let conditions = json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.call("Network.emulateNetworkConditions", conditions)
            .await;
    }

    /// Takes a screenshot of the whole page at that width.
    pub(crate) async fn picture(&self, width: u32, path: &Path) {
        self.width(width).await;
        let height = self.eval("document.documentElement.scrollHeight").await;
        self.size(width, height.as_u64().unwrap()).await;
        // The charts need two frames to adapt to the new width.
        self.eval("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            .await;
        let picture = self.call("Page.captureScreenshot", json!({})).await;
        std::fs::write(
            path,
            STANDARD.decode(picture["data"].as_str().unwrap()).unwrap(),
        )
        .unwrap();
    }

    /// Console messages of the page and the browser: errors and warnings.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let events = self.heard.events.lock().unwrap();
        let complaints = events.iter().filter_map(|event| {
            let parameters = &event["params"];
            match event["method"].as_str()? {
                "Runtime.exceptionThrown" => Some(parameters["exceptionDetails"].to_string()),
                "Runtime.consoleAPICalled" => Some(parameters.to_string()),
                "Log.entryAdded" => Some(format!(
                    "{} {}",
                    parameters["entry"]["text"].as_str()?,
                    parameters["entry"]["url"].as_str().unwrap_or_default()
                )),
                _ => None,
            }
        });
        complaints.collect()
    }

    /// The URLs of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        let events = self.heard.events.lock().unwrap();
        let sent = events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.map(|event| {
            event["params"]["request"]["url"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
    }

    async fn call(&self, method: &str, parameters: Value) -> Value {
        let answer = self.try_call(method, parameters).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn try_call(&self, method: &str, parameters: Value) -> Result<Value, Value> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let mut command = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.as_str().into();
        }
        let (sender, receiver) = oneshot::channel();
        self.heard.waiting.lock().unwrap().insert(id, sender);
        let sent = self
            .commands
            .lock()
            .unwrap()
            .write_all(format!("{command}\0").as_bytes());
        sent.expect("Chromium runs: `scripts/test` installs it, and TEST_CHROMIUM names another");
        let answer = tokio::time::timeout(TIMEOUT, receiver).await;
        let mut answer = answer.expect("the browser answers").expect("it runs");
        match answer.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(answer["result"].take()),
        }
    }
}

impl Heard {
    /// Reads messages, which end with NUL.
    fn listen(&self, mut answers: impl BufRead) {
        let mut message = Vec::new();
        while answers
            .read_until(0, &mut message)
            .is_ok_and(|read| read > 0)
        {
            message.pop();
            let value: Value = serde_json::from_slice(&message).unwrap();
            message.clear();
            match value["id"].as_u64() {
                Some(id) => {
                    let waiting = self.waiting.lock().unwrap().remove(&id);
                    let _ = waiting.map(|waiting| waiting.send(value));
                }
                None => self.events.lock().unwrap().push(value),
            }
        }
        // Waiting callers see that there will be no response.
        self.waiting.lock().unwrap().clear();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
