//! Structured logs with tracing, as text for people or JSON for machines, to standard error.
//!
//! **Idea.** A core must never wait for a slow terminal or a full pipe, so a log line goes into a bounded queue and a thread of
//! its own writes it. When the queue is full the line is dropped and counted, and the count is written as soon as there is room.
//!
//! **Invariant.** Every line that was accepted is written before [`flush`] returns.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Lines that may wait for the writer.
const QUEUE_LINES_MAX: usize = 4096;

/// How long [`flush`] waits for the writer.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

enum Job {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The way to the writer thread; one a process.
static WRITER: OnceLock<LineSender> = OnceLock::new();

/// Lines dropped since the last report.
static DROPPED: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Debug)]
struct LineSender(SyncSender<Job>);

/// Start logging. To be called once, before anything logs; panics of any thread are logged from now on too.
pub fn init(config: &LogConfig) -> io::Result<()> {
    let (sender, receiver) = sync_channel(QUEUE_LINES_MAX);
    thread::Builder::new().name("omendb-log".to_string()).spawn(move || write_lines(&receiver, io::stderr()))?;
    let writer = WRITER.get_or_init(|| LineSender(sender)).clone();
    let layer = match config.format {
        LogFormat::Text => {
            tracing_subscriber::fmt::layer().with_ansi(io::stderr().is_terminal()).with_target(true).with_writer(writer).boxed()
        }
        LogFormat::Json => tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
    };
    let filter: Targets = config.filter.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    // These two have settings of their own, which the general level does not overrule.
    let audit = if config.audit { LevelFilter::INFO } else { LevelFilter::OFF };
    let filter = filter.with_target("omendb::audit", audit).with_target("omendb::slow", LevelFilter::WARN);
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().map_err(io::Error::other)?;
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Wait until everything logged so far is written (or the writer is stuck).
pub fn flush() {
    let Some(writer) = WRITER.get() else { return };
    let (done, wait) = sync_channel(1);
    if writer.0.try_send(Job::Flush(done)).is_ok() {
        // Stuck after this time, the terminal or pipe will not take the lines anyway.
        let _ = wait.recv_timeout(FLUSH_WAIT);
    }
}

/// Log a panic with its place. Whoever catches it decides what it means.
fn log_panic(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("a panic without a message");
    let place = info.location().map_or_else(String::new, ToString::to_string);
    let thread = thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    let thread_name = thread.name().unwrap_or("unnamed");
    tracing::error!(target: "omendb::panic", place, thread = thread_name, %backtrace, "{message}");
}

fn write_lines(jobs: &Receiver<Job>, mut out: impl Write) {
    for job in jobs {
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let mut line = String::new();
            writeln!(line, "omendb: {dropped} log lines were dropped because they could not be written fast enough")
                .expect("a string takes every byte");
            // Nobody is left to tell when standard error itself fails.
            let _ = out.write_all(line.as_bytes());
        }
        match job {
            Job::Line(line) => {
                let _ = out.write_all(&line);
            }
            Job::Flush(done) => {
                let _ = out.flush();
                let _ = done.try_send(());
            }
        }
    }
}

/// Collects one event's bytes and sends them as one line when dropped.
struct Line<'a> {
    sender: &'a LineSender,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() && self.sender.0.try_send(Job::Line(bytes)).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for LineSender {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { sender: self, bytes: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test thread panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Logs through a queue of `room` lines, then lets the writer run; what it wrote.
    fn written(room: usize, format: LogFormat, log: impl FnOnce()) -> String {
        let (sender, receiver) = sync_channel(room);
        let writer = LineSender(sender);
        let layer = match format {
            LogFormat::Text => tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer).boxed(),
            LogFormat::Json => tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
        };
        let filter: Targets = "info,quiet=error".parse().expect("a filter");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer.with_filter(filter)), log);
        let out = Shared::default();
        write_lines(&receiver, out.clone());
        let bytes = out.0.lock().expect("no test thread panicked").clone();
        String::from_utf8(bytes).expect("logs are UTF-8")
    }

    #[test]
    fn text_is_filtered_by_level_and_target() {
        let text = written(10, LogFormat::Text, || {
            tracing::info!(cores = 2, "started");
            tracing::debug!("not this");
            tracing::warn!(target: "quiet", "nor this");
        });
        assert!(text.contains("started") && text.contains("cores=2"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = written(10, LogFormat::Json, || tracing::error!(sqlstate = "XX000", "a \"quoted\"\nmessage"));
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(text.trim()).expect("it is JSON");
        assert_eq!((&line["level"], &line["sqlstate"]), (&"ERROR".into(), &"XX000".into()));
        assert_eq!(line["message"], "a \"quoted\"\nmessage");
    }

    #[test]
    fn a_full_queue_drops_and_says_so() {
        let text = written(2, LogFormat::Text, || {
            for number in 0..5 {
                tracing::info!(number, "line");
            }
        });
        assert!(text.contains("3 log lines were dropped"), "{text}");
        assert!(text.contains("number=0") && text.contains("number=1") && !text.contains("number=2"), "{text}");
    }
}
