//! The permissions of private files.

use super::Report;
use crate::app::exposed_files;
use crate::config::{Config, Settings};

const SUBJECT: &str = "files";

pub(super) fn examine(config: &Config, settings: &Settings, report: &mut Report) {
    let exposed = exposed_files(config, settings);
    if exposed.is_empty() {
        report.ok(SUBJECT, "private files have private permissions");
    }
    for warning in exposed {
        report.warn(SUBJECT, warning);
    }
}
