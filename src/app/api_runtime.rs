//! A runtime for the API and the page, with a lower priority than the threads that accept pushes.

use std::io;

use rustix::process::nice;
use tokio::runtime::{Builder, Handle, Runtime};
use tracing::debug;

/// The niceness of its threads: they get a quarter of a processor that pushes could use up. With a
/// much higher value the API would starve beside other programs.
const NICENESS: i32 = 5;

/// When it is dropped, it ends without waiting for its tasks.
pub(super) struct ApiRuntime(Option<Runtime>);

impl ApiRuntime {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("api")
            .on_thread_start(|| {
                // On Linux this applies only to the calling thread.
                if let Err(error) = nice(NICENESS) {
                    debug!(%error, "the threads of the API have the same priority as others");
                }
            })
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub(super) fn handle(&self) -> &Handle {
        self.0
            .as_ref()
            .expect("it runs until it is dropped")
            .handle()
    }
}

impl Drop for ApiRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
