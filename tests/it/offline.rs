//! `omendb check` and `omendb wal inspect` on what a killed server has left, whole and damaged.

use std::path::{Path, PathBuf};

use crate::server::{Remains, Server, flip_byte};

/// A table with rows in a checkpoint and rows in the log, on both cores.
fn remains() -> Remains {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.query("CREATE TABLE t (a int PRIMARY KEY, b text)");
    client.query("INSERT INTO t SELECT i, 'in the checkpoint' FROM generate_series(1, 1000) AS i");
    client.query("CHECKPOINT");
    for row in 2000..2010 {
        client.expect_query(&format!("INSERT INTO t VALUES ({row}, 'in the log')"), &["C INSERT 0 1", "Z I"]);
    }
    client.query("DELETE FROM t WHERE a = 7");
    server.kill()
}

/// The files below a directory of the data directory, largest first.
fn files(remains: &Remains, below: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![remains.data().join(below)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory of the server's") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { directories.push(path) } else { found.push(path) }
        }
    }
    let len = |path: &PathBuf| path.metadata().expect("a file").len();
    found.sort_by_key(|path| std::cmp::Reverse((len(path), path.clone())));
    found
}

#[test]
fn a_killed_server_leaves_nothing_damaged() {
    let remains = remains();
    let (sound, printed) = remains.run(&["check"]);
    assert!(sound && printed.contains("no damage found") && printed.contains("a start recovers everything"), "{printed}");
    let (sound, printed) = remains.run(&["wal", "inspect", "--writes"]);
    assert!(sound, "{printed}");
    for wanted in [" commit ", "row of ", " deleted", "segment start"] {
        assert!(printed.contains(wanted), "\"{wanted}\" is in:\n{printed}");
    }
    // Looking has changed nothing.
    let server = remains.start(&[]);
    server.connect().expect_query("SELECT count(*), sum(a) FROM t", &["T count:20 sum:20", "D 1009|520538", "C SELECT 1", "Z I"]);
}

#[test]
fn a_flipped_byte_in_the_log_is_found() {
    let remains = remains();
    // Inside the first record of a segment that goes on: not a torn tail.
    let log = files(&remains, "wal").into_iter().filter(|path| {
        let (_, printed) = remains.run(&["wal", "inspect"]);
        let segment = path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse::<u64>().ok());
        let core = path.parent().and_then(|path| path.file_name()).and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        segment.is_some_and(|segment| printed.matches(&format!("core {core} segment {segment} start")).count() > 2)
    });
    let damaged = log.into_iter().next().expect("some segment has several records");
    flip_byte(&damaged, 4096 + 60);
    let (sound, printed) = remains.run(&["check"]);
    let name = damaged.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(!sound && printed.contains(name), "{printed}");
}

#[test]
fn a_flipped_byte_in_a_checkpoint_is_found() {
    let remains = remains();
    let damaged = files(&remains, "checkpoint").into_iter().next().expect("a checkpoint was taken");
    flip_byte(&damaged, damaged.metadata().expect("a file").len() / 2);
    let (sound, printed) = remains.run(&["check"]);
    let name = damaged.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(!sound && printed.contains(name) && !printed.contains("no damage"), "{printed}");
}

#[test]
fn what_is_in_use_or_not_ours_is_left_alone() {
    let server = Server::start(&[]);
    let in_use = server.data();
    let check = |data: &Path| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_omendb")).arg("check").arg("--data-dir").arg(data).output();
        let output = output.expect("the binary was built with this test");
        (output.status.success(), String::from_utf8(output.stderr).expect("text"))
    };
    let (sound, printed) = check(&in_use);
    assert!(!sound && printed.contains("in use by another server"), "{printed}");
    let (sound, printed) = check(&in_use.join("wal"));
    assert!(!sound && printed.contains("is not a data directory"), "{printed}");
}
