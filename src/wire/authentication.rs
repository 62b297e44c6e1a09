//! Who a client is: what the rules say of its address, the exchange by which it proves what it says, and the role it then has.
//!
//! Source: PostgreSQL 15 documentation, 55.2.1 "Start-up" and 55.3 "SASL Authentication"; messages as PostgreSQL words them.
//!
//! **An open server** is one whose bootstrap superuser has no password: nobody has told it yet who may come in. Where a rule of
//! trust lets a client in, a user name that is no role stands for the bootstrap superuser there, so that tools which log in as
//! whoever runs them work at once. Giving the superuser a password ends it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use pgwire::messages::startup::Authentication;

use crate::auth::hba::{Attempt, CertificateCheck, Hba, Method, Origin, Proof};
use crate::auth::{Account, Attempts, Exchange, MESSAGE_BYTES_MAX, Reply, Secret, TokenKey};
use crate::catalog::{BOOTSTRAP_ROLE, Catalog, RoleDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::metrics::Counter;
use crate::runtime;
use crate::session::response::{Client, Gone};
use crate::types::datetime::calendar::UNIX_EPOCH_MICROS;
use crate::wire::framer::{Cut, HEADER_BYTES, cut};
use crate::wire::peer::Peer;
use crate::wire::startup::StartupRequest;
use crate::wire::stream::ByteStream;
use crate::wire::tls::Tls;

/// What decides who is let in. Shared by all cores, and touched when a connection starts.
#[derive(Debug)]
pub struct Gate {
    rules: ArcSwap<Hba>,
    attempts: Mutex<Attempts>,
    /// From which the salts of users follow that have none.
    secret: [u8; 32],
    iterations: u32,
}

/// Why a client is not let in.
enum Stop {
    /// It is told so, as FATAL.
    Told(SqlError),
    /// It has failed to prove who it is: told, counted and remembered.
    Failed(SqlError),
    Gone,
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Stop::Gone
    }
}

