//! A borrowed connection.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use futures_util::TryStreamExt;
use sqlx::any::AnyRow;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, Either, Error, Execute, Executor};
use tokio::sync::OwnedSemaphorePermit;

use super::{ANSWERED_WITHIN, PoolState, StatementOutcome, close_now};

/// A connection of the pool, for one caller. If it is dropped without [`BorrowedConnection::give_back`], it is tested,
/// and the rest of a statement or transaction is undone.
#[derive(Debug)]
pub(crate) struct BorrowedConnection {
    /// `None` once it is given back.
    pub(super) connection: Option<PoolConnection<Any>>,
    /// The server's era in which its test succeeded.
    pub(super) era: u64,
    pub(super) tested: Instant,
    pub(super) state: Arc<PoolState>,
    /// Whether its state is unknown: a `begin`, a commit or a test failed or was not answered. SQLite may have rolled
    /// back by itself while sqlx still counts the transaction as open; a server may begin a transaction later that sqlx
    /// does not know of. Such a connection is closed and never used again.
    pub(super) is_in_doubt: bool,
    /// Released to the next caller once the connection is back in the pool.
    pub(super) _permit: Arc<OwnedSemaphorePermit>,
}

impl BorrowedConnection {
    /// Returns all rows of a statement, and gives the connection back.
    ///
    /// # Errors
    /// The statement failed, or was not answered in time.
    pub(crate) async fn fetch_all<'q>(mut self, query: impl Execute<'q, Any> + 'q) -> Result<Vec<AnyRow>, Error> {
        let all = self.fetch_in_time(query).await?;
        self.give_back();
        Ok(all.into_iter().filter_map(Either::right).collect())
    }

    /// Returns the one row of an SQL text, in the simple protocol.
    ///
    /// # Errors
    /// There is no row, or the statement was not answered in time.
    pub(crate) async fn ask(&mut self, sql: &'static str) -> Result<AnyRow, Error> {
        let row = self.fetch_in_time(sqlx::raw_sql(sql)).await?.into_iter().find_map(Either::right);
        row.ok_or(Error::RowNotFound)
    }

    /// All results of a statement, unless the server hangs.
    pub(super) async fn fetch_in_time<'q>(
        &mut self,
        query: impl Execute<'q, Any> + 'q,
    ) -> Result<Vec<StatementOutcome>, Error> {
        let (state, era) = (Arc::clone(&self.state), self.era);
        state.in_time(era, ANSWERED_WITHIN, self.fetch_many(query).try_collect()).await
    }

    /// Checks that the server answers and accepts writes; otherwise the connection is closed. sqlx has tested a SQLite
    /// connection.
    pub(super) async fn test(&mut self) -> Result<(), Error> {
        let Some(server) = self.state.server.clone() else { return Ok(()) };
        self.is_in_doubt = true;
        let era = self.era;
        server.test(self, era).await?;
        self.is_in_doubt = false;
        Ok(())
    }

    /// Gives it back. Call it only when the last statement ended well and no transaction is open.
    pub(crate) fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            self.state.keep_idle(connection, self.era, self.tested);
        }
    }

    /// Closes it, so that its settings affect no later caller.
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
