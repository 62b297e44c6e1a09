//! Parts of the index benchmark.

pub mod adversaries;
pub mod clock;
pub mod integers;
pub mod memory;
pub mod peers;
pub mod sets;
pub mod wide;
