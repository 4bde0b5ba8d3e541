//! Integer ids in blocks: one statement hands out many. Gaps are fine.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Row};

use super::pool::OpenTransaction;
use super::{Store, StoreError};

/// So many ids one statement takes from the database; more where many are needed at once, or every group of rows would
/// wait for a commit of its own ids.
const BLOCK: i64 = 64;

/// The ids this process has taken and not yet used.
#[derive(Debug, Default)]
pub(super) struct IdBlocks(Mutex<HashMap<&'static str, Vec<i64>>>);

impl IdBlocks {
    /// `count` fresh ids of this name, lowest first; asks the database, in a transaction of its own, only when
    /// none are left.
    pub(super) async fn take(&self, store: &Store, name: &'static str, count: usize) -> Result<Vec<i64>, StoreError> {
        loop {
            {
                let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let left = blocks.entry(name).or_default();
                if left.len() >= count {
                    let mut taken = left.split_off(left.len() - count);
                    taken.reverse();
                    return Ok(taken);
                }
            }
            let connection = store.writer().acquire().await?;
            let block = BLOCK.max(i64::try_from(count).unwrap_or(BLOCK) * 8);
            let rows = connection.fetch_all(taking(name, block)).await?;
            let first = first_of(&rows, block)?;
            let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let left = blocks.entry(name).or_default();
            // Kept highest first, so that the lowest is taken from the end.
            let mut fresh: Vec<i64> = (first..first + block).rev().collect();
            fresh.append(left);
            *left = fresh;
        }
    }

    /// Takes back what a transaction did not use.
    pub(super) fn give_back(&self, name: &'static str, ids: Vec<i64>) {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.entry(name).or_default().extend(ids.into_iter().rev());
    }
}

/// The first of `count` ids in a row, taken within this transaction.
pub(super) async fn take_block(transaction: &mut OpenTransaction, name: &str, count: i64) -> Result<i64, StoreError> {
    first_of(&taking(name, count).fetch_all(transaction).await?, count)
}

fn taking(name: &str, count: i64) -> Query<'static, Any, AnyArguments> {
    let take = "-- take_ids\nupdate id_blocks set next = next + $1 where name = $2 returning next";
    sqlx::query(take).bind(count).bind(name.to_owned())
}

fn first_of(rows: &[AnyRow], count: i64) -> Result<i64, StoreError> {
    Ok(rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get::<i64, _>("next")? - count)
}
