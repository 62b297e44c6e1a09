//! Queries over a small table in a simulated engine.
