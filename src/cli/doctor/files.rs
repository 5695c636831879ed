//! Who may read what is private.

use super::Report;
use crate::app::exposed_files;
use crate::config::{Config, Settings};

const SUBJECT: &str = "files";

pub(super) fn examine(config: &Config, settings: &Settings, report: &mut Report) {
    let exposed = exposed_files(config, settings);
    if exposed.is_empty() {
        report.ok(SUBJECT, "what is private is private");
    }
    for warning in exposed {
        report.warn(SUBJECT, warning);
    }
}
