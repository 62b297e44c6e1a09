//! Conversations through a stream in memory, against a small stand-in for executor and engine.

mod client;
mod errors;
mod extended;
mod messages;
mod pipeline;
mod pool;
mod simple;
mod startup;
