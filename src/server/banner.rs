//! What the server says when it is ready: what listens where, on which cores.

use std::net::SocketAddr;

use super::preflight::Preflight;
use crate::config::Config;

/// The facts of the start, as log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banner {
    lines: Vec<String>,
}

impl Banner {
    /// Of a server with this configuration and these sockets.
    pub fn new(config: &Config, preflight: &Preflight) -> Self {
        let mut lines = Vec::new();
        let local = |listener: &std::net::TcpListener| listener.local_addr().expect("a bound socket has an address");
        lines.push(format!("OmenDB {} on Linux {}", env!("CARGO_PKG_VERSION"), preflight.kernel));
        lines.push(format!("data directory: {}", config.data_dir.display()));
        lines.push(cores_line(&config.cpus));
        for listener in &preflight.listeners {
            lines.push(postgres_line(local(listener)));
        }
        if let Some(socket) = &preflight.unix_listener {
            let folder = socket.path.parent().unwrap_or(&socket.path).display();
            lines.push(format!("PostgreSQL protocol: {} (psql -h {folder})", socket.path.display()));
        }
        match &preflight.http {
            Some(listener) => lines.push(format!("HTTP: http://{} (/metrics, /health)", local(listener))),
            None => lines.push("HTTP: off".to_string()),
        }
        Self { lines }
    }

    /// Log it.
    pub fn announce(&self) {
        for line in &self.lines {
            tracing::info!("{line}");
        }
    }

    /// The lines.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

fn postgres_line(address: SocketAddr) -> String {
    format!("PostgreSQL protocol: {address} (psql -h {} -p {})", address.ip(), address.port())
}

fn cores_line(cpus: &[usize]) -> String {
    let places: Vec<String> = cpus.iter().enumerate().map(|(core, cpu)| format!("core {core} on CPU {cpu}")).collect();
    let mut distinct = cpus.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let warning = if distinct.len() < cpus.len() { " (more cores than CPUs: for trying things out only)" } else { "" };
    format!("cores: {}{warning}", places.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_told_with_their_cpus() {
        assert_eq!(cores_line(&[4, 5]), "cores: core 0 on CPU 4, core 1 on CPU 5");
        assert!(cores_line(&[0, 0]).contains("more cores than CPUs"));
    }

    #[test]
    fn addresses_come_with_the_command_to_reach_them() {
        let line = postgres_line("127.0.0.1:5433".parse().expect("an address"));
        assert_eq!(line, "PostgreSQL protocol: 127.0.0.1:5433 (psql -h 127.0.0.1 -p 5433)");
    }
}
