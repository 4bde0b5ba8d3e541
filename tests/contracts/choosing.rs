//! The customer chooses the account through which an order is paid, and changes it, beside the calls of the gateways.

use std::sync::Arc;

use domain::callback_verdict::CallbackVerdict;
use domain::id::{OrderId, OrderToken, TransactionId};
use domain::job::{Job, Lease, QueueName};
use domain::order::{GatewayIdentity, MAX_CHOICES, NewOrder, Order, OrderAccount, OrderStatus, PaymentType};
use domain::transaction::{StoredState, StoredTransaction};
use futures_util::future::{join, join_all};
use store::calls::{self, CalledAccount, ToldCall};
use store::jobs::Finish;
use store::kinds::LongestWaits;
use store::orders::{self, Chosen, Created, LocalLink, Transition};
use store::settlement::{self, MAX_LINKS, Settlement};
use store::sweeping::{self, Swept};
use store::transactions::{self, SeenTransaction};
use store::{jobs, kinds};

use self::drafts::{Drafts, Fate, Met};
use crate::support::fixture::calling::{asked, payment_type, telling, told};
use crate::support::fixture::settling::paid;
use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, gateway, new_link, new_order, on_every_database};

mod drafts;

on_every_database! {
    an_order_whose_customer_chooses_has_no_account_and_expires_by_itself
    the_end_of_an_unchosen_order_s_time_is_not_too_far_ahead
    a_release_that_knows_no_choice_can_read_such_an_order_and_has_no_account_for_it
    the_choice_of_a_local_link_is_made_in_one_transaction
    the_choice_of_a_draft_stages_its_link
    the_same_choice_changes_nothing
    a_choice_is_refused_where_the_shop_named_the_account_and_after_the_order_s_time
    the_account_is_changed_only_while_no_transaction_may_take_money
    after_a_change_the_old_account_takes_no_money
    a_draft_of_the_account_before_is_refused_and_its_late_link_is_not_stored
    a_payment_that_fails_on_an_earlier_draft_leaves_the_order_a_link_that_comes
    a_draft_that_is_allowed_again_opens_no_transaction_of_another_account
    what_was_decided_for_the_account_before_is_not_written
    money_that_goes_back_while_another_account_is_asked_pays_nothing
    of_choices_at_once_one_stands_and_each_answer_names_what_stood
    the_choices_of_an_order_are_counted
    a_final_no_to_the_draft_that_was_chosen_lets_the_customer_choose_another_account
    an_order_whose_draft_is_finally_refused_fails_where_there_is_no_other_choice
    no_order_of_choices_and_calls_lets_two_transactions_take_money
}

const CHOICE_TTL_MS: i64 = 86_400_000;

fn link() -> LocalLink {
    let write = |id: OrderId, token: &OrderToken| format!("https://checkout.example/{id}/{}", token.as_str());
    LocalLink { write: Arc::new(write), payment_ttl_ms: PAYMENT_TTL_MS }
}

fn account(called: &CalledAccount) -> OrderAccount {
    OrderAccount { payment_type: payment_type(called), gateway: called.gateway.clone() }
}

pub(super) fn atmos() -> OrderAccount {
    OrderAccount { payment_type: PaymentType::Atmos, gateway: gateway() }
}

