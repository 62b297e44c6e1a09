//! SQL over HTTP, carried out: who asks is found out here, on the control plane's thread, and the statements run in a session of their own
//! on the least loaded core.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::auth::TokenKey;
use crate::auth::hba::{Method, Origin, Proof};
use crate::catalog::{Catalog, RoleDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::http::query::{Answer, Answering, Batch, Caller, Column, Credentials, Login, Piece, Statement, aside, parameter_text};
use crate::mesh::ControlHandle;
use crate::runtime::{self, QueueClass};
use crate::server::core::CoreServices;
use crate::server::router::Place;
use crate::session::formats::FormatCodes;
use crate::session::interrupt::Ticket;
use crate::session::native::NativeBackend;
use crate::session::response::{Client, CopyInput, Failure, Gone, Response, RowShape, Severity};
use crate::session::{BindRequest, Identity, Session};
use crate::shard::messages::{Reply, Request};
use crate::sql::plan::OutputColumn;
use crate::types::{Datum, RowView, SessionFormat};
use crate::wire::authentication::{session_limit, too_many};
use crate::wire::door::{Class, Slot};

/// How long a token is good.
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);
/// Rows that gather before they are sent on.
const ROWS_MAX: usize = 512;
/// Bytes of values that gather before they are sent on.
const BYTES_MAX: usize = 256 << 10;
/// The database, whose name stands for any.
const DATABASE: &str = "postgres";

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What a user is known by: with another password, or as another role of the same name, it is another.
fn proof(role: &RoleDef) -> Vec<u8> {
    format!("{} {}", role.oid.0, role.verifier.as_ref().map(|verifier| verifier.to_text()).unwrap_or_default()).into_bytes()
}

/// SQL over HTTP for a running server.
pub struct Rest {
    cores: ControlHandle<Request, Reply>,
    services: Arc<CoreServices>,
    tokens: TokenKey,
}

impl Rest {
    /// For the server with these cores.
    pub fn new(cores: ControlHandle<Request, Reply>, services: Arc<CoreServices>) -> Self {
        let tokens = services.wire.gate.token_key();
        Self { cores, services, tokens }
    }

    /// A token for whoever proves who it is.
    pub async fn login(&self, caller: Caller) -> SqlResult<Login> {
        self.check_ready()?;
        let catalog = self.services.store.current();
        let role = self.identify(caller, catalog).await?;
        let expires = unix_seconds() + TOKEN_LIFE.as_secs();
        Ok(Login { token: self.tokens.issue(&role.name, expires, &proof(&role)), user: role.name.clone(), expires })
    }

    /// Whether somebody may see what is shown to roles.
    pub async fn may_look(&self, caller: Caller) -> SqlResult<()> {
        self.check_ready()?;
        self.identify(caller, self.services.store.current()).await.map(drop)
    }

    fn check_ready(&self) -> SqlResult<()> {
        self.services.phase_refusal().map_or(Ok(()), Err)
    }

