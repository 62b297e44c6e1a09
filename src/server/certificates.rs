//! The files that PostgreSQL's protocol is encrypted with: certificate, key, and whose certificates of clients are believed.
//!
//! They are read at start, where anything wrong with them ends the start, and again on SIGHUP, where it leaves the old ones in force and
//! is logged. Connections that are there keep what they began with.
//!
//! Source: PostgreSQL 15 documentation, 19.9.2 "OpenSSL Configuration"; whom a key may belong to and who may read it after its
//! `check_ssl_key_file_permissions`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::config::SslConfig;
use crate::wire::tls::{Acceptor, Door, Pem};

/// Permissions that the key of this process's user may not have: any of the group and of others.
const OWN_KEY_NEVER: u32 = 0o077;

/// And root's key: the group may read it.
const ROOTS_KEY_NEVER: u32 = 0o037;

/// What a server that starts encrypts connections with. Paths begin at the data directory.
pub fn open(config: Option<&SslConfig>, root: &Path) -> Result<Option<Arc<Door>>, String> {
    config.map(|config| Ok(Arc::new(Door::new(read(config, root)?)))).transpose()
}

/// Reads the files again. Ones that cannot be used change nothing.
pub fn reload(door: &Door, config: &SslConfig, root: &Path) {
    match read(config, root) {
        Ok(acceptor) => {
            door.exchange(acceptor);
            tracing::info!("the certificate was read again: new connections get it");
        }
        Err(problem) => tracing::error!("the certificate stays as it was: {problem}"),
    }
}

fn read(config: &SslConfig, root: &Path) -> Result<Acceptor, String> {
    let key = root.join(&config.key);
    check_permissions(&key)?;
    let text = |setting: &str, path: &Path| {
        let path = root.join(path);
        fs::read(&path).map_err(|error| format!("{setting}: {} cannot be read: {error}", path.display()))
    };
    let certificate = text("ssl_cert_file", &config.cert)?;
    let key = text("ssl_key_file", &config.key)?;
    let authorities = config.ca.as_ref().map(|path| text("ssl_ca_file", path)).transpose()?;
    Acceptor::new(Pem { certificate: &certificate, key: &key, authorities: authorities.as_deref() }, config.min_version)
}

/// A private key is its owner's business.
fn check_permissions(key: &Path) -> Result<(), String> {
    let shown = key.display();
    let facts = fs::metadata(key).map_err(|error| format!("could not access private key file \"{shown}\": {error}"))?;
    if !facts.is_file() {
        return Err(format!("private key file \"{shown}\" is not a regular file"));
    }
    let own = rustix::process::geteuid().as_raw();
    if facts.uid() != own && facts.uid() != 0 {
        return Err(format!("private key file \"{shown}\" must be owned by the database user or root"));
    }
    let never = if facts.uid() == own { OWN_KEY_NEVER } else { ROOTS_KEY_NEVER };
    if facts.mode() & never != 0 {
        return Err(format!(
            "private key file \"{shown}\" has group or world access: it must have permissions u=rw (0600) or less if owned by the \
             database user, or permissions u=rw,g=r (0640) or less if owned by root"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::config::TlsVersion;

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        let write = |name: &str, text: &str| {
            fs::write(at(name), text).expect("it can be written");
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).expect("it is ours");
        };
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name").self_signed(&key).expect("one");
        let config = |ca: Option<&str>| SslConfig {
            cert: PathBuf::from("server.crt"),
            key: PathBuf::from("server.key"),
            ca: ca.map(PathBuf::from),
            min_version: TlsVersion::Tls12,
        };
        let refused = |what: &str| {
            let error = open(Some(&config(Some("ca.crt"))), directory.path()).map(drop).expect_err(what);
            assert!(error.contains(what), "{error}");
            assert!(!error.contains(&key.serialize_pem()[40..60]), "a key is no message");
        };
        assert!(open(None, directory.path()).expect("off is fine").is_none());
        refused("could not access private key file");
        write("server.key", &key.serialize_pem());
        refused("ssl_cert_file: ");
        write("server.crt", "no certificate");
        refused("ca.crt cannot be read");
        write("ca.crt", "none either");
        refused("ssl_cert_file: there is no certificate in it");
        write("server.crt", &certificate.pem());
        refused("ssl_ca_file: there is no certificate in it");
        assert!(open(Some(&config(None)), directory.path()).expect("now it is complete").is_some());
        write("server.key", &KeyPair::generate().expect("another").serialize_pem());
        let error = open(Some(&config(None)), directory.path()).map(drop).expect_err("it is another's");
        assert!(error.contains("cannot be used together"), "{error}");
        write("server.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
        let error = open(Some(&config(None)), directory.path()).map(drop).expect_err("nobody is asked");
        assert!(error.contains("has a passphrase, which is not supported"), "{error}");
        write("server.key", &key.serialize_pem());
        fs::set_permissions(at("server.key"), fs::Permissions::from_mode(0o644)).expect("it is ours");
        refused("has group or world access");
        fs::remove_file(at("server.key")).expect("it is ours");
        fs::create_dir(at("server.key")).expect("the name is free");
        refused("is not a regular file");
    }
}