impl Fixture {
    pub(super) async fn unchosen(&self) -> Order {
        let new = NewOrder { account: None, ..new_order() };
        match orders::create_for_choice(&self.store, &new, None, CHOICE_TTL_MS).await.unwrap() {
            Created::New(order) => order,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn choose(&self, order: &Order, account: &OrderAccount) -> Chosen {
        let link = (account.payment_type != PaymentType::Atmos).then(link);
        orders::choose(&self.store, order.id, account, link.as_ref()).await.unwrap()
    }

    /// An order that is paid through this account by its customer's choice.
    async fn chosen(&self, chosen: &OrderAccount) -> Order {
        let order = self.unchosen().await;
        done(self.choose(&order, chosen).await)
    }

    async fn causes(&self, order: &Order) -> Vec<String> {
        orders::history(&self.store, order.id).await.unwrap().into_iter().map(|line| line.cause).collect()
    }

    async fn jobs(&self, order: &Order) -> Vec<(String, i64)> {
        let jobs = kinds::jobs_of_order(&self.store, order.id).await.unwrap();
        let mut jobs: Vec<_> =
            jobs.into_iter().filter(|job| job.finished_at_ms.is_none()).map(|job| (job.kind, job.due_at_ms)).collect();
        jobs.sort_unstable();
        jobs
    }
}

#[track_caller]
pub(super) fn done(chosen: Chosen) -> Order {
    match chosen {
        Chosen::Done(order) => order,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(chosen: Chosen) -> Order {
    match chosen {
        Chosen::Refused(order) => order,
        other => panic!("{other:?}"),
    }
}

async fn an_order_whose_customer_chooses_has_no_account_and_expires_by_itself(f: Fixture) {
    let order = f.unchosen().await;

    assert_eq!((order.status, &order.account, order.choices), (OrderStatus::Pending, &None, Some(0)));
    assert_eq!((&order.payment_url, order.links_made), (&None, 0));
    assert_eq!(order.expires_at_ms, Some(order.created_at_ms + CHOICE_TTL_MS));
    assert_eq!(format!("{:?}", f.find(&order).await), format!("{order:?}"));
    let jobs = f.jobs(&order).await;
    let [(kind, due_at_ms)] = jobs.as_slice() else { panic!("one job: {jobs:?}") };
    assert_eq!(kind, "settle_order");
    assert!((0..1_000).contains(&(due_at_ms - order.expires_at_ms.unwrap())), "{due_at_ms}");
    // It waits for no worker's account, and nothing of it is missing.
    assert_eq!(sweeping::restore(&f.store, &[gateway()]).await.unwrap(), Swept::default());
    assert_eq!(orders::open_elsewhere(&f.store, &[gateway()]).await.unwrap(), []);
    assert_eq!(orders::open_by_account(&f.store).await.unwrap(), []);
    for account in [telling(), asked()] {
        let call = f.begin_call(&order, "too early");
        assert_eq!(f.begin(&account, &call).await.verdict, CallbackVerdict::UnknownOrder);
        let verdict = calls::may_pay(&f.store, &account, call.order_id, call.amount).await.unwrap();
        assert_eq!(verdict, CallbackVerdict::UnknownOrder);
    }
    // Long after its time, while no worker lives, it is no orphan of an account.
    let long_ago = f.store.now_ms() - 10 * CHOICE_TTL_MS;
    f.execute(&[
        format!("update orders set expires_at_ms = {long_ago}, pending_since_ms = {long_ago} where id = {}", order.id),
        format!("delete from jobs where subject_id = {}", order.id),
    ])
    .await;
    let swept = sweeping::restore(&f.store, &[gateway()]).await.unwrap();
    assert_eq!(swept, Swept { settlements_restored: 1, ..Swept::default() });
    assert_eq!(f.settle(&f.find(&order).await, &Settlement::Expired).await.unwrap(), Transition::Made);
    assert_eq!(f.find(&order).await.status, OrderStatus::Expired);
}

/// A worker that starts, or sees a step of the database's clock, brings near what lies further ahead than its schedule.
async fn the_end_of_an_unchosen_order_s_time_is_not_too_far_ahead(f: Fixture) {
    let order = f.unchosen().await;
    let expires_at_ms = order.expires_at_ms.unwrap();
    let longest = LongestWaits { inquiry_ms: 1_800_000, late_inquiry_ms: 3 * CHOICE_TTL_MS, other_ms: 900_000 };
    let before = f.jobs(&order).await;

    assert_eq!(kinds::cap_due_times(&f.store, &longest).await.unwrap(), 0);

    assert_eq!(f.jobs(&order).await, before, "it is due when the order's time ends");
    f.execute(&[format!("update jobs set due_at_ms = {} where subject_id = {}", expires_at_ms + 1_000_000, order.id)])
        .await;
    assert_eq!(kinds::cap_due_times(&f.store, &longest).await.unwrap(), 1);
    assert!(f.jobs(&order).await[0].1 < expires_at_ms, "no step of the clock holds up its end");
    // Once it has an account, its inquiries have their schedule.
    let chosen = f.chosen(&account(&telling())).await;
    f.execute(&[format!("update jobs set due_at_ms = {expires_at_ms} where subject_id = {}", chosen.id)]).await;
    assert_eq!(kinds::cap_due_times(&f.store, &longest).await.unwrap(), 1);
}

/// Until all processes are of this release, the one before reads these rows, too: an unknown payment type would be an error of
/// every order that it reads together with this one.
async fn a_release_that_knows_no_choice_can_read_such_an_order_and_has_no_account_for_it(f: Fixture) {
    let order = f.unchosen().await;

    let read = f.text("select payment_type || ' ' || gateway || '.' from orders").await;
    assert_eq!(read, "atmos .");
    assert_eq!(GatewayIdentity(String::new()).payment_type(), None);
    // It writes orders without the new column, whose accounts are the shop's.
    f.execute(&[
        "insert into orders (id, token, api_key_name, product_name, amount, payment_type, language, status, gateway,
            created_at_ms, pending_since_ms)
         values (77, '0123456789abcdef0123456789abcdef', '', 'Tea', 5000, 'atmos', 'uz', 'pending', 'sandbox:1234', 1, 1)"
            .to_owned(),
    ])
    .await;
    let older = orders::find(&f.store, OrderId(77)).await.unwrap().unwrap();
    assert_eq!((older.account.clone(), older.choices), (Some(atmos()), None));
    refused(f.choose(&older, &account(&telling())).await);
    // Its sweep finds no link; the job that it stages waits for the choice.
    let job = Job::CreatePaymentLink { order_id: order.id };
    jobs::stage_now(&f.store, job).await.unwrap();
    done(f.choose(&order, &atmos()).await);
    let links = f.jobs(&order).await.into_iter().filter(|(kind, _)| kind == "create_payment_link").count();
    assert_eq!(links, 1);
}

async fn the_choice_of_a_local_link_is_made_in_one_transaction(f: Fixture) {
    let order = f.unchosen().await;

    let chosen = done(f.choose(&order, &account(&telling())).await);

    assert_eq!((chosen.account.clone(), chosen.choices), (Some(account(&telling())), Some(1)));
    let url = format!("https://checkout.example/{}/{}", order.id, order.token.as_str());
    assert_eq!(chosen.payment_url.as_deref(), Some(url.as_str()));
    assert_eq!(chosen.expires_at_ms, chosen.link_at_ms.map(|at_ms| at_ms + PAYMENT_TTL_MS), "its time begins now");
    assert_eq!(f.causes(&order).await, ["the shop asked for it", "the customer chose to pay with payme, choice 1"]);
    let jobs = f.jobs(&order).await;
    let [(kind, due_at_ms)] = jobs.as_slice() else { panic!("one job: {jobs:?}") };
    assert_eq!((kind.as_str(), Some(*due_at_ms)), ("settle_order", chosen.expires_at_ms));
    assert_eq!(f.begin_on(&telling(), &chosen, "pays").await.verdict, CallbackVerdict::Allowed);

    // A later choice leaves the end of its time as it is.
    let first = f.chosen(&account(&telling())).await;
    f.execute(&[format!("update orders set expires_at_ms = expires_at_ms - 60000 where id = {}", first.id)]).await;
    let second = done(f.choose(&first, &account(&asked())).await);
    assert_eq!(second.expires_at_ms, first.expires_at_ms.map(|at_ms| at_ms - 60_000));
}

async fn the_choice_of_a_draft_stages_its_link(f: Fixture) {
    let order = f.unchosen().await;

    let chosen = done(f.choose(&order, &atmos()).await);

    assert_eq!((chosen.account.clone(), &chosen.payment_url), (Some(atmos()), &None));
    assert_eq!(chosen.expires_at_ms, None, "its time begins with its link");
    let kinds: Vec<String> = f.jobs(&order).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["create_payment_link", "settle_order"]);
    f.link(&chosen, 7, PAYMENT_TTL_MS).await;
    let linked = f.find(&order).await;
    assert!(linked.expires_at_ms.is_some() && linked.payment_url.is_some());
    assert_eq!(f.jobs(&order).await.len(), 1, "the inquiry that was there comes as soon as a link's first one");
    assert_eq!(f.ask(&linked, 7).await, CallbackVerdict::Allowed);
}

async fn the_same_choice_changes_nothing(f: Fixture) {
    for chosen in [account(&telling()), atmos()] {
        let first = f.chosen(&chosen).await;
        let jobs = f.jobs(&first).await;

        let again = done(f.choose(&first, &chosen).await);

        assert_eq!(format!("{again:?}"), format!("{first:?}"));
        assert_eq!((f.causes(&first).await.len(), f.jobs(&first).await), (2, jobs));
    }
    // Also while it is being paid; once it has ended there is nothing to choose.
    let order = f.chosen(&account(&telling())).await;
    let begun = f.begin_on(&telling(), &order, "mine").await.transaction.unwrap();
    assert_eq!(done(f.choose(&order, &account(&telling())).await).status, OrderStatus::Confirming);
    f.debited(&telling(), &told("mine")).await;
    f.pay(&f.find(&order).await, begun.transaction_id.0).await;
    assert_eq!(refused(f.choose(&order, &account(&telling())).await).status, OrderStatus::Paid);
}

async fn a_choice_is_refused_where_the_shop_named_the_account_and_after_the_order_s_time(f: Fixture) {
    let named = f.order().await;
    refused(f.choose(&named, &account(&telling())).await);
    assert_eq!(f.find(&named).await.account, Some(atmos()));

    for change in ["status = 'canceled'", "status = 'review'", "status = 'expired'", "expires_at_ms = 1"] {
        let order = f.unchosen().await;
        f.execute(&[format!("update orders set {change} where id = {}", order.id)]).await;

        refused(f.choose(&order, &account(&telling())).await);

        assert_eq!(f.find(&order).await.account, None, "{change}");
        assert_eq!(f.causes(&order).await.len(), 1, "{change}");
    }
    assert!(matches!(orders::choose(&f.store, OrderId(999_999), &atmos(), None).await.unwrap(), Chosen::Unknown));
}

/// Shows: MONEY-25
async fn the_account_is_changed_only_while_no_transaction_may_take_money(f: Fixture) {
    for (from, to) in [(telling(), asked()), (asked(), telling())] {
        let order = f.chosen(&account(&from)).await;
        let begun = f.begin_on(&from, &order, &format!("holds {}", order.id)).await;
        assert_eq!(begun.verdict, CallbackVerdict::Allowed);
        let row = begun.transaction.unwrap();
        let change = async || f.choose(&order, &account(&to)).await;
        refused(change().await);
        // Rows that take money although their order's row does not say so.
        let id = order.id;
        for row in ["state = 'open'", "state = 'debited'", "state = 'closed', debited_at_ms = 1"] {
            f.execute(&[
                format!("update orders set status = 'pending', allowed_transaction_id = null where id = {id}"),
                format!("update transactions set {row} where order_id = {id}"),
            ])
            .await;
            refused(change().await);
            assert_eq!(f.find(&order).await.gateway(), Some(&from.gateway), "{row}");
        }
        f.execute(&[format!(
            "update transactions set state = 'closed', debited_at_ms = null, closed_at_ms = 1, close_code = 3
             where order_id = {id}"
        )])
        .await;
        assert_eq!(done(change().await).account, Some(account(&to)));
        assert_eq!(f.states(&order).await, [(row.transaction_id.0, StoredState::Closed)]);
    }
    // A draft: allowed it forbids a change, and merely open it does not.
    let order = f.chosen(&atmos()).await;
    f.link(&order, 7, PAYMENT_TTL_MS).await;
    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::Allowed);
    refused(f.choose(&order, &account(&telling())).await);
    let order = f.chosen(&atmos()).await;
    f.link(&order, 8, PAYMENT_TTL_MS).await;
    assert_eq!(done(f.choose(&order, &account(&telling())).await).transaction_id, None);
}

async fn after_a_change_the_old_account_takes_no_money(f: Fixture) {
    let order = f.chosen(&account(&telling())).await;
    f.begin_on(&telling(), &order, "first try").await;
    f.canceled(&telling(), "first try", 3).await;

    let changed = done(f.choose(&order, &account(&asked())).await);

    assert_eq!(f.begin_on(&telling(), &changed, "second try").await.verdict, CallbackVerdict::UnknownOrder);
    assert_eq!(f.begin_on(&telling(), &changed, "first try").await.verdict, CallbackVerdict::TransactionClosed);
    assert_eq!(f.debited(&telling(), &told("first try")).await.verdict, CallbackVerdict::TransactionClosed);
    let verdict = calls::may_pay(&f.store, &telling(), Some(order.id), Some(5_000)).await.unwrap();
    assert_eq!(verdict, CallbackVerdict::UnknownOrder);
    let begun = f.begin_on(&asked(), &changed, "now here").await;
    assert_eq!(begun.verdict, CallbackVerdict::Allowed);
    // A row of the old account that is open all the same opens nothing.
    f.execute(&["update transactions set state = 'open', closed_at_ms = null, close_code = null
        where external_id = 'first try'"
        .to_owned()])
        .await;
    f.execute(&[format!(
        "update orders set status = 'pending', allowed_transaction_id = null where id = {}",
        order.id
    )])
    .await;
    assert_eq!(f.begin_on(&telling(), &changed, "first try").await.verdict, CallbackVerdict::UnknownOrder);
}

async fn a_draft_of_the_account_before_is_refused_and_its_late_link_is_not_stored(f: Fixture) {
    let order = f.chosen(&atmos()).await;
    f.link(&order, 7, PAYMENT_TTL_MS).await;
    let changed = done(f.choose(&order, &account(&telling())).await);

    assert_eq!(f.ask(&changed, 7).await, CallbackVerdict::NotPayable);
    assert_eq!(f.find(&order).await.status, OrderStatus::Pending);
    assert_eq!(f.begin_on(&telling(), &changed, "pays").await.verdict, CallbackVerdict::Allowed);

    // The customer changes while the draft is being made: the draft is known, and the link is not the order's.
    let order = f.chosen(&atmos()).await;
    let jobs = f.claim(QueueName::Links).await;
    let wanted = Job::CreatePaymentLink { order_id: order.id };
    let job = jobs.iter().find(|job| job.job == Ok(wanted)).expect("the link's job");
    let changed = done(f.choose(&order, &account(&telling())).await);
    let stored = orders::store_link(&f.store, &job.lease, &order, &new_link(9), PAYMENT_TTL_MS, 0).await.unwrap();
    assert_eq!(stored, Transition::Refused);
    let now = f.find(&order).await;
    assert_eq!((&now.payment_url, now.transaction_id), (&changed.payment_url, None));
    assert_eq!(f.states(&order).await, [(9, StoredState::Open)]);
    assert_eq!(f.ask(&order, 9).await, CallbackVerdict::NotPayable);
}

/// The customer goes away and comes back to the first account, and pays in the tab that is still open, while the new draft
/// is being made.
async fn a_payment_that_fails_on_an_earlier_draft_leaves_the_order_a_link_that_comes(f: Fixture) {
    let order = f.chosen(&atmos()).await;
    f.link(&order, 7, PAYMENT_TTL_MS).await;
    done(f.choose(&order, &account(&telling())).await);
    let back = done(f.choose(&order, &atmos()).await);
    let link = f.claim_one(QueueName::Links).await;
    assert_eq!(f.ask(&back, 7).await, CallbackVerdict::Allowed);
    // A run that finds its order being paid has nothing to do.
    jobs::finish_alone(&f.store, &link.lease, &Finish::Complete).await.unwrap();

    f.execute(&[format!("update orders set last_allowed_at_ms = last_allowed_at_ms - 200000 where id = {}", order.id)])
        .await;
    let believed_after = std::time::Duration::from_secs(180);
    let reopened = Settlement::Reopened { transaction_id: TransactionId(7), link_is_closed: false, believed_after };
    assert_eq!(f.settle(&f.find(&order).await, &reopened).await.unwrap(), Transition::Made);

    let now = f.find(&order).await;
    assert_eq!((now.status, &now.payment_url), (OrderStatus::Pending, &None));
    let kinds: Vec<String> = f.jobs(&order).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["create_payment_link", "settle_order"]);
}

