//! One test for each kind of difference, beside a case without it.

use domain::callback_verdict::CallbackVerdict;
use domain::id::{CallbackId, RefundId};
use domain::job::{JobRow, JobState};
use domain::order::{HistoryLine, OrderAccount, PaymentType, Resolution, TRANSITIONS, example};
use domain::refund::{Refund, RefundState};
use domain::review::{FindingKind, ReviewFinding};
use domain::transaction::{StoredState, StoredTransaction};
use proptest::prelude::*;
use store::auditing::{CallbackJobRecord, CallbackRecord};

use super::*;

const NOW_MS: i64 = 1_000_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const ID: OrderId = OrderId(7);
const TX: TransactionId = TransactionId(100);
const OTHER_TX: TransactionId = TransactionId(200);
const PERMANENT: TransactionId = TransactionId(900);

fn something() -> ReviewFinding {
    let kind = FindingKind::UnclearAnswer;
    ReviewFinding {
        number: 1,
        kind,
        transaction_id: None,
        subject_id: None,
        text: "something was found".into(),
        act: kind.act(),
        found_at_ms: NOW_MS,
    }
}

/// An order with its rows, and the gateway's data.
#[derive(Clone)]
struct Scene {
    record: OrderRecord,
    words: HashMap<TransactionId, Word>,
}

impl Scene {
    /// A correct order of this status, an hour after its link.
    fn of(status: OrderStatus) -> Scene {
        use OrderStatus::*;
        let steps: &[OrderStatus] = match status {
            Pending => &[],
            Confirming => &[Confirming],
            Paid => &[Confirming, Paid],
            Refunded => &[Confirming, Paid, Refunded],
            Expired => &[Expired],
            Canceled => &[Canceled],
            Failed => &[Failed],
            Review => &[Review],
        };
        let has_link = status != Failed;
        let is_refunded = status == Refunded;
        let order = Order {
            status,
            transaction_id: has_link.then_some(TX),
            payment_url: has_link.then(|| "http://gateway".into()),
            links_made: 1,
            allowed_transaction_id: (status == Confirming).then_some(TX),
            last_allowed_at_ms: steps.contains(&Confirming).then_some(NOW_MS - 1_000),
            link_at_ms: has_link.then_some(NOW_MS - HOUR_MS),
            expires_at_ms: has_link.then_some(NOW_MS + HOUR_MS),
            final_at_ms: status.is_final().then_some(NOW_MS - HOUR_MS),
            refunded_amount: if is_refunded { 5_000 } else { 0 },
            refund_reserved: if is_refunded { 5_000 } else { 0 },
            reason: (status == Failed).then(|| "something was found".into()),
            ..example::order(ID, NOW_MS - HOUR_MS)
        };
        let mut scene = Scene { record: order.into(), words: HashMap::new() };
        if status == Review {
            scene.record.findings.push(something());
        }
        scene.tell(None, Pending, "the shop asked for it");
        if has_link {
            scene.tell(Some(Pending), Pending, "the gateway made a payment link, transaction 100");
            let (row, word) = match status {
                Paid => (StoredState::Debited, debited()),
                Refunded => (StoredState::Reversed, reversed()),
                _ => (StoredState::Open, TransactionState::Open),
            };
            scene.transaction(TX, row, word);
        }
        let mut from = Pending;
        for to in steps {
            scene.tell(Some(from), *to, &format!("it became {to}"));
            from = *to;
        }
        if !matches!(status, Failed | Review) {
            scene.job(JobKind::SettleOrder, JobState::Available, NOW_MS + 1_000);
        }
        scene
    }

    fn with(mut self, change: impl FnOnce(&mut Order)) -> Scene {
        change(&mut self.record.order);
        self
    }

    fn tell(&mut self, from: Option<OrderStatus>, to: OrderStatus, cause: &str) {
        let number = i64::try_from(self.record.history.len()).unwrap() + 1;
        self.record.history.push((number, HistoryLine { at_ms: NOW_MS, from, to, cause: cause.into() }));
    }

    /// Sets a transaction, with its row and the gateway's data.
    fn transaction(&mut self, id: TransactionId, row: StoredState, state: TransactionState) {
        self.record.transactions.retain(|row| row.transaction_id != id);
        let success_transaction_id = matches!(row, StoredState::Debited | StoredState::Reversed).then_some(PERMANENT);
        let gateway = identity();
        let row = StoredTransaction {
            gateway,
            transaction_id: id,
            order_id: self.record.order.id,
            amount: 5_000,
            state: row,
            success_transaction_id,
            seen_amount: None,
            looked_at_ms: None,
            is_accepted: false,
            created_at_ms: NOW_MS,
            external_id: None,
            account: None,
            gateway_at_ms: None,
            debited_at_ms: None,
            closed_at_ms: None,
            close_code: None,
        };
        self.record.transactions.push(row);
        self.words.insert(id, report(id, state).into());
    }

    fn says(mut self, row: StoredState, state: TransactionState) -> Scene {
        self.transaction(TX, row, state);
        self
    }

    /// A second draft of the order.
    fn and_says(mut self, row: StoredState, state: TransactionState) -> Scene {
        self.transaction(OTHER_TX, row, state);
        self
    }

    fn says_of(mut self, change: impl FnOnce(&mut BookLine)) -> Scene {
        if let Some(Word::Said(line)) = self.words.get_mut(&TX) {
            change(line);
        }
        self
    }

    fn word(mut self, word: Word) -> Scene {
        self.words.insert(TX, word);
        self
    }

    fn job(&mut self, kind: JobKind, state: JobState, due_at_ms: i64) {
        self.record.jobs.push(job(kind.as_str(), state, due_at_ms));
    }

    fn without_jobs(mut self) -> Scene {
        self.record.jobs.clear();
        self
    }

    fn and_job(mut self, kind: JobKind, state: JobState, due_at_ms: i64) -> Scene {
        self.job(kind, state, due_at_ms);
        self
    }

    /// Long after its end, when no inquiry comes any more.
    fn long_ago(self) -> Scene {
        self.without_jobs().with(|order| order.final_at_ms = order.final_at_ms.map(|_| NOW_MS - 100 * HOUR_MS))
    }

