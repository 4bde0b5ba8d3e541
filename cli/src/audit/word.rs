//! The gateway's word: its whole book where it shows one, else one inquiry per transaction of ours.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::anyhow;
use audit::Word;
use domain::id::TransactionId;
use domain::order::GatewayIdentity;
use domain::transaction::{BookLine, TransactionReport};
use gateway::coordination::{Obstacle, Urgency};
use gateway::{Gateway, GatewayError};
use telemetry::causes;
use tokio::task::JoinSet;

use crate::exit::Exit;

/// Inquiries that run at once. The budget of calls is shared with the workers, so more would only wait, and make them
/// wait.
const INQUIRIES_AT_ONCE: usize = 4;

/// Pauses before an inquiry that brought no clear answer is tried again.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// So many transactions in a row without an answer: it is the gateway, and not the transactions.
const SILENT_IN_A_ROW: usize = 8;

/// The gateway as an audit asks it.
pub(super) struct GatewayWord {
    gateway: Gateway,
    /// What nobody has taken out yet; `None` where the gateway shows no book.
    book: Option<HashMap<TransactionId, BookLine>>,
    answered: u64,
    silent_in_a_row: usize,
}

impl GatewayWord {
    /// Reads the gateway's book, if it has one.
    ///
    /// # Errors
    /// The gateway cannot be asked.
    pub(super) async fn open(gateway: Gateway) -> Result<Self, Exit> {
        let mut word = GatewayWord { gateway, book: None, answered: 0, silent_in_a_row: 0 };
        word.renew().await?;
        Ok(word)
    }

    pub(super) fn identity(&self) -> &GatewayIdentity {
        self.gateway.identity()
    }

    pub(super) fn store_id(&self) -> &str {
        self.gateway.store_id()
    }

    /// Whether it is the gateway's book, and not its answers one by one.
    pub(super) fn is_book(&self) -> bool {
        self.book.is_some()
    }

    /// Reads the book anew. Inquiries are always new.
    ///
    /// # Errors
    /// The gateway cannot be asked.
    pub(super) async fn renew(&mut self) -> Result<(), Exit> {
        // The old one goes first: a book is large.
        self.book = None;
        let lines = patiently(|| self.gateway.ledger()).await.map_err(away)?;
        self.book = lines.map(|lines| lines.into_iter().map(|line| (line.report.transaction_id, line)).collect());
        Ok(())
    }

    /// Its word on the transactions that have rows. Their lines are taken out of the book, so that strangers are left.
    ///
    /// # Errors
    /// The gateway cannot be asked at all. One that is silent about a transaction is [`Word::NotAsked`].
    pub(super) async fn about(&mut self, ids: &[TransactionId]) -> Result<HashMap<TransactionId, Word>, Exit> {
        let Some(book) = &mut self.book else { return self.inquire(ids).await };
        let mut word = |id: &TransactionId| book.remove(id).map_or(Word::Unknown, Word::Said);
        Ok(ids.iter().map(|id| (*id, word(id))).collect())
    }

    /// Its word on transactions without a row, whose lines stay in the book.
    ///
    /// # Errors
    /// As [`GatewayWord::about`].
    pub(super) async fn about_strangers(
        &mut self,
        ids: &[TransactionId],
    ) -> Result<HashMap<TransactionId, Word>, Exit> {
        let Some(book) = &self.book else { return self.inquire(ids).await };
        let word = |id: &TransactionId| book.get(id).cloned().map_or(Word::Unknown, Word::Said);
        Ok(ids.iter().map(|id| (*id, word(id))).collect())
    }

    /// The lines of the book that nobody has taken out.
    pub(super) fn left(&self) -> impl Iterator<Item = &BookLine> {
        self.book.iter().flat_map(HashMap::values)
    }

    /// One line of the book.
    pub(super) fn line(&self, id: TransactionId) -> Option<&BookLine> {
        self.book.as_ref()?.get(&id)
    }

    async fn inquire(&mut self, ids: &[TransactionId]) -> Result<HashMap<TransactionId, Word>, Exit> {
        let mut words = HashMap::new();
        for some in ids.chunks(INQUIRIES_AT_ONCE) {
            let mut inquiries = JoinSet::new();
            for id in some.iter().copied() {
                let gateway = self.gateway.clone();
                inquiries.spawn(async move { (id, patiently(|| gateway.inquire(id, Urgency::Later)).await) });
            }
            for (id, answer) in inquiries.join_all().await {
                words.insert(id, self.word_of(answer)?);
            }
        }
        Ok(words)
    }

    fn word_of(&mut self, answer: Result<TransactionReport, GatewayError>) -> Result<Word, Exit> {
        let word = match answer {
            Ok(report) => report.into(),
            Err(GatewayError::Refused { .. }) => Word::Unknown,
            Err(error @ GatewayError::NotAdmitted { .. }) => return Err(away(error)),
            // It says something about the gateway, and nothing about this transaction.
            Err(error @ GatewayError::HeldBack { .. }) => return Err(away(error)),
            Err(error @ GatewayError::Unreachable(_)) if self.answered == 0 => return Err(away(error)),
            Err(error) => {
                self.silent_in_a_row += 1;
                if self.silent_in_a_row >= SILENT_IN_A_ROW {
                    return Err(away(error));
                }
                return Ok(Word::NotAsked { why: causes(&error) });
            }
        };
        self.answered += 1;
        self.silent_in_a_row = 0;
        Ok(word)
    }
}

/// Asks until there is an answer. For a full budget it waits as long as it takes; for trouble on the way, a few times.
async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, GatewayError>
where
    F: Future<Output = Result<T, GatewayError>>,
{
    let mut pauses = PAUSES.into_iter();
    loop {
        let trouble = match ask().await {
            Err(
                GatewayError::Throttled { retry_after }
                | GatewayError::HeldBack { obstacle: Obstacle::Budget, retry_after },
            ) => {
                tokio::time::sleep(retry_after).await;
                continue;
            }
            // The breaker of those who work, or an operator: waiting for either has no known end.
            Err(GatewayError::HeldBack { obstacle, retry_after }) => match pauses.next() {
                Some(_) if obstacle != Obstacle::Operator => {
                    tokio::time::sleep(retry_after).await;
                    continue;
                }
                Some(_) | None => return Err(GatewayError::HeldBack { obstacle, retry_after }),
            },
            Err(trouble @ (GatewayError::Unreachable(_) | GatewayError::OutcomeUnknown { .. })) => trouble,
            answer => return answer,
        };
        match pauses.next() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(trouble),
        }
    }
}

fn away(trouble: GatewayError) -> Exit {
    let is_ours_to_mend = matches!(trouble, GatewayError::NotAdmitted { .. });
    let trouble = anyhow!(trouble).context("the gateway cannot be asked, so nothing can be compared with its word");
    if is_ours_to_mend { Exit::Configuration(trouble) } else { Exit::GatewayAway(trouble) }
}
