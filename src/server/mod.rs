//! Assembly: checks the machine, starts the cores and the control plane, and stops them.

pub mod banner;
pub mod logging;
pub mod observe;
pub mod preflight;
pub mod signals;

use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc;

use crate::config::Config;
use crate::http::{Control, HttpServer, Phase, ServerStatus};
use crate::metrics::CoreSnapshot;

/// Serve until a signal asks to stop.
pub fn run(config: &Config) -> Result<(), Box<dyn Error>> {
    let mut checked = preflight::check(config)?;
    let (stop, stopped) = mpsc::channel();
    let _signals = signals::install(move || {
        // The receiver is gone only when the server is stopping already.
        let _ = stop.send(());
    })?;
    let banner = banner::Banner::new(config, &checked);
    let control = Arc::new(ControlPlane { status: ServerStatus::new(config.cores()) });
    let http = match checked.http.take() {
        Some(listener) => Some(HttpServer::start(listener, control.clone(), &config.cpus)?),
        None => None,
    };
    control.status.set_phase(Phase::Serving);
    banner.announce();
    stopped.recv()?;
    control.status.set_phase(Phase::Stopping);
    if let Some(http) = http {
        http.stop();
    }
    tracing::info!("stopped");
    Ok(())
}

/// What the control plane sees.
#[derive(Debug)]
struct ControlPlane {
    status: ServerStatus,
}

impl Control for ControlPlane {
    async fn gather(&self) -> Vec<CoreSnapshot> {
        Vec::new()
    }

    fn status(&self) -> &ServerStatus {
        &self.status
    }
}
