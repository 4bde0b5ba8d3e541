//! The gateway's word: its whole ledger where it shows one, else one inquiry per transaction of ours; of a gateway that only
//! tells, what its calls told us.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::anyhow;
use audit::Word;
use domain::id::TransactionId;
use domain::order::GatewayIdentity;
use domain::terms::OutcomeSource;
use domain::transaction::{BookLine, StoredTransaction, TransactionReport};
use gateway::coordination::{Obstacle, Urgency};
use gateway::{AnswerFault, Gateway, GatewayError, InquiryFacts};
use serde::Serialize;
use telemetry::causes;
use tokio::task::JoinSet;

use crate::exit::Exit;

/// Inquiries that run at once. The rate limit is shared with the workers, so more would only wait, and make them
/// wait.
const INQUIRIES_AT_ONCE: usize = 4;

/// Pauses before an inquiry that brought no clear answer is tried again.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// After so many different transactions in a row without an answer the gateway itself is in trouble, and the audit ends.
const SILENT_IN_A_ROW: usize = 8;

/// Where the gateway's word comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WordSource {
    /// The gateway's own list of all its transactions.
    Ledger,
    /// Its answers about each transaction of ours.
    Inquiries,
    /// Its calls to us, as our rows keep them. So the audit cannot find money of which it did not tell us.
    Calls,
}

impl WordSource {
    /// Its name in a document for machines.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            WordSource::Ledger => "ledger",
            WordSource::Inquiries => "inquiries",
            WordSource::Calls => "calls",
        }
    }

    /// How it is told to people, after the account's name.
    pub(super) fn told(self) -> &'static str {
        match self {
            WordSource::Ledger => "asked by its ledger",
            WordSource::Inquiries => "asked by its inquiries",
            WordSource::Calls => "not asked: known by its calls to us",
        }
    }
}

/// One gateway account as an audit asks it.
pub(super) struct GatewayWord {
    gateway: Gateway,
    /// The lines of the ledger that were not compared yet; `None` where the gateway shows no ledger.
    ledger: Option<HashMap<TransactionId, BookLine>>,
    answered: u64,
    silence: Silence,
}

/// The transactions without an answer. One that alone is not answered is asked about several times, and says nothing about the
/// gateway.
#[derive(Debug, Default)]
struct Silence {
    counted: HashSet<TransactionId>,
    in_a_row: usize,
}

impl Silence {
    /// Counts a transaction without an answer, once; whether the gateway itself is in trouble.
    fn is_the_gateways(&mut self, id: TransactionId) -> bool {
        self.in_a_row += usize::from(self.counted.insert(id));
        self.in_a_row >= SILENT_IN_A_ROW
    }

    /// The gateway gave an answer.
    fn end(&mut self) {
        self.in_a_row = 0;
    }
}

impl GatewayWord {
    /// Reads the gateway's ledger, if it shows one.
    ///
    /// # Errors
    /// The gateway cannot be asked.
    pub(super) async fn open(gateway: Gateway) -> Result<Self, Exit> {
        let mut word = GatewayWord { gateway, ledger: None, answered: 0, silence: Silence::default() };
        word.renew().await?;
        Ok(word)
    }

    pub(super) fn identity(&self) -> &GatewayIdentity {
        self.gateway.identity()
    }

    pub(super) fn store_id(&self) -> &str {
        self.gateway.store_id()
    }

    /// Whether it is the gateway's ledger, and not one inquiry for each transaction.
    pub(super) fn is_ledger(&self) -> bool {
        self.ledger.is_some()
    }

    /// Where it comes from.
    pub(super) fn source(&self) -> WordSource {
        match self.gateway.terms().outcome {
            _ if self.is_ledger() => WordSource::Ledger,
            OutcomeSource::Asked => WordSource::Inquiries,
            OutcomeSource::Told => WordSource::Calls,
        }
    }

    /// Reads the ledger again. Inquiries are always new.
    ///
    /// # Errors
    /// The gateway cannot be asked.
    pub(super) async fn renew(&mut self) -> Result<(), Exit> {
        // The old one is dropped first: a ledger is large.
        self.ledger = None;
        let lines = patiently(|| self.gateway.ledger()).await.map_err(|trouble| self.away(trouble))?;
        self.ledger = lines.map(|lines| lines.into_iter().map(|line| (line.report.transaction_id, line)).collect());
        Ok(())
    }

