//! Sockets: TCP and Unix. On glommio cores only; the simulator has no network.
pub use super::glommio::net::{Listener, PeerAddress, Probes, Socket, Stream};
