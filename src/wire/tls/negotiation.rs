//! How a connection comes to be encrypted: because the client asks first (SSLRequest), or at once (PostgreSQL 17's direct TLS).

use std::sync::Arc;

use super::acceptor::Acceptor;
use super::secured::Secured;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::metrics::ConnectionMetrics;
use crate::session::response::{Client, Gone};
use crate::wire::connection::Services;
use crate::wire::peer::Peer;
use crate::wire::startup::StartupPacket;
use crate::wire::stream::ByteStream;

/// The first byte of a TLS handshake. As the first byte of a startup packet it would announce 369 megabytes.
const HANDSHAKE_RECORD: u8 = 0x16;

/// What a client can be encrypted with. As in PostgreSQL, nobody listens in on a Unix socket, so there it is not offered.
fn offer<S: ByteStream>(peer: &Peer<Secured<S>>, services: &Services) -> Option<Arc<Acceptor>> {
    services.tls.as_ref().filter(|_| peer.stream.client().is_some()).map(|door| door.acceptor())
}

/// Whether a client has begun with a handshake.
pub(in crate::wire) fn is_direct<S: ByteStream>(peer: &Peer<Secured<S>>, services: &Services) -> bool {
    peer.input.unread().first() == Some(&HANDSHAKE_RECORD) && peer.stream.tls().is_none() && offer(peer, services).is_some()
}

/// Takes the handshake of a client that has begun with it.
///
/// Errors: 08P01 if it does not name the protocol. A program made to speak another one to this port (a browser that was sent here)
/// does not do that, and gets no further.
pub(in crate::wire) async fn direct<S: ByteStream>(
    peer: &mut Peer<Secured<S>>,
    services: &Services,
    metrics: &ConnectionMetrics,
) -> Result<SqlResult<()>, Gone> {
    let acceptor = offer(peer, services).expect("the caller has looked");
    let received = peer.input.unread().to_vec();
    peer.input.consume(received.len());
    accept(peer, acceptor, &received, metrics).await?;
    if peer.stream.tls().is_some_and(|tls| tls.named_protocol()) {
        return Ok(Ok(()));
    }
    let message = "received direct SSL connection request without ALPN protocol negotiation extension";
    Ok(Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, message)))
}

/// Answers a request for encryption.
///
/// Errors: 08P01 if more has come with it: it would be taken for something that came encrypted.
pub(in crate::wire) async fn answer<S: ByteStream>(
    peer: &mut Peer<Secured<S>>,
    services: &Services,
    metrics: &ConnectionMetrics,
    asked: &StartupPacket,
) -> Result<SqlResult<()>, Gone> {
    let Some(acceptor) = offer(peer, services).filter(|_| *asked == StartupPacket::Ssl) else {
        // Not encrypted: the client goes on in the clear or goes away.
        peer.output.raw(b"N");
        peer.flush().await?;
        return Ok(Ok(()));
    };
    if !peer.input.unread().is_empty() {
        let error = SqlError::new(SqlState::PROTOCOL_VIOLATION, "received unencrypted data after SSL request");
        let detail = "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.";
        return Ok(Err(error.detail(detail)));
    }
    peer.output.raw(b"S");
    peer.flush().await?;
    accept(peer, acceptor, &[], metrics).await?;
    Ok(Ok(()))
}

async fn accept<S: ByteStream>(
    peer: &mut Peer<Secured<S>>,
    acceptor: Arc<Acceptor>,
    received: &[u8],
    metrics: &ConnectionMetrics,
) -> Result<(), Gone> {
    match peer.stream.accept(acceptor, received).await {
        Ok(()) => {
            metrics.tls_handshakes.inc();
            Ok(())
        }
        Err(error) => {
            metrics.tls_failures.inc();
            let client = peer.stream.client();
            tracing::info!(client = client.map(tracing::field::display), "could not accept an SSL connection: {error}");
            Err(Gone)
        }
    }
}