/// Numbers of two accounts may be the same, also in one order.
async fn a_draft_that_is_allowed_again_opens_no_transaction_of_another_account(f: Fixture) {
    let order = f.chosen(&account(&telling())).await;
    let failed = f.begin_on(&telling(), &order, "failed").await.transaction.unwrap();
    f.canceled(&telling(), "failed", 3).await;
    let number = failed.transaction_id;
    let back = done(f.choose(&order, &atmos()).await);
    f.link(&back, number.0, PAYMENT_TTL_MS).await;
    f.execute(&[format!("update transactions set state = 'closed' where order_id = {}", order.id)]).await;

    assert_eq!(f.ask(&back, number.0).await, CallbackVerdict::Allowed);

    let rows = transactions::of_order(&f.store, order.id).await.unwrap();
    let state = |of: &GatewayIdentity| rows.iter().find(|row| row.gateway == *of).map(|row| row.state);
    assert_eq!(state(&gateway()), Some(StoredState::Open), "{rows:?}");
    assert_eq!(state(&telling().gateway), Some(StoredState::Closed), "{rows:?}");
}

/// The order was read before its customer chose another account.
async fn what_was_decided_for_the_account_before_is_not_written(f: Fixture) {
    let order = f.chosen(&atmos()).await;
    f.link(&order, 7, PAYMENT_TTL_MS).await;
    let read = f.find(&order).await;
    done(f.choose(&order, &account(&telling())).await);

    for settlement in [paid(7), Settlement::Expired, Settlement::Unpaid { page_is_closed: true }] {
        assert_eq!(f.settle(&read, &settlement).await.unwrap(), Transition::Refused, "{settlement:?}");
        f.put_off_inquiries().await;
    }
    let now = f.find(&order).await;
    assert_eq!((now.status, now.seen_closed_at_ms), (OrderStatus::Pending, None));
}

