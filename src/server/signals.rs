//! SIGTERM and SIGINT: the first asks for a fast shutdown, the second ends the process at once. SIGHUP: the rules of who may
//! connect are read again.
//!
//! A thread of its own waits for signals, so that whatever the rest of the server does, it hears them. Ending at once loses
//! nothing that was acknowledged: the next start recovers from the log.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// What a signal asks for, given how many of the stopping kind came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// Stop accepting, abort what runs, flush, exit 0.
    FastShutdown,
    /// End now, with this exit code.
    Immediate(i32),
    /// Read again what can be.
    Reload,
    /// Nothing.
    Nothing,
}

fn request(signal: i32, stops_before: usize) -> Request {
    match signal {
        // PostgreSQL's immediate shutdown.
        SIGQUIT => Request::Immediate(exit_code(signal)),
        SIGTERM | SIGINT if stops_before == 0 => Request::FastShutdown,
        SIGTERM | SIGINT => Request::Immediate(exit_code(signal)),
        SIGHUP => Request::Reload,
        _ => Request::Nothing,
    }
}

/// What a shell would show for a process that the signal ended.
fn exit_code(signal: i32) -> i32 {
    128 + signal
}

/// Handle signals from now on. `shut_down` is called once, on the signal thread, at the first SIGTERM or SIGINT; it should only
/// pass the word on. SIGQUIT and a second SIGTERM or SIGINT end the process at once. `reload` is called, on the same thread, at
/// each SIGHUP.
pub fn install(shut_down: impl FnOnce() + Send + 'static, reload: impl FnMut() + Send + 'static) -> io::Result<SignalThread> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP])?;
    let handle = signals.handle();
    let thread = thread::Builder::new().name("omendb-signals".to_string()).spawn(move || {
        listen(&mut signals, shut_down, reload);
    })?;
    Ok(SignalThread { handle, thread: Some(thread) })
}

fn listen(signals: &mut signal_hook::iterator::SignalsInfo<SignalOnly>, shut_down: impl FnOnce(), mut reload: impl FnMut()) {
    let mut shut_down = Some(shut_down);
    for signal in signals.forever() {
        match request(signal, usize::from(shut_down.is_none())) {
            Request::FastShutdown => {
                tracing::info!(signal, "fast shutdown requested");
                shut_down.take().expect("only the first signal asks for it")();
            }
            Request::Immediate(code) => {
                tracing::warn!(signal, "immediate shutdown requested");
                super::logging::flush();
                // Without destructors: cores are still running, and the log is what counts.
                signal_hook::low_level::exit(code);
            }
            Request::Reload => reload(),
            Request::Nothing => tracing::info!(signal, "signal ignored"),
        }
    }
}

/// The thread that waits for signals; it stops when this is dropped.
#[derive(Debug)]
pub struct SignalThread {
    handle: signal_hook::iterator::Handle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for SignalThread {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // A panic there was logged by the hook; there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stops_and_the_second_ends() {
        assert_eq!(request(SIGTERM, 0), Request::FastShutdown);
        assert_eq!(request(SIGINT, 0), Request::FastShutdown);
        assert_eq!(request(SIGTERM, 1), Request::Immediate(143));
        assert_eq!(request(SIGINT, 1), Request::Immediate(130));
        assert_eq!(request(SIGQUIT, 0), Request::Immediate(131));
        assert_eq!(request(SIGHUP, 0), Request::Reload);
    }

    #[test]
    fn a_signal_reaches_the_callback_once() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let reloaded = sender.clone();
        let thread = install(
            move || sender.send("stop").expect("the test waits"),
            move || reloaded.send("reload").expect("the test waits"),
        )
        .expect("signals can be handled");
        signal_hook::low_level::raise(SIGHUP).expect("it is a signal");
        signal_hook::low_level::raise(SIGTERM).expect("it is a signal");
        let mut heard: Vec<&str> =
            (0..2).map(|_| receiver.recv_timeout(std::time::Duration::from_secs(10)).expect("the callback ran")).collect();
        heard.sort_unstable();
        assert_eq!(heard, ["reload", "stop"]);
        drop(thread);
    }
}
