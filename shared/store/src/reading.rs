//! Reads in batches: rows that many callers ask for at the same time are read in one statement.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::group_commit::{BatchOutcome, BatchQueue, Batched, LockedRows, MemberOutcome, run_in_batch};
use super::statement::json;
use super::{Store, StoreError};

/// The rows that one number names, such as an order or its transactions. One statement reads many numbers. The default
/// stands for a number without a row.
pub(super) trait ReadInBatch: Clone + Default + Send + Sync + 'static {
    /// The callers that wait for the next statement.
    fn batch_queue(store: &Store) -> &BatchQueue<ReadByNumber<Self>>;

    /// Reads the rows of these numbers, which are a JSON array.
    fn find_all(store: &Store, numbers: String) -> impl Future<Output = Result<HashMap<i64, Self>, StoreError>> + Send;
}

/// Reads the rows of this number. A row that cannot be read fails only the caller that asked for it.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub(super) async fn find<T: ReadInBatch>(store: &Store, number: i64) -> Result<T, StoreError> {
    run_in_batch(store, ReadByNumber { number, what: PhantomData }).await
}

/// One caller's request for the rows of a number.
pub(super) struct ReadByNumber<T> {
    number: i64,
    what: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for ReadByNumber<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ReadByNumber").field(&self.number).finish()
    }
}

impl<T: ReadInBatch> Batched for ReadByNumber<T> {
    type Answer = T;

    fn batch_queue(store: &Store) -> &BatchQueue<Self> {
        T::batch_queue(store)
    }

    fn subject(&self) -> Option<i64> {
        None
    }

    async fn write_all(store: &Store, items: &[Arc<Self>], _locked: LockedRows) -> Result<BatchOutcome<T>, StoreError> {
        let numbers: Vec<i64> = items.iter().map(|item| item.number).collect();
        let found = T::find_all(store, json(&numbers)?).await?;
        let outcome = |number: &i64| MemberOutcome::Done(found.get(number).cloned().unwrap_or_default());
        Ok(BatchOutcome::Committed(numbers.iter().map(outcome).collect()))
    }
}
