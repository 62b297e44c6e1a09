//! What EXPLAIN ANALYZE measures: how often each operator was opened, its rows and its time.
//!
//! An operator is known by its plan node's address, which holds as long as the statement. Where a node is copied to be opened
//! again and again (a lateral join's right side), the copy is noted as another name of the original.

use std::collections::HashMap;
use std::time::Duration;

use crate::sql::expr::walk;
use crate::sql::plan::Node;

/// The measures of one operator over all its loops. Times include those of the operators it reads from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measure {
    /// How often it was opened and asked for rows.
    pub loops: u64,
    /// Rows it gave.
    pub rows: u64,
    /// Time until it first answered.
    pub startup: Duration,
    /// All its time.
    pub total: Duration,
    /// Whether it has answered in this loop.
    answered: bool,
    /// Its time in this loop.
    current: Duration,
}

impl Measure {
    /// Of something done once.
    pub fn once(rows: u64, time: Duration) -> Self {
        Self { loops: 1, rows, startup: time, total: time, ..Self::default() }
    }
}

/// All measures of one statement.
#[derive(Default)]
pub struct Profile {
    measures: HashMap<usize, Measure>,
    copies: HashMap<usize, usize>,
}

/// What a node is known by.
fn address(node: &Node) -> usize {
    std::ptr::from_ref(node).addr()
}

impl Profile {
    /// What this node, or the node it is a copy of, is measured under.
    pub fn id(&self, node: &Node) -> usize {
        let address = address(node);
        self.copies.get(&address).copied().unwrap_or(address)
    }

    /// Notes that `copy` is a copy of `original`.
    pub fn copied(&mut self, original: &Node, copy: &Node) {
        let id = self.id(original);
        self.copies.insert(address(copy), id);
        for (original, copy) in walk::inputs(original).into_iter().zip(walk::inputs(copy)) {
            self.copied(original, copy);
        }
    }

    /// An operator was opened.
    pub fn opened(&mut self, id: usize, spent: Duration) {
        let measure = self.measures.entry(id).or_default();
        measure.total += spent;
        (measure.answered, measure.current) = (false, spent);
    }

    /// An operator answered.
    pub fn answered(&mut self, id: usize, rows: usize, spent: Duration) {
        let measure = self.measures.entry(id).or_default();
        measure.rows += rows as u64;
        measure.total += spent;
        measure.current += spent;
        if !measure.answered {
            measure.answered = true;
            measure.loops += 1;
            measure.startup += measure.current;
        }
    }

    /// Rows that were found for many loops together.
    pub fn looked_up(&mut self, node: &Node, loops: usize, rows: usize, spent: Duration) {
        let id = self.id(node);
        let measure = self.measures.entry(id).or_default();
        measure.loops += loops as u64;
        measure.rows += rows as u64;
        measure.startup += spent;
        measure.total += spent;
        for input in walk::inputs(node) {
            self.looked_up(input, loops, rows, spent);
        }
    }

    /// The measures of a node; zeros if it was never opened.
    pub fn of(&self, node: &Node) -> Measure {
        self.measures.get(&self.id(node)).copied().unwrap_or_default()
    }
}
