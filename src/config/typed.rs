//! From texts to a validated [`Config`].

use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::ITERATIONS_MAX;

use super::resolve::Texts;
use super::{
    CORES_MAX, Config, ConfigError, LogConfig, LogFormat, Machine, PREPARED_MAX, PoolMode, SessionMobility, SslConfig, TlsFiles,
    TlsVersion, connections, units,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Collects refusals while the fields are parsed one by one, so that all are reported.
pub(super) struct Parser<'a> {
    texts: &'a Texts,
    errors: &'a mut Vec<ConfigError>,
}

impl Parser<'_> {
    pub(super) fn field<T>(&mut self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let (text, source) = self.texts.get(key).expect("every setting has at least its default");
        match parse(text.trim()) {
            Ok(value) => Some(value),
            Err(message) => {
                self.errors.push(ConfigError { key: key.to_string(), source: source.clone(), message });
                None
            }
        }
    }

    pub(super) fn refuse(&mut self, key: &'static str, message: String) {
        self.field::<()>(key, |_| Err(message));
    }
}

/// All fields, or `None` with at least one refusal in `errors`.
pub(super) fn parse(texts: &Texts, machine: &Machine, errors: &mut Vec<ConfigError>) -> Option<Config> {
    let p = &mut Parser { texts, errors };
    // Every field is parsed before any is missed: the `?` come last.
    let data_dir = p.field("data_dir", directory);
    let listen = p.field("listen", listen_addresses);
    let unix_socket_dir = p.field("unix_socket_dir", |text| unless_off(text, directory));
    let http = p.field("http", |text| unless_off(text, address));
    let http_cert = p.field("http_tls_cert_file", |text| unless_off(text, file));
    let http_key = p.field("http_tls_key_file", |text| unless_off(text, file));
    let ssl = ssl(p);
    let cpus = p.field("cores", |text| units::cores(text, &machine.cpus, CORES_MAX));
    let spin_us = p.field("spin_us", |text| number(text, 0..=10_000));
    let connections = connections::parse(p);
    let prepared_max = p.field("max_prepared_transactions", |text| number(text, 0..=PREPARED_MAX as u64));
    let memory_limit_bytes =
        p.field("memory_limit", |text| within(units::bytes_or_share(text, machine.memory_bytes)?, 64 * MIB..=u64::MAX));
    let filter = p.field("log_level", log_filter);
    let format = p.field("log_format", |text| one_of(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)]));
    let min_duration_ms = p.field("log_min_duration_ms", |text| number(text, 0..=u64::from(u32::MAX)));
    let audit = p.field("audit_log", |text| one_of(text, &[("on", true), ("off", false)]));
    let wal_segment_bytes = p.field("wal_segment_size", segment_size);
    let checkpoint_volume_bytes = p.field("checkpoint_volume", |text| within(units::bytes(text)?, 4 * MIB..=1024 * GIB));
    let old_snapshot = p.field("old_snapshot_threshold", |text| unless_off(text, |text| at_least_a_second(text, MINUTE)));
    let checkpoint_interval = p.field("checkpoint_interval", |text| unless_off(text, |text| at_least_a_second(text, SECOND)));
    let statement_bytes_max = p.field("max_statement_size", |text| within(units::bytes(text)?, 64 << 10..=GIB));
    let startup_bytes_max = p.field("max_startup_size", |text| within(units::bytes(text)?, 1 << 10..=MIB));
    let hba_file = p.field("hba_file", |text| if text.eq_ignore_ascii_case("default") { Ok(None) } else { file(text).map(Some) });
    let authentication_timeout = p.field("authentication_timeout", |text| at_least_a_second(text, SECOND));
    let superuser = p.field("superuser", role_name);
    let superuser_password_file = p.field("superuser_password_file", |text| unless_off(text, file));
    let scram_iterations = p.field("scram_iterations", |text| number(text, 1..=u64::from(ITERATIONS_MAX)));
    let session_mobility =
        p.field("session_mobility", |text| one_of(text, &[("call", SessionMobility::Call), ("hop", SessionMobility::Hop)]));

    if let (Some(listen), Some(Some(http))) = (&listen, &http)
        && http.port() != 0
        && listen.contains(http)
    {
        p.refuse("http", format!("{http} is also an address of the PostgreSQL protocol"));
    }
    let http_tls = match (http_cert, http_key) {
        (Some(Some(cert)), Some(Some(key))) => Some(TlsFiles { cert, key }),
        (Some(Some(_)), Some(None)) => {
            p.refuse("http_tls_key_file", "it is needed with http_tls_cert_file".to_string());
            None
        }
        (Some(None), Some(Some(_))) => {
            p.refuse("http_tls_cert_file", "it is needed with http_tls_key_file".to_string());
            None
        }
        _ => None,
    };
    if let (Some(pooled), Some(SessionMobility::Hop)) = (&connections, session_mobility)
        && pooled.pool == PoolMode::Transaction
    {
        p.refuse("session_mobility", "with pool = transaction sessions stay on their core: use call".to_string());
    }
    if let Some(Some(address)) = &http
        && !address.ip().is_loopback()
        && http_tls.is_none()
    {
        p.refuse("http", format!("{address} can be reached from other machines: set http_tls_cert_file and http_tls_key_file, or use a loopback address"));
    }
    Some(Config {
        data_dir: data_dir?,
        listen: listen?,
        unix_socket_dir: unix_socket_dir?,
        http: http?,
        http_tls,
        ssl: ssl?,
        cpus: cpus?,
        spin: Duration::from_micros(spin_us?),
        connections: connections?,
        prepared_max: as_usize(prepared_max?),
        memory_limit_bytes: memory_limit_bytes?,
        log: LogConfig {
            filter: filter?,
            format: format?,
            min_duration: Some(min_duration_ms?).filter(|ms| *ms > 0).map(Duration::from_millis),
            audit: audit?,
        },
        wal_segment_bytes: wal_segment_bytes?,
        checkpoint_volume_bytes: checkpoint_volume_bytes?,
        old_snapshot: old_snapshot?,
        checkpoint_interval: checkpoint_interval?,
        statement_bytes_max: as_usize(statement_bytes_max?),
        startup_bytes_max: as_usize(startup_bytes_max?),
        hba_file: hba_file?,
        authentication_timeout: authentication_timeout?,
        superuser: superuser?,
        superuser_password: None,
        superuser_password_file: superuser_password_file?,
        scram_iterations: u32::try_from(scram_iterations?).expect("it was checked against a limit of 32 bits"),
        session_mobility: session_mobility?,
    })
}