    /// Marked for a person, as an order whose status must stay.
    fn before_a_person(mut self) -> Scene {
        let status = self.record.order.status;
        self.tell(Some(status), status, "something was found");
        self.record.findings.push(something());
        self.without_jobs().with(|order| order.needs_review = true)
    }

    fn compared(&self) -> Vec<Difference> {
        let (gateway, words) = (&identity(), &self.words);
        examine(&self.record, &Against { gateway, store_id: "1234", words, now_ms: NOW_MS })
    }

    fn kinds(&self) -> Vec<Kind> {
        self.compared().iter().map(|difference| difference.kind).collect()
    }

    fn differences(&self) -> Vec<Kind> {
        self.kinds().into_iter().filter(|kind| kind.severity() == Severity::Difference).collect()
    }
}

fn identity() -> GatewayIdentity {
    GatewayIdentity("sandbox:1234".into())
}

fn debited() -> TransactionState {
    TransactionState::Debited { success_transaction_id: PERMANENT }
}

fn reversed() -> TransactionState {
    TransactionState::Reversed { success_transaction_id: Some(PERMANENT) }
}

fn unclear() -> TransactionState {
    TransactionState::Unclear { code: "777".into() }
}

fn report(transaction_id: TransactionId, state: TransactionState) -> TransactionReport {
    TransactionReport {
        transaction_id,
        account: ID.to_string(),
        store_id: None,
        amount: 5_000,
        unpaid_payment_id: None,
        state,
    }
}

fn job(kind: &str, state: JobState, due_at_ms: i64) -> JobRow {
    JobRow {
        id: JobId(50),
        queue: "settle".into(),
        kind: kind.into(),
        subject_id: ID.0,
        state,
        attempt: 1,
        crashes: 0,
        due_at_ms,
        waiting_since_ms: None,
        last_error: None,
        created_at_ms: NOW_MS,
        finished_at_ms: None,
        woken_by: Vec::new(),
    }
}

#[test]
fn a_sound_order_of_any_status_is_no_finding() {
    for status in OrderStatus::ALL {
        let kinds = Scene::of(*status).kinds();

        let expected = if *status == OrderStatus::Review { vec![Kind::BeforeAPerson] } else { vec![] };
        assert_eq!(kinds, expected, "{status}");
    }
}

#[test]
fn paid_without_a_debit_is_told_also_when_a_person_has_the_order() {
    let paid = || Scene::of(OrderStatus::Paid);
    for state in [TransactionState::Open, TransactionState::Closed] {
        assert_eq!(paid().says(StoredState::Debited, state).differences(), [Kind::PaidWithoutDebit]);
    }
    assert_eq!(paid().word(Word::Unknown).differences(), [Kind::PaidWithoutDebit]);
    let with_a_person = paid().word(Word::Unknown).before_a_person();
    assert_eq!(with_a_person.kinds(), [Kind::PaidWithoutDebit, Kind::BeforeAPerson]);
}

#[test]
fn a_paid_order_whose_row_of_the_payment_is_gone_is_compared_all_the_same() {
    let mut gone = Scene::of(OrderStatus::Paid).word(Word::Unknown);
    gone.record.transactions.clear();

    assert_eq!(gone.differences(), [Kind::PaidWithoutDebit, Kind::OrderInconsistent]);
}

/// A person decided about it, and it waits for no person any more.
fn resolved(scene: Scene, transaction_id: Option<TransactionId>) -> Scene {
    scene.with(|order| {
        order.resolution = Some(Resolution { by: "Olim".into(), reason: "seen".into(), transaction_id });
    })
}

fn accepted(mut scene: Scene) -> Scene {
    scene.record.transactions.iter_mut().for_each(|row| row.is_accepted = true);
    scene
}

/// Shows: PERSON-20
#[test]
fn an_order_that_a_person_resolved_as_paid_may_have_another_amount() {
    let paid = || Scene::of(OrderStatus::Paid).says_of(|line| line.report.amount = 5_100);

    assert_eq!(paid().kinds(), [Kind::AmountDiffers]);
    assert_eq!(resolved(paid(), Some(TX)).kinds(), []);
    let without = resolved(paid(), Some(TX)).says(StoredState::Debited, TransactionState::Closed);
    assert_eq!(without.kinds(), [Kind::PaidWithoutDebit], "but its debit must be there");
}

#[test]
fn a_decision_that_is_carried_out_needs_its_inquiry() {
    let asked = || resolved(Scene::of(OrderStatus::Review), Some(TX));

    assert_eq!(asked().kinds(), [Kind::OrderWithoutJob, Kind::BeforeAPerson]);
    let asked = asked().and_job(JobKind::SettleOrder, JobState::Available, NOW_MS);
    assert_eq!(asked.kinds(), [Kind::BeforeAPerson]);
}

/// Shows: PERSON-20
#[test]
fn money_that_a_person_said_went_back_is_compared_with_the_gateways_word() {
    let refunded = |state| {
        let order = Scene::of(OrderStatus::Refunded).says(StoredState::Debited, state);
        resolved(order, None).says_of(|line| line.report.amount = 5_100)
    };

    assert_eq!(refunded(reversed()).kinds(), [Kind::UnderWay], "an inquiry writes it down");
    assert_eq!(refunded(reversed()).long_ago().kinds(), [Kind::TransactionState]);
    let seen = resolved(Scene::of(OrderStatus::Refunded), None);
    assert_eq!(seen.kinds(), []);
    assert_eq!(refunded(debited()).kinds(), [Kind::UnderWay], "an inquiry tells a person");
    assert_eq!(refunded(debited()).long_ago().kinds(), [Kind::RefundedWithoutReversal]);
    assert_eq!(refunded(debited()).before_a_person().kinds(), [Kind::BeforeAPerson]);
    assert_eq!(accepted(refunded(debited())).long_ago().kinds(), [Kind::LeftByAPerson]);
}

