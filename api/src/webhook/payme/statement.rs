//! The statement of a Payme account, page by page: however long its time is, no more than two pages are in memory.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use gateway::payme::{CallId, PaymeGateway, STATEMENT_BEGINS, statement_end, statement_line};
use poem::Body;
use store::StoreError;
use store::calls::{self, StatementPage, StatementPlace};

use crate::Api;

/// The transactions of a page; each has about a kilobyte at most.
const PAGE: u32 = 200;

/// The time limit of a page after the first.
const PAGE_TIME_LIMIT: Duration = Duration::from_secs(5);

/// A statement that is being sent.
struct SentStatement {
    api: Arc<Api>,
    account: PaymeGateway,
    id: CallId,
    times_ms: RangeInclusive<i64>,
    page: Option<StatementPage>,
    /// Whether a transaction was written; the next one needs a comma.
    has_lines: bool,
    has_begun: bool,
}

/// The body with all transactions that Payme created within these times. Its first page is read before it begins; if a later one
/// cannot be read, the body breaks off, and is no whole JSON.
///
/// # Errors
/// [`StoreError`] when the database did not answer for the first page.
pub(super) async fn begin(
    api: &Arc<Api>,
    account: &PaymeGateway,
    id: &CallId,
    times_ms: RangeInclusive<i64>,
) -> Result<Body, StoreError> {
    let first = page(api, account, &times_ms, None).await?;
    let statement = SentStatement {
        api: Arc::clone(api),
        account: account.clone(),
        id: id.clone(),
        times_ms,
        page: Some(first),
        has_lines: false,
        has_begun: false,
    };
    Ok(Body::from_bytes_stream(stream::try_unfold(statement, next)))
}

async fn next(mut statement: SentStatement) -> io::Result<Option<(String, SentStatement)>> {
    let Some(present) = statement.page.take() else { return Ok(None) };
    let mut text = if statement.has_begun { "" } else { STATEMENT_BEGINS }.to_owned();
    statement.has_begun = true;
    let field = &statement.account.settings().account_field;
    for line in present.transactions.iter().filter_map(|row| statement_line(row, field)) {
        if statement.has_lines {
            text.push(',');
        }
        text.push_str(&line);
        statement.has_lines = true;
    }
    match present.next {
        None => text.push_str(&statement_end(&statement.id)),
        Some(place) => {
            let SentStatement { api, account, times_ms, .. } = &statement;
            let reading = tokio::time::timeout(PAGE_TIME_LIMIT, page(api, account, times_ms, Some(place)));
            let read = reading.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
            statement.page = Some(read);
        }
    }
    Ok(Some((text, statement)))
}

async fn page(
    api: &Api,
    account: &PaymeGateway,
    times_ms: &RangeInclusive<i64>,
    after: Option<StatementPlace>,
) -> Result<StatementPage, StoreError> {
    // Held for the page alone: a slow reader of the body keeps no other call waiting.
    let places = api.payme.accounts.of(account.identity());
    let _place = places.alone.acquire().await;
    calls::statement(&api.context.store, account.identity(), *times_ms.start(), *times_ms.end(), after, PAGE).await
}
