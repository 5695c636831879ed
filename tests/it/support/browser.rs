//! A real Chromium without a screen, driven over its own protocol on a pipe: no port, and it ends when the pipe does.

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

/// An answer of the browser takes no longer.
const PATIENCE: Duration = Duration::from_secs(30);

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
    /// Of the tab.
    session: String,
    _profile: TempDir,
}

/// What the browser has said.
#[derive(Default)]
struct Heard {
    /// Who waits for which answer.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    events: Mutex<Vec<Value>>,
}

impl Browser {
    /// Starts one, 1280 pixels wide, in light colours and in Shanghai.
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

    /// Opens a URL from anew.
    pub(crate) async fn open(&self, url: &str) {
        self.call("Page.navigate", json!({ "url": "about:blank" }))
            .await;
        self.call("Page.navigate", json!({ "url": url })).await;
    }

    /// Loads the page again, as its user would, and waits until it is another.
    pub(crate) async fn reload(&self) {
        self.eval("window.isOld = true").await;
        self.call("Page.reload", json!({})).await;
        self.until("!window.isOld && document.readyState === 'complete'")
            .await;
    }

    /// What an expression, or the promise that it is, comes to.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        let answer = self.evaluate(expression).await;
        let mut answer = answer.unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert!(
            answer.get("exceptionDetails").is_none(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].take()
    }

    /// The error is that of a page that is just being left.
    async fn evaluate(&self, expression: &str) -> Result<Value, Value> {
        let parameters =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        self.try_call("Runtime.evaluate", parameters).await
    }

    /// Waits until an expression holds; one that throws does not, as what it is about is not there yet.
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

    /// Gives a field a value, as its user would.
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

    /// What the system's colours are: "light" or "dark".
    pub(crate) async fn prefers(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// What languages the browser says that it speaks.
    pub(crate) async fn speaks(&self, languages: &str) {
        let version = self.call("Browser.getVersion", json!({})).await;
        let agent = json!({ "userAgent": version["userAgent"], "acceptLanguage": languages });
        self.call("Emulation.setUserAgentOverride", agent).await;
    }

    /// Takes the network away, or gives it back.
    pub(crate) async fn offline(&self, offline: bool) {
        let conditions = json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.call("Network.emulateNetworkConditions", conditions)
            .await;
    }

    /// A picture of the whole page, that wide.
    pub(crate) async fn picture(&self, width: u32, path: &Path) {
        self.width(width).await;
        let height = self.eval("document.documentElement.scrollHeight").await;
        self.size(width, height.as_u64().unwrap()).await;
        // The charts take the new width in the next frames.
        self.eval("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            .await;
        let picture = self.call("Page.captureScreenshot", json!({})).await;
        std::fs::write(
            path,
            STANDARD.decode(picture["data"].as_str().unwrap()).unwrap(),
        )
        .unwrap();
    }

    /// What the page, or the browser about it, has put on the console: errors and warnings.
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

    /// The URL of every request so far.
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
        let answer = tokio::time::timeout(PATIENCE, receiver).await;
        let mut answer = answer.expect("the browser answers").expect("it runs");
        match answer.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(answer["result"].take()),
        }
    }
}

impl Heard {
    /// Messages end with a NUL.
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
        // Whoever still waits sees that nothing will come.
        self.waiting.lock().unwrap().clear();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
