//! Starting on a damaged data directory: refused, unless asked to recover until the corruption; then whole transactions are
//! kept up to the damage on all cores, the rest is named and put aside, and the server is an ordinary one again.

use std::path::{Path, PathBuf};

use crate::server::{Remains, Server, flip_byte};

const ROWS: usize = 20;
const SALVAGE: &str = "--recover-until-corruption";

/// Every transaction writes a row on each of two cores; the timestamps of those transactions.
fn remains(checkpoint: bool) -> (Remains, Vec<u64>) {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.query("CREATE TABLE a (id int PRIMARY KEY, note text)");
    client.query("CREATE TABLE b (id int PRIMARY KEY, note text)");
    for id in 1..=ROWS {
        client.run("BEGIN");
        client.run(&format!("INSERT INTO a VALUES ({id}, 'one core')"));
        client.run(&format!("INSERT INTO b VALUES ({id}, 'another core')"));
        client.run("COMMIT");
        if checkpoint && id == ROWS / 2 {
            client.run("CHECKPOINT");
        }
    }
    let remains = server.kill();
    let mut of_both: Vec<u64> = commits(&remains, 0).iter().filter(|commit| commit.of_both).map(|commit| commit.ts).collect();
    assert!(of_both.len() >= ROWS, "every transaction is on both cores: {}", remains.run(&["wal", "inspect"]).1);
    let ours = of_both.split_off(of_both.len() - ROWS);
    (remains, ours)
}

struct Commit {
    ts: u64,
    of_both: bool,
    /// In the file of the core's only segment.
    offset: u64,
}

/// The commits in the log of a core.
fn commits(remains: &Remains, core: usize) -> Vec<Commit> {
    let (sound, printed) = remains.run(&["wal", "inspect"]);
    assert!(sound, "{printed}");
    let number = |line: &str, behind: &str| {
        let rest = line.split_once(behind)?.1;
        rest.split([' ', ',']).next()?.parse::<u64>().ok()
    };
    let of_core = printed.lines().filter(|line| line.starts_with(&format!("core {core} segment 0 start 2 ")));
    let commit = |line: &str| {
        let (ts, offset) = (number(line, " commit ")?, number(line, " lsn ")?);
        Some(Commit { ts, of_both: line.contains(" of cores 0, 1,"), offset })
    };
    of_core.filter_map(commit).collect()
}

fn log_of(remains: &Remains, core: usize) -> PathBuf {
    remains.data().join(format!("wal/{core}/0000000000000000.wal"))
}

fn refused_start(remains: &Remains, flags: &[&str]) -> String {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--http", "off", "--cores", "2"];
    let (served, printed) = remains.run(&[&serve, flags].concat());
    assert!(!served, "{printed}");
    printed
}

fn ids(server: &Server, table: &str) -> Vec<String> {
    server.connect().column(&format!("SELECT id FROM {table} ORDER BY id"))
}

/// Both tables hold exactly the rows from 1 to `last`.
#[track_caller]
fn assert_rows(server: &Server, last: usize) {
    let wanted: Vec<String> = (1..=last).map(|id| id.to_string()).collect();
    for table in ["a", "b"] {
        assert_eq!(ids(server, table), wanted, "table {table}");
    }
}

