//! What one core of the server does from start to stop.

use std::cell::OnceCell;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::base::CoreId;
use crate::catalog::{BOOTSTRAP_ROLE, CatalogStore, store};
use crate::config::{Config, PoolMode};
use crate::error::{SqlError, SqlState};
use crate::http::tls::Certified;
use crate::http::{Phase, ServerStatus};
use crate::mesh::Fabric;
use crate::runtime::net::{Listener, Probes};
use crate::runtime::{self, PanicReport, QueueClass};
use crate::server::front_door;
use crate::server::router::{self, Loads};
use crate::server::superuser;
use crate::session::native::NativeBackend;
use crate::session::pool::Pool;
use crate::session::settings::Presets;
use crate::shard::messages::{Reply, Request};
use crate::shard::observing::observe_flush;
use crate::shard::{Engine, RecoveryOptions, Shared, engine, try_engine};
use crate::wal::{OnDamage, WalOptions};
use crate::wire::connection::Services;

/// How long sessions may take to end when the server stops, before they are cut off.
const GOODBYE: Duration = Duration::from_secs(5);

/// How often leftovers are looked for.
const SWEEP: Duration = Duration::from_secs(60);

thread_local! {
    /// The sessions that clients of this core share: a core is a thread.
    static POOL: OnceCell<Rc<Pool>> = const { OnceCell::new() };
}

/// A socket that clients connect to, bound before there were cores.
#[derive(Debug)]
pub enum Bound {
    /// A TCP address.
    Tcp(TcpListener),
    /// A path.
    Unix(UnixListener),
}

/// What every core has of the server.
pub struct CoreServices {
    /// The engine's shared state.
    pub shared: Arc<Shared>,
    /// The catalog.
    pub store: Arc<CatalogStore>,
    /// What connections share.
    pub wire: Services,
    /// What HTTP is encrypted with.
    pub http_tls: Option<Arc<Certified>>,
    /// Connections by core.
    pub loads: Loads,
    /// Status for the control plane.
    pub status: Arc<ServerStatus>,
    /// Settings.
    pub config: Config,
    /// Of these, what SHOW tells.
    pub presets: Arc<Presets>,
    /// The data directory.
    pub root: PathBuf,
    /// What recovery does about damaged files.
    pub on_damage: OnDamage,
    /// Set when the server is to stop.
    pub stop: AtomicBool,
    /// Set when it is to stop as soon as the transactions that run are over.
    pub drain: AtomicBool,
    /// Set when recovery is done and cores may serve.
    pub ready: AtomicBool,
    /// Why the server cannot go on.
    pub failure: Mutex<Option<String>>,
}

impl CoreServices {
    /// The executor of the current core.
    pub fn backend(self: &Arc<Self>) -> NativeBackend {
        let statement_memory = (self.config.memory_limit_bytes / 8).min(1 << 30);
        NativeBackend::new(
            self.store.clone(),
            engine().metrics().clone(),
            usize::try_from(statement_memory).unwrap_or(usize::MAX),
            self.config.scram_iterations,
        )
        .with_presets(self.presets.clone())
    }

    /// Records that the server cannot go on, and stops it.
    pub fn fail(&self, why: String) {
        self.failure.lock().expect("nothing panics while holding the failure").get_or_insert(why);
        self.status.set_phase(Phase::Failed);
        self.stop.store(true, Ordering::SeqCst);
    }

    /// What a client is told that comes before the server has recovered, or while it stops.
    pub fn phase_refusal(&self) -> Option<SqlError> {
        let what = if self.is_stopping() || self.drain.load(Ordering::SeqCst) {
            "the database system is shutting down"
        } else if !self.ready.load(Ordering::SeqCst) {
            "the database system is starting up"
        } else {
            return None;
        };
        Some(SqlError::new(SqlState::CANNOT_CONNECT_NOW, what))
    }

