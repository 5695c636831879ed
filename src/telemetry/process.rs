//! Metrics of this process, under the names that Prometheus clients use.

use std::fs;
use std::time::SystemTime;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntGauge};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Read from the system at each collection. Memory and open files are 0 without `/proc`.
pub(super) struct Process {
    cpu: Counter,
    resident: IntGauge,
    open_files: IntGauge,
    max_files: IntGauge,
    started: Gauge,
}

impl Process {
    /// For a process that starts now.
    pub(super) fn new() -> Self {
        const VALID: &str = "the name is valid";
        let gauge = |name: &str, help: &str| IntGauge::new(name, help).expect(VALID);
        let started = Gauge::new(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
        );
        let process = Self {
            cpu: Counter::new(
                "process_cpu_seconds_total",
                "Processor time that was spent, in seconds.",
            )
            .expect(VALID),
            resident: gauge(
                "process_resident_memory_bytes",
                "Memory that is in RAM, in bytes.",
            ),
            open_files: gauge("process_open_fds", "Open files and connections."),
            max_files: gauge(
                "process_max_fds",
                "Files and connections that may be open at a time.",
            ),
            started: started.expect(VALID),
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        process.started.set(now.unwrap_or_default().as_secs_f64());
        process
    }

    fn update(&self) {
        let spent = std::time::Duration::try_from(clock_gettime(ClockId::ProcessCPUTime));
        let more = spent.unwrap_or_default().as_secs_f64() - self.cpu.get();
        self.cpu.inc_by(more.max(0.0));
        self.resident.set(resident().unwrap_or_default());
        self.open_files.set(open_files().unwrap_or_default());
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        self.max_files.set(i64::try_from(most).unwrap_or(i64::MAX));
    }

    fn metrics(&self) -> [&dyn Collector; 5] {
        [
            &self.cpu,
            &self.resident,
            &self.open_files,
            &self.max_files,
            &self.started,
        ]
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.metrics()
            .into_iter()
            .flat_map(Collector::desc)
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.update();
        let metrics = self.metrics().into_iter();
        metrics.flat_map(Collector::collect).collect()
    }
}

fn resident() -> Option<i64> {
    let sizes = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = sizes.split(' ').nth(1)?.parse().ok()?;
    i64::try_from(pages * rustix::param::page_size()).ok()
}

fn open_files() -> Option<i64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    // The listing itself has one open.
    i64::try_from(listed.saturating_sub(1)).ok()
}
