//! `tasdiq audit`: do our records agree with the gateway's?
//!
//! The installation works while everything is read. So each possible difference is read again a few times, after a pause, and
//! only a difference that stays is reported.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use audit::{self, Against, Difference, Severity, Word};
use domain::id::{OrderId, TransactionId};
use domain::order::{GatewayIdentity, OrderStatus};
use domain::time::millis;
use domain::transaction::{BookLine, TransactionState};
use process::admission;
use store::auditing::{self, BATCH, Batch, OrderRecord};
use store::{Store, orders};
use tokio_util::sync::CancellationToken;

use crate::arguments::AuditArguments;
use crate::config::Config;
use crate::database::open_store;
use crate::exit::Exit;
use crate::installation::{gateways, redis_server};
use crate::output::{print, print_json};

mod progress;
mod report;
mod word;

use progress::AuditProgress;
use report::{AskedAccount, AuditReport, Audited};
use word::{GatewayWord, RecordedTransaction};

/// The pauses before a possible difference is read again. A transaction of the database commits in milliseconds; the last pause
/// is for one that waited for a lock.
const PAUSES: [Duration; 3] = [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(3)];

/// The orders of a batch where there is one inquiry for each transaction, so that progress is seen.
const ORDERS_WITH_INQUIRIES: usize = 32;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Compares, and prints the differences.
///
/// # Errors
/// [`Exit::Findings`] when something differs. The database or the gateway cannot be asked; there is no such order.
pub(crate) async fn run(config: &Config, arguments: &AuditArguments) -> Result<(), Exit> {
    let store = open_store(config).await?;
    if let Some(id) = arguments.order {
        orders::find(&store, id).await?.ok_or_else(|| Exit::failed(format!("there is no order {id}")))?;
    }
    let redis = match &config.redis.url {
        Some(_) => redis_server(config, &store.database_id().await?)?,
        None => None,
    };
    let progress = AuditProgress::start();
    progress.tell("asking the gateways for their ledgers".to_owned());
    let gateways = gateways(config, redis)?;
    admission::apply_settings(&store, &gateways).await?;
    let ended = CancellationToken::new();
    let _ended = ended.clone().drop_guard();
    tokio::spawn(admission::follow(store.clone(), gateways.clone(), ended));
    let mut words = Vec::new();
    for gateway in gateways.iter() {
        words.push(GatewayWord::open(gateway.clone()).await?);
    }
    let report = Audit::new(&store, words, &progress, arguments).run().await?;
    drop(progress);
    if arguments.output.json {
        print_json(&report.json())?;
    } else {
        print(&report.text())?;
    }
    if report.has_differences() { Err(Exit::Findings) } else { Ok(()) }
}

/// An audit under way.
struct Audit<'a> {
    store: &'a Store,
    /// Of each account of this configuration.
    words: Vec<GatewayWord>,
    progress: &'a AuditProgress,
    order: Option<OrderId>,
    since_ms: Option<i64>,
    report: AuditReport,
}

/// The transactions of an account's ledger that we have no row for, by the account's place.
type Strangers = BTreeMap<usize, Vec<Difference>>;

/// The answers of one account, by transaction.
type Answers = HashMap<TransactionId, Word>;

/// The differences about an order that seems to differ.
type DifferencesByOrder = BTreeMap<OrderId, Vec<Difference>>;

impl<'a> Audit<'a> {
    fn new(store: &'a Store, words: Vec<GatewayWord>, progress: &'a AuditProgress, arguments: &AuditArguments) -> Self {
        let asked = |word: &GatewayWord| AskedAccount { gateway: word.identity().to_string(), word: word.source() };
        let audited = Audited::of(words.iter().map(asked).collect());
        Audit {
            store,
            words,
            progress,
            order: arguments.order,
            since_ms: arguments.since_days.map(|days| store.now_ms() - i64::from(days) * millis(DAY)),
            report: AuditReport::new(audited, arguments.output.json),
        }
    }

    async fn run(mut self) -> Result<AuditReport, Exit> {
        let mut suspects = match self.order {
            Some(id) => {
                let batch = auditing::these(self.store, &[id]).await?;
                self.first_reading(&batch).await?
            }
            None => self.walk().await?,
        };
        let mut strangers = self.strangers().await?;
        let mut beside = self.beside_orders(true).await?;
        for pause in PAUSES {
            if suspects.is_empty() && strangers.is_empty() && beside.is_empty() {
                break;
            }
            self.progress.tell(format!("reading {} orders again", suspects.len()));
            tokio::time::sleep(pause).await;
            for word in &mut self.words {
                word.renew().await?;
            }
            self.still_strange(&mut strangers).await?;
            suspects = self.read_again(suspects).await?;
            if !beside.is_empty() {
                let now = self.beside_orders(false).await?;
                beside.retain(|difference| now.iter().any(|still| still.is_same(difference)));
            }
        }
        let strangers = strangers.into_values().flatten();
        for difference in suspects.into_values().flatten().chain(strangers).chain(beside) {
            self.report.add(difference);
        }
        self.report.sort();
        Ok(self.report)
    }