/// The worker has read the debit and waits for the account before, while the money goes back in the gateway's cabinet.
async fn money_that_goes_back_while_another_account_is_asked_pays_nothing(f: Fixture) {
    let order = f.chosen(&account(&telling())).await;
    let begun = f.begin_on(&telling(), &order, "payment").await.transaction.unwrap();
    f.debited(&telling(), &told("payment")).await;
    let read = f.find(&order).await;
    let canceled = f.canceled(&telling(), "payment", 5).await;
    assert_eq!(canceled.verdict, CallbackVerdict::ReversalTold);

    let settled = f.settle(&read, &paid(begun.transaction_id.0)).await.unwrap();

    assert_eq!(settled, Transition::Refused);
    let now = f.find(&order).await;
    assert_eq!((now.status, now.transaction_id), (OrderStatus::Confirming, None));
    // The run that follows reads the row as it is.
    let row = transactions::of_order(&f.store, order.id).await.unwrap().remove(0);
    assert_eq!(row.state, StoredState::Reversed);
}

async fn of_choices_at_once_one_stands_and_each_answer_names_what_stood(f: Fixture) {
    for _ in 0..10 {
        let order = f.unchosen().await;
        let accounts = [account(&telling()), account(&asked()), atmos(), account(&telling())];

        let answers = join_all(accounts.iter().map(|account| f.choose(&order, account))).await;

        let now = f.find(&order).await;
        assert!(now.account.as_ref().is_some_and(|account| accounts.contains(account)), "{now:?}");
        assert!(answers.into_iter().all(|answer| matches!(answer, Chosen::Done(_) | Chosen::Refused(_))));
        let choices = now.choices.unwrap();
        assert_eq!(f.causes(&order).await.len() as i64, 1 + choices, "a line for each choice");
        assert_eq!(now.payment_url.is_some(), now.account != Some(atmos()));
    }
}