impl Gate {
    /// With these rules. `iterations` are those of new passwords.
    pub fn new(rules: Hba, secret: [u8; 32], iterations: u32) -> Self {
        Self { rules: ArcSwap::from_pointee(rules), attempts: Mutex::default(), secret, iterations }
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Hba> {
        self.rules.load_full()
    }

    /// From now on, other rules.
    pub fn set_rules(&self, rules: Hba) {
        self.rules.store(Arc::new(rules));
    }

    /// Finds out who a client is: its role.
    ///
    /// Errors: those that PostgreSQL answers; [`Gone`] when there is nobody left to tell.
    pub async fn authenticate<S: ByteStream>(
        &self,
        peer: &mut Peer<S>,
        request: &StartupRequest,
        origin: Origin,
        catalog: &Catalog,
        failures: &Counter,
    ) -> Result<SqlResult<Arc<RoleDef>>, Gone> {
        match self.prove(peer, request, origin, catalog).await {
            Ok(method) => Ok(role_of(&request.user, method, catalog)),
            Err(Stop::Gone) => Err(Gone),
            Err(Stop::Told(error)) => Ok(Err(error)),
            Err(Stop::Failed(error)) => {
                failures.inc();
                let user = &request.user;
                tracing::warn!(user, %origin, "a client could not log in: {}", error.message());
                tracing::info!(target: "omendb::audit", event = "login_failed", user, %origin, reason = error.message());
                if let Origin::Address(address) = origin {
                    self.attempts(|attempts| attempts.failed(address, unix_time()));
                }
                Ok(Err(error))
            }
        }
    }

    fn attempts<T>(&self, then: impl FnOnce(&mut Attempts) -> T) -> T {
        then(&mut self.attempts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn prove<S: ByteStream>(
        &self,
        peer: &mut Peer<S>,
        request: &StartupRequest,
        origin: Origin,
        catalog: &Catalog,
    ) -> Result<Method, Stop> {
        let user = &request.user;
        let encrypted = peer.stream.tls().is_some();
        let proof = self.proof(user, &request.database, origin, encrypted, catalog).map_err(Stop::Told)?;
        if proof == Proof::by(Method::Trust) {
            return Ok(Method::Trust);
        }
        let common_name = certificate(peer, proof).map_err(Stop::Told)?;
        if let Origin::Address(address) = origin {
            self.check_attempts(address).map_err(Stop::Told)?;
        }
        match proof.method {
            Method::ScramSha256 => self.scram(peer, user, catalog).await?,
            Method::Trust | Method::Cert => {}
            Method::Reject => panic!("a rule that rejects is an error"),
        }
        if proof.certificate == Some(CertificateCheck::VerifyFull) && common_name.as_ref() != Some(user) {
            return Err(Stop::Failed(another_name(user, common_name.as_deref(), proof.method)));
        }
        if let Origin::Address(address) = origin {
            self.attempts(|attempts| attempts.succeeded(address));
        }
        Ok(proof.method)
    }

    /// How a user has to prove who it is.
    ///
    /// Errors: 28000 for one that may not come at all.
    pub fn proof(&self, user: &str, database: &str, origin: Origin, encrypted: bool, catalog: &Catalog) -> SqlResult<Proof> {
        let member = catalog.role_named(user).map(|role| role.oid);
        let is_member = |role: &str| {
            let role = catalog.role_named(role).map(|role| role.oid);
            matches!((member, role), (Some(member), Some(role)) if catalog.is_member(member, role))
        };
        self.rules.load().proof(&Attempt { origin, encrypted, database, user, is_member: &is_member })
    }

    /// The key of bearer tokens.
    pub fn token_key(&self) -> TokenKey {
        TokenKey::derive(&self.secret)
    }

    /// Checks a password that was sent as such. It takes as long as deriving a verifier takes, so not on a core.
    ///
    /// Errors: 28P01; 28000 after too many of them.
    pub fn check_password(&self, user: &str, password: &Secret, origin: Origin, catalog: &Catalog) -> SqlResult<()> {
        assert!(runtime::try_current_core().is_none(), "a core has others to serve");
        if let Origin::Address(address) = origin {
            self.check_attempts(address)?;
        }
        let good = self.account(user, catalog).is_password(password.expose());
        if let Origin::Address(address) = origin {
            self.attempts(|attempts| if good { attempts.succeeded(address) } else { attempts.failed(address, unix_time()) });
        }
        if good {
            return Ok(());
        }
        let message = format!("password authentication failed for user \"{user}\"");
        tracing::warn!(user, %origin, "a client could not log in: {message}");
        tracing::info!(target: "omendb::audit", event = "login_failed", user, %origin, reason = message);
        Err(SqlError::new(SqlState::INVALID_PASSWORD, message))
    }

    /// The role of a user that is who it says.
    ///
    /// Errors: 28000 for a user that is none, or that may not log in.
    pub fn role_of(&self, user: &str, method: Method, catalog: &Catalog) -> SqlResult<Arc<RoleDef>> {
        role_of(user, method, catalog)
    }

    fn check_attempts(&self, address: IpAddr) -> SqlResult<()> {
        if self.attempts(|attempts| attempts.may_try(address, unix_time())) {
            return Ok(());
        }
        let message = format!("too many failed logins from \"{address}\"");
        Err(SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, message).hint("Try again in a few seconds."))
    }

    async fn scram<S: ByteStream>(&self, peer: &mut Peer<S>, user: &str, catalog: &Catalog) -> Result<(), Stop> {
        let mut exchange = Exchange::new(self.account(user, catalog));
        if let Some(end_point) = peer.stream.tls().and_then(Tls::end_point) {
            exchange = exchange.over(Arc::clone(end_point));
        }
        peer.output.message(&Authentication::SASL(exchange.mechanisms().map(str::to_owned).collect()));
        peer.flush().await?;
        let mut reply = next_response(peer, |body| exchange.begin(body)).await?;
        loop {
            match reply {
                Reply::Continue(data) => {
                    peer.output.message(&Authentication::SASLContinue(data.into()));
                    peer.flush().await?;
                }
                Reply::Accepted(data) => {
                    // Sent with what follows.
                    peer.output.message(&Authentication::SASLFinal(data.into()));
                    return Ok(());
                }
                Reply::Refused => {
                    let message = format!("password authentication failed for user \"{user}\"");
                    return Err(Stop::Failed(SqlError::new(SqlState::INVALID_PASSWORD, message)));
                }
            }
            reply = next_response(peer, |body| exchange.respond(body)).await?;
        }
    }

    /// The user's verifier, if there is one that counts.
    fn account(&self, user: &str, catalog: &Catalog) -> Account {
        let now = runtime::wall_clock_micros() - UNIX_EPOCH_MICROS;
        let valid = |role: &&Arc<RoleDef>| role.valid_until.is_none_or(|until| now < until);
        // Made for everybody, so that it takes the same time.
        let mock = Account::mock(user, &self.secret, self.iterations);
        let verifier = catalog.role_named(user).filter(valid).and_then(|role| role.verifier.clone());
        verifier.map_or(mock, Account::real)
    }
}

fn unix_time() -> Duration {
    Duration::from_micros(u64::try_from(runtime::wall_clock_micros()).unwrap_or_default())
}

/// The exchange's reply to the next message.
async fn next_response<S: ByteStream>(peer: &mut Peer<S>, take: impl FnOnce(&[u8]) -> SqlResult<Reply>) -> Result<Reply, Stop> {
    loop {
        let unread = peer.input.unread();
        match unread.first() {
            None | Some(b'p') => {}
            Some(b'X') => return Err(Stop::Gone),
            Some(tag) => {
                let message = format!("expected SASL response, got message type {tag}");
                return Err(Stop::Told(SqlError::new(SqlState::PROTOCOL_VIOLATION, message)));
            }
        }
        match cut(unread, MESSAGE_BYTES_MAX).map_err(|error| Stop::Told(error.into()))? {
            Cut::Whole(frame) if frame.body.len() <= MESSAGE_BYTES_MAX => {
                let (reply, length) = (take(frame.body), frame.total_bytes());
                peer.input.consume(length);
                return reply.map_err(Stop::Failed);
            }
            Cut::Partial(wanted) if wanted <= HEADER_BYTES + MESSAGE_BYTES_MAX => peer.receive(wanted).await?,
            _ => {
                let error = SqlError::new(SqlState::PROTOCOL_VIOLATION, "invalid message length");
                return Err(Stop::Told(error));
            }
        }
    }
}

/// The common name of the client's certificate, if the rule asks for one at all.
///
/// Errors: 28000 if it has shown none. One that no authority here has issued does not come so far.
fn certificate<S: ByteStream>(peer: &Peer<S>, proof: Proof) -> SqlResult<Option<String>> {
    if proof.certificate.is_none() {
        return Ok(None);
    }
    let tls = peer.stream.tls().expect("rules that ask for certificates fit encrypted connections only");
    if !tls.checks_clients() {
        let message = "client certificates can only be checked if a root certificate store is available";
        return Err(SqlError::new(SqlState::CONFIG_FILE_ERROR, message));
    }
    match &tls.encryption().client {
        Some(certificate) => Ok(certificate.common_name.clone()),
        None => {
            let message = "connection requires a valid client certificate";
            Err(SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, message))
        }
    }
}

/// A certificate is not this user's. The log has whose it is.
fn another_name(user: &str, common_name: Option<&str>, method: Method) -> SqlError {
    match common_name {
        Some(name) => tracing::warn!("provided user name ({user}) and authenticated user name ({name}) do not match"),
        None => tracing::warn!(user, "the client's certificate contains no user name"),
    }
    let (code, how) = match method {
        Method::ScramSha256 => (SqlState::INVALID_PASSWORD, "password"),
        Method::Trust => (SqlState::INVALID_AUTHORIZATION_SPECIFICATION, "\"trust\""),
        Method::Cert | Method::Reject => (SqlState::INVALID_AUTHORIZATION_SPECIFICATION, "certificate"),
    };
    SqlError::new(code, format!("{how} authentication failed for user \"{user}\""))
}

/// The role of a user that is who it says.
///
/// Errors: 28000 for a user that is none, or that may not log in.
fn role_of(user: &str, method: Method, catalog: &Catalog) -> SqlResult<Arc<RoleDef>> {
    let refused = |why| Err(SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, why));
    match catalog.role_named(user) {
        Some(role) if role.login => Ok(role.clone()),
        Some(_) => refused(format!("role \"{user}\" is not permitted to log in")),
        None => match catalog.roles.get(&BOOTSTRAP_ROLE).filter(|_| method == Method::Trust && is_open(catalog)) {
            Some(superuser) => Ok(superuser.clone()),
            None => refused(format!("role \"{user}\" does not exist")),
        },
    }
}

/// Whether the bootstrap superuser has no password.
pub fn is_open(catalog: &Catalog) -> bool {
    catalog.roles.get(&BOOTSTRAP_ROLE).is_some_and(|role| role.verifier.is_none())
}

/// 53300 for a role that has as many sessions as it may have.
pub fn too_many(role: &RoleDef) -> SqlError {
    SqlError::new(SqlState::TOO_MANY_CONNECTIONS, format!("too many connections for role \"{}\"", role.name))
}

/// The sessions a role may have; `None` for any number.
pub fn session_limit(role: &RoleDef) -> Option<usize> {
    usize::try_from(role.connection_limit).ok().filter(|_| !role.superuser)
}
