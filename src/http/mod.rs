//! The control plane: HTTP for people and machines that watch the server.
//!
//! **Idea.** One thread of its own with a current-thread tokio runtime, so that no request ever runs on a core. What it tells
//! comes through one trait, [`Control`]: the assembly implements it with messages to the cores.
//!
//! **Placement.** If a CPU is left that no core runs on, the thread is pinned to it. Otherwise it floats: pinning it onto a core
//! would put every scrape into that core's way, while the scheduler can run it wherever a core is parked.
//!
//! **Invariants.** A request is bounded in everything: head size, time to send it, connections at once, time to answer. A core
//! that does not answer in time makes the request fail, never wait.

mod arrow;
mod connection;
mod console;
mod json;
pub mod query;
mod routes;
mod sql;
mod status;
pub mod tls;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use crate::base::CoreId;
use crate::error::SqlResult;
use crate::metrics::export::ServerFigures;
use crate::metrics::{CoreSnapshot, PoolFigures};
use crate::runtime::host;

use query::{Answer, Batch, Caller, Login};
pub use status::{Phase, ServerStatus};

/// How long the cores may take to answer a request.
pub const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// What the control plane can ask of the server.
pub trait Control: Send + Sync + 'static {
    /// A snapshot of every core's metrics.
    fn gather(&self) -> impl Future<Output = Vec<CoreSnapshot>> + Send;

    /// Clients and the sessions they share, core by core.
    fn pools(&self) -> impl Future<Output = Vec<(CoreId, PoolFigures)>> + Send;

    /// Starts the statements of a request; the answer follows. Errors are those of finding out who asks, and of the server's limits.
    fn query(&self, caller: Caller, batch: Batch) -> impl Future<Output = SqlResult<Answer>> + Send;

    /// A token for whoever proves who it is.
    fn login(&self, caller: Caller) -> impl Future<Output = SqlResult<Login>> + Send;

    /// Whether somebody may see what is shown to roles.
    fn may_look(&self, caller: Caller) -> impl Future<Output = SqlResult<()>> + Send;

    /// Bytes of all logs that a restart would read.
    fn log_lag_bytes(&self) -> u64;

    /// What the server as a whole has to tell, besides the cores.
    fn figures(&self) -> ServerFigures;

    /// The state of the server as a whole.
    fn status(&self) -> &ServerStatus;
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Whether it speaks TLS.
    pub encrypted: bool,
}

/// The running control plane.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl HttpServer {
    /// Serve on `listener` (bound, non-blocking) until stopped, with `tls` if there is any. `cpus` are the CPUs that cores run on.
    pub fn start(
        listener: TcpListener,
        tls: Option<Arc<tls::Certified>>,
        control: Arc<impl Control>,
        cpus: &[usize],
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let free_cpu = free_cpu(cpus);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let thread = thread::Builder::new().name("omendb-http".to_string()).spawn(move || {
            if let Some(cpu) = free_cpu {
                host::pin_current_thread(cpu);
            }
            let router = routes::router(control);
            runtime.block_on(connection::accept_until_stopped(listener, tls, router, stopped));
        })?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stop accepting, let running requests finish for a moment, and wait for the thread. Dropping does the same.
    pub fn stop(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        // Nobody listening means that the thread is gone already.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the HTTP thread had panicked");
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

/// The last CPU of this process that no core runs on.
fn free_cpu(used: &[usize]) -> Option<usize> {
    host::cpus().into_iter().rev().find(|cpu| !used.contains(cpu))
}

#[cfg(test)]
mod tests;