async fn the_choices_of_an_order_are_counted(f: Fixture) {
    let order = f.unchosen().await;
    for choice in 1..=MAX_CHOICES {
        let to = if choice % 2 == 0 { telling() } else { asked() };
        assert_eq!(done(f.choose(&order, &account(&to)).await).choices, Some(choice));
    }
    assert_eq!(refused(f.choose(&order, &account(&asked())).await).choices, Some(MAX_CHOICES));

    // Each draft is a call to the gateway, and each is asked about.
    let order = f.unchosen().await;
    for draft in 1..=MAX_LINKS {
        done(f.choose(&order, &atmos()).await);
        f.link(&f.find(&order).await, 100 + draft, PAYMENT_TTL_MS).await;
        done(f.choose(&order, &account(&telling())).await);
    }
    refused(f.choose(&order, &atmos()).await);
}

/// How many orders get a random story; `TASDIQ_TEST_INTERLEAVINGS` sets another number.
const ORDERS: u64 = 100;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Choices and the calls of three gateways in random order and at the same time, with inquiries between and beside them. One
/// gateway's link is a draft, which a job has made while the customer may already want another way to pay.
///
/// Shows: MONEY-25
async fn no_order_of_choices_and_calls_lets_two_transactions_take_money(f: Fixture) {
    // So that a job can be claimed by its number, and no order's job is met by another order.
    f.store.enqueue_when_staged(vec![QueueName::Settle, QueueName::Links]);
    let number = std::env::var("TASDIQ_TEST_INTERLEAVINGS").ok().and_then(|orders| orders.parse().ok());
    let seed = u64::from(std::process::id());
    let (mut changed, mut met) = (0, Met::default());
    for story in 0..number.unwrap_or(ORDERS) {
        let (changes, of_drafts) = walk(&f, seed * 1_000_003 + story).await;
        changed += changes;
        met.links_stored += of_drafts.links_stored;
        met.links_refused += of_drafts.links_refused;
        met.questions_allowed += of_drafts.questions_allowed;
        met.questions_refused += of_drafts.questions_refused;
        met.debits += of_drafts.debits;
    }
    println!("{changed} changes, {met:?}");

    assert!(changed > 0, "no choice was ever changed");
    let each = [met.links_stored, met.links_refused, met.questions_allowed, met.questions_refused, met.debits];
    assert!(each.iter().all(|times| *times > 0), "drafts are met in every state: {met:?}");
    let paid_twice = f.number(
        "select count(*) from (select order_id from order_history where to_status = 'paid' and from_status <> 'paid'
            group by order_id having count(*) > 1) as paid",
    );
    assert_eq!(paid_twice.await, 0);
    let paid = "select coalesce(string_agg(gateway, ' '), '') from (select distinct gateway from orders
        where status = 'paid') as paid";
    let paid = f.text(paid).await;
    for account in [telling().gateway, asked().gateway, gateway()] {
        assert!(paid.contains(&account.0), "no order was ever paid through {account}: {paid}");
    }
}

