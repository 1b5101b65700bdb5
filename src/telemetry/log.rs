//! The log's way to standard error: at once, or by a queue and a thread of their own.
//!
//! Standard error may be a pipe whose reader stalls. Who logs then waits in the middle of other work, and
//! two lines hold up both threads of the runtime, and with them every page. A server therefore never waits:
//! what does not fit into the queue is dropped and counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How many bytes may wait: thousands of lines.
const CAPACITY: usize = 1 << 20;

/// How long the end of the process waits for the reader.
const FLUSH_TIME: Duration = Duration::from_secs(1);

static QUEUE: Queue = Queue::new(CAPACITY);
/// Whether lines go by the queue.
static QUEUED: AtomicBool = AtomicBool::new(false);

/// Lines on their way.
struct Queue {
    lines: Mutex<Lines>,
    changed: Condvar,
    capacity: usize,
    dropped: AtomicU64,
}

struct Lines {
    waiting: VecDeque<Vec<u8>>,
    /// How many bytes they are, with the line that is being written.
    bytes: usize,
}

impl Queue {
    const fn new(capacity: usize) -> Self {
        let lines = Lines { waiting: VecDeque::new(), bytes: 0 };
        Self { lines: Mutex::new(lines), changed: Condvar::new(), capacity, dropped: AtomicU64::new(0) }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // Nobody panics with it in hand.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line if there is room for it. Never waits for who reads.
    fn put(&self, line: &[u8]) {
        let mut lines = self.lines();
        if line.len() > self.capacity - lines.bytes {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        lines.bytes += line.len();
        lines.waiting.push_back(line.to_vec());
        self.changed.notify_all();
    }

    /// Waits for a line and writes it.
    fn pass(&self, out: &mut impl Write) {
        let waits = |lines: &mut Lines| lines.waiting.is_empty();
        let mut lines = self.changed.wait_while(self.lines(), waits).unwrap_or_else(PoisonError::into_inner);
        let Some(line) = lines.waiting.pop_front() else { return };
        drop(lines);
        if out.write_all(&line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.lines().bytes -= line.len();
        self.changed.notify_all();
    }

    /// Waits until everything is written, at most for so long.
    fn flush(&self, time: Duration) {
        let waits = |lines: &mut Lines| lines.bytes > 0;
        // What is not read by then is lost, and nobody is left to tell.
        drop(self.changed.wait_timeout_while(self.lines(), time, waits));
    }
}

/// From now on nobody waits for who reads the log; a panic does not either.
pub fn queue_log() -> io::Result<()> {
    thread::Builder::new().name("log".to_owned()).spawn(|| {
        loop {
            QUEUE.pass(&mut io::stderr());
        }
    })?;
    QUEUED.store(true, Ordering::Release);
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("<unnamed>");
        let trace = std::backtrace::Backtrace::capture();
        // Without `RUST_BACKTRACE` there is none, and it would say that it is disabled.
        let trace = match trace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("{trace}"),
            _ => String::new(),
        };
        say(&format!("thread '{name}' {panic}\n{trace}"));
    }));
    Ok(())
}

/// Writes a text to where the log goes.
pub fn say(text: &str) {
    // Nobody is left to tell if standard error is closed.
    let _ = Log.write_all(text.as_bytes());
}

/// Lets what was logged be read before the process ends, for a second at most.
pub fn flush_log() {
    QUEUE.flush(FLUSH_TIME);
}

/// How many lines did not fit or could not be written.
pub(super) fn dropped() -> u64 {
    QUEUE.dropped.load(Ordering::Relaxed)
}

/// Takes what is logged, a line at a time.
pub(super) struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !QUEUED.load(Ordering::Acquire) {
            return io::stderr().write(line);
        }
        QUEUE.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Instant;

    use super::*;

    /// A reader that stalls until it is told how many lines to read.
    struct Stalled(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Stalled {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            self.1.send(line.to_vec()).map_err(io::Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_never_waits_for_who_reads() {
        let queue = Arc::new(Queue::new(10));
        let ((go, goes), (reads, read)) = (mpsc::channel(), mpsc::channel());
        let (writer, mut out) = (queue.clone(), Stalled(goes, reads));
        let writing = thread::spawn(move || (0..4).for_each(|_| writer.pass(&mut out)));
        for line in [&b"one\n"[..], b"two\n", b"three\n", b"4\n"] {
            queue.put(line);
        }
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 1);
        let began = Instant::now();
        queue.flush(Duration::from_millis(20));
        assert!(began.elapsed() >= Duration::from_millis(20), "nobody has read anything");
        (0..3).for_each(|_| go.send(()).unwrap());
        queue.flush(Duration::from_mins(1));
        let lines: Vec<Vec<u8>> = read.try_iter().collect();
        assert_eq!(lines, [&b"one\n"[..], b"two\n", b"4\n"]);
        // There is room again; what cannot be written is counted.
        drop(go);
        queue.put(b"five\n");
        writing.join().unwrap();
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 2);
    }
}