/// Shows: PERSON-20
#[test]
fn money_on_an_order_that_a_person_resolved_as_canceled_is_known_or_told() {
    let canceled = |state| {
        let order = Scene::of(OrderStatus::Canceled).says(StoredState::Debited, state);
        resolved(order, None).says_of(|line| line.report.amount = 5_100)
    };

    assert_eq!(canceled(debited()).kinds(), [Kind::UnderWay]);
    assert_eq!(canceled(debited()).long_ago().kinds(), [Kind::DebitNotSettled]);
    assert_eq!(accepted(canceled(debited())).long_ago().kinds(), [Kind::LeftByAPerson]);
    assert_eq!(canceled(reversed()).kinds(), [Kind::UnderWay]);
    let gone_back = resolved(Scene::of(OrderStatus::Canceled).says(StoredState::Reversed, reversed()), None);
    assert_eq!(gone_back.long_ago().kinds(), []);
}

/// Shows: PERSON-20
#[test]
fn a_second_payment_that_a_person_left_is_information() {
    let twice = || resolved(Scene::of(OrderStatus::Paid).and_says(StoredState::Debited, debited()), None);

    assert_eq!(twice().long_ago().kinds(), [Kind::SecondDebit]);
    assert_eq!(accepted(twice()).long_ago().kinds(), [Kind::LeftByAPerson]);
    let unclear = resolved(Scene::of(OrderStatus::Expired).says(StoredState::Open, unclear()), None);
    assert_eq!(unclear.clone().long_ago().kinds(), [Kind::GatewayUnclear]);
    assert_eq!(accepted(unclear).long_ago().kinds(), [Kind::LeftByAPerson]);
}

#[test]
fn a_reversal_is_a_difference_once_no_inquiry_will_notice_it() {
    let reversed = Scene::of(OrderStatus::Paid).says(StoredState::Debited, reversed());

    assert_eq!(reversed.kinds(), [Kind::UnderWay]);
    assert_eq!(reversed.clone().long_ago().kinds(), [Kind::ReversedNotRecorded]);
    assert_eq!(reversed.before_a_person().kinds(), [Kind::BeforeAPerson]);
}

#[test]
fn refunded_needs_a_reversal_at_the_gateway() {
    for state in [debited(), TransactionState::Open, TransactionState::Closed] {
        let refunded = Scene::of(OrderStatus::Refunded).says(StoredState::Reversed, state);
        assert_eq!(refunded.kinds(), [Kind::RefundedWithoutReversal]);
    }
    assert_eq!(Scene::of(OrderStatus::Refunded).word(Word::Unknown).kinds(), [Kind::RefundedWithoutReversal]);
}

#[test]
fn what_went_back_must_fit_the_status() {
    for (status, refunded_amount) in [(OrderStatus::Paid, 1), (OrderStatus::Refunded, 4_999), (OrderStatus::Pending, 1)]
    {
        let order = Scene::of(status).with(|order| order.refunded_amount = refunded_amount);
        assert_eq!(order.kinds(), [Kind::RefundedAmount], "{status}");
    }
}

fn refund(id: i64, state: RefundState) -> Refund {
    Refund {
        id: RefundId(id),
        order_id: ID,
        amount: 5_000,
        state,
        transaction_id: TX,
        success_transaction_id: PERMANENT,
        requested_by: "shop".into(),
        reason: None,
        sent_at_ms: None,
        refused_code: None,
        outcome: None,
        created_at_ms: NOW_MS,
        finished_at_ms: None,
    }
}

impl Scene {
    /// With a refund in that state, and the order's reserve.
    fn and_refund(mut self, state: RefundState, reserved: i64) -> Scene {
        let id = i64::try_from(self.record.refunds.len()).unwrap() + 31;
        self.record.refunds.push(refund(id, state));
        self.record.order.refund_reserved = reserved;
        self
    }

    fn and_refund_job(mut self, id: i64, state: JobState) -> Scene {
        let job = JobRow { subject_id: id, ..job("refund_order", state, NOW_MS) };
        self.record.jobs.push(job);
        self
    }
}

#[test]
fn what_is_set_apart_is_what_went_back_and_may_go_back() {
    use RefundState::*;
    let paid = || Scene::of(OrderStatus::Paid);

    assert_eq!(paid().and_refund(Open, 5_000).and_refund_job(31, JobState::Available).kinds(), []);
    assert_eq!(paid().and_refund(Refused, 0).kinds(), []);
    let refunded = |state| Scene::of(OrderStatus::Refunded).and_refund(Refused, 0).and_refund(state, 5_000);
    assert_eq!(refunded(Done).kinds(), []);
    assert_eq!(Scene::of(OrderStatus::Refunded).kinds(), [], "reversed outside this installation");

    assert_eq!(paid().and_refund(Refused, 5_000).kinds(), [Kind::RefundReserve]);
    assert_eq!(paid().and_refund(Open, 0).and_refund_job(31, JobState::Running).kinds(), [Kind::RefundReserve]);
    assert_eq!(paid().with(|order| order.refund_reserved = 1).kinds(), [Kind::RefundReserve]);
    assert_eq!(paid().and_refund(Done, 5_000).kinds(), [Kind::RefundedAmount], "and the order does not know");
    let paid_back = paid().and_refund(Done, 5_000).with(|order| order.refunded_amount = 5_000);
    assert_eq!(paid_back.kinds(), [Kind::RefundedAmount], "all of it, and the order is still paid");
}

#[test]
fn refunds_come_to_no_more_than_the_order() {
    use RefundState::*;
    let twice = |first, second| {
        let paid = Scene::of(OrderStatus::Paid).and_refund(first, 5_000).and_refund(second, 10_000);
        paid.and_refund_job(32, JobState::Available)
    };

    assert_eq!(twice(Refused, Open).with(|order| order.refund_reserved = 5_000).kinds(), []);
    let both = twice(Done, Open).with(|order| order.refunded_amount = 5_000);
    assert!(both.kinds().contains(&Kind::RefundsExceedOrder), "{:?}", both.kinds());
}