/// Damaged at an offset of a core's log, the server comes back with the first `kept` rows, says so, and goes on.
fn check(core: usize, kept: usize, offset: impl Fn(&[Commit], &[u64]) -> u64) {
    let (remains, ours) = remains(false);
    let path = log_of(&remains, core);
    flip_byte(&path, offset(&commits(&remains, core), &ours));
    let name = format!("wal/{core}/0000000000000000.wal");

    let (sound, printed) = remains.run(&["check"]);
    assert!(!sound && printed.contains(&name), "{printed}");
    let foretold = printed.lines().find(|line| line.contains("would keep everything through timestamp")).expect(&printed);
    let refusal = refused_start(&remains, &[]);
    assert!(refusal.contains(&name) && refusal.contains(SALVAGE) && refusal.contains("offset"), "{refusal}");

    let server = remains.start(&[SALVAGE]);
    let log = server.log();
    for wanted in ["unreadable: ", &name, " bytes from offset ", "dropped: log of core ", "recovered until corruption"] {
        assert!(log.contains(wanted), "\"{wanted}\" is in:\n{log}");
    }
    let through = foretold.rsplit(' ').next().expect("a number ends the line");
    assert!(log.contains(&format!("everything through timestamp {through} is kept")), "{foretold}\n{log}");
    assert_rows(&server, kept);
    let mut client = server.connect();
    client.run(&format!("INSERT INTO a VALUES ({}, 'after it')", kept + 1));
    client.run(&format!("INSERT INTO b VALUES ({}, 'after it')", kept + 1));
    let remains = server.kill();
    let (sound, printed) = remains.run(&["check"]);
    assert!(sound && printed.contains("no damage found"), "{printed}");
    let server = remains.start(&[]);
    assert_rows(&server, kept + 1);

    // What was put aside is the damaged directory as it was.
    let aside = server.data().join("damaged/3");
    let remains = server.kill();
    let (sound, printed) = remains.run_on(&aside, &["check"]);
    assert!(!sound && printed.contains(&name) && printed.contains(foretold), "{printed}");
}

#[test]
fn a_commit_of_both_cores_damaged_on_one() {
    check(0, 10, |commits, ours| commits.iter().find(|commit| commit.ts == ours[10]).expect("it is there").offset + 70);
}

#[test]
fn a_commit_of_both_cores_damaged_on_the_other() {
    check(1, 3, |commits, ours| commits.iter().find(|commit| commit.ts == ours[3]).expect("it is there").offset + 5);
}

#[test]
fn the_header_of_a_segment() {
    check(1, 0, |_, _| 20);
}

fn checkpoint_file(data: &Path) -> PathBuf {
    let entries = std::fs::read_dir(data.join("checkpoint")).expect("a directory of the server's");
    let files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.into_iter().max_by_key(|path| path.metadata().expect("a file").len()).expect("a checkpoint was taken")
}

#[test]
fn a_checkpoint_that_the_logs_make_good_and_one_that_they_do_not() {
    let (remains, _) = remains(true);
    let damaged = checkpoint_file(&remains.data());
    flip_byte(&damaged, 4096 + 40);
    let (sound, printed) = remains.run(&["check"]);
    assert!(!sound && printed.contains("would keep everything through timestamp"), "{printed}");
    let refusal = refused_start(&remains, &[]);
    assert!(refusal.contains("is corrupt at offset"), "{refusal}");
    let server = remains.start(&[SALVAGE]);
    assert_rows(&server, ROWS);
    let evidence = server.data().join("damaged/3/checkpoint").join(damaged.file_name().expect("a file"));
    assert!(evidence.exists(), "{}", server.log());
    server.connect().run("CHECKPOINT");
    let remains = server.kill();

    // The logs begin after the first checkpoint now.
    let damaged = checkpoint_file(&remains.data());
    flip_byte(&damaged, 4096 + 40);
    let (sound, printed) = remains.run(&["check"]);
    assert!(!sound && printed.contains("restore it from a backup"), "{printed}");
    let refusal = refused_start(&remains, &[SALVAGE]);
    assert!(refusal.contains("restore it from a backup"), "{refusal}");
    assert!(damaged.exists() && !remains.data().join("damaged/4").exists(), "a refused start changes nothing");
}

#[test]
fn permission_that_is_not_needed_changes_nothing() {
    let (remains, _) = remains(true);
    let server = remains.start(&[SALVAGE]);
    assert_rows(&server, ROWS);
    assert!(server.log().contains("no damage was found") && !server.data().join("damaged").exists(), "{}", server.log());
}
