//! A gateway whose calls are hints, and that is asked about its debits (Click): Prepare, Complete with and without an error,
//! sent again, altered and late, with whatever its inquiries show. For a while an attempt may look closed and debit all the same.

use std::collections::HashMap;

use domain::callback_verdict::CallbackVerdict;
use domain::id::TransactionId;
use domain::order::{GatewayIdentity, Order, OrderStatus};
use domain::review::{FindingKind, NewFinding};
use domain::transaction::{StoredState, StoredTransaction, TransactionState};
use futures_util::future::join_all;
use store::calls::{BeginCall, CallAnswer, CallClaims, CalledAccount, ToldCall};
use store::orders::Transition;
use store::settlement::Settlement;
use store::transactions::{self, SeenTransaction};

use super::{ACTS, Dice, Processes, audit_finds_nothing, call_from, inquire, linked_order, many_orders};
use crate::support::fixture::Fixture;
use crate::support::fixture::calling::{asked, telling};

/// The attempts to pay one order.
const ATTEMPTS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    Prepare,
    /// The Prepares of all attempts at the same time.
    PrepareAll,
    /// The gateway debits the card.
    Debit,
    /// The payment fails at the gateway.
    Fail,
    /// Complete with `error` 0, whatever became of the attempt: no signature covers `error`.
    Complete,
    /// Complete with an error, whatever became of the attempt.
    CompleteWithError,
    /// Complete with the number of another attempt.
    CompleteOfAnother,
    /// Other accounts call about the order and its attempts while its own prepares one.
    Others,
    Inquire,
    /// The last permission is some minutes old.
    Age,
    /// The order's time to pay is over.
    TimeIsOver,
}

/// What became of an attempt at the gateway, whatever its calls say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    NotAllowed,
    Waiting,
    Debited,
    Failed,
}

pub(super) async fn no_order_of_calls_pays_what_the_gateway_did_not_take(f: Fixture) {
    let processes = Processes::over(f).await;
    let fates = std::cell::RefCell::new(HashMap::new());
    many_orders(&processes, async |processes, seed| {
        let mut walk = Walk::start(processes, seed).await;
        for _ in 0..ACTS {
            walk.act().await;
        }
        walk.end().await;
        for attempt in walk.attempts {
            fates.borrow_mut().insert(attempt.call.external_id, attempt.fate);
        }
        walk.order
    })
    .await;
    let fates = fates.into_inner();
    let debited = fates.values().filter(|fate| **fate == Fate::Debited).count();
    println!("{debited} debits in {} attempts", fates.len());
    let state = |row: &StoredTransaction| shown(row, fates[row.external_id.as_deref().unwrap()]);
    audit_finds_nothing(processes.first(), &asked().gateway, state).await;
}

/// What the gateway shows of an attempt once everything has come to rest.
fn shown(row: &StoredTransaction, fate: Fate) -> TransactionState {
    match fate {
        Fate::NotAllowed => panic!("{row:?} was never allowed"),
        Fate::Waiting => TransactionState::Open,
        Fate::Debited => TransactionState::Debited { success_transaction_id: payment_id(row.transaction_id) },
        Fate::Failed => TransactionState::Closed,
    }
}

fn payment_id(transaction_id: TransactionId) -> TransactionId {
    TransactionId(1_000_000_000 + transaction_id.0)
}

struct Attempt {
    call: BeginCall,
    fate: Fate,
    /// Our number of it, once it began.
    number: Option<TransactionId>,
    /// Whether its last permission is minutes old. Until then the gateway may show it as closed, and debit all the same.
    is_old: bool,
}

/// One order, its attempts, and all that was done so far.
struct Walk<'a> {
    processes: &'a Processes,
    account: CalledAccount,
    dice: Dice,
    seed: u64,
    order: Order,
    attempts: Vec<Attempt>,
    known: HashMap<TransactionId, StoredTransaction>,
    acts: Vec<(Act, usize, u64)>,
}

impl<'a> Walk<'a> {
    async fn start(processes: &'a Processes, seed: u64) -> Self {
        let (f, account) = (processes.first(), asked());
        let order = linked_order(f, &account).await;
        let attempt = |number: usize| Attempt {
            call: f.begin_call(&order, &format!("{}", order.id.0 * 10 + number as i64)),
            fate: Fate::NotAllowed,
            number: None,
            is_old: false,
        };
        let attempts = (0..ATTEMPTS).map(attempt).collect();
        let (dice, known, acts) = (Dice(seed), HashMap::new(), Vec::new());
        Walk { processes, account, dice, seed, order, attempts, known, acts }
    }

