//! Who may read what is private.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Report;
use crate::app::{Demo, spool_path};
use crate::config::{Config, Settings, StoreUrl};

const SUBJECT: &str = "files";
/// All rights of others, and that of the group to write.
const OPEN: u32 = 0o027;

pub(super) fn examine(config: &Config, settings: &Settings, report: &mut Report) {
    let mut paths = Vec::new();
    paths.extend(settings.path().map(Path::to_owned));
    paths.extend(settings.secret_files().map(Path::to_owned));
    paths.push(config.data_dir.clone());
    if let StoreUrl::Sqlite(path) = &config.store.url {
        paths.push(path.clone());
    }
    paths.push(spool_path(config));
    paths.push(Demo::token_file(&config.data_dir));
    let mut is_good = true;
    for path in &paths {
        match path.metadata() {
            Ok(metadata) if is_open(&metadata) => {
                is_good = false;
                let (path, mode) = (path.display(), metadata.mode() & 0o777);
                report.warn(
                    SUBJECT,
                    format!("`{path}` has mode {mode:04o}, so that others than its owner can use it; run `chmod g-w,o-rwx {path}`"),
                );
            }
            // What is not there yet is made private.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                is_good = false;
                let path = path.display();
                report.warn(
                    SUBJECT,
                    format!("the rights of `{path}` cannot be read: {error}"),
                );
            }
        }
    }
    if is_good {
        report.ok(SUBJECT, "what is private is private");
    }
}

fn is_open(metadata: &Metadata) -> bool {
    metadata.mode() & OPEN & !0o010 != 0
}