/// Returns how often the account was changed, and what became of the drafts.
async fn walk(f: &Fixture, seed: u64) -> (i64, Met) {
    let mut dice = Dice(seed);
    let order = f.unchosen().await;
    let called = [telling(), asked()];
    let accounts = [account(&telling()), account(&asked()), atmos()];
    let drafts = Drafts::of(f, &order);
    let mut said = Vec::new();
    for _ in 0..14 {
        if dice.roll(4) > 0 {
            drafts.begin_making().await;
        }
        match dice.roll(6) {
            0 => drafts.close(dice.roll(2) == 0).await,
            1 | 2 => drafts.debit(),
            _ => (),
        }
        let acts: Vec<(u64, usize, u64)> =
            (0..=dice.roll(3)).map(|_| (dice.roll(12), dice.roll(3) as usize, dice.roll(2))).collect();
        let inquiry = dice.roll(4);
        said.push((acts.clone(), inquiry));
        let act = async |(act, which, id): (u64, usize, u64)| {
            if act < 3 {
                return drop(f.choose(&order, &accounts[which]).await);
            }
            let Some(called) = called.get(which) else {
                return if act < 8 { drafts.store_made().await } else { drafts.ask(id == 0).await };
            };
            let id = format!("{} {which} {id}", order.id);
            match act {
                3..7 => drop(f.begin_on(called, &order, &id).await),
                7 | 8 => drop(f.debited(called, &claiming(f, &order, called, &id).await).await),
                _ => match which {
                    0 => drop(f.canceled(called, &id, 3).await),
                    _ => drop(f.failed(called, &claiming(f, &order, called, &id).await, -5017).await),
                },
            }
        };
        let beside = async {
            if inquiry == 0 {
                inquire(f, &order, &drafts).await;
            }
        };
        join(join_all(acts.into_iter().map(act)), beside).await;
        check(f, &order, &drafts, &format!("seed {seed}, order {}: {said:?}", order.id)).await;
        if inquiry == 1 {
            inquire(f, &order, &drafts).await;
            check(f, &order, &drafts, &format!("seed {seed}, order {}, inquired: {said:?}", order.id)).await;
        }
    }
    // An order that is still open ends with a payment on a draft, where it takes one.
    drop(f.choose(&order, &atmos()).await);
    drafts.begin_making().await;
    drafts.store_made().await;
    drafts.ask(true).await;
    drafts.debit();
    inquire(f, &order, &drafts).await;
    check(f, &order, &drafts, &format!("seed {seed}, order {}, at its end: {said:?}", order.id)).await;
    (f.find(&order).await.choices.unwrap_or_default() - 1, drafts.met())
}

async fn claiming(f: &Fixture, order: &Order, called: &CalledAccount, id: &str) -> ToldCall {
    if called.gateway == telling().gateway {
        return told(id);
    }
    let transaction = calls::inspect(&f.store, &called.gateway, id).await.unwrap();
    let begun = calls::CallAnswer { verdict: CallbackVerdict::Allowed, transaction };
    ToldCall { external_id: id.into(), claims: Some(f.claims(order, &begun)) }
}