    fn story(&self) -> String {
        format!("seed {}, order {}: {:?}", self.seed, self.order.id, self.acts)
    }

    async fn act(&mut self) {
        let which = self.dice.roll(ATTEMPTS as u64) as usize;
        let act = match self.dice.roll(32) {
            0..7 => Act::Prepare,
            7 => Act::PrepareAll,
            8..11 => Act::Debit,
            11..13 => Act::Fail,
            13..17 => Act::Complete,
            17..19 => Act::CompleteWithError,
            19 => Act::CompleteOfAnother,
            20 => Act::Others,
            21..28 => Act::Inquire,
            28..31 => Act::Age,
            _ => Act::TimeIsOver,
        };
        let at_once = 1 + self.dice.roll(3);
        self.acts.push((act, which, at_once));
        let f = self.processes.first();
        match act {
            Act::Prepare => self.prepare(which, at_once).await,
            Act::PrepareAll => self.prepare_all().await,
            Act::Debit | Act::Fail => {
                // The gateway debits nothing that was not allowed, and an attempt ends once.
                let attempt = &mut self.attempts[which];
                if attempt.fate == Fate::Waiting {
                    attempt.fate = if act == Act::Debit { Fate::Debited } else { Fate::Failed };
                }
            }
            Act::Complete => {
                let call = self.complete(which, self.attempts[which].number);
                let answer = self.same_answers(at_once, async |f| f.debited(&asked(), &call).await).await;
                self.check_complete(which, &answer, true);
            }
            Act::CompleteWithError => {
                let call = self.complete(which, self.attempts[which].number);
                let answer = self.same_answers(at_once, async |f| f.failed(&asked(), &call, -5_017).await).await;
                self.check_complete(which, &answer, false);
            }
            Act::CompleteOfAnother => {
                let other = self.attempts[(which + 1) % ATTEMPTS].number.unwrap_or(TransactionId(987_654_321));
                let call = self.complete(which, Some(other));
                let before = transactions::of_order(&f.store, self.order.id).await.unwrap();
                let answer = self.same_answers(at_once, async |f| f.debited(&asked(), &call).await).await;
                let refused =
                    matches!(answer.verdict, CallbackVerdict::Conflicting | CallbackVerdict::UnknownTransaction);
                assert!(refused, "{answer:?}, {}", self.story());
                assert_eq!(transactions::of_order(&f.store, self.order.id).await.unwrap(), before, "{}", self.story());
            }
            Act::Others => {
                let other = CalledAccount { gateway: GatewayIdentity("sandbox-click:other".into()), ..asked() };
                let payme = telling();
                let id = self.attempts[which].call.external_id.clone();
                let (story, order, second) = (self.story(), self.order.clone(), &self.processes.0[1]);
                tokio::join!(
                    self.prepare(which, at_once),
                    call_from(f, &payme, &order, &id, &story),
                    call_from(second, &other, &order, &id, &story),
                );
            }
            Act::Inquire => drop(self.inquire().await),
            Act::Age => self.set_back(200_000).await,
            Act::TimeIsOver => {
                self.set_back(4_000_000).await;
                let ended_ms = f.store.now_ms() - 700_000;
                f.execute(&[format!(
                    "update orders set expires_at_ms = {ended_ms} where id = {} and expires_at_ms > {ended_ms}",
                    self.order.id
                )])
                .await;
            }
        }
        self.check_rows().await;
    }

    async fn set_back(&mut self, ms: i64) {
        self.attempts.iter_mut().for_each(|attempt| attempt.is_old = true);
        let back = format!(
            "update orders set last_allowed_at_ms = last_allowed_at_ms - {ms}, allowed_until_ms = allowed_until_ms - {ms}
             where id = {}",
            self.order.id
        );
        self.processes.first().execute(&[back]).await;
    }

    async fn prepare(&mut self, which: usize, at_once: u64) {
        let call = self.attempts[which].call.clone();
        let answer = self.same_answers(at_once, async |f| f.begin(&asked(), &call).await).await;
        self.note_allowed(which, &answer);
    }

