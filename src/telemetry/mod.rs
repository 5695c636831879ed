//! Logs, and the metrics that every process has.

mod logs;
mod process;
mod writer;

use prometheus::{IntGauge, Opts, Registry};

pub use logs::{LastLines, start};

use logs::DroppedLines;
use process::Process;

/// A registry with the metrics of the build, the process and the log.
pub fn registry() -> Registry {
    const NEW: &str = "the names are valid and unique";
    let registry = Registry::new();
    let options = Opts::new("qunfa_build_info", "The version that runs.");
    let options = options.const_label("version", env!("CARGO_PKG_VERSION"));
    let build = IntGauge::with_opts(options).expect(NEW);
    build.set(1);
    registry.register(Box::new(build)).expect(NEW);
    registry.register(Box::new(Process::new())).expect(NEW);
    registry.register(Box::new(DroppedLines::new())).expect(NEW);
    registry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_metrics_with_the_usual_names() {
        let families = registry().gather();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name);
            let metric = &family.expect(name).get_metric()[0];
            metric.get_gauge().get_value() + metric.get_counter().get_value()
        };
        assert!(value("qunfa_build_info") > 0.0);
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_start_time_seconds") > 1_700_000_000.0);
        let open = value("process_open_fds");
        assert!(open >= 1.0 && open < value("process_max_fds"));
    }
}