    /// The orders of one batch.
    fn orders_at_once(&self) -> usize {
        if self.words.iter().all(GatewayWord::is_ledger) { BATCH } else { ORDERS_WITH_INQUIRIES }
    }

    /// Every order, some hundred at a time.
    async fn walk(&mut self) -> Result<DifferencesByOrder, Exit> {
        let highest = auditing::highest_order(self.store).await?;
        let limit = self.orders_at_once();
        let mut suspects = DifferencesByOrder::new();
        let mut after = OrderId(0);
        loop {
            let batch = auditing::next(self.store, after, limit, self.since_ms).await?;
            suspects.append(&mut self.first_reading(&batch).await?);
            let Some(last) = batch.last else { return Ok(suspects) };
            after = last;
            let orders = self.report.audited.orders;
            self.progress.tell(format!("{orders} orders compared, at number {last} of {highest}"));
        }
    }

    /// Counts and compares. Orders that seem to differ are returned; the other findings are reported.
    async fn first_reading(&mut self, batch: &Batch) -> Result<DifferencesByOrder, Exit> {
        let differences = self.compare(batch, true).await?;
        let mut suspects = DifferencesByOrder::new();
        for (id, differences) in differences {
            if differences.iter().any(is_difference) {
                suspects.insert(id, differences);
            } else {
                differences.into_iter().for_each(|difference| self.report.add(difference));
            }
        }
        Ok(suspects)
    }

    /// Reads the orders again. A difference that is gone was a change that was read half way.
    async fn read_again(&mut self, mut suspects: DifferencesByOrder) -> Result<DifferencesByOrder, Exit> {
        let ids: Vec<OrderId> = suspects.keys().copied().collect();
        let mut remaining = DifferencesByOrder::new();
        for ids in ids.chunks(self.orders_at_once()) {
            let batch = auditing::these(self.store, ids).await?;
            let mut differences = self.compare(&batch, false).await?;
            for id in ids {
                let before = suspects.remove(id).unwrap_or_default();
                let mut now = differences.remove(id).unwrap_or_default();
                now.retain(|difference| {
                    !is_difference(difference) || before.iter().any(|seen| seen.is_same(difference))
                });
                if now.iter().any(is_difference) {
                    remaining.insert(*id, now);
                } else {
                    now.into_iter().for_each(|difference| self.report.add(difference));
                }
            }
        }
        Ok(remaining)
    }

    /// The differences about the orders of a batch, by order.
    async fn compare(&mut self, batch: &Batch, is_counted: bool) -> Result<DifferencesByOrder, Exit> {
        let answers = self.answers(&batch.orders).await?;
        if is_counted {
            self.count(batch, &answers);
        }
        let (now_ms, nothing) = (self.store.now_ms(), Answers::new());
        // An order of an account that is not asked is compared with no answer at all.
        let elsewhere = GatewayIdentity(String::new());
        let examine = |record: &OrderRecord| {
            let of_order = |word: &GatewayWord| record.order.is_of(word.identity());
            let asked = self.words.iter().zip(&answers).find(|(word, _)| of_order(word));
            let against = match asked {
                Some((word, words)) => Against { gateway: word.identity(), store_id: word.store_id(), words, now_ms },
                None => Against { gateway: &elsewhere, store_id: "", words: &nothing, now_ms },
            };
            audit::examine(record, &against)
        };
        let of_orders = batch.orders.iter().flat_map(examine);
        let of_jobs = batch.jobs_without_order.iter().map(audit::job_without_order);
        let of_callbacks = batch.callbacks_without_order.iter().map(audit::callback_without_order);
        let unreadable =
            batch.unreadable.iter().map(|unreadable| audit::unreadable(unreadable.order_id, &unreadable.what));
        let mut differences = DifferencesByOrder::new();
        for difference in of_orders.chain(of_jobs).chain(of_callbacks).chain(unreadable) {
            let id = difference.order_id.unwrap_or(OrderId(0));
            differences.entry(id).or_default().push(difference);
        }
        Ok(differences)
    }

    /// The answers of each account about all transactions of these orders that are its own.
    async fn answers(&mut self, orders: &[OrderRecord]) -> Result<Vec<Answers>, Exit> {
        let (asked_at_ms, mut of_accounts) = (self.store.now_ms(), Vec::new());
        for word in &mut self.words {
            let ours = word.identity().clone();
            let (mut with_row, mut without_row) = (Vec::new(), Vec::new());
            for record in orders {
                let of_account = record.transactions.iter().filter(|row| row.gateway == ours);
                with_row.extend(of_account.map(|row| RecordedTransaction {
                    row,
                    allowed_until_ms: record.order.allowed_until_ms_of(&row.gateway, row.transaction_id),
                    asked_at_ms,
                }));
                let is_paid = matches!(record.order.status, OrderStatus::Paid | OrderStatus::Refunded);
                let payer = record.order.transaction_id.filter(|_| is_paid && record.order.is_of(&ours));
                without_row.extend(payer.filter(|id| record.transactions.iter().all(|row| row.transaction_id != *id)));
            }
            let mut answers = word.about_strangers(&without_row).await?;
            answers.extend(word.about(&with_row).await?);
            of_accounts.push(answers);
        }
        Ok(of_accounts)
    }

