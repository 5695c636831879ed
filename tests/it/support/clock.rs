//! A clock of a server's own, which can be put forward and back.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Setup;

/// A clock of a server's own.
pub(crate) struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// Compiles what puts the clock forward.
    pub(crate) fn before(setup: Setup, directory: &Path) -> (Setup, Self) {
        let library = directory.join("clock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/clock.c");
        let compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([library.as_os_str(), source.as_ref()])
            .output()
            .unwrap();
        assert!(compiler.status.success(), "{compiler:?}");
        let offset = directory.join("offset");
        let clock = Self { library, offset };
        let setup = clock
            .variables()
            .into_iter()
            .fold(setup, |setup, (name, value)| setup.variable(name, value));
        (setup, clock)
    }

    /// What puts a process under this clock.
    pub(crate) fn variables(&self) -> [(&'static str, String); 2] {
        [
            ("LD_PRELOAD", self.library.to_str().unwrap().to_owned()),
            (
                "CLOCK_OFFSET_FILE",
                self.offset.to_str().unwrap().to_owned(),
            ),
        ]
    }

    /// Puts the clock forward by that many seconds against the true time, in one step.
    pub(crate) fn jump(&self, seconds: i64) {
        let aside = self.offset.with_extension("new");
        std::fs::write(&aside, seconds.to_string()).unwrap();
        std::fs::rename(&aside, &self.offset).unwrap();
    }
}
