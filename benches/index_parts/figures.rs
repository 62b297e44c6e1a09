//! What was measured, by peer, and how it is printed.

/// Everything that is measured of a peer on one key set, in the order of the table: name, title, whether more is better.
pub const COLUMNS: [(&str, &str); 21] = [
    ("get", "get"),
    ("zipf", "zipf"),
    ("absent", "absent"),
    ("dependent", "depend"),
    ("batch", "batch"),
    ("load", "load"),
    ("insert", "insert"),
    ("append", "append"),
    ("mixed", "mixed"),
    ("delete", "delete"),
    ("scan100", "scan100"),
    ("full", "full"),
    ("bytes_load", "B load"),
    ("bytes_insert", "B ins"),
    ("bytes_append", "B app"),
    ("p50", "p50 us"),
    ("p99", "p99 us"),
    ("p999", "p99.9 us"),
    ("max", "max us"),
    ("longest", "longest"),
    ("hits", "hits %"),
];
/// How many of the first columns are throughputs, in million operations a second.
const THROUGHPUTS: usize = 12;

/// The figures of one peer; several of one name are rounds, of which the median counts.
pub struct Figures {
    pub peer: &'static str,
    values: Vec<(&'static str, f64)>,
}

impl Figures {
    pub fn of(peer: &'static str) -> Self {
        Self { peer, values: Vec::new() }
    }

    pub fn add(&mut self, name: &'static str, value: f64) {
        assert!(COLUMNS.iter().any(|(known, _)| *known == name), "{name} is a column");
        self.values.push((name, value));
    }

    pub fn median(&self, name: &str) -> Option<f64> {
        let mut rounds: Vec<f64> = self.values.iter().filter(|(held, _)| *held == name).map(|(_, value)| *value).collect();
        rounds.sort_by(f64::total_cmp);
        rounds.get(rounds.len() / 2).copied()
    }
}

/// Prints one key set's table: every peer's figures, then the first one's throughput as a multiple of each other's. With
/// `raw`, also a line for each figure that a program can read.
pub fn print(set: &str, all: &[Figures], raw: bool) {
    print!("{:12}", set);
    COLUMNS.iter().for_each(|(_, title)| print!(" {title:>8}"));
    println!();
    let cell = |value: Option<f64>| match value {
        Some(value) if value >= 100.0 => print!(" {value:8.0}"),
        Some(value) => print!(" {value:8.2}"),
        None => print!(" {:8}", ""),
    };
    for figures in all {
        print!("{:12}", figures.peer);
        COLUMNS.iter().for_each(|(name, _)| cell(figures.median(name)));
        println!();
    }
    let (ours, peers) = all.split_first().expect("there is always the index itself");
    for peer in peers {
        print!("/ {:10}", peer.peer);
        for (name, _) in &COLUMNS[..THROUGHPUTS] {
            cell(ours.median(name).zip(peer.median(name)).map(|(ours, theirs)| ours / theirs));
        }
        println!();
    }
    if raw {
        for figures in all {
            for (name, _) in COLUMNS {
                if let Some(value) = figures.median(name) {
                    println!("@\t{set}\t{}\t{name}\t{value}", figures.peer);
                }
            }
        }
    }
}
