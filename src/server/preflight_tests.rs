//! Each check accepts what is right and refuses what is wrong with a sentence that says what to do.

use super::*;
use crate::config::{Machine, from_parts};

fn config(flags: &[&str]) -> Config {
    let machine = Machine { cpus: vec![0, 1], memory_bytes: 1 << 30 };
    let arguments = std::iter::once("omendb").chain(flags.iter().copied()).map(Into::into).collect();
    from_parts(arguments, Vec::new(), &machine).expect("the flags are valid").config
}

fn refused<T: fmt::Debug>(result: Checked<T>, problem: &str, remedy: &str) {
    let error = result.expect_err("it is refused");
    assert!(error.problem.contains(problem), "{error}");
    assert!(error.remedy.contains(remedy), "{error}");
}

#[test]
fn kernels() {
    for release in ["6.1.0", "6.1.0-18-amd64", "6.18.44-fc-v657", "10.0"] {
        assert_eq!(check_kernel(release), Ok(()), "{release}");
    }
    for release in ["6.0.19", "5.15.0", "4.19.0-6", "", "unknown"] {
        refused(check_kernel(release), release, "newer kernel");
    }
}

#[test]
fn io_uring_refusals_say_what_to_do() {
    assert_eq!(check_io_uring("2", Ok(())), Ok(()), "a ring that was set up settles it");
    let failed = |code| Err(io::Error::from_raw_os_error(code));
    refused(check_io_uring("2\n", failed(libc::EPERM)), "io_uring", "sysctl kernel.io_uring_disabled=0");
    refused(check_io_uring("1\n", failed(libc::EPERM)), "io_uring", "io_uring_group");
    refused(check_io_uring("0\n", failed(libc::EPERM)), "io_uring", "seccomp");
    refused(check_io_uring("", failed(libc::ENOSYS)), "io_uring", "CONFIG_IO_URING");
    refused(check_io_uring("", failed(libc::ENOMEM)), "io_uring", "ulimit -l");
}

#[test]
fn limits() {
    let limit = |current| Rlimit { current, maximum: None };
    assert_eq!(check_memlock(limit(None)), Ok(()));
    assert_eq!(check_memlock(limit(Some(MEMLOCK_BYTES_MIN))), Ok(()));
    refused(check_memlock(limit(Some(65_536))), "65536 bytes", "ulimit -l");
    let config = config(&["--cores", "2", "--max-connections", "1000"]);
    assert_eq!(check_fds(limit(Some(fds_needed(&config))), &config), Ok(()));
    refused(check_fds(limit(Some(1024)), &config), "1000 connections on 2 cores", "max_connections");
    let all = Waiters { queued: 10_000, starting: 5_000 };
    let needed = fds_needed(&config);
    for (fds, expected) in [
        (None, all),
        (Some(needed + 15_000), all),
        (Some(needed + 9_000), Waiters { queued: 6_000, starting: 3_000 }),
        (Some(needed), Waiters { queued: 0, starting: STARTING_MIN }),
    ] {
        assert_eq!(waiters(limit(fds), &config), expected, "{fds:?}");
    }
}

#[test]
fn a_data_directory_is_made_and_written() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let inner = dir.path().join("a/b");
    let taken = take_directory(&inner).expect("it can be made");
    assert!(!inner.join(WRITE_PROBE).exists(), "the probe is gone");
    refused(take_directory(&inner), &format!("process {}", std::process::id()), "");
    drop(taken);
    let file = dir.path().join("file");
    fs::write(&file, "x").expect("a file");
    refused(take_directory(&file), "cannot be created", "--data-dir");
    refused(take_directory(Path::new("/proc/omendb")), "cannot be created", "--data-dir");
}

#[test]
fn an_address_has_one_server() {
    let first = bind("127.0.0.1:0".parse().expect("an address"), "listen").expect("a free port");
    let address = first.local_addr().expect("it is bound");
    refused(bind(address, "listen"), &address.to_string(), "--listen");
}

#[test]
fn a_unix_socket_replaces_a_dead_one_only() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = UnixSocket::bind(dir.path(), 5433).expect("nothing is there");
    refused(UnixSocket::bind(dir.path(), 5433), ".s.PGSQL.5433", "Another server");
    let path = first.path.clone();
    drop(first);
    assert!(!path.exists(), "it goes with its owner");
    drop(UnixListener::bind(&path).expect("nothing is there"));
    assert!(path.exists(), "a killed server leaves its file");
    UnixSocket::bind(dir.path(), 5433).expect("it replaces the dead one");
}

#[test]
fn this_machine_passes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let data = data.to_str().expect("an ASCII path");
    let config = config(&["--data-dir", data, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--max-connections", "10"]);
    let preflight = check(&config).expect("tests run where the server can");
    assert_eq!((preflight.listeners.len(), preflight.http.is_some(), preflight.unix_listener.is_some()), (1, true, false));
}
