//! Point lookups: one row by its full primary key, from the row's bytes to the wire without a value in between.
//!
//! A lookup whose key is on this core is answered at once, without awaiting anything. Others gather, with those that come
//! after them, and are read together, one message a core; answers leave in the order of the questions. Only what cannot
//! change what a lookup sees or says may stand between two of them: Parse of a text already planned, and Sync.
//!
//! Statements of one batch share a snapshot, which is what each would have got had they come at the same moment.

use std::sync::Arc;

use crate::base::CoreId;
use crate::catalog::system::live::QUERY_BYTES_MAX;
use crate::error::{SqlError, SqlResult};
use crate::runtime::MonoTime;
use crate::session::Session;
use crate::session::backend::Backend;
use crate::session::extended::BindRequest;
use crate::session::guard::{Deadlines, deadline, ends_session, guarded};
use crate::session::portal::{Portal, State};
use crate::session::prepared::{Entry, PointPlan, Prepared, point_of};
use crate::session::response::{Client, Failure, Gone, Response, RowShape};
use crate::session::timing;
use crate::sql::cache::{self, Literal, LiteralValue};
use crate::sql::plan::Statement;
use crate::storage::Key;
use crate::types::{Datum, SessionFormat, SqlType, parse_text};

/// Questions of one batch: enough for any pipeline, little enough to answer in one go.
const BATCH_MAX: usize = 512;

/// A point lookup, ready to be read.
#[derive(Debug)]
pub struct PointLookup {
    prepared: Arc<Prepared>,
    shape: Arc<RowShape>,
    /// `None`: the key holds a NULL and finds nothing.
    key: Option<Key>,
    /// Where the key is.
    owner: CoreId,
    /// It came as Bind and Execute, so that BindComplete is said first.
    bound: bool,
    /// The client wants a RowDescription.
    describe: bool,
}

impl PointLookup {
    /// The core that owns its key.
    pub fn owner(&self) -> CoreId {
        self.owner
    }

    fn plan(&self) -> &PointPlan {
        self.prepared.point.as_ref().expect("a lookup is made from a point plan")
    }

    fn statement(&self) -> &Statement {
        self.prepared.statement.as_ref().expect("a point plan has a statement")
    }

    fn answer(&self, client: &mut impl Client, row: Option<&[u8]>, format: &SessionFormat) -> SqlResult<()> {
        if self.bound {
            client.send(Response::BindComplete);
        }
        if self.describe {
            client.send(Response::RowDescription(&self.shape));
        }
        match row {
            None => client.send(Response::Complete("SELECT 0")),
            Some(row) => {
                let row = self.plan().layout.view(row);
                client.send_stored(&self.shape, &point_of(self.statement()).columns, row, format)?;
                client.send(Response::Complete("SELECT 1"));
            }
        }
        Ok(())
    }
}

/// What waits for its turn to be answered.
#[derive(Debug)]
enum Waiting {
    Lookup(PointLookup),
    /// ParseComplete.
    Parsed,
    /// ReadyForQuery.
    Ready,
}

/// Lookups that wait to be read together.
#[derive(Debug, Default)]
pub(super) struct PointBatch {
    waiting: Vec<Waiting>,
    lookups: usize,
    since: Option<MonoTime>,
}

impl<B: Backend> Session<B> {
    /// Whether lookups wait to be read.
    #[inline]
    pub fn has_points(&self) -> bool {
        !self.points.waiting.is_empty()
    }

    /// Whether so many wait that they should be read now.
    #[inline]
    pub fn points_full(&self) -> bool {
        self.points.waiting.len() >= BATCH_MAX
    }

