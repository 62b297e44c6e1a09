//! A client in a transaction of its own that must notice nothing of what others do to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::Server;
use super::raw::Client;

/// Rows that it changes.
const ROWS: usize = 8;

/// Runs until it is told to stop, and checks every answer against a model.
pub struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Bystander {
    /// Starts one, with a table of its own.
    pub fn start(server: &Server, name: &str) -> Self {
        let table = format!("bystander_{name}");
        let mut client = server.connect();
        client.run(&format!("CREATE TABLE {table} (id int PRIMARY KEY, n int)"));
        client.run(&format!("INSERT INTO {table} SELECT i, 0 FROM generate_series(0, {}) AS i", ROWS - 1));
        client.run("BEGIN");
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        Self { stop, thread: std::thread::spawn(move || work(&mut client, &table, &asked)) }
    }

    /// Ends it; it must have been undisturbed, and at work.
    #[track_caller]
    pub fn finish(self) {
        self.stop.store(true, Ordering::SeqCst);
        let rounds = self.thread.join().expect("every answer to the bystander was right");
        assert!(rounds > 0, "the bystander was at work");
    }
}

/// A transaction is always open, but for the moment between two of them.
fn work(client: &mut Client, table: &str, stop: &AtomicBool) -> usize {
    let (mut kept, mut open) = ([0; ROWS], [0; ROWS]);
    let mut round = 0;
    while !stop.load(Ordering::SeqCst) {
        let id = round * 5 % ROWS;
        open[id] += 1;
        let update = format!("UPDATE {table} SET n = n + 1 WHERE id = {id} RETURNING n");
        client.expect_query(&update, &["T n:23", &format!("D {}", open[id]), "C UPDATE 1", "Z T"]);
        let sum: i32 = open.iter().sum();
        let select = format!("SELECT sum(n) FROM {table}");
        client.expect_query(&select, &["T sum:20", &format!("D {sum}"), "C SELECT 1", "Z T"]);
        match round % 7 {
            3 => {
                client.expect_query("COMMIT", &["C COMMIT", "Z I"]);
                kept = open;
                client.expect_query("BEGIN", &["C BEGIN", "Z T"]);
            }
            6 => {
                client.expect_query("ROLLBACK", &["C ROLLBACK", "Z I"]);
                open = kept;
                client.expect_query("BEGIN", &["C BEGIN", "Z T"]);
            }
            _ => {}
        }
        round += 1;
    }
    client.expect_query("COMMIT", &["C COMMIT", "Z I"]);
    round
}