/// A person said that 51.00 soʻm instead of 50.00 are the payment; its refund is booked over 50.00, and 51.00 go back.
#[test]
fn a_refund_of_an_order_that_was_paid_by_another_amount_is_told() {
    let refunded = |taken| {
        let order = Scene::of(OrderStatus::Refunded).says_of(|line| line.report.amount = taken);
        resolved(order, Some(TX)).and_refund(RefundState::Done, 5_000)
    };

    assert_eq!(refunded(5_000).kinds(), []);
    let differs = refunded(5_100);
    assert_eq!(differs.kinds(), [Kind::RefundAmountDiffers]);
    let says = &differs.compared()[0].says;
    assert!(says.contains("50.00") && says.contains("51.00"), "{says}");
}

#[test]
fn money_under_way_for_longer_than_inquiries_take_is_a_difference() {
    let minute = 60_000;
    let under_way = |status, allowed_ago_ms, due_in_ms| {
        let mut scene = Scene::of(status).says(StoredState::Open, debited()).with(|order| {
            order.last_allowed_at_ms = order.last_allowed_at_ms.map(|_| NOW_MS - allowed_ago_ms);
        });
        scene.record.jobs.iter_mut().for_each(|job| job.due_at_ms = NOW_MS + due_in_ms);
        scene.kinds()
    };
    use OrderStatus::{Confirming, Expired, Pending};

    assert_eq!(under_way(Confirming, 20 * minute, 10 * minute), [Kind::UnderWay]);
    assert_eq!(under_way(Confirming, 40 * minute, minute), [Kind::UnderWayTooLong], "each inquiry should have seen it");
    assert_eq!(under_way(Confirming, minute, HOUR_MS), [Kind::UnderWayTooLong], "the next inquiry is too far ahead");
    assert_eq!(under_way(Pending, 0, HOUR_MS), [Kind::UnderWayTooLong]);
    assert_eq!(under_way(Expired, 0, 24 * HOUR_MS), [Kind::UnderWay], "a late inquiry comes once a day");
    assert_eq!(under_way(Expired, 0, 48 * HOUR_MS), [Kind::UnderWayTooLong]);
}

#[test]
fn an_open_refund_has_its_job() {
    let open = || Scene::of(OrderStatus::Paid).and_refund(RefundState::Open, 5_000);

    assert_eq!(open().and_refund_job(31, JobState::Enqueued).kinds(), []);
    assert_eq!(open().kinds(), [Kind::RefundWithoutJob]);
    assert_eq!(open().and_refund_job(32, JobState::Available).kinds(), [Kind::RefundWithoutJob], "it is another's");
}

#[test]
fn a_refund_of_unknown_outcome_is_before_a_person() {
    let unknown = || Scene::of(OrderStatus::Paid).and_refund(RefundState::Review, 5_000);

    assert_eq!(unknown().before_a_person().kinds(), [Kind::BeforeAPerson]);
    assert_eq!(unknown().kinds(), [Kind::RefundUnseen]);
    let dead = unknown().before_a_person().and_refund_job(31, JobState::Dead);
    assert_eq!(dead.kinds(), [Kind::DeadLetter, Kind::BeforeAPerson]);
}

#[test]
fn a_reversal_that_the_refunds_own_job_will_see_is_under_way() {
    let reversed = || {
        let paid = Scene::of(OrderStatus::Paid).says(StoredState::Debited, reversed()).long_ago();
        paid.and_refund(RefundState::Open, 5_000)
    };

    assert_eq!(reversed().and_refund_job(31, JobState::Available).kinds(), [Kind::UnderWay]);
    assert_eq!(reversed().kinds(), [Kind::ReversedNotRecorded, Kind::RefundWithoutJob]);
}

#[test]
fn money_that_was_asked_back_twice_is_always_told() {
    let twice = Scene::of(OrderStatus::Refunded).says_of(|line| line.reversals_asked = 2);

    assert_eq!(twice.kinds(), [Kind::RefundSentTwice]);
}

#[test]
fn a_debit_of_an_open_order_is_under_way_while_an_inquiry_is_to_come() {
    for status in [OrderStatus::Pending, OrderStatus::Confirming, OrderStatus::Expired, OrderStatus::Canceled] {
        let debited = Scene::of(status).says(StoredState::Open, debited());

        assert_eq!(debited.kinds(), [Kind::UnderWay], "{status}");
        assert!(debited.long_ago().differences().contains(&Kind::DebitNotSettled), "{status}");
    }
}

/// Inquiries never ask again about a draft that is stored as closed, so a staged one does not help.
#[test]
fn a_debit_on_a_draft_that_was_put_aside_is_never_under_way() {
    let put_aside = Scene::of(OrderStatus::Pending).and_says(StoredState::Closed, debited());
    assert_eq!(put_aside.kinds(), [Kind::DebitNotSettled]);

    let put_aside = Scene::of(OrderStatus::Paid).and_says(StoredState::Closed, debited());
    assert_eq!(put_aside.kinds(), [Kind::SecondDebit]);
}

#[test]
fn a_second_debit_is_a_difference_until_a_person_is_told_of_it() {
    let paid = |row| Scene::of(OrderStatus::Paid).and_says(row, debited());

    assert_eq!(paid(StoredState::Open).kinds(), [Kind::UnderWay], "the next inquiry tells a person");
    assert_eq!(paid(StoredState::Open).long_ago().kinds(), [Kind::SecondDebit]);
    assert_eq!(paid(StoredState::Debited).before_a_person().kinds(), [Kind::BeforeAPerson]);
    let told_of_something_else = paid(StoredState::Open).before_a_person();
    assert_eq!(told_of_something_else.kinds(), [Kind::SecondDebit, Kind::BeforeAPerson]);
}

#[test]
fn a_person_who_has_the_order_may_not_know_of_a_later_debit() {
    let review = |row| Scene::of(OrderStatus::Review).says(row, debited());

    assert_eq!(review(StoredState::Debited).kinds(), [Kind::BeforeAPerson]);
    assert_eq!(review(StoredState::Open).kinds(), [Kind::DebitUntold, Kind::BeforeAPerson]);
    let staged = review(StoredState::Open).and_job(JobKind::SettleOrder, JobState::Available, NOW_MS);
    assert_eq!(staged.kinds(), [Kind::UnderWay, Kind::BeforeAPerson]);
}