    /// The role of whoever asks.
    ///
    /// Errors: 28000, 28P01.
    async fn identify(&self, caller: Caller, catalog: Arc<Catalog>) -> SqlResult<Arc<RoleDef>> {
        let gate = self.services.wire.gate.clone();
        let origin = Origin::of(caller.address);
        let method = |user: &str| match gate.proof(user, DATABASE, origin, caller.encrypted, &catalog)? {
            Proof { method, certificate: None } => Ok(method),
            // Nobody is asked for one over HTTP.
            Proof { certificate: Some(_), .. } => {
                let message = "connection requires a valid client certificate";
                Err(SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, message))
            }
        };
        match caller.credentials {
            Credentials::Token(token) => {
                let of_user = |user: &str| catalog.role_named(user).map(|role| proof(role));
                let user = self.tokens.verify(&token, unix_seconds(), of_user).ok_or_else(|| {
                    SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, "the token is not good, or not any more")
                })?;
                let method = method(&user)?;
                gate.role_of(&user, method, &catalog)
            }
            Credentials::None => match method(&self.services.config.superuser)? {
                Method::Trust => gate.role_of(&self.services.config.superuser, Method::Trust, &catalog),
                _ => Err(SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, "who are you? Log in first")),
            },
            Credentials::Password(user, password) => {
                let method = method(&user)?;
                if method != Method::Trust {
                    let (gate, user, catalog) = (gate.clone(), user.clone(), catalog.clone());
                    aside(move || gate.check_password(&user, &password, origin, &catalog)).await??;
                }
                gate.role_of(&user, method, &catalog)
            }
        }
    }

    /// Starts the statements of a request.
    pub async fn query(&self, caller: Caller, batch: Batch) -> SqlResult<Answer> {
        self.check_ready()?;
        let role = self.identify(caller, self.services.store.current()).await?;
        let registry = &self.services.wire.registry;
        let ticket = registry.register(role.oid, session_limit(&role)).ok_or_else(|| too_many(&role))?;
        let class = if role.superuser { Class::Superuser } else { Class::Ordinary };
        // A request over HTTP can be sent again; it does not wait.
        let slot = self.services.wire.door.slots.enter_now(class)?;
        let core = self.services.loads.place();
        let place = Place::new(self.services.clone(), core);
        let interrupt = ticket.interrupt().clone();
        let nudged = self.cores.clone();
        let (answering, answer) = Answer::channel(move || nudged.nudge(core), move || interrupt.terminate());
        let identity = Identity { user: role.name.clone(), role: role.oid, database: DATABASE.to_owned() };
        let task = Task { identity, ticket, batch, answering, place, slot, services: self.services.clone() };
        let start = move || -> Box<dyn std::any::Any + Send> {
            runtime::spawn(QueueClass::Interactive, task.run());
            Box::new(())
        };
        match self.cores.submit(core, Request::Run(Box::new(start))) {
            Ok(started) => match started.await {
                Ok(_) => Ok(answer),
                Err(error) => Err(SqlError::internal(format!("core {core} did not take the request: {error:?}"))),
            },
            Err(_) => Err(SqlError::new(SqlState::TOO_MANY_CONNECTIONS, "the server is too busy")),
        }
    }

    /// Bytes of all logs that a restart would read.
    pub fn log_lag_bytes(&self) -> u64 {
        self.services.shared.log_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }
}

/// A request on its core.
struct Task {
    identity: Identity,
    ticket: Ticket,
    batch: Batch,
    answering: Answering,
    place: Place,
    slot: Slot,
    services: Arc<CoreServices>,
}

impl Task {
    async fn run(self) {
        let Task { identity, ticket, batch, answering, place, slot, services } = self;
        let backend = services.backend();
        let served = place.serve(&backend);
        // A transaction that takes too long ends its session; a lone statement need not.
        let limit = if batch.statements.len() > 1 { "transaction_timeout" } else { "statement_timeout" };
        let settings =
            [(limit.to_owned(), batch.timeout.as_millis().to_string()), ("application_name".to_owned(), "http".to_owned())];
        let last = match Session::new(&backend, identity, &settings, ticket) {
            Ok(session) => {
                let mut run = Running { session: Box::new(session), backend, client: Collector::new(answering.clone()) };
                let last = run.all(&batch.statements).await;
                run.session.close(&run.backend).await;
                last
            }
            Err(error) => Some(Piece::Failed(error)),
        };
        drop((served, place, slot));
        if let Some(last) = last {
            // Whoever does not listen any more need not be told.
            answering.send(last).await;
        }
    }
}

/// The statements of a request in their session.
struct Running {
    session: Box<Session<NativeBackend>>,
    backend: NativeBackend,
    client: Collector,
}

impl Running {
    /// Runs all; what is said last, unless nobody listens.
    async fn all(&mut self, statements: &[Statement]) -> Option<Piece> {
        for statement in statements {
            self.session.received(false, runtime::now());
            match self.one(statement).await {
                Ok(()) => {}
                Err(Failure::Gone) => return None,
                Err(Failure::Sql(error)) => {
                    self.session.extended_failed(&self.backend, &mut self.client, &error).await;
                    return Some(Piece::Failed(error));
                }
            }
        }
        self.session.sync(&self.backend, &mut self.client).await;
        self.session.sent(&self.backend, runtime::now());
        // A commit can fail.
        Some(self.client.failure.take().map_or(Piece::Committed, Piece::Failed))
    }

