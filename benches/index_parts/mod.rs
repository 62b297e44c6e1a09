//! Parts of the index benchmark.

pub mod adversaries;
pub mod clock;
pub mod figures;
pub mod integers;
pub mod memory;
pub mod peers;
pub mod profile;
pub mod sets;
pub mod wide;

/// What is to be measured.
pub struct Options {
    /// Integer keys; of wide ones a tenth.
    pub keys: usize,
    /// Names of sets, or "all".
    pub sets: String,
    /// Only the index and the standard B-tree.
    pub quick: bool,
    /// Also print a line for each figure that a program can read.
    pub raw: bool,
    /// Run this workload of the index only: `get`, `dependent` or `insert`.
    pub profile: Option<String>,
}

impl Options {
    /// Whether a set was asked for.
    pub fn wants(&self, set: &str) -> bool {
        self.sets.split(',').any(|wanted| wanted == "all" || wanted == set)
    }
}