    /// The gateway's records of the transactions that have rows. Their lines are removed from the ledger, so that transactions
    /// without a row of ours are left.
    ///
    /// # Errors
    /// The gateway cannot be asked at all. A transaction without an answer is [`Word::NotAsked`].
    pub(super) async fn about(
        &mut self,
        transactions: &[RecordedTransaction<'_>],
    ) -> Result<HashMap<TransactionId, Word>, Exit> {
        let Some(ledger) = &mut self.ledger else {
            let recorded = |asked: &RecordedTransaction<'_>| {
                let RecordedTransaction { row, allowed_until_ms, asked_at_ms } = *asked;
                let others = row.others(transactions.iter().map(|other| other.row)).cloned().collect();
                Asked::Recorded { row: Box::new(row.clone()), others, allowed_until_ms, asked_at_ms }
            };
            return self.inquire(transactions.iter().map(recorded)).await;
        };
        let mut word = |id: &TransactionId| ledger.remove(id).map_or(Word::Unknown, Word::Said);
        Ok(transactions.iter().map(|asked| (asked.row.transaction_id, word(&asked.row.transaction_id))).collect())
    }

    /// The gateway's records of transactions without a row; their lines stay in the ledger.
    ///
    /// # Errors
    /// As [`GatewayWord::about`].
    pub(super) async fn about_strangers(
        &mut self,
        ids: &[TransactionId],
    ) -> Result<HashMap<TransactionId, Word>, Exit> {
        let Some(ledger) = &self.ledger else {
            return self.inquire(ids.iter().map(|id| Asked::Unrecorded(*id))).await;
        };
        let word = |id: &TransactionId| ledger.get(id).cloned().map_or(Word::Unknown, Word::Said);
        Ok(ids.iter().map(|id| (*id, word(id))).collect())
    }

    /// The lines of the ledger that were not compared.
    pub(super) fn left(&self) -> impl Iterator<Item = &BookLine> {
        self.ledger.iter().flat_map(HashMap::values)
    }

    /// One line of the ledger.
    pub(super) fn line(&self, id: TransactionId) -> Option<&BookLine> {
        self.ledger.as_ref()?.get(&id)
    }

    async fn inquire(&mut self, asked: impl Iterator<Item = Asked>) -> Result<HashMap<TransactionId, Word>, Exit> {
        let (mut words, mut asked) = (HashMap::new(), asked.peekable());
        while asked.peek().is_some() {
            let mut inquiries = JoinSet::new();
            for asked in asked.by_ref().take(INQUIRIES_AT_ONCE) {
                let gateway = self.gateway.clone();
                inquiries.spawn(async move { (asked.id(), patiently(|| asked.inquire(&gateway)).await) });
            }
            for (id, answer) in inquiries.join_all().await {
                words.insert(id, self.word_of(id, answer)?);
            }
        }
        Ok(words)
    }

    fn word_of(
        &mut self,
        id: TransactionId,
        answer: Result<Option<TransactionReport>, GatewayError>,
    ) -> Result<Word, Exit> {
        let word = match answer {
            Ok(Some(report)) => report.into(),
            // It was not asked.
            Ok(None) => return Ok(Word::Unknown),
            Err(GatewayError::Refused { .. }) => Word::Unknown,
            Err(error @ GatewayError::NotAdmitted { .. }) => return Err(self.away(error)),
            // This says something about the gateway, and nothing about this transaction.
            Err(error @ GatewayError::HeldBack { .. }) => return Err(self.away(error)),
            Err(error @ GatewayError::Unreachable(_)) if self.answered == 0 => return Err(self.away(error)),
            // Its own words, from which nothing follows about the transaction: the gateway works.
            Err(GatewayError::OutcomeUnknown { fault, .. }) if shows_that_it_works(&fault) => {
                Word::NotAsked { why: causes(&GatewayError::from(fault)) }
            }
            Err(error) if self.silence.is_the_gateways(id) => return Err(self.away(error)),
            Err(error) => return Ok(Word::NotAsked { why: causes(&error) }),
        };
        self.answered += 1;
        self.silence.end();
        Ok(word)
    }

    fn away(&self, trouble: GatewayError) -> Exit {
        let is_ours_to_mend = matches!(trouble, GatewayError::NotAdmitted { .. });
        let account = self.gateway.identity();
        let trouble = anyhow!(trouble)
            .context(format!("{account}: the gateway cannot be asked, so nothing can be compared with its word"));
        if is_ours_to_mend { Exit::Configuration(trouble) } else { Exit::GatewayAway(trouble) }
    }
}

