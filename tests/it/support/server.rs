//! The real program, started on a free port, and HTTP to it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use qunfa::simulator::SignedPush;
use reqwest::{Client, Response};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::process::log_is_written;
use super::wire::push_with;
use super::workplace::write_private;
use super::{Account, Backend, COMPATIBLE, Database, PLAIN, SAFE, fixture};

/// How a server is set up.
pub(crate) struct Setup {
    toml: String,
    accounts: Vec<Account>,
    log_level: &'static str,
    file_limit_kib: Option<u32>,
    socket: Option<TcpListener>,
    variables: Vec<(&'static str, String)>,
    with_metrics: bool,
}

impl Default for Setup {
    /// The three accounts, and otherwise the defaults.
    fn default() -> Self {
        Self {
            toml: String::new(),
            accounts: vec![PLAIN, COMPATIBLE, SAFE],
            log_level: "info",
            file_limit_kib: None,
            socket: None,
            variables: Vec::new(),
            with_metrics: false,
        }
    }
}

impl Setup {
    /// Adds lines to the configuration file, before the accounts. `listen` and `store.url` are set
    /// in the environment.
    pub(crate) fn toml(mut self, toml: &str) -> Self {
        self.toml.push_str(toml);
        self.toml.push('\n');
        self
    }

    pub(crate) fn accounts(mut self, accounts: &[Account]) -> Self {
        self.accounts = accounts.to_vec();
        self
    }

    pub(crate) fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = level;
        self
    }

    /// Limits the size of files, like a full disk.
    pub(crate) fn file_limit_kib(mut self, limit: u32) -> Self {
        self.file_limit_kib = Some(limit);
        self
    }

    /// Passes the socket at every start, like systemd.
    pub(crate) fn socket(mut self, socket: TcpListener) -> Self {
        self.socket = Some(socket);
        self
    }

    /// Adds a variable to the environment.
    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Also serves metrics.
    pub(crate) fn with_metrics(mut self) -> Self {
        self.with_metrics = true;
        self
    }

    /// Starts a server on a new database.
    pub(crate) async fn start(self, backend: Backend) -> Server {
        let database = backend.database().await;
        self.start_on(database)
    }

    /// Starts a server on that database.
    pub(crate) fn start_on(self, database: Database) -> Server {
        let directory = database.directory();
        let accounts: String = self.accounts.iter().map(Account::toml).collect();
        let config = directory.join("config.toml");
        write_private(&config, format!("{}\n{accounts}", self.toml));
        let mut server = Server {
            child: None,
            address: ([127, 0, 0, 1], 0).into(),
            client: client(),
            config,
            log: directory.join("log"),
            log_level: self.log_level,
            file_limit_kib: self.file_limit_kib,
            socket: self.socket,
            variables: self.variables,
            metrics: self.with_metrics.then(String::new),
            database,
        };
        server.restart();
        server
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Option<Child>,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) config: PathBuf,
    log: PathBuf,
    log_level: &'static str,
    pub(crate) file_limit_kib: Option<u32>,
    socket: Option<TcpListener>,
    variables: Vec<(&'static str, String)>,
    /// The URL of the metrics, if they are served.
    metrics: Option<String>,
    pub(crate) database: Database,
}

impl Server {
    /// Starts with the default setup on a new database.
    pub(crate) async fn start(backend: Backend) -> Self {
        Setup::default().start(backend).await
    }

    /// Starts the program (again) with the same configuration and database, on a new port, and
    /// waits until it listens.
    pub(crate) fn restart(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let mut command = self.command();
        if let Some(limit) = self.file_limit_kib {
            command = limited(&command, limit);
        }
        if let Some(socket) = &self.socket {
            command = handed(&command, socket.try_clone().unwrap(), ONE_SOCKET);
        }
        let mut child = command
            .arg("serve")
            .env("QUNFA_SERVER__LISTEN", "127.0.0.1:0")
            .env(
                "QUNFA_METRICS__LISTEN",
                self.metrics.as_ref().map_or("", |_| "127.0.0.1:0"),
            )
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        // It is killed from here on, even if it does not start.
        self.child = Some(child);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let line = || {
            receiver
                .recv_timeout(Duration::from_secs(30))
                .unwrap_or_else(|_| panic!("the server did not start:\n{}", self.log()))
        };
        let first = line();
        let (_, address) = first
            .split_once(" listens on ")
            .expect("the first line tells the address");
        if self.metrics.is_some() {
            let second = line();
            let (_, url) = second
                .split_once("metrics for Prometheus: ")
                .expect("the second line tells where the metrics are");
            self.metrics = Some(url.to_owned());
        }
        self.address = address.parse().unwrap();
    }

    /// The program with the server's configuration, and no other variables of ours.
    pub(crate) fn command(&self) -> Command {
        let mut command = program();
        command
            .current_dir(self.database.directory())
            .arg("--config")
            .arg(&self.config)
            .env("QUNFA_DATA_DIR", self.database.directory().join("data"))
            .env("QUNFA_STORE__URL", &self.database.url)
            .env("QUNFA_LOG__LEVEL", self.log_level);
        command
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }

    /// Waits until the program ends by itself.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let wait = tokio::task::spawn_blocking(move || child.wait().unwrap());
        tokio::time::timeout(Duration::from_secs(30), wait)
            .await
            .expect("it ends")
            .unwrap()
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        if let Some(child) = &self.child {
            log_is_written(Pid::from_child(child));
        }
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Pushes a message like WeChat; returns the status and body of the response.
    pub(crate) async fn push(&self, account: &Account, message: impl AsRef<[u8]>) -> (u16, String) {
        self.send(account.name, account.sign(message)).await
    }

    /// Pushes a message and expects it to be acknowledged.
    pub(crate) async fn accepts(&self, account: &Account, message: impl AsRef<[u8]>) {
        let answer = self.push(account, message).await;
        assert_eq!(answer, (200, "success".to_owned()), "{}", self.log());
    }

    /// Checks that an authentic push on a new connection is acknowledged within a second. It is
    /// timed in a separate thread, so that the test's other clients do not interfere.
    pub(crate) async fn accepts_quickly(&self) -> Duration {
        let address = self.address;
        let pushing = tokio::task::spawn_blocking(move || {
            let message = fixture("events/articles.xml");
            let length = SAFE.sign(&message).body.len();
            let headers = format!("Content-Length: {length}\r\nConnection: close\r\n");
            let (head, body) = push_with(&SAFE, message, &headers);
            let started = Instant::now();
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&[head, body].concat()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            (answer, started.elapsed())
        });
        let (answer, took) = pushing.await.unwrap();
        assert!(answer.ends_with("\r\n\r\nsuccess"), "{answer}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        took
    }

    /// Sends a signed push.
    pub(crate) async fn send(&self, account: &str, push: SignedPush) -> (u16, String) {
        let response = self.post(account, &push.query, push.body).await;
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Sends any query and body to an account's URL.
    pub(crate) async fn post(
        &self,
        account: &str,
        query: &str,
        body: impl Into<reqwest::Body>,
    ) -> Response {
        let url = self.url(&format!("/wechat/{account}?{query}"));
        self.client.post(url).body(body).send().await.unwrap()
    }

    /// Sends a `GET`.
    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    /// Sends a `GET` to the API; returns its status and JSON.
    pub(crate) async fn json(&self, path: &str) -> (u16, Value) {
        let response = self.get(path).await;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let json =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
        (status, json)
    }

    /// Sends a `GET` to the API that must succeed.
    pub(crate) async fn ok(&self, path: &str) -> Value {
        let (status, json) = self.json(path).await;
        assert_eq!(status, 200, "{path}: {json}");
        json
    }

    /// An existing job.
    pub(crate) async fn job(&self, account: &Account, msg_id: &str) -> Value {
        self.ok(&format!("/api/v1/jobs/{}/{msg_id}", account.name))
            .await
    }

    /// The address of the metrics, in the form of `metrics.listen`; empty if there are none.
    pub(crate) fn metrics_address(&self) -> &str {
        let url = self.metrics.as_deref().unwrap_or_default();
        url.trim_start_matches("http://")
            .trim_end_matches("/metrics")
    }

    /// The metrics.
    pub(crate) async fn metrics(&self) -> String {
        let url = self.metrics.as_ref().expect("it serves metrics");
        let response = self.client.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let content_type = &response.headers()["content-type"];
        assert_eq!(content_type, "text/plain; version=0.0.4");
        response.text().await.unwrap()
    }

    /// The items of a list.
    pub(crate) async fn items(&self, path: &str) -> Vec<Value> {
        match self.ok(path).await["items"].take() {
            Value::Array(items) => items,
            other => panic!("{path}: items is {other}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Variables with which systemd passes a socket.
pub(crate) const ONE_SOCKET: &str = "LISTEN_FDS=1 LISTEN_PID=$$";

/// The program, without any variable of ours.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qunfa"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUNFA_") {
            command.env_remove(name);
        }
    }
    command
}

/// The command with a limit on the size of files; writing beyond it is an error instead of a
/// signal.
pub(crate) fn limited(command: &Command, limit_kib: u32) -> Command {
    behind(
        &format!("trap '' XFSZ; ulimit -f {limit_kib}; exec \"$@\""),
        command,
    )
}

/// The command with a socket as descriptor 3, and the variables that announce it; `$$` is the
/// process.
pub(crate) fn handed(command: &Command, socket: impl Into<OwnedFd>, announcement: &str) -> Command {
    let script = format!("export {announcement}; exec \"$@\" 3<&0 4<&0 </dev/null");
    let mut handed = behind(&script, command);
    handed.stdin(socket.into());
    handed
}

/// The command run by a script as `"$@"`.
fn behind(script: &str, command: &Command) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bash.env(name, value),
            None => bash.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        bash.current_dir(directory);
    }
    bash
}

pub(crate) fn client() -> Client {
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(15))
        .build()
        .unwrap()
}
