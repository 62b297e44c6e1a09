//! Assembly: checks the machine, starts the cores and the control plane, and stops them.

pub mod backup;
pub mod banner;
mod certificates;
mod client;
pub mod core;
pub mod front_door;
pub mod latency;
pub mod logging;
pub mod offline;
pub mod preflight;
pub mod rest;
pub mod router;
pub mod signals;
pub mod superuser;

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::base::CoreId;
use crate::catalog::CatalogStore;
use crate::catalog::system::cores::{CoreFigures, Look};
use crate::config::{Config, SessionMobility};
use crate::error::SqlResult;
use crate::http::query::{Answer, Batch, Caller, Login};
use crate::http::tls::Certified;
use crate::http::{Control, HttpServer, Phase, ServerStatus};
use crate::mesh::{ControlHandle, Fabric, MeshConfig};
use crate::metrics::export::ServerFigures;
use crate::metrics::{CoreSnapshot, PoolFigures};
use crate::runtime::{self, RuntimeConfig};
use crate::server::core::{Bound, CoreServices};
use crate::server::rest::Rest;
use crate::server::router::Loads;
use crate::server::signals::Stop;
use crate::session::interrupt::SessionRegistry;
use crate::session::settings::{Presets, show_seconds};
use crate::shard::messages::{Reply, Request};
use crate::shard::{EngineLimits, Shared};
use crate::wal::OnDamage;
use crate::wire::authentication::Gate;
use crate::wire::connection::Services;
use crate::wire::door::{Entrance, SlotsLimits};
use crate::wire::tls::Door;

/// After how long a connection that says nothing keeps only what it needs to wait.
const LINGER: Duration = Duration::from_millis(100);
/// Bytes of registered file-buffer memory a core.
const IO_MEMORY: usize = 256 << 10;

/// Serve until a signal asks to stop. `on_damage` says what the start does about damaged files.
pub fn run(config: &Config, on_damage: OnDamage) -> Result<(), Box<dyn Error>> {
    let mut checked = preflight::check(config)?;
    let banner = banner::Banner::new(config, &checked);
    let gate = Arc::new(front_door::open(config, checked.data_dir.root())?);
    let door = certificates::open(config.ssl.as_ref(), checked.data_dir.root())?;
    let http_tls = config.http_tls.as_ref().map(|files| Certified::open(&files.cert, &files.key)).transpose()?;
    let services = Arc::new(services(config, &checked, &gate, (door, http_tls), on_damage));
    front_door::warn_of_rules(&services.wire, config);
    let (stopping, reloading) = (services.clone(), services.clone());
    let stop = move |how| match how {
        Stop::Drain => stopping.drain.store(true, Ordering::SeqCst),
        _ => stopping.stop.store(true, Ordering::SeqCst),
    };
    let drains = config.connections.drain_timeout.is_some();
    let _signals = signals::install(drains, stop, move || reload(&reloading))?;
    let catalog = services.store.clone();
    let hook = services.shared.catalog_hook.set(Box::new(move |changes| catalog.apply(changes)));
    assert!(hook.is_ok(), "the hook is set once");

    // A commit that waits for its flush holds a credit of the session's core: more credits than sessions keep the rest moving.
    let sessions = config.connections.sessions_max(config.cores());
    let credits = u32::try_from(sessions * 4 + 256).unwrap_or(u32::MAX);
    runtime::set_panic_hook(core::note_panic);
    let fabric: Fabric<Request, Reply> = Fabric::new(config.cores(), MeshConfig { credits, ..MeshConfig::default() });
    let rest = Rest::new(fabric.control(), services.clone());
    let control = Arc::new(ControlPlane { cores: fabric.control(), services: services.clone(), rest });
    let mut bound: Vec<Bound> = std::mem::take(&mut checked.listeners).into_iter().map(Bound::Tcp).collect();
    if let Some(socket) = &checked.unix_listener {
        bound.push(Bound::Unix(socket.listener.try_clone()?));
    }
    let listeners = Arc::new(Mutex::new(bound));
    let runtime_config = RuntimeConfig { cpus: config.cpus.clone(), spin: config.spin, io_memory: IO_MEMORY };
    let http = match checked.http.take() {
        Some(listener) => Some(HttpServer::start(listener, services.http_tls.clone(), control, &config.cpus)?),
        None => None,
    };
    let for_cores = services.clone();
    let cores = runtime::start(&runtime_config, move |core: CoreId| {
        core::run(core, fabric.clone(), for_cores.clone(), listeners.clone())
    })?;
    announce(&services, &banner);
    for (core, ended) in cores.join().into_iter().enumerate() {
        if let Err(problem) = ended {
            services.fail(format!("core {core}: {problem}"));
        }
    }
    if let Some(http) = http {
        http.stop();
    }
    let failure = services.failure.lock().expect("nothing panics while holding the failure").take();
    match failure {
        Some(failure) => Err(failure.into()),
        None => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

/// Reads again what can be while the server runs.
fn reload(services: &CoreServices) {
    let CoreServices { config, root, wire, http_tls, .. } = services;
    front_door::reload(&wire.gate, &front_door::path(config, root));
    if let (Some(door), Some(files)) = (&wire.tls, &config.ssl) {
        certificates::reload(door, files, root);
    }
    if let (Some(certified), Some(files)) = (http_tls, &config.http_tls) {
        certified.reload(&files.cert, &files.key);
    }
    front_door::warn_of_rules(wire, config);
}

fn services(
    config: &Config,
    checked: &preflight::Preflight,
    gate: &Arc<Gate>,
    (door, http_tls): (Option<Arc<Door>>, Option<Certified>),
    on_damage: OnDamage,
) -> CoreServices {
    let limits = EngineLimits {
        memory_bytes: usize::try_from(config.memory_limit_bytes).unwrap_or(usize::MAX),
        checkpoint_log_bytes: config.checkpoint_volume_bytes,
        checkpoint_interval: config.checkpoint_interval.unwrap_or(Duration::MAX),
        prepared_max: config.prepared_max,
        old_snapshot: config.old_snapshot,
        connections_max: config.connections.clients_max(),
        ..EngineLimits::default()
    };
    let slots = SlotsLimits {
        slots: config.connections.clients_max(),
        reserved: config.connections.reserved,
        queued: checked.waiters.queued,
    };
    let entrance = Entrance::new(checked.waiters.starting, slots, config.connections.acquire_timeout);
    CoreServices {
        shared: Shared::new(config.cores(), limits),
        store: Arc::new(CatalogStore::default()),
        wire: Services {
            registry: Arc::new(SessionRegistry::default()),
            startup_bytes_max: config.startup_bytes_max,
            message_bytes_max: config.statement_bytes_max,
            startup_timeout: Some(config.authentication_timeout),
            gate: gate.clone(),
            hop: config.session_mobility == SessionMobility::Hop,
            door: Arc::new(entrance),
            linger: Some(LINGER),
            idle_timeout: config.connections.idle_timeout,
            check_interval: config.connections.check_interval,
            tls: door,
        },
        http_tls: http_tls.map(Arc::new),
        loads: Loads::new(config.cores()),
        status: Arc::new(ServerStatus::new(config.cores())),
        config: config.clone(),
        presets: Arc::new(presets(config, checked.port)),
        root: checked.data_dir.root().to_owned(),
        on_damage,
        stop: AtomicBool::new(false),
        drain: AtomicBool::new(false),
        ready: AtomicBool::new(false),
        failure: Mutex::new(None),
    }
}

/// What `SHOW` tells of the settings that only a start changes.
fn presets(config: &Config, port: u16) -> Presets {
    let addresses: Vec<String> = config.listen.iter().map(|address| address.ip().to_string()).collect();
    let mut presets = Presets::from([
        ("authentication_timeout", show_seconds(config.authentication_timeout.as_secs())),
        ("listen_addresses", addresses.join(",")),
        ("max_connections", config.connections.max.to_string()),
        ("port", port.to_string()),
        ("superuser_reserved_connections", config.connections.reserved.to_string()),
    ]);
    if let Some(ssl) = &config.ssl {
        presets.extend([
            ("ssl", "on".to_owned()),
            ("ssl_ca_file", ssl.ca.as_ref().map(|path| path.display().to_string()).unwrap_or_default()),
            ("ssl_cert_file", ssl.cert.display().to_string()),
            ("ssl_key_file", ssl.key.display().to_string()),
            ("ssl_min_protocol_version", ssl.min_version.name().to_owned()),
        ]);
    }
    presets
}

/// Says where the server listens, once it serves.
fn announce(services: &CoreServices, banner: &banner::Banner) {
    while !services.ready.load(Ordering::SeqCst) && !services.stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(5));
    }
    if services.ready.load(Ordering::SeqCst) {
        services.status.set_phase(Phase::Serving);
        banner.announce();
    }
}

