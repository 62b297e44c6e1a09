//! The file that says who may connect, and the secret behind the salts of users that do not exist.
//!
//! The file is read at start, where mistakes in it end the start, and again on SIGHUP, where they leave the old rules in force and
//! are logged. A first start without a file writes one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::auth::hba::Hba;
use crate::auth::random_bytes;
use crate::catalog::Catalog;
use crate::checkpoint::{HBA_FILE, SECRET_FILE};
use crate::config::Config;
use crate::wire::authentication::{Gate, is_open};
use crate::wire::connection::Services;

/// Bytes of the secret.
const SECRET_BYTES: usize = 32;

/// Where the rules are.
pub fn path(config: &Config, root: &Path) -> PathBuf {
    config.hba_file.clone().unwrap_or_else(|| root.join(HBA_FILE))
}

/// The gate of a server that starts.
pub fn open(config: &Config, root: &Path) -> Result<Gate, String> {
    let path = path(config, root);
    if config.hba_file.is_none() && !path.exists() {
        let with_password = config.superuser_password.is_some() || config.superuser_password_file.is_some();
        create(&path, first_rules(with_password).as_bytes()).map_err(|error| cannot("be written", &path, &error))?;
    }
    let rules = read(&path)?;
    Ok(Gate::new(rules, secret(&root.join(SECRET_FILE))?, config.scram_iterations))
}

/// Reads the rules again. A file that cannot be read or has mistakes changes nothing.
pub fn reload(gate: &Gate, path: &Path) {
    match read(path) {
        Ok(rules) => {
            gate.set_rules(rules);
            tracing::info!("{} was read again and is in force", path.display());
        }
        Err(problem) => tracing::error!("the rules of who may connect stay as they were: {problem}"),
    }
}

/// Says, or refuses, what a server that can be reached from other machines should not do.
pub fn check_reach(gate: &Gate, path: &Path, catalog: &Catalog, listen: &[SocketAddr]) -> Result<(), String> {
    let open = is_open(catalog);
    if open {
        tracing::warn!("the superuser has no password: whoever is trusted by {} may do everything", path.display());
    }
    if listen.iter().all(|address| address.ip().is_loopback()) {
        return Ok(());
    }
    let lines: Vec<String> = gate.rules().open_lines().map(|line| line.to_string()).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let problem =
        format!("{} trusts other machines in line {}, and the server listens to them", path.display(), lines.join(", "));
    if open {
        return Err(format!(
            "{problem}, while the superuser has no password: set one (--superuser-password-file), or restrict those lines"
        ));
    }
    tracing::warn!("{problem}: they are asked for no password");
    Ok(())
}

/// Says which rules can never let anybody in as the server is set up.
pub fn warn_of_rules(wire: &Services, config: &Config) {
    let rules = wire.gate.rules();
    let join = |lines: &mut dyn Iterator<Item = usize>| lines.map(|line| line.to_string()).collect::<Vec<_>>().join(", ");
    if wire.tls.is_none() {
        let lines = join(&mut rules.encrypted_lines());
        if !lines.is_empty() {
            tracing::warn!("hostssl record cannot match because SSL is disabled: line {lines}; set ssl = on");
        }
    } else if config.ssl.as_ref().is_some_and(|ssl| ssl.ca.is_none()) {
        let lines = join(&mut rules.certificate_lines());
        if !lines.is_empty() {
            tracing::warn!("client certificates cannot be checked without ssl_ca_file: line {lines}");
        }
    }
}

fn first_rules(with_password: bool) -> String {
    let method = if with_password { "scram-sha-256" } else { "trust" };
    format!(
        "# Who may connect, in the format of PostgreSQL's pg_hba.conf; read again on SIGHUP and by pg_reload_conf().\n\
         # The first line that fits decides. Methods: trust, reject, scram-sha-256; on hostssl lines cert.\n\
         #\n\
         # TYPE  DATABASE  USER  ADDRESS       METHOD\n\
         local   all       all                 {method}\n\
         host    all       all   127.0.0.1/8   {method}\n\
         host    all       all   ::1/128       {method}\n"
    )
}

fn read(path: &Path) -> Result<Hba, String> {
    let text = fs::read_to_string(path).map_err(|error| cannot("be read", path, &error))?;
    Hba::parse(&text).map_err(|errors| {
        let lines = errors.iter().map(|error| format!("{}:{}: {}", path.display(), error.line, error.message));
        lines.collect::<Vec<_>>().join("; ")
    })
}

/// The secret of this database, made when it is first asked for.
fn secret(path: &Path) -> Result<[u8; SECRET_BYTES], String> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let fresh: [u8; SECRET_BYTES] = random_bytes();
            create(path, &fresh).map_err(|error| cannot("be written", path, &error))?;
            fresh.to_vec()
        }
        read => read.map_err(|error| cannot("be read", path, &error))?,
    };
    bytes.try_into().map_err(|_| format!("{} is damaged: remove it, and a new one is made", path.display()))
}

/// A file of the database that only its user may read, whole or not at all.
fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> String {
    format!("{} cannot {what}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Verifier;
    use crate::catalog::{Object, RoleDef};

    #[test]
    fn the_first_rules_are_right_and_trust_nobody_from_outside() {
        for with_password in [false, true] {
            let text = first_rules(with_password);
            assert_eq!(Hba::parse(&text).expect("they are right").open_lines().count(), 0);
            assert_eq!(text.contains("  trust\n"), !with_password);
        }
    }

    #[test]
    fn other_machines_are_not_trusted_by_an_open_server() {
        let path = Path::new("hba.conf");
        let (here, there) = ([SocketAddr::from(([127, 0, 0, 1], 1))], [SocketAddr::from(([0, 0, 0, 0], 1))]);
        let mut catalog = Catalog::bootstrap();
        let open = Gate::new(Hba::trusting(), [0; 32], 1);
        assert_eq!(check_reach(&open, path, &catalog, &here), Ok(()));
        assert!(check_reach(&open, path, &catalog, &there).unwrap_err().contains("hba.conf trusts other machines in line 2"));
        let closed = Gate::new(Hba::parse(&first_rules(false)).expect("they are right"), [0; 32], 1);
        assert_eq!(check_reach(&closed, path, &catalog, &there), Ok(()));
        let verifier = Verifier::derive("x", b"salt", 1);
        catalog.put(Object::Role(Box::new(RoleDef::bootstrap("postgres", Some(verifier)))));
        assert_eq!(check_reach(&open, path, &catalog, &there), Ok(()), "whoever has set a password knows what he writes");
    }

    #[test]
    fn the_secret_stays_and_mistakes_are_told_with_file_and_line() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("secret");
        let first = secret(&path).expect("it is made");
        assert_eq!(secret(&path), Ok(first));
        fs::write(&path, b"short").expect("it can be written");
        assert!(secret(&path).unwrap_err().contains("is damaged"));
        let rules = directory.path().join("hba.conf");
        fs::write(&rules, "local all all trust\nlocal all all nonsense\n").expect("it can be written");
        assert!(read(&rules).unwrap_err().ends_with("hba.conf:2: invalid authentication method \"nonsense\""));
        assert!(read(&directory.path().join("none")).unwrap_err().contains("cannot be read"));
    }
}
