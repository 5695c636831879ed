//! A temporary directory to run the program in, like an operator in a shell.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::eventually;
use super::process::log_is_written;
use super::server::program;

/// An empty directory, without any variable of ours.
pub(crate) struct Workplace(TempDir);

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) output: String,
    /// Standard error.
    pub(crate) talk: String,
}

impl Ended {
    /// Checks the exit code.
    pub(crate) fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }
}

impl Workplace {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_private(&path, text);
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The program, run here.
    pub(crate) fn program(&self) -> Command {
        let mut command = program();
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(&[], arguments)
    }

    /// Runs a command to its end, with these variables.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
        let mut command = self.program();
        command.args(arguments).envs(variables.iter().copied());
        ended(command)
    }

    /// Starts `serve` on a free port and waits until it listens.
    pub(crate) async fn serve(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Serving {
        let mut command = self.program();
        command
            .args(arguments)
            .arg("serve")
            .env("QUNFA_SERVER__LISTEN", "127.0.0.1:0")
            .env("QUNFA_METRICS__LISTEN", "")
            .envs(variables.iter().copied());
        self.started(command).await
    }

    /// Runs the command as `serve`, and waits until it listens.
    pub(crate) async fn started(&self, mut command: Command) -> Serving {
        let [output, talk] = ["serve.out", "serve.err"].map(|name| self.path(name));
        let child = command
            .stdout(File::create(&output).unwrap())
            .stderr(File::create(&talk).unwrap())
            .spawn()
            .unwrap();
        let mut serving = Serving {
            child,
            output,
            talk,
            address: ([127, 0, 0, 1], 0).into(),
        };
        eventually("the server listens", async || {
            let ended = serving.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", serving.talk());
            serving.output().contains(" listens on ")
        })
        .await;
        let banner = serving.output();
        let (_, address) = banner.lines().next().unwrap().rsplit_once(' ').unwrap();
        serving.address = address.parse().unwrap();
        serving
    }
}

/// Runs a command, which must end within four minutes.
pub(crate) fn ended(mut command: Command) -> Ended {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = piped.spawn().unwrap();
    let process = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    let Ok(output) = receiver.recv_timeout(Duration::from_mins(4)) else {
        let _ = kill_process(process, Signal::KILL);
        panic!("it does not end: {command:?}");
    };
    Ended {
        code: output.status.code(),
        output: String::from_utf8(output.stdout).unwrap(),
        talk: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `serve`, running; killed when dropped.
pub(crate) struct Serving {
    child: Child,
    output: PathBuf,
    talk: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Serving {
    pub(crate) fn output(&self) -> String {
        read(&self.output)
    }

    pub(crate) fn talk(&self) -> String {
        log_is_written(Pid::from_child(&self.child));
        read(&self.talk)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Stops it with SIGTERM; returns its exit code.
    pub(crate) async fn stop(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut code = None;
        eventually("the server ends", async || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        })
        .await;
        code.unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a file that only its owner can access, as `serve` expects for secrets.
pub(crate) fn write_private(path: &Path, text: impl AsRef<[u8]>) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// An address on loopback where nothing listens.
pub(crate) fn unused_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// The permissions of a file or directory.
pub(crate) fn permissions(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A generous limit for something that should take a moment.
pub(crate) const MOMENT: Duration = Duration::from_secs(8);
