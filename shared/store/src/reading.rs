//! What many callers ask for at the same time is read in one statement.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::statement::json;
use super::together::{Group, Locked, Share, Together, Written, together};
use super::{Store, StoreError};

/// What is found by a number, and by many numbers in one statement. Its default is what is found where nothing is.
pub(super) trait Found: Clone + Default + Send + Sync + 'static {
    /// Those that wait to be read.
    fn group(store: &Store) -> &Group<Finding<Self>>;

    /// What there is under these numbers, a JSON array.
    fn find_all(store: &Store, numbers: String) -> impl Future<Output = Result<HashMap<i64, Self>, StoreError>> + Send;
}

/// What is found under this number. A row that cannot be read fails whoever asked for it, and nobody else.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub(super) async fn find<T: Found>(store: &Store, number: i64) -> Result<T, StoreError> {
    together(store, Finding { number, what: PhantomData }).await
}

/// A number of which is asked.
pub(super) struct Finding<T> {
    number: i64,
    what: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Finding<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Finding").field(&self.number).finish()
    }
}

impl<T: Found> Together for Finding<T> {
    type Answer = T;

    fn group(store: &Store) -> &Group<Self> {
        T::group(store)
    }

    fn subject(&self) -> Option<i64> {
        None
    }

    async fn write_all(store: &Store, items: &[Arc<Self>], _locked: Locked) -> Result<Written<T>, StoreError> {
        let numbers: Vec<i64> = items.iter().map(|item| item.number).collect();
        let found = T::find_all(store, json(&numbers)?).await?;
        let share = |number: &i64| Share::Done(found.get(number).cloned().unwrap_or_default());
        Ok(Written::Committed(numbers.iter().map(share).collect()))
    }
}
