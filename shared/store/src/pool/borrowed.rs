//! A connection that is borrowed.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use futures_util::TryStreamExt;
use sqlx::any::AnyRow;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, Either, Error, Execute, Executor};
use tokio::sync::OwnedSemaphorePermit;

use super::{ANSWERED_WITHIN, PoolState, StatementOutcome, close_now};

/// A connection of one's own for a while. One that is dropped and not given back is tested, and what is left of a statement
/// or of a transaction is undone.
#[derive(Debug)]
pub(crate) struct BorrowedConnection {
    /// Gone once it is given back.
    pub(super) connection: Option<PoolConnection<Any>>,
    /// The server's era in which it was found good.
    pub(super) era: u64,
    pub(super) tested: Instant,
    pub(super) state: Arc<PoolState>,
    /// Whether its state is not known: a beginning, a commit or a test was not answered, or failed. SQLite may have rolled
    /// back by itself, and sqlx would go on counting the transaction as open; a server may begin one later of which sqlx
    /// does not know. Such a connection is closed and never borrowed again.
    pub(super) is_in_doubt: bool,
    /// Given to the next one when the connection is there for it.
    pub(super) _permit: Arc<OwnedSemaphorePermit>,
}

impl BorrowedConnection {
    /// All rows of a statement, after which the connection is given back.
    ///
    /// # Errors
    /// There was none, or not in time.
    pub(crate) async fn fetch_all<'q>(mut self, query: impl Execute<'q, Any> + 'q) -> Result<Vec<AnyRow>, Error> {
        let all = self.fetch_in_time(query).await?;
        self.give_back();
        Ok(all.into_iter().filter_map(Either::right).collect())
    }

    /// The one row of a whole text of SQL, in the simple protocol.
    ///
    /// # Errors
    /// There was none, or not in time.
    pub(crate) async fn ask(&mut self, sql: &'static str) -> Result<AnyRow, Error> {
        let row = self.fetch_in_time(sqlx::raw_sql(sql)).await?.into_iter().find_map(Either::right);
        row.ok_or(Error::RowNotFound)
    }

    /// All that a statement leads to, unless the server hangs.
    pub(super) async fn fetch_in_time<'q>(
        &mut self,
        query: impl Execute<'q, Any> + 'q,
    ) -> Result<Vec<StatementOutcome>, Error> {
        let (state, era) = (Arc::clone(&self.state), self.era);
        state.in_time(era, ANSWERED_WITHIN, self.fetch_many(query).try_collect()).await
    }

    /// Whether it leads to a server that answers and takes writes; one that does not is closed. sqlx has tested a file's.
    pub(super) async fn test(&mut self) -> Result<(), Error> {
        let Some(server) = self.state.server.clone() else { return Ok(()) };
        self.is_in_doubt = true;
        let era = self.era;
        server.test(self, era).await?;
        self.is_in_doubt = false;
        Ok(())
    }

    /// To be called when the last statement has ended well, and with no transaction open.
    pub(crate) fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            self.state.keep_idle(connection, self.era, self.tested);
        }
    }

    /// Ends it for good, with whatever was set for it.
    pub(crate) async fn close(mut self) -> Result<(), Error> {
        match self.connection.take() {
            Some(connection) => connection.close().await,
            None => Ok(()),
        }
    }
}

impl Deref for BorrowedConnection {
    type Target = AnyConnection;

    #[expect(clippy::expect_used, reason = "only what consumes it takes the connection out")]
    fn deref(&self) -> &AnyConnection {
        self.connection.as_ref().expect("it is not given back yet")
    }
}

impl DerefMut for BorrowedConnection {
    #[expect(clippy::expect_used, reason = "only what consumes it takes the connection out")]
    fn deref_mut(&mut self) -> &mut AnyConnection {
        self.connection.as_mut().expect("it is not given back yet")
    }
}

impl Drop for BorrowedConnection {
    fn drop(&mut self) {
        match self.connection.take() {
            Some(connection) if self.is_in_doubt => close_now(connection),
            Some(connection) => self.state.return_to_sqlx(connection, self.era),
            None => (),
        }
    }
}