#[test]
fn money_taken_twice_on_one_transaction_is_always_told() {
    let twice = Scene::of(OrderStatus::Paid).says_of(|line| line.debits = 2);

    assert_eq!(twice.kinds(), [Kind::DebitedTwice]);
    assert_eq!(twice.before_a_person().kinds(), [Kind::DebitedTwice, Kind::BeforeAPerson]);
}

#[test]
fn gateway_row_and_order_have_one_amount() {
    let at_gateway = Scene::of(OrderStatus::Paid).says_of(|line| line.report.amount = 5_100);
    assert_eq!(at_gateway.kinds(), [Kind::AmountDiffers]);

    let mut in_row = Scene::of(OrderStatus::Pending);
    in_row.record.transactions[0].amount = 1;
    assert_eq!(in_row.kinds(), [Kind::AmountDiffers]);

    let told = Scene::of(OrderStatus::Review).says(StoredState::Debited, debited());
    assert_eq!(told.says_of(|line| line.report.amount = 5_100).kinds(), [Kind::BeforeAPerson]);
}

#[test]
fn account_and_store_are_ours() {
    let account = Scene::of(OrderStatus::Pending).says_of(|line| line.report.account = "8".into());
    assert_eq!(account.kinds(), [Kind::AccountDiffers]);

    let store =
        |store: &str| Scene::of(OrderStatus::Pending).says_of(|line| line.report.store_id = Some(store.into())).kinds();
    assert_eq!(store("9"), [Kind::AccountDiffers]);
    assert_eq!(store("1234"), []);
}

#[test]
fn a_row_that_says_something_else_than_the_gateway_is_told() {
    use StoredState::*;
    let kinds = |row, state| Scene::of(OrderStatus::Expired).long_ago().and_says(row, state).kinds();

    for (row, state) in [
        (Debited, TransactionState::Open),
        (Debited, TransactionState::Closed),
        (Debited, reversed()),
        (Reversed, TransactionState::Open),
        (Reversed, TransactionState::Closed),
        (Reversed, debited()),
        (Closed, TransactionState::Open),
        (Closed, reversed()),
        (Open, reversed()),
    ] {
        assert_eq!(kinds(row, state.clone()), [Kind::TransactionState], "{row} {state:?}");
    }
    for (row, state) in [
        (Open, TransactionState::Open),
        (Open, TransactionState::Closed),
        (Closed, TransactionState::Closed),
        (Reversed, reversed()),
    ] {
        assert_eq!(kinds(row, state.clone()), [], "{row} {state:?}");
    }
    let by_inquiry = Scene::of(OrderStatus::Expired).and_says(Open, reversed());
    assert_eq!(by_inquiry.kinds(), [Kind::UnderWay], "the late inquiry will write it");
}

#[test]
fn the_row_of_the_payment_was_written_with_the_status() {
    let paid = Scene::of(OrderStatus::Paid).says(StoredState::Open, debited());
    assert_eq!(paid.kinds(), [Kind::TransactionState]);

    let other_id = TransactionState::Debited { success_transaction_id: TransactionId(901) };
    let paid = Scene::of(OrderStatus::Paid).says(StoredState::Debited, other_id);
    assert_eq!(paid.kinds(), [Kind::TransactionState]);
}

#[test]
fn a_transaction_the_gateway_does_not_know_matters_by_what_was_seen_on_it() {
    let unknown = |status| Scene::of(status).word(Word::Unknown);

    assert_eq!(unknown(OrderStatus::Pending).kinds(), [Kind::LinkUnknown]);
    assert_eq!(unknown(OrderStatus::Expired).kinds(), [Kind::DraftUnknownAtGateway]);
    let seen = Scene::of(OrderStatus::Expired).says(StoredState::Debited, debited()).word(Word::Unknown);
    assert_eq!(seen.kinds(), [Kind::TransactionState]);
}

#[test]
fn an_unclear_answer_is_a_difference_once_no_inquiry_asks_again() {
    for status in [OrderStatus::Pending, OrderStatus::Paid, OrderStatus::Expired] {
        let row = if status == OrderStatus::Paid { StoredState::Debited } else { StoredState::Open };
        let scene = Scene::of(status).says(row, unclear());

        assert_eq!(scene.kinds(), [Kind::UnderWay], "{status}");
        assert!(scene.long_ago().differences().contains(&Kind::GatewayUnclear), "{status}");
    }
    let review = Scene::of(OrderStatus::Review).says(StoredState::Open, unclear());
    assert_eq!(review.kinds(), [Kind::BeforeAPerson]);
}

#[test]
fn a_gateway_that_gave_no_answer_is_no_success() {
    for status in [OrderStatus::Pending, OrderStatus::Paid, OrderStatus::Refunded] {
        let scene = Scene::of(status).word(Word::NotAsked { why: "timeout".into() });
        assert_eq!(scene.differences(), [Kind::NotAsked], "{status}");
    }
}

fn account(payment_type: PaymentType, gateway: &str) -> OrderAccount {
    OrderAccount { payment_type, gateway: GatewayIdentity(gateway.into()) }
}

#[test]
fn another_gateways_order_is_not_compared_with_this_ones_word() {
    let mut elsewhere =
        Scene::of(OrderStatus::Paid).with(|order| order.account = Some(account(PaymentType::Atmos, "atmos:9")));
    elsewhere.record.transactions[0].gateway = GatewayIdentity("atmos:9".into());
    let elsewhere = elsewhere.word(Word::Unknown);

    assert_eq!(elsewhere.kinds(), [Kind::OtherGateway]);
}

#[test]
fn a_transaction_at_another_account_is_a_difference_unless_the_customer_has_changed_the_account() {
    let other = |choices| {
        let mut scene = Scene::of(OrderStatus::Pending).with(|order| order.choices = choices);
        let mut row = scene.record.transactions[0].clone();
        (row.gateway, row.transaction_id) = (GatewayIdentity("sandbox-payme:64a1".into()), TransactionId(5));
        scene.record.transactions.push(row);
        scene.kinds()
    };

    for choices in [None, Some(0), Some(1)] {
        assert!(other(choices).contains(&Kind::OrderInconsistent), "{choices:?}");
    }
    assert!(!other(Some(2)).contains(&Kind::OrderInconsistent));
}

