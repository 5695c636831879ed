//! Finds files that should be private, but are accessible to users other than their owner.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Demo, spool_path};
use crate::config::{Config, Settings, StoreUrl};

/// Where container runtimes put secrets. They have another owner, so they must be readable for all,
/// and there are no other users in the container.
const CONTAINER_SECRETS: &str = "/run/secrets";
/// All permissions of others, and write permission of the group. Read permission of the group is a
/// common way to run a server as a user that does not own its configuration.
const OPEN: u32 = 0o027;

/// A sentence for each file or directory that is accessible to others, or whose permissions cannot
/// be read. Files that do not exist yet will be created private.
pub fn exposed_files(config: &Config, settings: &Settings) -> Vec<String> {
    let mut paths = Vec::new();
    paths.extend(settings.path().map(Path::to_owned));
    paths.extend(settings.secret_files().map(Path::to_owned));
    paths.push(config.data_dir.clone());
    if let StoreUrl::Sqlite(path) = &config.store.url {
        paths.extend(with_journal(path));
    }
    paths.extend(with_journal(&spool_path(config)));
    paths.push(Demo::token_file(&config.data_dir));
    paths.iter().filter_map(|path| exposure(path)).collect()
}

/// A SQLite database, and the files with its newest rows.
fn with_journal(database: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    })
}

fn exposure(path: &Path) -> Option<String> {
    let shown = path.display();
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            return Some(format!(
                "the permissions of `{shown}` cannot be read: {error}"
            ));
        }
    };
    if path.starts_with(CONTAINER_SECRETS) {
        return None;
    }
    let mode = metadata.mode() & 0o777;
    (mode & OPEN != 0).then(|| {
        format!(
            "`{shown}` has mode {mode:04o}, so that others than its owner can use it; run `chmod g-w,o-rwx {shown}`"
        )
    })
}
