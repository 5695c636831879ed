//! pgbouncer in front of PostgreSQL.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::cluster::free_port;
use super::{Database, eventually};

/// A pooler on a free port. Killed when dropped.
pub(crate) struct Pooler {
    _directory: TempDir,
    child: Child,
}

impl Pooler {
    /// Puts a pooler in front of a PostgreSQL database; connections to its URL now go through it.
    pub(crate) async fn before(database: &mut Database, pool_mode: &str) -> Self {
        let program = std::env::var_os("TEST_PGBOUNCER").expect(
            "the tests need pgbouncer: run `scripts/test`, or set TEST_PGBOUNCER to the program",
        );
        let parent =
            std::env::var_os("TEST_POSTGRES_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = tempfile::tempdir_in(&parent).unwrap();
        let user = fs::metadata(&parent).unwrap();
        let mut url: url::Url = database.url.parse().unwrap();
        let port = free_port();
        let config = format!(
            "[databases]\n\
             * = host={} port={}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = {pool_mode}\n\
             default_pool_size = 20\n\
             ignore_startup_parameters = extra_float_digits\n",
            url.host_str().unwrap(),
            url.port().unwrap(),
        );
        // All users are mapped to this one.
        let config = config.replace("port=", &format!("user={} port=", url.username()));
        let file = directory.path().join("pgbouncer.ini");
        fs::write(&file, config).unwrap();
        url.set_port(Some(port)).unwrap();
        database.url = url.to_string();
        let mut command = Command::new(program);
        if rustix::process::geteuid().is_root() {
            // pgbouncer refuses to run as root.
            for path in [directory.path(), &file] {
                chown(path, Some(user.uid()), Some(user.gid())).unwrap();
            }
            command.uid(user.uid()).gid(user.gid());
        }
        let child = command
            .arg(&file)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("pgbouncer listens", async || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        Self {
            _directory: directory,
            child,
        }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