#[test]
fn an_order_without_an_account_is_as_before_its_first_choice() {
    let unchosen = |choices, url: Option<&str>| {
        let mut scene = Scene::of(OrderStatus::Pending).with(|order| {
            (order.account, order.choices, order.payment_url) = (None, choices, url.map(str::to_owned));
            (order.transaction_id, order.links_made) = (None, 0);
        });
        scene.record.transactions.clear();
        scene.kinds()
    };

    assert!(!unchosen(Some(0), None).contains(&Kind::OrderInconsistent));
    for (choices, url) in [(None, None), (Some(1), None), (Some(0), Some("https://gateway.test"))] {
        assert!(unchosen(choices, url).contains(&Kind::OrderInconsistent), "{choices:?} {url:?}");
    }
}

#[test]
fn what_the_book_has_and_we_do_not_is_a_difference_where_money_is() {
    for (state, kind) in [
        (TransactionState::Open, Kind::UnpaidDraftUnknown),
        (TransactionState::Closed, Kind::UnpaidDraftUnknown),
        (reversed(), Kind::ReversedDraftUnknown),
        (debited(), Kind::DebitUnknownToUs),
        (unclear(), Kind::DebitUnknownToUs),
    ] {
        let difference = stranger(&BookLine { report: report(TX, state.clone()), debits: 0, reversals_asked: 0 });

        assert_eq!(
            (difference.kind, difference.order_id, difference.transaction_id),
            (kind, Some(ID), Some(TX)),
            "{state:?}"
        );
    }
    let mut foreign = report(TX, debited());
    foreign.account = "somebody".into();
    assert_eq!(stranger(&BookLine { report: foreign, debits: 1, reversals_asked: 0 }).order_id, None);
}

#[test]
fn an_order_has_the_job_that_it_must_have() {
    for status in [
        OrderStatus::Pending,
        OrderStatus::Confirming,
        OrderStatus::Paid,
        OrderStatus::Refunded,
        OrderStatus::Expired,
        OrderStatus::Canceled,
    ] {
        assert_eq!(Scene::of(status).without_jobs().kinds(), [Kind::OrderWithoutJob], "{status}");
        for over in [JobState::Completed, JobState::Canceled] {
            let scene = Scene::of(status).without_jobs().and_job(JobKind::SettleOrder, over, NOW_MS);
            assert_eq!(scene.kinds(), [Kind::OrderWithoutJob], "{status} {over}");
        }
    }
    for innocent in [OrderStatus::Paid, OrderStatus::Expired] {
        assert_eq!(Scene::of(innocent).long_ago().kinds(), [], "the late inquiries of {innocent} are over");
        assert_eq!(Scene::of(innocent).before_a_person().kinds(), [Kind::BeforeAPerson], "{innocent}");
    }
}

#[test]
fn an_order_without_a_link_has_the_job_that_makes_it() {
    let without_link = || {
        let mut scene = Scene::of(OrderStatus::Pending).without_jobs().with(|order| {
            (order.transaction_id, order.payment_url) = (None, None);
            (order.link_at_ms, order.expires_at_ms) = (None, None);
        });
        scene.record.transactions.clear();
        scene
    };

    assert_eq!(without_link().kinds(), [Kind::OrderWithoutJob]);
    assert_eq!(without_link().and_job(JobKind::CreatePaymentLink, JobState::Running, NOW_MS).kinds(), []);
    let over = without_link().with(|order| order.expires_at_ms = Some(NOW_MS - 1));
    let over = over.and_job(JobKind::SettleOrder, JobState::Available, NOW_MS);
    assert_eq!(over.kinds(), [], "its time is over, and an inquiry ends it");
}

#[test]
fn a_row_that_contradicts_itself_is_told() {
    type Change = fn(&mut Order);
    let cases: [(OrderStatus, Change); 10] = [
        (OrderStatus::Expired, |order| order.final_at_ms = None),
        (OrderStatus::Pending, |order| order.final_at_ms = Some(NOW_MS)),
        (OrderStatus::Pending, |order| order.transaction_id = None),
        (OrderStatus::Confirming, |order| order.allowed_transaction_id = None),
        (OrderStatus::Confirming, |order| order.last_allowed_at_ms = None),
        (OrderStatus::Paid, |order| order.allowed_transaction_id = Some(TX)),
        (OrderStatus::Pending, |order| order.allowed_transaction_id = Some(TX)),
        (OrderStatus::Failed, |order| order.reason = None),
        (OrderStatus::Pending, |order| order.transaction_id = Some(TransactionId(300))),
        (OrderStatus::Confirming, |order| order.allowed_transaction_id = Some(TransactionId(300))),
    ];
    for (number, (status, change)) in cases.into_iter().enumerate() {
        let mut scene = Scene::of(status).with(change);
        if scene.record.order.final_at_ms.is_none() && status.is_final() {
            scene = scene.without_jobs();
        }
        assert_eq!(scene.differences(), [Kind::OrderInconsistent], "case {number}, {status}");
    }
    for mut scene in [Scene::of(OrderStatus::Paid).before_a_person(), Scene::of(OrderStatus::Review)] {
        scene.record.findings.clear();
        assert_eq!(scene.differences(), [Kind::OrderInconsistent], "nothing says why a person must look");
    }
    let in_review = Scene::of(OrderStatus::Review).with(|order| order.allowed_transaction_id = Some(TX));
    assert_eq!(in_review.differences(), [], "a person may get an order in the middle of a payment");
    let mut elsewhere = Scene::of(OrderStatus::Pending);
    elsewhere.record.transactions.push(StoredTransaction {
        gateway: GatewayIdentity("atmos:9".into()),
        ..elsewhere.record.transactions[0].clone()
    });
    assert_eq!(elsewhere.kinds(), [Kind::OrderInconsistent]);
}

