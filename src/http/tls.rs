//! HTTPS for the control plane: rustls with the certificate and key of two PEM files.

use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::ServerConfig;

use tokio_rustls::TlsAcceptor;

/// What takes TLS connections. Its certificate can be exchanged meanwhile; connections that are there keep what they began with.
#[derive(Debug)]
pub struct Certified(ArcSwap<ServerConfig>);

impl Certified {
    /// With this certificate chain and key.
    ///
    /// Errors: a file that cannot be read, that holds none, or a key that does not belong to the certificate.
    pub fn open(cert: &Path, key: &Path) -> io::Result<Self> {
        Ok(Self(ArcSwap::from_pointee(read(cert, key)?)))
    }

    /// Reads the files again. Ones that cannot be used change nothing.
    pub fn reload(&self, cert: &Path, key: &Path) {
        match read(cert, key) {
            Ok(config) => {
                self.0.store(Arc::new(config));
                tracing::info!("the certificate of the HTTP control plane was read again: new connections get it");
            }
            Err(problem) => tracing::error!("the certificate of the HTTP control plane stays as it was: {problem}"),
        }
    }

    /// What the next connection is taken with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

fn read(cert: &Path, key: &Path) -> io::Result<ServerConfig> {
    let invalid = |path: &Path, what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(cert, format!("it is no PEM file of certificates: {error}")))?;
    if chain.is_empty() {
        return Err(invalid(cert, "there is no certificate in it".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|error| invalid(key, format!("there is no private key in it: {error}")))?;
    ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| invalid(cert, format!("it cannot be used: {error}")))
}
