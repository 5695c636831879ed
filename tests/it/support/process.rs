//! Figures of a running process, from the system.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};

/// How many files and connections the process has open.
pub(crate) fn open_files(process: Pid) -> usize {
    let files = fs::read_dir(format!("/proc/{}/fd", process.as_raw_nonzero()));
    files.unwrap().count()
}

/// The resident memory of the process, in MiB.
pub(crate) fn resident_mib(process: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero()));
    let status = status.unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.parse::<u64>().unwrap() / 1024
}

/// Waits until the server has written its log: its thread `log` sleeps when nothing is left.
pub(crate) fn log_is_written(process: Pid) {
    let tasks = format!("/proc/{}/task", process.as_raw_nonzero());
    let is_at_rest = || {
        let Ok(tasks) = fs::read_dir(&tasks) else {
            return true;
        };
        let stats =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
        let mut of_log = stats.filter(|stat| stat.contains(" (log) "));
        of_log.all(|stat| stat.contains(" (log) S "))
    };
    for _ in 0..1000 {
        // Once is not enough, because it also sleeps while it waits for a lock.
        if is_at_rest() && is_at_rest() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sets the limit of open files of this process and of those that it starts.
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
