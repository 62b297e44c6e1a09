//! HTTPS for the control plane: rustls with the certificate and key of two PEM files.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::ServerConfig;

pub use tokio_rustls::TlsAcceptor;

/// What takes TLS connections with this certificate chain and key.
///
/// Errors: a file that cannot be read, that holds none, or a key that does not belong to the certificate.
pub fn acceptor(cert: &Path, key: &Path) -> io::Result<TlsAcceptor> {
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
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| invalid(cert, format!("it cannot be used: {error}")))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