    /// The lookup that Bind and Execute of the unnamed portal ask for, if that is all they do and nothing about them is
    /// unusual; otherwise the messages are to be taken one by one, which also finds out what is wrong with them.
    #[inline]
    pub fn lookup<'a, P>(&mut self, backend: &B, request: &BindRequest<'a, P>, describe: bool) -> Option<PointLookup>
    where
        P: ExactSizeIterator<Item = Option<&'a [u8]>> + Clone,
    {
        if !request.portal.is_empty() || !self.may_read_alone() {
            return None;
        }
        self.awaken(backend, request.statement).ok()?;
        let epoch = self.env.settings().plan_epoch();
        let entry = self.statements.get_mut(request.statement).ok()?;
        let plan = entry.prepared.point.as_ref()?;
        if !entry.prepared.is_current(backend.catalog_version(None), epoch)
            || request.params.len() != entry.prepared.params().len()
        {
            return None;
        }
        let storage = plan.storage;
        let plain = if request.params.len() == 1 { plan.plain_key(request.param_formats, request.params.clone()) } else { None };
        let shape = entry.shape(request.result_formats).ok()?;
        let prepared = Arc::clone(&entry.prepared);
        let key = match plain {
            Some(key) => Some(key),
            None => {
                let params = self.bind_params(backend, request, &prepared).ok()?;
                self.key_of(backend, &prepared, &params)?
            }
        };
        let owner = match &key {
            Some(key) => backend.owner(storage, key)?,
            None => backend.core(),
        };
        Some(PointLookup { prepared, shape, key, owner, bound: true, describe })
    }

    /// The lookup that a simple query string is, if it is one whose plan is known.
    pub fn lookup_text(&mut self, backend: &B, text: &str) -> Option<PointLookup> {
        if !self.may_read_alone() {
            return None;
        }
        let normalised = cache::normalise(text)?;
        let (prepared, params) = self.known_plan(backend, text, &normalised).ok()??;
        let storage = prepared.point.as_ref()?.storage;
        let key = self.key_of(backend, &prepared, &params)?;
        let owner = match &key {
            Some(key) => backend.owner(storage, key)?,
            None => backend.core(),
        };
        let shape = Arc::clone(&prepared.text_shape);
        // Into memory that is there already: the plan is that of another text of its form.
        self.last_text.clear();
        self.last_text.push_str(&text[..text.floor_char_boundary(QUERY_BYTES_MAX)]);
        Some(PointLookup { prepared, shape, key, owner, bound: false, describe: true })
    }

    /// `None` if finding the key fails, `Some(None)` if it holds a NULL.
    fn key_of(&self, backend: &B, prepared: &Prepared, params: &[Datum]) -> Option<Option<Key>> {
        let statement = prepared.statement.as_ref()?;
        let catalog = backend.catalog(None);
        backend.point_key(point_of(statement), params, &self.env, &catalog).ok()
    }

    /// Answers a lookup at once if nothing waits before it and its key is on this core; otherwise gives it back.
    #[inline]
    pub fn answer_now<C: Client>(
        &mut self,
        backend: &B,
        client: &mut C,
        lookup: PointLookup,
    ) -> Result<SqlResult<()>, PointLookup> {
        if self.has_points() || lookup.owner != backend.core() {
            return Err(lookup);
        }
        let started = timing::now();
        let format = &self.env.effective().format;
        let answered = match &lookup.key {
            None => Some(lookup.answer(client, None, format)),
            Some(key) => {
                let view = backend.read_view();
                backend.try_point_read(&view, lookup.plan().storage, key, |row| lookup.answer(client, row, format))
            }
        };
        let Some(outcome) = answered else {
            return Err(lookup);
        };
        self.lookup_done(backend, started);
        self.remember(lookup);
        Ok(outcome)
    }

    /// Adds a lookup to those that wait.
    pub fn queue(&mut self, lookup: PointLookup) {
        self.note_lookup(&lookup);
        if lookup.bound {
            let (prepared, shape) = (Arc::clone(&lookup.prepared), Arc::clone(&lookup.shape));
            self.portals.put_back("", Portal { prepared, shape, state: State::Done });
            self.txn.enter_implicit();
        }
        self.points.since.get_or_insert_with(timing::now);
        self.points.lookups += 1;
        self.points.waiting.push(Waiting::Lookup(lookup));
    }

    /// The unnamed portal stays, finished, until the transaction ends.
    fn remember(&mut self, lookup: PointLookup) {
        self.note_lookup(&lookup);
        if lookup.bound {
            self.portals.put_back("", Portal { prepared: lookup.prepared, shape: lookup.shape, state: State::Done });
            self.txn.enter_implicit();
        }
    }

    /// It is told of when the client is waited for.
    #[inline]
    fn note_lookup(&mut self, lookup: &PointLookup) {
        if !self.last_lookup.as_ref().is_some_and(|last| Arc::ptr_eq(last, &lookup.prepared)) {
            self.last_lookup = Some(Arc::clone(&lookup.prepared));
        }
        if lookup.bound {
            self.last_text.clear();
        }
    }

    /// Parse between two lookups: `true` if it is of a text already planned, and so can wait with them.
    pub fn queue_parse(&mut self, backend: &B, name: &str, text: &str) -> bool {
        assert!(self.has_points(), "with nothing waiting, Parse is answered at once");
        if !name.is_empty() || !self.may_read_alone() {
            return false;
        }
        let Some(known) = self.known_text(backend, text, &[]) else {
            return false;
        };
        let replaced = self.statements.insert("", Entry::new(known));
        assert!(replaced.is_ok(), "the unnamed statement can always be replaced");
        self.points.waiting.push(Waiting::Parsed);
        true
    }

    /// Sync between two lookups: `true` if it has nothing to end, and so can wait with them.
    pub fn queue_ready(&mut self) -> bool {
        assert!(self.has_points(), "with nothing waiting, Sync is answered at once");
        if !self.is_quiet() {
            return false;
        }
        self.portals.clear();
        self.txn.leave_implicit();
        self.points.waiting.push(Waiting::Ready);
        true
    }

    /// Reads and answers what waits. [`Failure::Sql`]: the client has been told, and what follows up to Sync is to be dropped.
    pub async fn flush_points<C: Client>(&mut self, backend: &B, client: &mut C) -> Result<(), Failure> {
        let mut waiting = std::mem::take(&mut self.points.waiting);
        let count = std::mem::take(&mut self.points.lookups);
        let since = self.points.since.take().unwrap_or_else(timing::now);
        let mut rest = waiting.as_slice();
        let mut failure = None;
        while !rest.is_empty() {
            match self.read_points(backend, client, rest).await {
                Ok(()) => break,
                Err((_, Failure::Gone)) => return Err(Failure::Gone),
                Err((answered, Failure::Sql(error))) => {
                    self.report(backend, client, &error).await;
                    if ends_session(&error) {
                        return Err(Failure::Sql(error));
                    }
                    rest = &rest[answered..];
                    // The client has sent on; what it has sent up to its next Sync is void.
                    match rest.iter().position(|waiting| matches!(waiting, Waiting::Ready)) {
                        Some(sync) => rest = &rest[sync..],
                        None => {
                            failure = Some(error);
                            break;
                        }
                    }
                }
            }
        }
        waiting.clear();
        self.points.waiting = waiting;
        if count > 0 {
            self.lookups_done(backend, count as u64, since);
        }
        failure.map_or(Ok(()), |error| Err(Failure::Sql(error)))
    }

    /// Those of lookups, which are transactions of their own.
    fn deadlines_alone(&self) -> Deadlines {
        let effective = self.env.effective();
        Deadlines { statement: deadline(effective.statement_timeout_ms), transaction: deadline(effective.transaction_timeout_ms) }
    }

    /// One attempt at all of `waiting`. An error comes with how many of them have been answered.
    async fn read_points<C: Client>(&mut self, backend: &B, client: &mut C, waiting: &[Waiting]) -> Result<(), (usize, Failure)> {
        let reads = waiting.iter().filter_map(|waiting| match waiting {
            Waiting::Lookup(lookup) => Some((lookup.plan().storage, lookup.key.clone()?)),
            Waiting::Parsed | Waiting::Ready => None,
        });
        let reads: Vec<_> = reads.collect();
        let deadlines = self.deadlines_alone();
        let view = backend.read_view();
        let batch = guarded(self.ticket.interrupt(), deadlines, backend.point_reads(&view, reads)).await;
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                let answered = self.answer_until_lookup(client, waiting);
                return Err((answered, error.into()));
            }
        };
        let mut rows = batch.iter();
        for (index, waiting) in waiting.iter().enumerate() {
            match waiting {
                Waiting::Parsed => client.send(Response::ParseComplete),
                Waiting::Ready => client.send(Response::Ready(self.txn.status())),
                Waiting::Lookup(lookup) => {
                    let row = match &lookup.key {
                        Some(_) => rows.next().expect("there is an entry for each key"),
                        None => None,
                    };
                    lookup.answer(client, row, &self.env.effective().format).map_err(|error| (index, error.into()))?;
                }
            }
            if client.is_full() {
                client.flush().await.map_err(|Gone| (index, Failure::Gone))?;
            }
        }
        Ok(())
    }

    /// Answers what stands before the first lookup; the error is that lookup's.
    fn answer_until_lookup(&self, client: &mut impl Client, waiting: &[Waiting]) -> usize {
        for (index, waiting) in waiting.iter().enumerate() {
            match waiting {
                Waiting::Parsed => client.send(Response::ParseComplete),
                Waiting::Ready => client.send(Response::Ready(self.txn.status())),
                Waiting::Lookup(_) => return index,
            }
        }
        waiting.len()
    }
}

/// Literals of a text as the parameters of its shared plan.
pub(super) fn literal_params(literals: &[Literal], types: &[SqlType], format: &SessionFormat) -> SqlResult<Vec<Datum>> {
    assert_eq!(literals.len(), types.len(), "a shared plan has a parameter for each literal");
    let value = |(literal, ty): (&Literal, &SqlType)| {
        let read = |text: &str| parse_text(*ty, -1, text, format).map_err(|error: SqlError| error.at(literal.position));
        match (&literal.value, ty) {
            (LiteralValue::Int4(value), SqlType::Int4) => Ok(Datum::Int4(*value)),
            (LiteralValue::Int8(value), SqlType::Int8) => Ok(Datum::Int8(*value)),
            (LiteralValue::Text(text), SqlType::Text | SqlType::Varchar | SqlType::Unknown) => Ok(Datum::Text(Arc::clone(text))),
            (LiteralValue::Int4(value), _) => read(&value.to_string()),
            (LiteralValue::Int8(value), _) => read(&value.to_string()),
            (LiteralValue::Numeric(text) | LiteralValue::Text(text), _) => read(text),
        }
    };
    literals.iter().zip(types).map(value).collect()
}
