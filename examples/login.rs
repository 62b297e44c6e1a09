//! Logs in with the `postgres` crate (tokio-postgres) over rustls, for `scripts/logins`: `login PORT USER PASSWORD clear|tls|plus CA`.
//! Prints one line: ok and how, or the SQLSTATE.

use std::sync::Arc;

use postgres::config::{ChannelBinding, SslMode};
use postgres::{Client, Config, Error, NoTls};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_postgres_rustls::MakeRustlsConnect;

fn connector(authority: &str) -> MakeRustlsConnect {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(authority).expect("the file is PEM");
    roots.add(authority).expect("it is an authority's certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has both")
        .with_root_certificates(roots)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

fn connect(arguments: &[String]) -> Result<Client, Error> {
    let mut config = Config::new();
    config.host("localhost").port(arguments[0].parse().expect("a port is a number"));
    config.user(&arguments[1]).password(&arguments[2]).dbname("postgres");
    match arguments[3].as_str() {
        "clear" => config.ssl_mode(SslMode::Disable).connect(NoTls),
        "plus" => config.ssl_mode(SslMode::Require).channel_binding(ChannelBinding::Require).connect(connector(&arguments[4])),
        _ => config.ssl_mode(SslMode::Require).channel_binding(ChannelBinding::Disable).connect(connector(&arguments[4])),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    assert_eq!(arguments.len(), 5, "PORT USER PASSWORD clear|tls|plus CA");
    let how = arguments[3].as_str();
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    match connect(&arguments).and_then(|mut client| client.query_one(encrypted, &[])) {
        Ok(row) if row.get::<_, bool>(0) == (how == "clear") => println!("failed ssl is not what was asked for"),
        Ok(_) => println!("ok SCRAM-SHA-256{}", if how == "plus" { "-PLUS" } else { "" }),
        Err(error) => match error.code() {
            Some(code) => println!("{}", code.code()),
            None => println!("failed {error}"),
        },
    }
}
