//! Configuration from outside: precedence, refusals that name the key and its source, and that the table of settings is used up.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use omendb::config::{Command, Invocation, LogFormat, Machine, Refusal, SETTINGS, SessionMobility, from_parts};

fn machine() -> Machine {
    Machine { cpus: vec![0, 1, 2, 3], memory_bytes: 10 << 30 }
}

fn resolve(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Invocation, Refusal> {
    let arguments = std::iter::once("omendb").chain(arguments.iter().copied()).map(OsString::from).collect();
    let environment = environment.iter().map(|(key, value)| (key.to_string(), OsString::from(value))).collect();
    from_parts(arguments, environment, &machine())
}

fn refusal(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    match resolve(arguments, environment) {
        Ok(invocation) => panic!("{arguments:?} {environment:?} should be refused, not give {invocation:?}"),
        Err(Refusal::Clap(error)) => error.to_string(),
        Err(Refusal::Settings(errors)) => errors.iter().map(|error| format!("{error}\n")).collect(),
    }
}

struct File {
    _dir: tempfile::TempDir,
    path: String,
}

fn file(text: &str) -> File {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("omendb.toml");
    std::fs::write(&path, text).expect("a file in it");
    File { path: path.to_str().expect("an ASCII path").to_string(), _dir: dir }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn defaults_serve_the_loopback_on_all_cores() {
    let invocation = resolve(&[], &[]).expect("defaults are valid");
    assert_eq!(invocation.command, Command::Serve { recover_until_corruption: false });
    let config = invocation.config;
    assert_eq!(config.data_dir, PathBuf::from("./omendb-data"));
    assert_eq!(config.listen, [address("127.0.0.1:5433")]);
    assert_eq!(config.unix_socket_dir, None);
    assert_eq!(config.http, Some(address("127.0.0.1:9090")));
    assert_eq!(config.cpus, [0, 1, 2, 3]);
    assert_eq!(config.spin, Duration::ZERO);
    assert_eq!(config.connections.max, 100);
    assert_eq!(config.memory_limit_bytes, (10 << 30) / 100 * 70);
    assert_eq!(config.log.filter, "info");
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!(config.checkpoint_interval, Some(Duration::from_secs(300)));
    assert_eq!(config.session_mobility, SessionMobility::Call);
}

#[test]
fn a_flag_beats_the_environment_beats_the_file() {
    let file = file("max_connections = 11\nspin_us = \"12\"\nlog_format = \"json\"\nlisten = [\"127.0.0.1:1\", \"[::1]:2\"]\n");
    let environment = [("OMENDB_CONFIG", file.path.as_str()), ("OMENDB_SPIN_US", "22"), ("OMENDB_LOG_FORMAT", "text")];
    let config = resolve(&["--log-format", "json", "serve", "--cores=1-2"], &environment).expect("it is valid").config;
    assert_eq!(config.connections.max, 11, "from the file");
    assert_eq!(config.spin, Duration::from_micros(22), "from the environment");
    assert_eq!(config.log.format, LogFormat::Json, "from a flag before the subcommand");
    assert_eq!(config.cpus, [1, 2], "from a flag behind the subcommand");
    assert_eq!(config.listen, [address("127.0.0.1:1"), address("[::1]:2")]);
}

#[test]
fn listen_may_be_repeated_or_a_list() {
    for arguments in [&["--listen", "127.0.0.1:1", "--listen", "127.0.0.2:1"][..], &["--listen", "127.0.0.1:1,127.0.0.2:1"]] {
        let config = resolve(arguments, &[]).expect("it is valid").config;
        assert_eq!(config.listen, [address("127.0.0.1:1"), address("127.0.0.2:1")]);
    }
}

#[test]
fn off_switches_off() {
    let config = resolve(&["--http", "off", "--checkpoint-interval", "off"], &[]).expect("it is valid").config;
    assert_eq!((config.http, config.checkpoint_interval), (None, None));
}

#[test]
fn bad_values_are_refused_with_key_and_source() {
    for (flag, key, value, why) in [
        ("--data-dir", "data_dir", "", "must name a directory"),
        ("--listen", "listen", "5433", "not an address"),
        ("--superuser", "superuser", "pg_x", "cannot be the name of a role"),
        ("--hba-file", "hba_file", "", "must name a file"),
        ("--scram-iterations", "scram_iterations", "0", "outside the range"),
        ("--listen", "listen", "127.0.0.1:1,127.0.0.1:1", "twice"),
        ("--http", "http", "127.0.0.1:5433", "also an address"),
        ("--http", "http", "8.8.8.8:80", "other machines"),
        ("--cores", "cores", "0", "at least one core"),
        ("--cores", "cores", "257", "at most 256"),
        ("--cores", "cores", "0-9", "CPU 4"),
        ("--spin-us", "spin_us", "10001", "outside the range"),
        ("--spin-us", "spin_us", "50us", "not a whole number"),
        ("--max-connections", "max_connections", "0", "outside the range"),
        ("--superuser-reserved-connections", "superuser_reserved_connections", "100", "less than max_connections (100)"),
        ("--acquire-timeout", "acquire_timeout", "10us", "at least 1ms"),
        ("--max-queued-connections", "max_queued_connections", "many", "not a whole number"),
        ("--max-starting-connections", "max_starting_connections", "0", "outside the range"),
        ("--idle-timeout", "idle_timeout", "30d", "at most 24d"),
        ("--drain-timeout", "drain_timeout", "soon", "soon"),
        ("--tcp-keepalives-count", "tcp_keepalives_count", "128", "outside the range"),
        ("--pool", "pool", "statement", "not session or transaction"),
        ("--pool-size", "pool_size", "0", "outside the range"),
        ("--max-prepared-transactions", "max_prepared_transactions", "20001", "outside the range"),
        ("--memory-limit", "memory_limit", "1MB", "too few"),
        ("--memory-limit", "memory_limit", "200%", "percentage"),
        ("--log-level", "log_level", "loud", "not a level"),
        ("--log-level", "log_level", "info,omendb::wal=very", "not a level"),
        ("--log-format", "log_format", "xml", "not text or json"),
        ("--wal-segment-size", "wal_segment_size", "1500kB", "multiple of 1 MB"),
        ("--checkpoint-volume", "checkpoint_volume", "1kB", "too few"),
        ("--checkpoint-interval", "checkpoint_interval", "1ms", "at least 1s"),
        ("--max-statement-size", "max_statement_size", "2GB", "too many"),
        ("--max-startup-size", "max_startup_size", "1B", "too few"),
        ("--session-mobility", "session_mobility", "swim", "not call or hop"),
    ] {
        let from_flag = refusal(&[&format!("{flag}={value}")], &[]);
        assert!(from_flag.contains(&format!("{key} (from the flag {flag}): ")) && from_flag.contains(why), "{from_flag}");

        let variable = format!("OMENDB_{}", key.to_uppercase());
        let from_variable = refusal(&[], &[(&variable, value)]);
        let named = format!("{key} (from the environment variable {variable}): ");
        assert!(from_variable.contains(&named) && from_variable.contains(why), "{from_variable}");

        let file = file(&format!("{key} = \"{value}\"\n"));
        let from_file = refusal(&["--config", &file.path], &[]);
        assert!(from_file.contains(&format!("{key} (in the file ")) && from_file.contains(why), "{from_file}");
    }
}

#[test]
fn unknown_keys_are_refused() {
    let file = file("max_conections = 3\n[section]\nx = 1\n");
    let text = refusal(&["--config", &file.path], &[]);
    assert!(text.contains("max_conections (in the file") && text.contains("section (in the file"), "{text}");
    let text = refusal(&[], &[("OMENDB_MAX_CONECTIONS", "3")]);
    assert!(text.contains("max_conections (from the environment variable OMENDB_MAX_CONECTIONS): there is no such"), "{text}");
    let text = refusal(&["--max-conections", "3"], &[]);
    assert!(text.contains("--max-conections"), "{text}");
}

#[test]
fn a_missing_or_malformed_file_is_refused() {
    let text = refusal(&["--config", "/nonexistent/omendb.toml"], &[]);
    assert!(text.contains("/nonexistent/omendb.toml") && text.contains("cannot be read"), "{text}");
    let file = file("listen = \n");
    assert!(refusal(&["--config", &file.path], &[]).contains("not TOML"));
}

#[test]
fn all_refusals_come_at_once() {
    let text = refusal(&["--spin-us=x", "--cores=x", "--http=x"], &[("OMENDB_LOG_FORMAT", "x")]);
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn variables_that_kubernetes_sets_are_not_settings() {
    let environment = [("OMENDB_PORT", "tcp://10.0.0.1:5433"), ("OMENDB_SERVICE_HOST", "x"), ("OMENDB_PORT_5433_TCP", "x")];
    assert!(resolve(&[], &environment).is_ok());
}

#[test]
fn the_printed_configuration_can_be_read_back() {
    let printed = resolve(&["config", "--spin-us", "7"], &[("OMENDB_CORES", "2")]).expect("it is valid");
    assert_eq!(printed.command, Command::PrintConfig);
    let text = printed.to_toml();
    assert!(text.contains("spin_us = \"7\"  # from the flag --spin-us"), "{text}");
    assert_eq!(text.lines().count(), SETTINGS.len());
    let file = file(&text);
    let again = resolve(&["--config", &file.path], &[]).expect("what was printed is valid");
    assert_eq!(again.config, printed.config);
}
