//! A clock of a server's own, which can be put forward and back.

use std::path::{Path, PathBuf};

use super::{Setup, preload};

/// A clock of a server's own.
pub(crate) struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// Compiles what puts the clock forward.
    pub(crate) fn before(setup: Setup, directory: &Path) -> (Setup, Self) {
        let library = preload("clock.c", directory);
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