/// Encryption of the PostgreSQL protocol; `None` with a refusal.
fn ssl(p: &mut Parser<'_>) -> Option<Option<SslConfig>> {
    let on = p.field("ssl", |text| one_of(text, &[("on", true), ("off", false)]));
    let cert = p.field("ssl_cert_file", file);
    let key = p.field("ssl_key_file", file);
    let ca = p.field("ssl_ca_file", |text| unless_off(text, file));
    let known = [TlsVersion::Tls12, TlsVersion::Tls13].map(|version| (version.name(), version));
    let min_version = p.field("ssl_min_protocol_version", |text| one_of(text, &known));
    let config = SslConfig { cert: cert?, key: key?, ca: ca?, min_version: min_version? };
    Some(on?.then_some(config))
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).expect("limits are far below 2^64 and this server is for 64-bit machines")
}

pub(super) fn unless_off<T>(text: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text.eq_ignore_ascii_case("off") { Ok(None) } else { parse(text).map(Some) }
}

fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("it must name a directory".to_string()) } else { Ok(PathBuf::from(text)) }
}

fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("it must name a file".to_string()) } else { Ok(PathBuf::from(text)) }
}

/// A name that CREATE ROLE would take.
fn role_name(text: &str) -> Result<String, String> {
    let reserved = text.starts_with("pg_") || text == "public" || text == "none";
    if reserved || text.is_empty() || text.len() > 63 {
        return Err(format!("\"{text}\" cannot be the name of a role"));
    }
    Ok(text.to_string())
}

fn listen_addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for part in text.split(',') {
        let address = address(part.trim())?;
        if address.port() != 0 && addresses.contains(&address) {
            return Err(format!("{address} is there twice"));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let malformed = |why: String| format!("\"{text}\" is not an address such as 127.0.0.1:5433: {why}");
    let mut found = text.to_socket_addrs().map_err(|error| malformed(error.to_string()))?;
    found.next().ok_or_else(|| malformed("the name has no address".to_string()))
}

pub(super) fn number(text: &str, limits: RangeInclusive<u64>) -> Result<u64, String> {
    let number = text.parse().map_err(|_| format!("\"{text}\" is not a whole number"))?;
    if limits.contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number} is outside the range {} to {}", limits.start(), limits.end()))
    }
}

fn within(size: u64, limits: RangeInclusive<u64>) -> Result<u64, String> {
    if limits.contains(&size) {
        Ok(size)
    } else if size < *limits.start() {
        Err(format!("{size} bytes are too few: at least {}", limits.start()))
    } else {
        Err(format!("{size} bytes are too many: at most {}", limits.end()))
    }
}

fn segment_size(text: &str) -> Result<u64, String> {
    let size = within(units::bytes(text)?, MIB..=GIB)?;
    if size.is_multiple_of(MIB) { Ok(size) } else { Err(format!("{size} bytes are not a multiple of 1 MB")) }
}

/// The unit of PostgreSQL's settings of times that are seconds.
const SECOND: Duration = Duration::from_secs(1);
/// And of those that are minutes.
const MINUTE: Duration = Duration::from_secs(60);

/// `bare` is the unit of a number without one.
fn at_least_a_second(text: &str, bare: Duration) -> Result<Duration, String> {
    let duration = units::duration(text, bare)?;
    if duration < SECOND { Err("it must be at least 1s".to_string()) } else { Ok(duration) }
}

/// Levels and `module=level`, comma-separated. tracing itself would take any word for a module.
fn log_filter(text: &str) -> Result<String, String> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',') {
        let level = part.split_once('=').map_or(part, |(_, level)| level).trim();
        if !levels.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            return Err(format!("\"{level}\" is not a level: {}", levels.join(", ")));
        }
    }
    Ok(text.to_string())
}

pub(super) fn one_of<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" or ");
    found.map(|(_, value)| *value).ok_or_else(|| format!("\"{text}\" is not {}", names()))
}