/// What the control plane sees.
struct ControlPlane {
    cores: ControlHandle<Request, Reply>,
    services: Arc<CoreServices>,
    rest: Rest,
}

impl ControlPlane {
    /// What the cores have to tell; nothing while they do not serve yet.
    async fn look(&self, look: Look) -> Vec<CoreFigures> {
        if !self.services.ready.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let cores = (0..self.cores.core_count()).map(|core| CoreId(core as u16));
        let asked: Vec<_> = cores.map(|core| self.cores.submit(core, Request::Look(look))).collect();
        let mut found = Vec::new();
        for reply in asked.into_iter().flatten() {
            if let Ok(Reply::Figures(figures)) = reply.await {
                found.push(*figures);
            }
        }
        found
    }
}

impl Control for ControlPlane {
    async fn gather(&self) -> Vec<CoreSnapshot> {
        self.look(Look::Metrics).await.into_iter().filter_map(|figures| figures.metrics).collect()
    }

    async fn pools(&self) -> Vec<(CoreId, PoolFigures)> {
        self.look(Look::Pools).await.into_iter().filter_map(|figures| Some((figures.core, figures.pool?))).collect()
    }

    async fn query(&self, caller: Caller, batch: Batch) -> SqlResult<Answer> {
        self.rest.query(caller, batch).await
    }

    async fn login(&self, caller: Caller) -> SqlResult<Login> {
        self.rest.login(caller).await
    }

    async fn may_look(&self, caller: Caller) -> SqlResult<()> {
        self.rest.may_look(caller).await
    }

    fn log_lag_bytes(&self) -> u64 {
        self.rest.log_lag_bytes()
    }

    fn figures(&self) -> ServerFigures {
        self.services.shared.server_figures()
    }

    fn status(&self) -> &ServerStatus {
        &self.services.status
    }
}
