//! The limits that the system sets.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process, and those that it starts from now on, have that many files open.
pub(crate) fn raise_file_limit(files: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return;
    }
    if let Some(maximum) = limit.maximum {
        assert!(
            maximum >= files,
            "this test needs {files} open files, and the hard limit is {maximum}: raise it with `ulimit -Hn`"
        );
    }
    let raised = Rlimit {
        current: Some(files),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}