/// At most one transaction of the order may take money or has taken it, and it is one of the order's account. The order's link
/// is one of its account, too.
async fn check(f: &Fixture, order: &Order, drafts: &Drafts<'_>, story: &str) {
    let (order, rows) = (f.find(order).await, transactions::of_order(&f.store, order.id).await.unwrap());
    let takes = |row: &&StoredTransaction| match drafts.fate(row.transaction_id.0) {
        Some(fate) => matches!(fate, Fate::Allowed | Fate::Debited),
        None => matches!(row.state, StoredState::Open | StoredState::Debited),
    };
    let live: Vec<_> = rows.iter().filter(takes).collect();
    assert!(live.len() <= 1, "{story}: {rows:#?} {:?}", drafts.shown());
    assert!(live.iter().all(|row| order.is_of(&row.gateway)), "{story}: {order:?} {rows:#?}");
    let is_of_drafts = order.is_of(&gateway());
    let url = order.payment_url.as_deref().unwrap_or_default();
    assert!(url.is_empty() || url.starts_with("http://gateway/") == is_of_drafts, "{story}: {order:?}");
    match order.status {
        OrderStatus::Pending => {
            assert_eq!(order.allowed_transaction_id, None, "{story}");
            let waits = is_of_drafts && url.is_empty();
            let of_order = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
            let links = of_order.iter().filter(|job| job.kind == "create_payment_link" && job.state.is_open());
            assert!(!waits || links.count() == 1, "{story}: no link comes: {of_order:?}");
        }
        OrderStatus::Confirming => {
            let holder = rows.iter().find(|row| Some(row.transaction_id) == order.allowed_transaction_id);
            assert!(holder.is_some_and(|row| order.is_of(&row.gateway)), "{story}: {rows:#?}");
        }
        OrderStatus::Paid | OrderStatus::Refunded => {
            let payer = rows.iter().find(|row| Some(row.transaction_id) == order.transaction_id);
            assert!(payer.is_some_and(|row| order.is_of(&row.gateway)), "{story}: {rows:#?}");
            let of_draft = payer.and_then(|row| drafts.fate(row.transaction_id.0));
            assert!(of_draft.is_none_or(|fate| fate == Fate::Debited), "{story}: {of_draft:?}");
        }
        status => panic!("{status}: {story}"),
    }
}

/// What `settle_order` does: a told row is as it says, and of an asked one a told failure is shown as closed, a told debit as
/// debited. A draft is shown as it is.
async fn inquire(f: &Fixture, order: &Order, drafts: &Drafts<'_>) {
    let (order, rows) = (f.find(order).await, transactions::of_order(&f.store, order.id).await.unwrap());
    let shown = drafts.shown();
    let of_draft =
        |row: &StoredTransaction| shown.iter().find(|(id, _)| *id == row.transaction_id.0).map(|(_, is)| *is);
    let debited = |row: &&StoredTransaction| match of_draft(row) {
        Some(state) => state == StoredState::Debited,
        None => row.state == StoredState::Debited || (row.state == StoredState::Open && row.debited_at_ms.is_some()),
    };
    let closed = |row: &&StoredTransaction| match of_draft(row) {
        Some(state) => state == StoredState::Closed,
        None => row.state != StoredState::Debited && row.closed_at_ms.is_some() && row.debited_at_ms.is_none(),
    };
    let is_allowed = |row: &&StoredTransaction| Some(row.transaction_id) == order.allowed_transaction_id;
    let is_linked = |row: &&StoredTransaction| Some(row.transaction_id) == order.transaction_id;
    let is_open = matches!(order.status, OrderStatus::Pending | OrderStatus::Confirming);
    let (settlement, of_row) = match rows.iter().find(debited) {
        Some(row) if is_open => (paid(row.transaction_id.0), Some((row, StoredState::Debited))),
        None if is_open => {
            let ended = rows.iter().find(|row| closed(row) && is_allowed(row));
            let page = rows.iter().find(|row| closed(row) && is_linked(row));
            match (ended, page) {
                (Some(row), _) => {
                    let believed_after = std::time::Duration::from_secs(180);
                    let (transaction_id, link_is_closed) = (row.transaction_id, is_linked(&row));
                    let reopened = Settlement::Reopened { transaction_id, link_is_closed, believed_after };
                    (reopened, Some((row, StoredState::Closed)))
                }
                (None, Some(row)) if order.status == OrderStatus::Pending => {
                    (Settlement::LinkClosed { transaction_id: row.transaction_id }, None)
                }
                _ => (Settlement::Unchanged, None),
            }
        }
        _ => (Settlement::Unchanged, None),
    };
    let of_calls = of_row.filter(|(row, _)| of_draft(row).is_none());
    let of_calls = of_calls.map(|(row, state)| (row.gateway.clone(), row.transaction_id, state));
    let of_drafts = shown.iter().map(|(id, state)| (gateway(), TransactionId(*id), *state));
    let seen: Vec<_> = of_calls
        .into_iter()
        .chain(of_drafts)
        .map(|(account, transaction_id, state)| {
            let seen = SeenTransaction { transaction_id, state, success_transaction_id: None, amount: None };
            (account, seen)
        })
        .collect();
    jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();
    let of_order = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
    let open = of_order.iter().find(|job| job.kind == "settle_order" && job.state.is_open()).expect("it is staged");
    let claimed = jobs::claim(&f.store, &[open.id]).await.unwrap();
    let [job] = claimed.as_slice() else { panic!("{open:?} is not claimed") };
    let now_ms = f.store.now_ms();
    let finish = Finish::Snooze { until_ms: now_ms + 86_400_000, queue: QueueName::Background };
    let settled = settlement::settle_beside(&f.store, &job.lease, &order, now_ms, &seen, &settlement, &finish).await;
    if settled.unwrap() == Transition::Refused {
        jobs::finish_alone(&f.store, &job.lease, &finish).await.unwrap();
    }
}

