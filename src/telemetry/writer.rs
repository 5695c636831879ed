//! The writer behind the log: lines are queued and written by a thread, so that nothing waits for
//! the reader of the log.
//!
//! If the reader is too slow, lines are dropped and counted; once it keeps up again, a line says
//! how many.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of queued lines, about 5,000 lines. The thread that writes them may hold as many again.
const CAPACITY: usize = 1024 * 1024;
/// How long the last lines may take to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// The delay before a retry if standard error does not block.
const RETRY_DELAY: Duration = Duration::from_millis(10);

/// Accepts one line per `write`; never blocks and never fails.
#[derive(Clone, Default)]
pub(super) struct LogWriter(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Lines were queued or written.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// The thread holds lines that are not written yet.
    is_writing: bool,
    dropped: u64,
}

impl LogWriter {
    /// Starts the thread that writes the lines. It ends with the process.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn start(&self, output: impl Write + Send + 'static) -> io::Result<()> {
        let writer = self.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || writer.run(output)).map(drop)
    }

    fn run(&self, mut output: impl Write) {
        let mut reported = 0;
        let mut is_read = true;
        let mut lines = Vec::new();
        loop {
            let dropped = self.next(&mut lines);
            if is_read && dropped > reported {
                // Queued like every line. There is room now.
                warn!(
                    lines = dropped - reported,
                    "lines of the log were dropped, because nobody read them in time"
                );
                reported = dropped;
            }
            let lost = write(&mut output, &lines);
            lines.clear();
            // If standard error is closed, the report would be lost as well, again and again.
            is_read = lost == 0;
            self.queue().dropped += lost;
        }
    }

    /// Waits for lines, takes all that are queued, and returns how many were dropped so far.
    fn next(&self, lines: &mut Vec<u8>) -> u64 {
        let mut queue = self.queue();
        queue.is_writing = false;
        self.0.changed.notify_all();
        while queue.lines.is_empty() {
            queue = self.wait(queue, Duration::MAX);
        }
        std::mem::swap(&mut queue.lines, lines);
        queue.is_writing = true;
        queue.dropped
    }

    /// The number of lines dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.queue().dropped
    }

    /// Waits until everything is written, but not for long: the reader may hang.
    pub(super) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let mut queue = self.queue();
        while queue.is_writing || !queue.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            queue = self.wait(queue, left);
        }
    }

    fn wait<'q>(&self, queue: MutexGuard<'q, Queue>, limit: Duration) -> MutexGuard<'q, Queue> {
        let waited = self.0.changed.wait_timeout(queue, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code that holds the lock panics.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what it can, and returns the number of lines that were lost.
fn write(output: &mut impl Write, mut bytes: &[u8]) -> u64 {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(written @ 1..) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(RETRY_DELAY);
            }
            Ok(0) | Err(_) => break,
        }
    }
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut queue = self.queue();
        if queue.lines.len() + line.len() > CAPACITY {
            queue.dropped += 1;
        } else {
            queue.lines.extend_from_slice(line);
            if queue.lines.len() == line.len() {
                self.0.changed.notify_all();
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pipe that the test reads piece by piece.
    struct Pipe {
        took: mpsc::SyncSender<Vec<u8>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let sent = self.took.send(bytes.to_vec());
            sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pipe() -> (LogWriter, mpsc::Receiver<Vec<u8>>) {
        let (took, reader) = mpsc::sync_channel(0);
        let writer = LogWriter::default();
        writer.start(Pipe { took }).unwrap();
        (writer, reader)
    }

    #[test]
    fn lines_are_written_whole_and_in_order() {
        let (mut writer, reader) = pipe();
        let mut expected = Vec::new();
        for number in 0..1000 {
            let line = format!("line {number}\n");
            writer.write_all(line.as_bytes()).unwrap();
            expected.extend_from_slice(line.as_bytes());
        }
        let mut read = Vec::new();
        while read.len() < expected.len() {
            read.extend(reader.recv().unwrap());
        }
        assert_eq!(read, expected);
        writer.flush();
        assert_eq!(writer.dropped(), 0);
    }

    #[test]
    fn without_a_reader_lines_are_dropped_and_nothing_waits() {
        let (mut writer, reader) = pipe();
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let started = Instant::now();
        for _ in 0..5000 {
            writer.write_all(&line).unwrap();
        }
        assert!(started.elapsed() < Duration::from_secs(5));
        let dropped = writer.dropped();
        let kept = 2 * u64::try_from(CAPACITY / line.len()).unwrap();
        assert!((5000 - kept..5000).contains(&dropped), "{dropped}");
        writer.flush();
        assert!(started.elapsed() >= FLUSH_TIMEOUT);
        drop(reader);
        // Lines that nobody can read any more are lost as well, but the thread continues.
        while writer.dropped() < 5000 {
            std::thread::yield_now();
        }
        writer.flush();
    }
}
