//! Raises the limit on open files: the usual soft limit of 1024 is far below the allowed number of
//! connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Files other than connections: databases, logs, libraries.
const OTHERS: u64 = 64;

/// Raises the soft limit as far as connections need it and the hard limit allows it.
pub(super) fn raise_limit(max_connections: usize) {
    let needed = u64::try_from(max_connections)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHERS);
    let limit = getrlimit(Resource::Nofile);
    // `None` means no limit.
    let Some(current) = limit.current.filter(|current| *current < needed) else {
        return;
    };
    let wanted = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    let reached = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(_) => current,
    };
    if reached < needed {
        warn!(
            limit = reached,
            needed,
            "the limit on open files is below `server.max_connections`; raise it, or lower the latter"
        );
    } else {
        debug!(limit = reached, "raised the limit on open files");
    }
}