/// The run that makes the order's draft.
async fn link_job(f: &Fixture, order: &Order) -> Lease {
    let jobs = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
    let link = jobs.iter().find(|job| job.kind == "create_payment_link" && job.finished_at_ms.is_none()).unwrap();
    jobs::enqueue(&f.store, QueueName::Links, 100).await.unwrap();
    jobs::claim(&f.store, &[link.id]).await.unwrap().remove(0).lease
}

async fn a_final_no_to_the_draft_that_was_chosen_lets_the_customer_choose_another_account(f: Fixture) {
    let order = f.chosen(&atmos()).await;
    assert_eq!(order.expires_at_ms, None);
    let lease = link_job(&f, &order).await;

    let made = orders::take_choice_back(&f.store, &lease, &order, "code 9", CHOICE_TTL_MS).await.unwrap();

    assert_eq!(made, Transition::Made);
    let again = f.find(&order).await;
    assert_eq!((again.status, &again.account, again.choices), (OrderStatus::Pending, &None, Some(1)));
    assert_eq!(again.refused_gateway, Some(gateway()));
    let expires_at_ms = again.expires_at_ms.unwrap();
    assert!((0..60_000).contains(&(f.store.now_ms() + CHOICE_TTL_MS - expires_at_ms)), "{expires_at_ms}");
    assert_eq!(f.causes(&order).await[2], "atmos made no payment link (code 9), the customer may choose another way");
    let jobs = f.jobs(&order).await;
    let [(kind, due_at_ms)] = jobs.as_slice() else { panic!("one job: {jobs:?}") };
    assert_eq!(kind, "settle_order");
    assert!((0..60_000).contains(&(expires_at_ms - due_at_ms)), "the one of its first time to choose: {due_at_ms}");
    assert_eq!(sweeping::restore(&f.store, &[gateway()]).await.unwrap(), Swept::default());

    let refused = refused(f.choose(&again, &atmos()).await);
    assert_eq!(refused.account, None, "it would be refused again");
    let chosen = done(f.choose(&again, &account(&telling())).await);
    assert_eq!((chosen.account.clone(), chosen.choices), (Some(account(&telling())), Some(2)));
    assert!(chosen.payment_url.is_some());
    assert_eq!(f.begin_on(&telling(), &chosen, "pays").await.verdict, CallbackVerdict::Allowed);
}

async fn an_order_whose_draft_is_finally_refused_fails_where_there_is_no_other_choice(f: Fixture) {
    let take_back = async |order: &Order, lease: &Lease| {
        let outcome = orders::take_choice_back(&f.store, lease, order, "code 9", CHOICE_TTL_MS).await.unwrap();
        let now = f.find(order).await;
        assert_eq!(format!("{now:?}"), format!("{order:?}"), "nothing is written");
        outcome
    };
    // The shop named the account.
    let named = f.order().await;
    let lease = link_job(&f, &named).await;
    assert_eq!(take_back(&named, &lease).await, Transition::Refused);
    kinds::dead_letter(&f.store, jobs::DeadLetteredBy::Worker(&lease), "code 9", true).await.unwrap();
    assert_eq!(f.find(&named).await.status, OrderStatus::Failed);

    // A draft from before may still be debited, and nobody would ask about it.
    let with_draft = f.chosen(&atmos()).await;
    let lease = link_job(&f, &with_draft).await;
    let id = with_draft.id;
    f.execute(&[format!(
        "insert into transactions (gateway, transaction_id, order_id, amount, state, created_at_ms)
         values ('{}', 4711, {id}, 5000, 'open', 1)",
        gateway()
    )])
    .await;
    assert_eq!(take_back(&with_draft, &lease).await, Transition::Refused);
    f.execute(&["update transactions set state = 'closed', debited_at_ms = 1 where transaction_id = 4711".to_owned()])
        .await;
    assert_eq!(take_back(&with_draft, &lease).await, Transition::Refused, "a debit was told");
    f.execute(&["update transactions set debited_at_ms = null where transaction_id = 4711".to_owned()]).await;
    let made = orders::take_choice_back(&f.store, &lease, &with_draft, "code 9", CHOICE_TTL_MS).await.unwrap();
    assert_eq!(made, Transition::Made);

    // The choice has gone on meanwhile.
    let moved = f.chosen(&atmos()).await;
    let lease = link_job(&f, &moved).await;
    let now = done(f.choose(&moved, &account(&telling())).await);
    let outcome = orders::take_choice_back(&f.store, &lease, &moved, "code 9", CHOICE_TTL_MS).await.unwrap();
    assert_eq!((outcome, format!("{:?}", f.find(&moved).await)), (Transition::Refused, format!("{now:?}")));

    // The last choice is made.
    let last = f.chosen(&atmos()).await;
    f.execute(&[format!("update orders set choices = {MAX_CHOICES} where id = {}", last.id)]).await;
    let last = f.find(&last).await;
    let lease = link_job(&f, &last).await;
    assert_eq!(take_back(&last, &lease).await, Transition::Refused);
}