#[test]
fn each_finding_about_an_order_is_told_with_its_act() {
    let mut scene = Scene::of(OrderStatus::Paid).before_a_person();
    let act = FindingKind::SecondPayment.act();
    scene.record.findings.push(ReviewFinding { number: 2, text: "it was paid twice".into(), act, ..something() });

    let told: Vec<String> = scene.compared().into_iter().map(|difference| difference.says).collect();

    assert_eq!(
        told,
        [
            "the order is paid, ask_gateway: something was found",
            "the order is paid, return_second_payment: it was paid twice"
        ]
    );
}

#[test]
fn a_history_is_a_chain_to_the_status() {
    let broken = |change: fn(&mut Vec<(i64, HistoryLine)>)| {
        let mut scene = Scene::of(OrderStatus::Paid);
        change(&mut scene.record.history);
        scene.kinds()
    };

    for change in [
        (|history| history.clear()) as fn(&mut Vec<(i64, HistoryLine)>),
        |history| drop(history.pop()),
        |history| drop(history.remove(0)),
        |history| drop(history.remove(1)),
        |history| history[0].1.from = Some(OrderStatus::Pending),
        |history| history[2].1.from = Some(OrderStatus::Expired),
        |history| history[3].1.to = OrderStatus::Expired,
    ] {
        assert_eq!(broken(change), [Kind::HistoryBroken]);
    }
    let mut forbidden = Scene::of(OrderStatus::Confirming).with(|order| {
        (order.status, order.allowed_transaction_id, order.final_at_ms) = (OrderStatus::Canceled, None, Some(NOW_MS));
    });
    forbidden.tell(Some(OrderStatus::Confirming), OrderStatus::Canceled, "by hand");
    assert_eq!(forbidden.kinds(), [Kind::HistoryBroken], "what is confirming is never canceled");
    let mut link_untold = Scene::of(OrderStatus::Pending);
    link_untold.record.history.pop();
    assert_eq!(link_untold.kinds(), [Kind::HistoryBroken]);
    // A link without a draft behind it is made with its order.
    let mut local = link_untold.with(|order| {
        let payme = account(PaymentType::Payme, &order.gateway().unwrap().0);
        (order.account, order.transaction_id) = (Some(payme), None);
    });
    local.record.transactions.clear();
    assert_eq!(local.kinds(), []);
    let mut mark_untold = Scene::of(OrderStatus::Paid).before_a_person();
    mark_untold.record.history.pop();
    assert_eq!(mark_untold.differences(), [Kind::HistoryBroken]);
}

#[test]
fn a_line_that_stands_there_twice_is_told_once() {
    let mut doubled = Scene::of(OrderStatus::Paid);
    doubled.tell(Some(OrderStatus::Confirming), OrderStatus::Paid, "it became paid");
    assert_eq!(doubled.kinds(), [Kind::HistoryDoubled]);

    let mut link = Scene::of(OrderStatus::Pending);
    let cause = "transaction 100 was closed unpaid";
    link.tell(Some(OrderStatus::Pending), OrderStatus::Pending, cause);
    assert_eq!(link.kinds(), [], "another fact");
    link.tell(Some(OrderStatus::Pending), OrderStatus::Pending, "the gateway made a payment link, transaction 100");
    assert_eq!(link.kinds(), [Kind::HistoryDoubled]);

    let mut again = Scene::of(OrderStatus::Pending);
    again.tell(Some(OrderStatus::Pending), OrderStatus::Failed, "no link");
    again.tell(Some(OrderStatus::Failed), OrderStatus::Pending, "retried");
    again.tell(Some(OrderStatus::Pending), OrderStatus::Failed, "no link");
    again.tell(Some(OrderStatus::Failed), OrderStatus::Pending, "retried");
    assert_eq!(again.kinds(), [], "a way that was gone twice");
}

#[test]
fn a_dead_letter_has_its_order_before_a_person() {
    let dead = |scene: Scene, kind| scene.and_job(kind, JobState::Dead, NOW_MS);

    for status in [OrderStatus::Pending, OrderStatus::Paid] {
        assert_eq!(dead(Scene::of(status), JobKind::SettleOrder).kinds(), [Kind::DeadLetterUnseen], "{status}");
    }
    let review = dead(Scene::of(OrderStatus::Review), JobKind::SettleOrder);
    assert_eq!(review.kinds(), [Kind::DeadLetter, Kind::BeforeAPerson]);
    assert_eq!(dead(Scene::of(OrderStatus::Failed), JobKind::CreatePaymentLink).kinds(), [Kind::DeadLetter]);
    assert_eq!(dead(Scene::of(OrderStatus::Failed), JobKind::SettleOrder).kinds(), [Kind::DeadLetterUnseen]);
    let marked = dead(Scene::of(OrderStatus::Paid).before_a_person(), JobKind::SettleOrder);
    assert_eq!(marked.kinds(), [Kind::DeadLetter, Kind::BeforeAPerson]);
}

#[test]
fn a_job_that_does_not_get_on_is_told() {
    let with = |state, due_at_ms| {
        Scene::of(OrderStatus::Paid).without_jobs().and_job(JobKind::SettleOrder, state, due_at_ms).kinds()
    };

    for (state, late_ms, in_time_ms) in [
        (JobState::Running, 61_000, 59_000),
        (JobState::Available, 301_000, 299_000),
        (JobState::Enqueued, 301_000, 299_000),
    ] {
        assert_eq!(with(state, NOW_MS - late_ms), [Kind::JobStuck], "{state}");
        assert_eq!(with(state, NOW_MS - in_time_ms), [], "{state}");
    }
    // Its id is enqueued again every few seconds, which moves its due time.
    let mut enqueued =
        Scene::of(OrderStatus::Paid).without_jobs().and_job(JobKind::SettleOrder, JobState::Enqueued, NOW_MS);
    assert_eq!(enqueued.kinds(), []);
    enqueued.record.jobs[0].waiting_since_ms = Some(NOW_MS - 301_000);
    assert_eq!(enqueued.kinds(), [Kind::JobStuck]);
}