    async fn prepare_all(&mut self) {
        let pairs = self.processes.0.iter().cycle().zip(&self.attempts);
        let answers = join_all(pairs.map(|(f, attempt)| f.begin(&self.account, &attempt.call))).await;
        let allowed: Vec<usize> =
            (0..ATTEMPTS).filter(|which| answers[*which].verdict == CallbackVerdict::Allowed).collect();
        assert!(allowed.len() <= 1, "{answers:?}, {}", self.story());
        for which in allowed {
            self.note_allowed(which, &answers[which]);
        }
    }

    /// After a yes to one attempt every other that ever had one must have failed: else both could debit.
    fn note_allowed(&mut self, which: usize, answer: &CallAnswer) {
        if answer.verdict != CallbackVerdict::Allowed {
            return;
        }
        let row = answer.transaction.as_ref().unwrap_or_else(|| panic!("no row, {}", self.story()));
        assert_eq!(row.state, StoredState::Open, "{}", self.story());
        for (other, attempt) in self.attempts.iter().enumerate().filter(|(other, _)| *other != which) {
            let is_over = matches!(attempt.fate, Fate::NotAllowed | Fate::Failed);
            assert!(is_over, "attempt {other} may debit, too: {}", self.story());
        }
        let number = row.transaction_id;
        let attempt = &mut self.attempts[which];
        assert!(attempt.number.is_none_or(|known| known == number), "a repeat got another number");
        (attempt.number, attempt.is_old) = (Some(number), false);
        if attempt.fate == Fate::NotAllowed {
            attempt.fate = Fate::Waiting;
        }
    }

    fn complete(&self, which: usize, number: Option<TransactionId>) -> ToldCall {
        let call = &self.attempts[which].call;
        let claims = CallClaims {
            account: call.account.clone(),
            order_id: call.order_id,
            transaction_id: number,
            amount: call.amount,
        };
        ToldCall { external_id: call.external_id.clone(), claims: Some(claims) }
    }

    /// A Complete about an attempt of ours is never refused, whatever became of its order.
    fn check_complete(&self, which: usize, answer: &CallAnswer, is_success: bool) {
        let began = self.attempts[which].number.is_some();
        let expected = match answer.verdict {
            CallbackVerdict::DebitTold | CallbackVerdict::AlreadyPaid => began,
            CallbackVerdict::FailureTold => began && !is_success,
            CallbackVerdict::UnknownTransaction => !began && is_success,
            // It has no number of ours: we refused to begin it.
            CallbackVerdict::TransactionClosed => !began && !is_success,
            _ => false,
        };
        assert!(expected, "{answer:?}, {}", self.story());
        if answer.verdict == CallbackVerdict::AlreadyPaid {
            assert_eq!(self.attempts[which].fate, Fate::Debited, "{}", self.story());
        }
    }

    /// Asks at the same time and once more: each answer is the same.
    async fn same_answers(&self, at_once: u64, ask: impl AsyncFn(&Fixture) -> CallAnswer) -> CallAnswer {
        let answers = self.processes.at_once(at_once, &ask).await;
        let again = ask(self.processes.first()).await;
        for answer in &answers {
            assert_eq!(*answer, again, "{}", self.story());
        }
        again
    }

