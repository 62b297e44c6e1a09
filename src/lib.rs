//! OmenDB: a PostgreSQL-wire database server, thread-per-core and shard-nothing, on learned indexes.
//!
//! `docs/architecture.md` is the map: which module holds what, which may import which, the named invariants and the way one
//! statement travels. Layers look down only:
//! `wire → session → exec → sql → shard → txn, storage, wal → index`, with `runtime` beneath all and `server` assembling.

pub mod auth;
pub mod base;
pub mod catalog;
pub mod checkpoint;
pub mod config;
pub mod error;
pub mod exec;
pub mod http;
pub mod index;
pub mod mesh;
pub mod metrics;
pub mod runtime;
pub mod server;
pub mod session;
pub mod shard;
pub mod sql;
pub mod storage;
pub mod txn;
pub mod types;
pub mod wal;
pub mod wire;