    async fn one(&mut self, statement: &Statement) -> Result<(), Failure> {
        let Running { session, backend, client } = self;
        session.parse(backend, "", &statement.sql, std::iter::empty())?;
        let types = session.parameter_types("")?;
        if types.len() != statement.params.len() {
            let (given, wanted) = (statement.params.len(), types.len());
            let message = format!("{given} parameters were given, but the statement has {wanted}");
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).into());
        }
        let texts: Vec<Option<String>> =
            statement.params.iter().zip(&*types).map(|(value, ty)| parameter_text(value, *ty)).collect();
        let request = BindRequest {
            portal: "",
            statement: "",
            param_formats: FormatCodes::new(&[]),
            params: texts.iter().map(|text| text.as_ref().map(|text| text.as_bytes())),
            result_formats: FormatCodes::new(&[]),
        };
        session.bind(backend, &request)?;
        session.describe_portal(client, "")?;
        session.execute(backend, client, "", 0).await?;
        if let Some(refused) = client.failure.take() {
            return Err(refused.into());
        }
        client.flush().await?;
        let (command, notices) = (std::mem::take(&mut client.command), std::mem::take(&mut client.notices));
        if client.answering.send(Piece::Complete { command, notices }).await { Ok(()) } else { Err(Failure::Gone) }
    }
}

/// The client of such a session: gathers values and sends them on.
struct Collector {
    answering: Answering,
    columns: Option<Arc<[Column]>>,
    rows: Vec<Vec<Datum>>,
    bytes: usize,
    command: String,
    notices: Vec<String>,
    /// What the session has said had failed, or what cannot be done here.
    failure: Option<SqlError>,
}

impl Collector {
    fn new(answering: Answering) -> Self {
        Self { answering, columns: None, rows: Vec::new(), bytes: 0, command: String::new(), notices: Vec::new(), failure: None }
    }

    fn add(&mut self, row: Vec<Datum>) {
        self.bytes += row.iter().map(|value| size_of::<Datum>() + value.heap_bytes()).sum::<usize>();
        self.rows.push(row);
    }
}

fn no_copy() -> SqlError {
    SqlError::unsupported("COPY from or to the client over HTTP")
}

impl Client for Collector {
    fn send(&mut self, response: Response<'_>) {
        match response {
            Response::RowDescription(shape) => {
                let column = |column: &OutputColumn| Column { name: column.name.clone(), ty: column.ty.ty };
                self.columns = Some(shape.columns.iter().map(column).collect());
            }
            Response::Complete(tag) => tag.clone_into(&mut self.command),
            Response::Message(severity, error) if severity >= Severity::Error => self.failure = Some(error.clone()),
            Response::Message(severity, notice) => self.notices.push(format!("{}: {}", severity.label(), notice.message())),
            Response::CopyOut(_) => self.failure = Some(no_copy()),
            _ => {}
        }
    }

    fn send_row(&mut self, _shape: &RowShape, values: &[Datum], _format: &SessionFormat) -> SqlResult<()> {
        self.add(values.to_vec());
        Ok(())
    }

    fn send_stored(&mut self, _shape: &RowShape, columns: &[usize], row: RowView<'_>, _format: &SessionFormat) -> SqlResult<()> {
        self.add(columns.iter().map(|column| row.get(*column)).collect());
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= ROWS_MAX || self.bytes >= BYTES_MAX
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        if let Some(columns) = self.columns.take()
            && !self.answering.send(Piece::Columns(columns)).await
        {
            return Err(Gone);
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        if self.answering.send(Piece::Rows(rows)).await { Ok(()) } else { Err(Gone) }
    }

    async fn copy_input(&mut self) -> Result<CopyInput<'_>, Failure> {
        Err(no_copy().into())
    }
}
