//! A transaction on a borrowed connection.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sqlx::any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::{Any, Describe, Either, Error, Execute, Executor, SqlSafeStr, SqlStr};
use sqlx_core::any::AnyTransactionManager;
use sqlx_core::transaction::TransactionManager as _;

use super::{ANSWERED_WITHIN, BorrowedConnection, Pool, StatementOutcome, all_at_once};

/// A transaction. Dropped without a commit, it is rolled back.
#[derive(Debug)]
pub(crate) struct OpenTransaction(Option<BorrowedConnection>);

impl Pool {
    /// Begins a transaction, with `statement` in place of `begin` if there is one.
    pub(crate) async fn begin(&self, statement: Option<&'static str>) -> Result<OpenTransaction, Error> {
        let mut borrowed = self.acquire().await?;
        // No statement is answered faster, so it also tests the connection.
        let within = self.connections.options().get_acquire_timeout();
        // sqlx counts a transaction as open once `begin` was answered. If this future is dropped earlier, the server
        // may still begin it.
        borrowed.is_in_doubt = true;
        let era = borrowed.era;
        let beginning = AnyTransactionManager::begin(&mut borrowed, statement.map(SqlSafeStr::into_sql_str));
        self.state.in_time(era, within, beginning).await?;
        borrowed.is_in_doubt = false;
        Ok(OpenTransaction(Some(borrowed)))
    }
}

impl OpenTransaction {
    #[expect(clippy::expect_used, reason = "only the commit takes the connection out")]
    fn borrowed(&mut self) -> &mut BorrowedConnection {
        self.0.as_mut().expect("it is not committed yet")
    }

    /// All results of a statement. SQLite rolls back by itself after some failures, such as a full disk, and a later
    /// rollback then fails. A statement on a file that fails, or that is not waited for, therefore leaves its
    /// connection in doubt.
    async fn fetch_all<'q>(&mut self, query: impl Execute<'q, Any> + 'q) -> Result<Vec<StatementOutcome>, Error> {
        let borrowed = self.borrowed();
        let was_in_doubt = borrowed.is_in_doubt;
        borrowed.is_in_doubt = was_in_doubt || !borrowed.state.has_server();
        let all = borrowed.fetch_in_time(query).await?;
        borrowed.is_in_doubt = was_in_doubt;
        Ok(all)
    }

    /// Commits it.
    ///
    /// # Errors
    /// It was not committed, or the result is unknown.
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        if let Some(borrowed) = &mut self.0 {
            let (state, era) = (Arc::clone(&borrowed.state), borrowed.era);
            borrowed.is_in_doubt = true;
            state.in_time(era, ANSWERED_WITHIN, AnyTransactionManager::commit(borrowed)).await?;
            borrowed.is_in_doubt = false;
        }
        if let Some(borrowed) = self.0.take() {
            borrowed.give_back();
        }
        Ok(())
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        if let Some(borrowed) = self.0.as_mut().filter(|borrowed| !borrowed.is_in_doubt) {
            // Sent when sqlx tests the connection, which is at once.
            AnyTransactionManager::start_rollback(borrowed);
        }
    }
}

/// Every statement in a transaction is answered in time, or the transaction ends.
impl<'t> Executor<'t> for &'t mut OpenTransaction {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, Error>>
    where
        't: 'e,
        E: 'q + Execute<'q, Any>,
    {
        all_at_once(async move { self.fetch_all(query).await })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        't: 'e,
        E: 'q + Execute<'q, Any>,
    {
        async move { Ok(self.fetch_all(query).await?.into_iter().find_map(Either::right)) }.boxed()
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [AnyTypeInfo]) -> BoxFuture<'e, Result<AnyStatement, Error>>
    where
        't: 'e,
    {
        async move { self.borrowed().prepare_with(sql, parameters).await }.boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Any>, Error>>
    where
        't: 'e,
    {
        async move { self.borrowed().describe(sql).await }.boxed()
    }
}
