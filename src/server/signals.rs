//! SIGTERM lets transactions finish (a drain) and then stops, SIGINT stops at once (PostgreSQL's fast shutdown); each further one goes a step
//! further, to the end of the process. SIGHUP: the rules of who may connect are read again.
//!
//! A thread of its own waits for signals, so that whatever the rest of the server does, it hears them. Ending at once loses
//! nothing that was acknowledged: the next start recovers from the log.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// How far the server has been asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    No,
    /// When the transactions that run are over, or have taken too long.
    Drain,
    /// Aborting what runs.
    Fast,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// Stop in this way, exit 0.
    Stop(Stop),
    /// End now, with this exit code.
    Immediate(i32),
    /// Read again what can be.
    Reload,
    /// Nothing.
    Nothing,
}

/// `stop` is what was asked for before; `drains` says whether SIGTERM lets anything finish.
fn request(signal: i32, stop: Stop, drains: bool) -> Request {
    match (signal, stop) {
        // PostgreSQL's immediate shutdown.
        (SIGQUIT, _) => Request::Immediate(exit_code(signal)),
        (SIGTERM, Stop::No) if drains => Request::Stop(Stop::Drain),
        (SIGTERM | SIGINT, Stop::No | Stop::Drain) => Request::Stop(Stop::Fast),
        (SIGTERM | SIGINT, Stop::Fast) => Request::Immediate(exit_code(signal)),
        (SIGHUP, _) => Request::Reload,
        _ => Request::Nothing,
    }
}

/// What a shell would show for a process that the signal ended.
fn exit_code(signal: i32) -> i32 {
    128 + signal
}

/// Handle signals from now on. `stop` is called, on the signal thread, with how to stop, each time graver than before; it should only pass the
/// word on. SIGQUIT, and SIGTERM or SIGINT during a fast shutdown, end the process at once. `reload` is called, on the same thread, at each
/// SIGHUP. `drains` says whether SIGTERM lets anything finish.
pub fn install(
    drains: bool,
    stop: impl FnMut(Stop) + Send + 'static,
    reload: impl FnMut() + Send + 'static,
) -> io::Result<SignalThread> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP])?;
    let handle = signals.handle();
    let thread = thread::Builder::new().name("omendb-signals".to_string()).spawn(move || {
        listen(&mut signals, drains, stop, reload);
    })?;
    Ok(SignalThread { handle, thread: Some(thread) })
}

fn listen(
    signals: &mut signal_hook::iterator::SignalsInfo<SignalOnly>,
    drains: bool,
    mut stop: impl FnMut(Stop),
    mut reload: impl FnMut(),
) {
    let mut asked = Stop::No;
    for signal in signals.forever() {
        match request(signal, asked, drains) {
            Request::Stop(how) => {
                assert!(how > asked, "it only ever gets graver");
                asked = how;
                let what = if how == Stop::Drain { "drain" } else { "fast shutdown" };
                tracing::info!(signal, "{what} requested");
                stop(how);
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
    fn each_goes_a_step_further() {
        for (signal, stop, expected) in [
            (SIGTERM, Stop::No, Request::Stop(Stop::Drain)),
            (SIGINT, Stop::No, Request::Stop(Stop::Fast)),
            (SIGTERM, Stop::Drain, Request::Stop(Stop::Fast)),
            (SIGINT, Stop::Drain, Request::Stop(Stop::Fast)),
            (SIGTERM, Stop::Fast, Request::Immediate(143)),
            (SIGINT, Stop::Fast, Request::Immediate(130)),
            (SIGQUIT, Stop::No, Request::Immediate(131)),
            (SIGHUP, Stop::Drain, Request::Reload),
        ] {
            assert_eq!(request(signal, stop, true), expected, "{signal} after {stop:?}");
        }
        assert_eq!(request(SIGTERM, Stop::No, false), Request::Stop(Stop::Fast), "without a drain");
    }

    #[test]
    fn a_signal_reaches_the_callback_once() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let reloaded = sender.clone();
        let thread = install(
            false,
            move |how| sender.send(if how == Stop::Fast { "stop" } else { "drain" }).expect("the test waits"),
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