#[test]
fn there_is_one_open_job_of_a_kind() {
    let one = Scene::of(OrderStatus::Paid).and_job(JobKind::CreatePaymentLink, JobState::Available, NOW_MS);
    assert_eq!(one.kinds(), []);
    assert_eq!(one.and_job(JobKind::SettleOrder, JobState::Enqueued, NOW_MS).kinds(), [Kind::JobDoubled]);
}

#[test]
fn jobs_beside_orders_are_judged_alike() {
    let callback = |state, order| {
        let record = CallbackJobRecord { job: job("process_callback", state, NOW_MS), order };
        callback_job(&record, NOW_MS).map(|difference| difference.kind)
    };

    assert_eq!(callback(JobState::Available, Some((ID, OrderStatus::Pending, false))), None);
    assert_eq!(callback(JobState::Dead, Some((ID, OrderStatus::Pending, false))), Some(Kind::DeadLetterUnseen));
    assert_eq!(callback(JobState::Dead, Some((ID, OrderStatus::Review, false))), Some(Kind::DeadLetter));
    assert_eq!(callback(JobState::Dead, Some((ID, OrderStatus::Paid, true))), Some(Kind::DeadLetter));
    assert_eq!(callback(JobState::Dead, None), Some(Kind::DeadLetter), "its callback is gone by now");
    let late = CallbackJobRecord { job: job("process_callback", JobState::Available, NOW_MS - 301_000), order: None };
    assert_eq!(callback_job(&late, NOW_MS).map(|difference| difference.kind), Some(Kind::JobStuck));

    let open = job("sweep", JobState::Available, NOW_MS + 1_000);
    assert_eq!(sweep(Some(&open), NOW_MS), None);
    assert_eq!(sweep(None, NOW_MS).map(|difference| difference.kind), Some(Kind::SweepMissing));
    assert_eq!(job_without_order(&open).kind, Kind::JobWithoutOrder);
}

#[test]
fn what_we_allowed_has_left_its_traces() {
    let allowed = |mut scene: Scene, transaction_id, verdict| {
        let (id, order_id) = (CallbackId(1), ID);
        scene.record.callbacks.push(CallbackRecord { id, order_id, transaction_id, verdict });
        scene.kinds()
    };

    assert_eq!(allowed(Scene::of(OrderStatus::Paid), Some(TX), CallbackVerdict::Allowed), []);
    assert_eq!(allowed(Scene::of(OrderStatus::Confirming), Some(TX), CallbackVerdict::Allowed), []);
    assert_eq!(
        allowed(Scene::of(OrderStatus::Pending), Some(TX), CallbackVerdict::Allowed),
        [Kind::CallbackWithoutEffect]
    );
    let stray = allowed(Scene::of(OrderStatus::Paid), Some(OTHER_TX), CallbackVerdict::AlreadyPaid);
    assert_eq!(stray, [Kind::AllowedDraftUnknown]);
    assert_eq!(allowed(Scene::of(OrderStatus::Paid), None, CallbackVerdict::Allowed), [Kind::AllowedDraftUnknown]);
}

#[test]
fn every_kind_has_its_own_name_and_says_what_to_do() {
    for kind in Kind::ALL {
        assert_eq!(Kind::parse(kind.as_str()), Some(*kind));
        assert!(kind.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{kind}");
        assert!(!kind.act().is_empty() && !kind.act().ends_with('.'), "{kind}");
    }
}

fn any<T: Copy + std::fmt::Debug + 'static>(values: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(values)
}

fn any_state() -> impl Strategy<Value = TransactionState> {
    prop::sample::select(vec![TransactionState::Open, TransactionState::Closed, debited(), reversed(), unclear()])
}

proptest! {
    /// Money at the gateway that the order does not show is always reported.
    #[test]
    fn money_never_passes_in_silence(
        status in any(OrderStatus::ALL),
        row in any(StoredState::ALL),
        has_inquiry in any(&[true, false]),
        needs_review in any(&[true, false]),
    ) {
        let mut scene = Scene::of(status).and_says(row, debited());
        if !has_inquiry { scene = scene.without_jobs(); }
        if needs_review {
            scene.record.findings.push(something());
            scene = scene.with(|order| order.needs_review = true);
        }

        let differences = scene.compared();
        let is_told = differences.iter().any(|difference| difference.transaction_id == Some(OTHER_TX));
        let with_a_person = differences.iter().any(|difference| difference.kind == Kind::BeforeAPerson);

        prop_assert!(is_told || (with_a_person && row == StoredState::Debited), "{differences:?}");
    }

    /// Only a debit makes an order paid, and only a reversal refunded.
    #[test]
    fn no_order_is_paid_or_refunded_by_anything_else(
        status in any(&[OrderStatus::Paid, OrderStatus::Refunded]),
        row in any(StoredState::ALL),
        state in any_state(),
    ) {
        let scene = Scene::of(status).says(row, state.clone());
        let fits = match status {
            OrderStatus::Paid => row == StoredState::Debited && state == debited(),
            _ => row == StoredState::Reversed && state == reversed(),
        };

        prop_assert_eq!(scene.compared().is_empty(), fits, "{:?}", scene.compared());
    }

    /// Any way through the table of transitions is a history, and with one line less it is none.
    #[test]
    fn a_lost_line_is_noticed_on_every_way(choices in prop::collection::vec(0usize..8, 0..12), lost in 0usize..12) {
        let mut scene = Scene::of(OrderStatus::Pending);
        let mut status = OrderStatus::Pending;
        for (number, choice) in choices.into_iter().enumerate() {
            let next: Vec<_> = TRANSITIONS.iter().filter(|(from, _)| *from == status).map(|(_, to)| *to).collect();
            if next.is_empty() { break; }
            let to = next[choice % next.len()];
            scene.tell(Some(status), to, &format!("step {number}"));
            status = to;
        }
        scene.record.order.status = status;
        let is_broken = |scene: &Scene| scene.kinds().contains(&Kind::HistoryBroken);
        prop_assert!(!is_broken(&scene));

        let lost = lost % scene.record.history.len();
        scene.record.history.remove(lost);
        prop_assert!(is_broken(&scene));
    }
}