    fn count(&mut self, batch: &Batch, answers: &[Answers]) {
        let audited = &mut self.report.audited;
        for record in &batch.orders {
            audited.orders += 1;
            audited.transactions += record.transactions.len() as u64;
            audited.callbacks += record.callbacks.len() as u64;
            audited.jobs += record.jobs.len() as u64;
        }
        let is_debited = |word: &&Word| match word {
            Word::Said(line) => matches!(line.report.state, TransactionState::Debited { .. }),
            Word::Unknown | Word::NotAsked { .. } => false,
        };
        audited.debits += answers.iter().flat_map(HashMap::values).filter(is_debited).count() as u64;
    }

    /// The transactions of the ledgers that we have no row for, by the account's place in `words`. Those without money are
    /// reported at once; those with money are returned.
    async fn strangers(&mut self) -> Result<Strangers, Exit> {
        let account = self.order.map(|id| id.to_string());
        let is_asked = |of: &str| account.as_ref().is_none_or(|account| account == of);
        let mut strangers = Strangers::new();
        for (place, word) in self.words.iter().enumerate() {
            let left = word.left().filter(|line| is_asked(&line.report.account));
            let left: Vec<TransactionId> = left.map(|line| line.report.transaction_id).collect();
            for ids in left.chunks(BATCH) {
                for line in without_row(self.store, word, ids).await? {
                    let is_debit = matches!(line.report.state, TransactionState::Debited { .. });
                    self.report.audited.debits += u64::from(is_debit);
                    let difference = audit::stranger(line);
                    match is_difference(&difference) {
                        true => strangers.entry(place).or_default().push(difference),
                        false => self.report.add(difference),
                    }
                }
            }
        }
        Ok(strangers)
    }

    /// Keeps the transactions that still have money and still no row.
    async fn still_strange(&mut self, strangers: &mut Strangers) -> Result<(), Exit> {
        for (place, strangers) in strangers.iter_mut() {
            let Some(word) = self.words.get(*place) else { continue };
            let ids: Vec<TransactionId> = strangers.iter().filter_map(|difference| difference.transaction_id).collect();
            strangers.clear();
            for ids in ids.chunks(BATCH) {
                strangers.extend(without_row(self.store, word, ids).await?.into_iter().map(audit::stranger));
            }
            strangers.retain(is_difference);
        }
        strangers.retain(|_, strangers| !strangers.is_empty());
        Ok(())
    }

    /// The possible differences of jobs that belong to no order, or to one only through a callback.
    async fn beside_orders(&mut self, is_first: bool) -> Result<Vec<Difference>, Exit> {
        let (now_ms, mut jobs, mut differences) = (self.store.now_ms(), 0, Vec::new());
        let has_orders = self.report.audited.orders > 0;
        let report = &mut self.report;
        let order = self.order;
        let mut sort = |difference: Difference| match difference.kind.severity() {
            _ if order.is_some() && difference.order_id != order => (),
            Severity::Difference => differences.push(difference),
            Severity::Information if is_first => report.add(difference),
            Severity::Information => (),
        };
        auditing::each_callback_job(self.store, |record| {
            jobs += u64::from(order.is_none() || record.order.map(|(id, ..)| id) == order);
            audit::callback_job(record, now_ms).into_iter().for_each(&mut sort);
        })
        .await?;
        let sweep = auditing::open_sweep(self.store).await?;
        jobs += u64::from(sweep.is_some() && order.is_none());
        // Before the first worker there is no sweep, and nothing to restore.
        audit::sweep(sweep.as_ref(), now_ms).filter(|_| has_orders).into_iter().for_each(&mut sort);
        if is_first {
            report.audited.jobs += jobs;
        }
        Ok(differences)
    }
}

/// The lines of an account's ledger about these transactions, where we have no row for them.
async fn without_row<'a>(
    store: &Store,
    word: &'a GatewayWord,
    ids: &[TransactionId],
) -> Result<Vec<&'a BookLine>, Exit> {
    let known = auditing::known_transactions(store, word.identity(), ids).await?;
    let known: HashSet<TransactionId> = known.into_iter().collect();
    Ok(ids.iter().filter(|id| !known.contains(id)).filter_map(|id| word.line(*id)).collect())
}

fn is_difference(difference: &Difference) -> bool {
    difference.kind.severity() == Severity::Difference
}
