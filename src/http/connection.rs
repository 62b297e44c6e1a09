//! Accepting connections and the limits on each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Peer;
use super::tls::Certified;

/// Connections at once; more wait to be accepted.
pub(super) const CONNECTIONS_MAX: usize = 64;

/// How long a client may take to send a request's head, on a fresh or a kept-alive connection.
pub(super) const HEAD_WAIT: Duration = Duration::from_secs(10);

/// The largest request head.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long one connection may live, whatever it does.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(10 * 60);

/// How long running requests may go on after the stop.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// How long to wait when accepting fails for want of descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serve connections until `stopped` says so.
pub(super) async fn accept_until_stopped(
    listener: TcpListener,
    tls: Option<Arc<Certified>>,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, address, permit)) => {
                let peer = Peer { address: address.ip().to_canonical(), encrypted: tls.is_some() };
                let (router, stopped) = (router.clone().layer(Extension(peer)), stopped.clone());
                let tls = tls.as_ref().map(|certified| certified.acceptor());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, router, stopped).await,
                        Some(tls) => match timeout(HEAD_WAIT, tls.accept(stream)).await {
                            Ok(Ok(stream)) => serve(stream, router, stopped).await,
                            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                            Err(_elapsed) => {}
                        },
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_WAIT, finish).await.is_err() {
        tracing::warn!("HTTP requests were cut off by the shutdown");
    }
}

async fn accept(
    listener: &TcpListener,
    room: &std::sync::Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, permit))
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, mut stopped: watch::Receiver<bool>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let stop_or_age = async {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => {}
            () = sleep(CONNECTION_AGE_MAX) => {}
        }
    };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop_or_age => {
            connection.as_mut().graceful_shutdown();
            match timeout(STOP_WAIT, connection).await {
                Ok(result) => result,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}
