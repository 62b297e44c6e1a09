//! What a server has for TLS: its certificate and key, whose certificates of clients it believes, the lowest version it speaks.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate::end_point_hash;
use crate::config::TlsVersion;

/// The protocol's name in ALPN (registered with IANA by PostgreSQL).
pub(super) const ALPN: &[u8] = b"postgresql";

/// The texts of PEM files.
#[derive(Clone, Copy)]
pub struct Pem<'a> {
    /// The server's certificate, then those that lead from it to one that clients know.
    pub certificate: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
    /// Whose certificates of clients are believed; without them clients are not asked for one.
    pub authorities: Option<&'a [u8]>,
}

/// What a handshake is made with. A connection keeps the one it began with.
pub struct Acceptor {
    pub(super) config: Arc<ServerConfig>,
    /// What channel binding binds to, if the certificate allows it.
    pub(super) end_point: Option<Arc<[u8]>>,
    /// Whether certificates of clients can be checked.
    pub(super) checks_clients: bool,
}

impl Acceptor {
    /// From the texts of PEM files, for this version of TLS and later ones.
    ///
    /// Errors: what is wrong, with the name of the setting that names the file.
    pub fn new(pem: Pem<'_>, minimum: TlsVersion) -> Result<Self, String> {
        let chain = certificates(pem.certificate).map_err(|why| format!("ssl_cert_file: {why}"))?;
        let key = private_key(pem.key).map_err(|why| format!("ssl_key_file: {why}"))?;
        let end_point = end_point_hash(&chain[0]).map(Arc::from);
        let provider = Arc::new(ring::default_provider());
        let versions: &[&SupportedProtocolVersion] = match minimum {
            TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("the provider has suites for both versions");
        let builder = match pem.authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let roots = Arc::new(roots(authorities).map_err(|why| format!("ssl_ca_file: {why}"))?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).allow_unauthenticated().build();
                builder.with_client_cert_verifier(verifier.map_err(|error| format!("ssl_ca_file: {error}"))?)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| format!("ssl_cert_file and ssl_key_file cannot be used together: {error}"))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // As PostgreSQL has it (ssl_prefer_server_ciphers), and without resumption, as there.
        config.ignore_client_order = true;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), end_point, checks_clients: pem.authorities.is_some() })
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| format!("it is no PEM file of certificates: {error}"))?;
    if chain.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(chain) }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    if pem.windows(encrypted.len()).any(|window| window == encrypted) {
        return Err("its private key has a passphrase, which is not supported".to_owned());
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| format!("there is no private key in it: {error}"))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(pem)? {
        roots.add(authority).map_err(|error| format!("a certificate in it is no authority's: {error}"))?;
    }
    Ok(roots)
}

/// What new connections are accepted with, which can be exchanged. Shared by all cores.
pub struct Door(ArcSwap<Acceptor>);

impl Door {
    /// With this to begin with.
    pub fn new(acceptor: Acceptor) -> Self {
        Self(ArcSwap::from_pointee(acceptor))
    }

    /// What a new connection is accepted with.
    pub fn acceptor(&self) -> Arc<Acceptor> {
        self.0.load_full()
    }

    /// From now on, something else. Connections that there are keep what they have.
    pub fn exchange(&self, acceptor: Acceptor) {
        self.0.store(Arc::new(acceptor));
    }
}

impl std::fmt::Debug for Door {
    // Not what is behind it: there is a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door")
    }
}
