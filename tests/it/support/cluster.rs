//! A PostgreSQL cluster of a test's own: to be configured, stopped, killed, and started again.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Database, eventually};

/// A cluster on a port of its own, on loopback. A superuser needs no password. Killed and removed when dropped.
pub(crate) struct Cluster {
    directory: TempDir,
    port: u16,
    postmaster: Option<Child>,
}

impl Cluster {
    /// A new cluster, started.
    pub(crate) async fn start() -> Self {
        let mut cluster = Self::create();
        cluster.restart().await;
        cluster
    }

    /// A new cluster that is not started yet.
    pub(crate) fn create() -> Self {
        let cluster = Self::empty(free_port());
        let made = cluster
            .program("initdb")
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--pgdata"])
            .arg(cluster.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        cluster.set("port", &cluster.port.to_string());
        cluster.set("listen_addresses", "127.0.0.1");
        cluster.set("unix_socket_directories", "");
        cluster
    }

    /// A directory for a cluster.
    fn empty(port: u16) -> Self {
        let parent =
            std::env::var_os("TEST_POSTGRES_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = tempfile::tempdir_in(&parent).unwrap();
        if rustix::process::geteuid().is_root() {
            // PostgreSQL refuses to run as root.
            let user = fs::metadata(&parent).unwrap();
            chown(directory.path(), Some(user.uid()), Some(user.gid())).unwrap();
        }
        Self {
            directory,
            port,
            postmaster: None,
        }
    }

    /// Sets a parameter of `postgresql.conf`, from the next start on.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let file = self.data().join("postgresql.conf");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}{name} = '{value}'\n")).unwrap();
    }

    /// Writes a file into the data directory, for the server's eyes only.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.data().join(name);
        let _ = fs::remove_file(&path);
        let mut file = File::options();
        file.create_new(true).write(true).mode(0o600);
        file.open(&path).unwrap();
        fs::write(&path, text).unwrap();
        let user = fs::metadata(self.data()).unwrap();
        chown(&path, Some(user.uid()), Some(user.gid())).unwrap();
    }

    /// Starts the server, on the same port and data, and waits until it takes connections.
    pub(crate) async fn restart(&mut self) {
        assert!(self.postmaster.is_none(), "it runs");
        let log = self.directory.path().join("log");
        let child = self
            .program("postgres")
            .arg("-D")
            .arg(self.data())
            .stdout(Stdio::null())
            .stderr(
                File::options()
                    .create(true)
                    .append(true)
                    .open(&log)
                    .unwrap(),
            )
            .spawn()
            .unwrap();
        let pid = child.id().to_string();
        self.postmaster = Some(child);
        eventually("PostgreSQL takes connections", async || {
            let postmaster = self.postmaster.as_mut().unwrap();
            let ended = postmaster.try_wait().unwrap();
            assert!(ended.is_none(), "{}", fs::read_to_string(&log).unwrap());
            // What `pg_ctl` waits for: line 1 is the process, line 8 how far it has come.
            let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            let lines: Vec<&str> = file.lines().map(str::trim).collect();
            let has_started = matches!(lines.get(7), Some(&"ready" | &"standby"));
            lines.first() == Some(&pid.as_str()) && has_started
        })
        .await;
    }

    /// Stops the server (`pg_ctl stop -m fast`): sessions are cut, and what is committed is written out.
    pub(crate) async fn stop(&mut self) {
        let mut postmaster = self.postmaster.take().expect("it runs");
        kill_process(Pid::from_child(&postmaster), Signal::INT).unwrap();
        eventually("PostgreSQL stops", async || {
            postmaster.try_wait().unwrap().is_some()
        })
        .await;
    }

    /// `kill -9` of the server and of every process of its: nothing is written out, no client is told.
    pub(crate) fn kill(&mut self) {
        let Some(mut postmaster) = self.postmaster.take() else {
            return;
        };
        loop {
            let processes = processes_in(&self.data());
            if processes.is_empty() {
                break;
            }
            for process in processes {
                let _ = kill_process(process, Signal::KILL);
            }
            std::thread::yield_now();
        }
        postmaster.wait().unwrap();
    }

    /// A standby with everything that is committed by now and nothing that comes later, on the same port: for when this
    /// cluster is gone. It is not started yet.
    pub(crate) fn lagging_standby(&self) -> Self {
        let standby = Self::empty(self.port);
        let mut copying = standby.program("pg_basebackup");
        copying
            .args(["--host=127.0.0.1", "--username=postgres", "--no-sync"])
            .args(["--checkpoint=fast", "--wal-method=stream"])
            .arg(format!("--port={}", self.port))
            .arg("--pgdata")
            .arg(standby.data());
        let copied = copying.output().unwrap();
        assert!(copied.status.success(), "{copied:?}");
        standby.write("standby.signal", "");
        standby
    }

    /// Makes a standby that is started the primary, with a timeline of its own.
    pub(crate) fn promote(&self) {
        let mut promoting = self.program("pg_ctl");
        promoting.args(["promote", "-D"]).arg(self.data());
        let promoted = promoting.output().unwrap();
        assert!(promoted.status.success(), "{promoted:?}");
    }

    /// A copy of the data of a cluster that does not run, on the same port.
    pub(crate) fn copy(&self) -> Self {
        assert!(self.postmaster.is_none(), "it runs");
        let copy = Self::empty(self.port);
        let mut copying = Command::new("cp");
        copying.arg("-a").arg(self.data()).arg(copy.data());
        assert!(copying.status().unwrap().success());
        copy
    }

    /// The URL of the superuser.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// A new, empty database in it.
    pub(crate) async fn database(&self) -> Database {
        Database::on(&self.url()).await
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// One of the server's programs, as the user that it runs as.
    fn program(&self, name: &str) -> Command {
        let programs = std::env::var_os("TEST_POSTGRES_BIN").expect(
            "the tests need PostgreSQL: run `scripts/test`, or set TEST_POSTGRES_BIN to the directory of initdb and postgres",
        );
        let user = fs::metadata(self.directory.path()).unwrap();
        let mut command = Command::new(Path::new(&programs).join(name));
        command
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir(self.directory.path())
            .uid(user.uid())
            .gid(user.gid())
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port below the range from which systems hand out ports by themselves: nobody takes it during a restart.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = 20_000 + u16::try_from(getrandom::u32().unwrap() % 12_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The processes that work in a directory, as all of a cluster's do in its data.
fn processes_in(directory: &Path) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        // Those that have ended, or are not ours, cannot be read.
        let working = fs::read_link(entry.path().join("cwd")).ok()?;
        (working == directory).then_some(pid)
    });
    processes.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_has_committed_outlives_a_stop_and_a_kill() {
    let mut cluster = Cluster::start().await;
    let database = cluster.database().await;
    database.execute("create table t (n int)").await;
    cluster.stop().await;
    cluster.restart().await;
    database.execute("insert into t values (1)").await;
    assert!(
        processes_in(&cluster.data()).len() > 1,
        "one alone would serve nobody"
    );
    cluster.kill();
    assert_eq!(processes_in(&cluster.data()), []);
    cluster.restart().await;
    // Divides by zero unless the row is there.
    database.execute("select 1 / count(*) from t").await;
}