    /// The pool of the current core, if clients share sessions.
    pub fn pool(&self) -> Option<Rc<Pool>> {
        let connections = &self.config.connections;
        match connections.pool {
            PoolMode::Session => None,
            PoolMode::Transaction => Some(POOL.with(|pool| {
                let metrics = || engine().metrics().clone();
                Rc::clone(pool.get_or_init(|| Pool::new(connections.pool_size, connections.acquire_timeout, metrics())))
            })),
        }
    }

    /// When the kernel probes silent connections.
    pub fn probes(&self) -> Probes {
        let keepalive = &self.config.connections.keepalive;
        let time = |seconds: u32| (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        let count = (keepalive.count > 0).then_some(keepalive.count);
        Probes { idle: time(keepalive.idle_s), interval: time(keepalive.interval_s), count }
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// Counts a panic of a task on this core. A session's ends its connection only; without its log a core can commit nothing more.
pub fn note_panic(report: &PanicReport) {
    let Some(engine) = try_engine() else { return };
    engine.metrics().connections.panics.inc();
    if report.class == QueueClass::Log {
        engine.stop_for_failure(&format!("a task of the write-ahead log has panicked: {}", report.message));
    }
}

/// A core's life.
pub async fn run(core: CoreId, fabric: Fabric<Request, Reply>, services: Arc<CoreServices>, listeners: Arc<Mutex<Vec<Bound>>>) {
    let engine = Engine::install(services.shared.clone(), fabric.join(core));
    engine.serve();
    let failing = services.clone();
    engine.on_failure(move |why| failing.fail(why.to_owned()));
    let observed = engine.metrics().clone();
    let log_from = services.config.log.min_duration.map(|least| u64::try_from(least.as_nanos()).unwrap_or(u64::MAX));
    engine.metrics().stages.log_from(log_from);
    engine.on_flush(move |report| observe_flush(&observed, report));
    if core == CoreId(0) {
        serve_listeners(&services, &listeners);
        if let Err(problem) = recover(&engine, &services).await {
            services.fail(problem);
            return;
        }
        services.ready.store(true, Ordering::SeqCst);
    } else {
        wait_until(|| services.ready.load(Ordering::SeqCst) || services.is_stopping()).await;
    }
    engine.start_maintenance();
    let sweeping = services.clone();
    runtime::spawn(QueueClass::Background, async move { sweep_regularly(core, &sweeping).await });
    if core == CoreId(0) && !services.is_stopping() {
        let regular = engine.clone();
        runtime::spawn(QueueClass::Background, async move { regular.checkpoint_regularly().await });
    }
    if core == CoreId(0) {
        wait_until(|| services.is_stopping() || services.drain.load(Ordering::SeqCst)).await;
        drain(&services).await;
        stop(&engine, &services).await;
    } else {
        wait_until(|| services.is_stopping()).await;
        // The others serve core 0 until the last transaction has ended and the logs are closed.
        wait_until(|| !services.ready.load(Ordering::SeqCst)).await;
    }
    Engine::uninstall();
}

async fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        runtime::sleep(Duration::from_millis(10)).await;
    }
}

async fn recover(engine: &Engine, services: &Arc<CoreServices>) -> Result<(), String> {
    let started = runtime::now();
    services.status.set_phase(Phase::Recovering);
    let root = services.root.clone();
    let segment_bytes = services.config.wal_segment_bytes;
    let options = RecoveryOptions {
        root: root.clone(),
        log_options: Arc::new(move |core, incarnation| WalOptions {
            segment_bytes,
            ..WalOptions::new(root.clone(), core, incarnation)
        }),
        storage_kinds: Arc::new(store::storage_kinds),
        on_damage: services.on_damage,
    };
    let report = engine.recover(&options).await?;
    services.store.load(&report.catalog)?;
    let superuser = i64::from(BOOTSTRAP_ROLE.0);
    let recovered = report.catalog.iter().any(|(key, _)| *key == superuser);
    superuser::ensure(engine, &services.store, recovered, &services.config).await?;
    let rules = front_door::path(&services.config, &services.root);
    front_door::check_reach(&services.wire.gate, &rules, &services.store.current(), &services.config.listen)?;
    services.status.set_recovered(report.replayed, started.elapsed());
    Ok(())
}

fn serve_listeners(services: &Arc<CoreServices>, listeners: &Arc<Mutex<Vec<Bound>>>) {
    let taken = std::mem::take(&mut *listeners.lock().expect("nothing panics while holding the listeners"));
    for listener in taken {
        let listener = match listener {
            Bound::Tcp(listener) => Listener::from_tcp(listener),
            Bound::Unix(listener) => Listener::from_unix(listener),
        };
        match listener {
            Ok(listener) => runtime::spawn(QueueClass::Interactive, router::accept(listener, services.clone())),
            Err(error) => services.fail(format!("a listening socket cannot be used: {error}")),
        }
    }
}

/// Looks for what connections may have left: pooled sessions that nobody wants, registered ones that nobody has.
async fn sweep_regularly(core: CoreId, services: &CoreServices) {
    while !services.is_stopping() {
        runtime::sleep(SWEEP).await;
        if let Some(pool) = services.pool() {
            pool.sweep();
        }
        if core == CoreId(0) {
            let swept = services.wire.registry.sweep();
            engine().metrics().pool.swept.add(swept as u64);
            if swept > 0 {
                tracing::error!(swept, "sessions were registered without a connection");
            }
        }
    }
}

/// Lets transactions finish, if that is asked for and for as long as they may take. Whoever is in none is told to go.
async fn drain(services: &CoreServices) {
    let limit = services.config.connections.drain_timeout.unwrap_or_default();
    if services.is_stopping() || limit.is_zero() {
        return;
    }
    services.status.set_phase(Phase::Draining);
    services.wire.door.close(&shutting_down());
    services.wire.registry.drain_all();
    let started = runtime::now();
    // Whoever has not logged in has nothing to finish.
    let sessions = || services.wire.registry.len();
    while sessions() > 0 && started.elapsed() < limit && !services.is_stopping() {
        runtime::sleep(Duration::from_millis(5)).await;
    }
    let (left, took) = (sessions(), started.elapsed());
    tracing::info!(left, took_ms = took.as_millis() as u64, "drained");
    services.stop.store(true, Ordering::SeqCst);
}

/// What a client is told that comes while the server stops.
fn shutting_down() -> SqlError {
    SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the database system is shutting down")
}

/// Fast shutdown: sessions are told to end, what is open is aborted, the logs are written out.
async fn stop(engine: &Engine, services: &Arc<CoreServices>) {
    services.wire.door.close(&shutting_down());
    services.wire.registry.terminate_all();
    let started = runtime::now();
    while services.loads.total() > 0 && started.elapsed() < GOODBYE {
        runtime::sleep(Duration::from_millis(5)).await;
    }
    let failed = services.failure.lock().expect("nothing panics while holding the failure").is_some();
    if failed {
        // A log that has failed may have nobody left who writes it out.
        let _given_up = runtime::timeout(GOODBYE, engine.close()).await;
    } else {
        engine.close().await;
    }
    services.ready.store(false, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::MeshConfig;
    use crate::runtime::sim::Sim;
    use crate::shard::EngineLimits;

    #[test]
    fn caught_panics_are_counted_where_they_happen() {
        let report = PanicReport { core: CoreId(0), class: QueueClass::Interactive, message: "a test's".to_owned() };
        note_panic(&report);
        Sim::new(1)
            .run(1, |core| {
                let (report, fabric) = (report.clone(), Fabric::new(1, MeshConfig::default()));
                async move {
                    note_panic(&report);
                    let engine = Engine::install(Shared::new(1, EngineLimits::default()), fabric.join(core));
                    note_panic(&report);
                    let counted = engine.metrics().snapshot().total("omendb_panics_total");
                    assert_eq!(counted, 1, "before a core has its engine there is nowhere to count");
                    Engine::uninstall();
                }
            })
            .expect_completed();
    }
}