/// A row to ask about, and what of its order the gateway must know.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordedTransaction<'a> {
    pub(super) row: &'a StoredTransaction,
    /// Until when its debit may come, epoch milliseconds; `None` where it is not the order's allowed one.
    pub(super) allowed_until_ms: Option<i64>,
    /// Epoch milliseconds of the database's clock.
    pub(super) asked_at_ms: i64,
}

/// A transaction that is asked about.
enum Asked {
    Recorded {
        row: Box<StoredTransaction>,
        /// The order's other transactions.
        others: Vec<StoredTransaction>,
        allowed_until_ms: Option<i64>,
        asked_at_ms: i64,
    },
    /// One that we have no row for.
    Unrecorded(TransactionId),
}

impl Asked {
    fn id(&self) -> TransactionId {
        match self {
            Asked::Recorded { row, .. } => row.transaction_id,
            Asked::Unrecorded(id) => *id,
        }
    }

    /// `None` where the gateway cannot be asked about such a transaction.
    async fn inquire(&self, gateway: &Gateway) -> Result<Option<TransactionReport>, GatewayError> {
        match self {
            Asked::Recorded { row, others, allowed_until_ms, asked_at_ms } => {
                let others: Vec<&StoredTransaction> = others.iter().collect();
                let facts =
                    InquiryFacts { others: &others, allowed_until_ms: *allowed_until_ms, asked_at_ms: *asked_at_ms };
                gateway.inquire(row, &facts, Urgency::Later).await.map(Some)
            }
            Asked::Unrecorded(id) => gateway.inquire_unrecorded(*id, Urgency::Later).await,
        }
    }
}

/// Whether it is the gateway's own clear answer, although nothing follows from it about the transaction.
fn shows_that_it_works(fault: &AnswerFault) -> bool {
    match fault {
        AnswerFault::NotFound(_) | AnswerFault::Contradiction(_) => true,
        AnswerFault::Code(_)
        | AnswerFault::Timeout
        | AnswerFault::BrokenConnection
        | AnswerFault::HttpStatus(_)
        | AnswerFault::Unreadable(_) => false,
    }
}

/// Asks until there is an answer. It waits for the rate limit and for a `Retry-After` as long as they last; after other trouble
/// it tries a few times.
async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, GatewayError>
where
    F: Future<Output = Result<T, GatewayError>>,
{
    let mut pauses = PAUSES.into_iter();
    loop {
        let trouble = match ask().await {
            Err(
                GatewayError::Throttled { retry_after }
                | GatewayError::HeldBack { obstacle: Obstacle::RateLimit, retry_after },
            ) => {
                tokio::time::sleep(retry_after).await;
                continue;
            }
            // The workers' circuit breaker, or an operator's pause: neither has a known end.
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
            Some(pause) if !is_contradiction(&trouble) => tokio::time::sleep(pause).await,
            Some(_) | None => return Err(trouble),
        }
    }
}

/// Whether the gateway answered clearly: the same question again would get the same answer.
fn is_contradiction(trouble: &GatewayError) -> bool {
    matches!(trouble, GatewayError::OutcomeUnknown { fault, .. } if shows_that_it_works(fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_different_transactions_without_an_answer_in_a_row_show_that_the_gateway_is_in_trouble() {
        let mut silence = Silence::default();
        // Two that alone are not answered, each asked about in every reading.
        for _ in 0..20 {
            assert!(!silence.is_the_gateways(TransactionId(1)));
            assert!(!silence.is_the_gateways(TransactionId(2)));
        }
        silence.end();
        for id in 3..10 {
            assert!(!silence.is_the_gateways(TransactionId(id)), "{id}");
        }
        assert!(silence.is_the_gateways(TransactionId(10)), "the eighth");
    }

    #[test]
    fn a_clear_answer_that_decides_nothing_is_no_silence() {
        assert!(shows_that_it_works(&AnswerFault::NotFound("-404".into())));
        assert!(shows_that_it_works(&AnswerFault::Contradiction("told and not found".into())));
        for fault in [AnswerFault::Timeout, AnswerFault::HttpStatus(502), AnswerFault::Code("777".into())] {
            assert!(!shows_that_it_works(&fault), "{fault}");
        }
    }
}
