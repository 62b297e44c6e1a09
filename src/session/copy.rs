//! COPY FROM STDIN: the client's data, piece by piece, into the executor.
//!
//! Source: PostgreSQL 15 documentation, 55.2.6 "COPY Operations".

use std::sync::Arc;

use crate::session::Session;
use crate::session::backend::{Backend, Run};
use crate::session::guard::guarded;
use crate::session::response::{Client, CopyInput, Failure, Response};
use crate::session::tag::{self, Tag};
use crate::sql::plan::{CopyDirection, Plan, Statement};

impl<B: Backend> Session<B> {
    /// Runs a COPY FROM STDIN to its end. After an error the client goes on sending what it was sending; the connection
    /// drops that until the protocol is in step again.
    pub(super) async fn run_copy_in<C: Client>(
        &mut self,
        backend: &B,
        client: &mut C,
        statement: &Arc<Statement>,
    ) -> Result<Tag, Failure> {
        let mut copy = backend.copy_in(statement)?;
        client.send(Response::CopyIn(column_count(statement)));
        client.flush().await?;
        let deadlines = self.deadlines();
        let interrupt = Arc::clone(self.ticket.interrupt());
        loop {
            let catalog = backend.catalog(self.txn.txn());
            let mut notices = Vec::new();
            let input = guarded(&interrupt, deadlines, client.copy_input()).await?;
            let txn = self.txn.ensure(backend, self.env.effective());
            let run = Run { txn, session: &self.env, catalog: &catalog, notices: &mut notices };
            match input {
                CopyInput::Data(data) => guarded(&interrupt, deadlines, backend.copy_data(&mut copy, run, data)).await?,
                CopyInput::Done => {
                    let rows = guarded(&interrupt, deadlines, backend.copy_done(copy, run)).await?;
                    self.notices(client, &notices);
                    return Ok(tag::complete(statement, rows));
                }
            }
            self.notices(client, &notices);
            if client.is_full() {
                client.flush().await?;
            }
        }
    }
}

fn column_count(statement: &Statement) -> usize {
    match &statement.plan {
        Plan::Copy(copy) => match &copy.direction {
            CopyDirection::FromStdin { columns, .. } => columns.len(),
            CopyDirection::ToStdout { columns, .. } => columns.len(),
        },
        _ => 0,
    }
}
