//! TLS for tests: an authority with its certificates, clients over rustls, and a server that has all of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use postgres::Config;
use postgres::config::{ChannelBinding, SslMode, SslNegotiation};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::raw::{self, SSL, Transport, packet};
use super::{Server, WAIT};

/// The superuser's password.
pub const PASSWORD: &str = "correct horse";

/// The name that the protocol has in ALPN.
pub const ALPN: &[u8] = b"postgresql";

static VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Issues certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, as PEM files have them.
pub struct Issued {
    pub certificate: CertificateDer<'static>,
    pub pem: String,
    pub key: KeyPair,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Shop");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// A certificate for a user, or for the server.
    pub fn issue(&self, name: &str) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Issued { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }
}

/// A server that can be encrypted, whose superuser has a password, and the authority of its certificates.
pub struct Encrypted {
    pub server: Server,
    pub authority: Authority,
    directory: TempDir,
}

impl Encrypted {
    pub fn start(rules: &str, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build's directory can be written to");
        let authority = Authority::new("Test CA");
        let at = |name: &str| directory.path().join(name).to_str().expect("the path is text").to_owned();
        fs::write(at("password"), format!("{PASSWORD}\n")).expect("it can be written");
        fs::write(at("ca.crt"), authority.pem()).expect("it can be written");
        fs::write(at("hba.conf"), rules).expect("it can be written");
        write_identity(&directory, &authority.issue("localhost"));
        let files = [at("password"), at("hba.conf"), at("server.crt"), at("server.key"), at("ca.crt")];
        let [password, hba, certificate, key, ca] = &files;
        let mut all = vec!["--superuser-password-file", password, "--hba-file", hba, "--scram-iterations", "64", "--ssl", "on"];
        all.extend(["--ssl-cert-file", certificate, "--ssl-key-file", key, "--ssl-ca-file", ca]);
        all.extend(flags);
        Self { server: Server::start(&all), authority, directory }
    }

    /// Exchanges the server's certificate.
    pub fn write_identity(&self, issued: &Issued) {
        write_identity(&self.directory, issued);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A client that believes the server's authority.
    pub fn client(&self) -> Tls<'_> {
        Tls { authority: &self.authority, identity: None, versions: &VERSIONS, alpn: &[ALPN] }
    }

    /// A login over TLS.
    pub fn config(&self, user: &str, password: &str) -> Config {
        let mut config = Config::new();
        config.host("localhost").hostaddr(self.server.address.ip()).port(self.server.address.port());
        config.user(user).password(password).dbname("db").ssl_mode(SslMode::Require).connect_timeout(WAIT);
        config.channel_binding(ChannelBinding::Prefer).ssl_negotiation(SslNegotiation::Postgres);
        config
    }

    pub fn connect(&self, user: &str, password: &str) -> Result<postgres::Client, postgres::Error> {
        self.config(user, password).connect(self.client().connector())
    }

    pub fn superuser(&self) -> postgres::Client {
        self.connect("postgres", PASSWORD).expect("the password is right")
    }
}

fn write_identity(directory: &TempDir, issued: &Issued) {
    let key = directory.path().join("server.key");
    // The key first: nobody reads them in between.
    fs::write(&key, issued.key.serialize_pem()).expect("it can be written");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
    fs::write(directory.path().join("server.crt"), &issued.pem).expect("it can be written");
}

/// How a client goes about TLS.
#[derive(Clone, Copy)]
pub struct Tls<'a> {
    pub authority: &'a Authority,
    pub identity: Option<&'a Issued>,
    pub versions: &'a [&'static SupportedProtocolVersion],
    pub alpn: &'a [&'a [u8]],
}

impl Tls<'_> {
    pub fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.0.der().clone()).expect("it is an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(self.versions)
            .expect("the versions are spoken")
            .with_root_certificates(roots);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(Issued { certificate, key, .. }) => builder
                .with_client_auth_cert(vec![certificate.clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
                .expect("they belong together"),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        config
    }

    pub fn connector(&self) -> MakeRustlsConnect {
        MakeRustlsConnect::new(self.config())
    }

    /// A connection that has asked for TLS and has it.
    pub fn open(&self, address: SocketAddr) -> std::io::Result<raw::Client> {
        let mut stream = raw::socket(address);
        stream.write_all(&packet(SSL, b""))?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        assert_eq!(&answer, b"S", "the server encrypts");
        self.shake_hands(stream)
    }

    /// A connection that begins with TLS.
    pub fn open_directly(&self, address: SocketAddr) -> std::io::Result<raw::Client> {
        self.shake_hands(raw::socket(address))
    }

    fn shake_hands(&self, stream: TcpStream) -> std::io::Result<raw::Client> {
        let name = "localhost".try_into().expect("it is a name");
        let connection = ClientConnection::new(Arc::new(self.config()), name).expect("the configuration is complete");
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(raw::Client::over(Box::new(stream)))
    }
}

impl Transport for StreamOwned<ClientConnection, TcpStream> {
    fn finish(&mut self) {
        self.conn.send_close_notify();
        // The other side may have hung up.
        let _already_ended = self.conn.complete_io(&mut self.sock);
    }
}