    /// What `settle_order` does with the gateway's answers about the attempts. Returns whether it had something to write.
    async fn inquire(&mut self) -> bool {
        let f = self.processes.first();
        let order = f.find(&self.order).await;
        let rows = transactions::of_order(&f.store, order.id).await.unwrap();
        let seems_closed = self.dice.roll(3) == 0;
        let fate = |row: &StoredTransaction| {
            let attempt = self.attempts.iter().find(|attempt| attempt.number == Some(row.transaction_id)).unwrap();
            let may_seem_closed = attempt.fate == Fate::Waiting && !attempt.is_old && row.closed_at_ms.is_none();
            if may_seem_closed && seems_closed { Fate::Failed } else { attempt.fate }
        };
        let debited = rows.iter().find(|row| fate(row) == Fate::Debited);
        let is_closed = |id: Option<TransactionId>| {
            id.filter(|id| rows.iter().any(|row| row.transaction_id == *id && fate(row) == Fate::Failed))
        };
        let settlement = match (order.status, debited) {
            (OrderStatus::Pending | OrderStatus::Confirming, Some(paid)) => {
                Settlement::Paid { transaction_id: paid.transaction_id }
            }
            (OrderStatus::Pending | OrderStatus::Confirming, None)
                if order.expires_at_ms.is_some_and(|ends_ms| ends_ms <= f.store.now_ms()) =>
            {
                Settlement::Expired
            }
            (OrderStatus::Confirming, None) => match is_closed(order.allowed_transaction_id) {
                Some(transaction_id) => Settlement::Reopened {
                    transaction_id,
                    link_is_closed: false,
                    believed_after: self.account.terms.closed_believed_after,
                },
                None => Settlement::Unchanged,
            },
            (OrderStatus::Expired, Some(late)) => Settlement::Review(NewFinding::of_transaction(
                FindingKind::LatePayment,
                late.transaction_id,
                format!("transaction {} was debited although the order is expired", late.transaction_id),
            )),
            _ => Settlement::Unchanged,
        };
        let seen = |row: &StoredTransaction| {
            let (state, success_transaction_id) = match fate(row) {
                Fate::Debited => (StoredState::Debited, Some(payment_id(row.transaction_id))),
                Fate::Failed => (StoredState::Closed, None),
                Fate::NotAllowed | Fate::Waiting => return None,
            };
            let (transaction_id, amount) = (row.transaction_id, Some(row.amount));
            (state != row.state).then_some(SeenTransaction { transaction_id, state, success_transaction_id, amount })
        };
        let seen: Vec<SeenTransaction> = rows.iter().filter_map(seen).collect();
        let made = inquire(f, &order, &seen, &settlement).await;
        made == Transition::Made && settlement != Settlement::Unchanged
    }

    /// No time changes once it is told, the order fits its attempts, and only a debit at the gateway pays it.
    async fn check_rows(&mut self) {
        let (f, story) = (self.processes.first(), self.story());
        let rows = transactions::of_order(&f.store, self.order.id).await.unwrap();
        let order = f.find(&self.order).await;
        for row in &rows {
            if let Some(before) = self.known.insert(row.transaction_id, row.clone()) {
                let begun = |row: &StoredTransaction| {
                    let StoredTransaction { created_at_ms, gateway_at_ms, amount, .. } = row;
                    (*created_at_ms, *gateway_at_ms, *amount, row.account.clone(), row.external_id.clone())
                };
                assert_eq!(begun(row), begun(&before), "{story}");
                assert!(before.debited_at_ms.is_none() || row.debited_at_ms == before.debited_at_ms, "{story}");
                let told_end = |row: &StoredTransaction| (row.closed_at_ms, row.close_code);
                assert!(before.closed_at_ms.is_none() || told_end(row) == told_end(&before), "{story}");
            }
            let fate = self.attempts.iter().find(|attempt| attempt.number == Some(row.transaction_id)).unwrap().fate;
            let fits = match row.state {
                StoredState::Open => true,
                StoredState::Debited => fate == Fate::Debited,
                StoredState::Closed => fate == Fate::Failed,
                StoredState::Reversed => false,
            };
            assert!(fits, "{fate:?} and {row:?}, {story}");
        }
        let allowed = rows.iter().find(|row| Some(row.transaction_id) == order.allowed_transaction_id);
        let payer = rows.iter().find(|row| Some(row.transaction_id) == order.transaction_id);
        match order.status {
            OrderStatus::Confirming => assert!(allowed.is_some_and(|row| row.state != StoredState::Closed), "{story}"),
            OrderStatus::Pending | OrderStatus::Expired => assert!(order.allowed_transaction_id.is_none(), "{story}"),
            OrderStatus::Paid => assert_eq!(payer.map(|row| row.state), Some(StoredState::Debited), "{story}"),
            OrderStatus::Review => {
                let debited = rows.iter().filter(|row| row.state == StoredState::Debited);
                assert_eq!(debited.count(), 1, "{story}");
            }
            status => panic!("{status}: {story}"),
        }
    }

    /// The inquiries that come in any case, once the permission is old enough.
    async fn end(&mut self) {
        self.set_back(200_000).await;
        while self.inquire().await {
            self.check_rows().await;
            if self.processes.first().find(&self.order).await.status == OrderStatus::Review {
                break;
            }
        }
        let status = self.processes.first().find(&self.order).await.status;
        if self.attempts.iter().any(|attempt| attempt.fate == Fate::Debited) {
            assert!(matches!(status, OrderStatus::Paid | OrderStatus::Review), "{status}: {}", self.story());
        }
    }
}
