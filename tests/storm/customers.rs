//! The load: shops make orders at a steady rate, and each customer pays, or does not. Some orders are canceled, some of
//! them while their customer pays. Some are paid and refunded, by shops that ask more than once.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::order::PaymentType;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use super::payers::{Payer, TryEnd, VisitEnd, refund_in_cabinet};
use super::plan::StormPlan;
use crate::support::patient::Patient;

/// A shop tries longer than the storm lasts: in the end each of its orders must be accepted.
const PATIENCE: Duration = Duration::from_secs(300);

/// The answers to shops and customers.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServedCustomers {
    /// Orders acknowledged with 201.
    pub(crate) acknowledged: Vec<i64>,
    /// Shops that gave up.
    pub(crate) turned_away: usize,
    /// Orders whose customers chose on our page.
    pub(crate) choosers: Vec<i64>,
    /// Orders that were paid by the link of an earlier choice.
    pub(crate) paid_by_old_link: Vec<i64>,
    /// Orders whose customers were told that they have paid.
    pub(crate) payers: Vec<i64>,
    /// Orders whose customers wanted to pay and could not.
    pub(crate) gave_up: Vec<i64>,
    /// Orders whose shops were told that they are canceled.
    pub(crate) canceled: Vec<i64>,
    /// Refunds that were accepted, with their orders.
    pub(crate) refunds: Vec<(i64, i64)>,
    /// Orders whose money Payme's cabinet gives back.
    pub(crate) cabinet_refunds: Vec<i64>,
    /// Orders whose refund by our API was not left to the cabinet, which alone can make it.
    pub(crate) refunds_not_left: Vec<i64>,
    /// Orders whose payers left in the middle, or whom an attempt holds about which Click and we disagree: they wait until
    /// the end of their permission. And orders whose customers never choose, which wait a day for it.
    pub(crate) left: Vec<i64>,
    pub(crate) held: Vec<i64>,
    /// Transactions of other payers at Payme, begun beside a payer's own.
    pub(crate) rivals: Vec<String>,
    /// Orders of which such a one and the payer's own were allowed at the same time.
    pub(crate) allowed_twice: Vec<i64>,
}

/// Where the orders are paid, in turn.
pub(crate) const TURNS: [PaymentType; 3] = [PaymentType::Atmos, PaymentType::Payme, PaymentType::Click];

/// How many orders of a hundred are canceled, and how many are refunded once they are paid.
const CANCELED_PERCENT: u32 = 8;
const REFUNDED_PERCENT: u32 = 20;

/// The pause between two choices of a customer.
const CHOOSES_AGAIN_AFTER: Duration = Duration::from_millis(400);

/// How long a shop that wants to refund waits for the payment. An order whose jobs crash is never paid.
const PAID_WITHIN: Duration = Duration::from_secs(60);

impl ServedCustomers {
    fn hear(&mut self, payer: Payer<'_>) {
        self.allowed_twice.extend(payer.is_allowed_twice.then_some(payer.order_id));
        self.rivals.extend(payer.rivals);
    }

    /// Orders that wait for the end of a permission, or for a choice, and may wait longer than the storm.
    pub(crate) fn waiting(&self) -> Vec<i64> {
        [&self.left[..], &self.held[..]].concat()
    }
}

impl fmt::Display for ServedCustomers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} orders acknowledged, {} shops gave up, {} customers have paid, {} gave up, {} left, {} are held, {} orders \
             canceled, {} refunds, {} in the cabinet",
            self.acknowledged.len(),
            self.turned_away,
            self.payers.len(),
            self.gave_up.len(),
            self.left.len(),
            self.held.len(),
            self.canceled.len(),
            self.refunds.len(),
            self.cabinet_refunds.len()
        )
    }
}

/// All buyers.
pub(crate) struct Customers {
    buying: JoinSet<()>,
    served: Arc<Mutex<ServedCustomers>>,
}

impl Customers {
    /// Begins to make the plan's orders, one after the other. None waits for the end of an earlier one.
    pub(crate) fn start(plan: &StormPlan, patient: Patient) -> Customers {
        let served = Arc::new(Mutex::new(ServedCustomers::default()));
        let mut buying = JoinSet::new();
        let (plan, shared) = (plan.clone(), Arc::clone(&served));
        buying.spawn(async move {
            let mut customers = JoinSet::new();
            let mut interval = tokio::time::interval(plan.order_every);
            for number in 0..plan.orders {
                interval.tick().await;
                let (plan, patient, served) = (plan.clone(), patient.clone(), Arc::clone(&shared));
                customers.spawn(async move { buy(&plan, &patient, number, &served).await });
            }
            while let Some(ended) = customers.join_next().await {
                ended.expect("a customer's story ends");
            }
        });
        Customers { buying, served }
    }

    /// Waits until all have bought or given up.
    pub(crate) async fn served(mut self) -> ServedCustomers {
        while let Some(ended) = self.buying.join_next().await {
            ended.expect("the customers end");
        }
        self.served.lock().unwrap().clone()
    }
}

async fn buy(plan: &StormPlan, patient: &Patient, number: usize, served: &Mutex<ServedCustomers>) {
    let mut random = StdRng::seed_from_u64(plan.seed.wrapping_add(number as u64 + 1));
    let deadline = Instant::now() + PATIENCE;
    let key = format!("storm-{number}");
    // The shops leave the choice to some customers.
    let made = match number % (TURNS.len() + 1) {
        turn if turn < TURNS.len() => {
            let order = patient.create_at(TURNS[turn], &key, deadline).await;
            order.map(|id| (id, Way::Given(TURNS[turn])))
        }
        _ => patient.create_unchosen(&key, deadline).await.map(|(id, token)| (id, Way::Chosen(token))),
    };
    let Some((id, way)) = made else {
        served.lock().unwrap().turned_away += 1;
        return;
    };
    served.lock().unwrap().acknowledged.push(id);
    let never_pays = random.random_range(0..100) < plan.never_pay_percent;
    match way {
        Way::Given(_) if never_pays => return,
        // An order without a choice waits for it longer than the storm.
        Way::Chosen(_) if never_pays && random.random_bool(0.5) => return served.lock().unwrap().left.push(id),
        Way::Given(_) | Way::Chosen(_) => (),
    }
    let fate = random.random_range(0..100);
    let payment_type = match way {
        Way::Given(payment_type) => payment_type,
        Way::Chosen(token) => match choose(patient, id, &token, &mut random, deadline).await {
            Some(chosen) => {
                pay_by_old_link(patient, id, &chosen, &mut random, served).await;
                served.lock().unwrap().choosers.push(id);
                chosen.last
            }
            None => {
                served.lock().unwrap().gave_up.push(id);
                return;
            }
        },
    };
    if never_pays {
        return;
    }
    let mut payer = Payer::new(patient, payment_type, id);
    if fate < CANCELED_PERCENT {
        let is_being_paid = random.random_bool(0.5);
        call_off(&mut payer, is_being_paid, &mut random, deadline, served).await;
        return served.lock().unwrap().hear(payer);
    }
    tokio::time::sleep(Duration::from_millis(random.random_range(0..2_000))).await;
    let comes_back = random.random_bool(0.7);
    let is_debited = visit(&mut payer, &mut random, deadline, served).await;
    served.lock().unwrap().hear(payer);
    if !is_debited {
        return;
    }
    if comes_back
        && let Some(order) = patient.order(id).await
        && let Some(token) = order["order_token"].as_str()
    {
        patient.open_return_page(token).await;
    }
    if fate >= 100 - REFUNDED_PERCENT && patient.reaches(id, "paid", Instant::now() + PAID_WITHIN).await {
        match payment_type {
            PaymentType::Payme => give_back_in_cabinet(patient, id, deadline, served).await,
            PaymentType::Atmos | PaymentType::Click => give_back(patient, id, deadline, served).await,
        }
    }
}

/// Who says through which gateway an order is paid.
enum Way {
    /// The shop.
    Given(PaymentType),
    /// The customer, on our page of this token.
    Chosen(String),
}

/// What a customer chose.
struct Choices {
    /// The choice before the last one, and its page at the gateway.
    before: Option<(PaymentType, String)>,
    last: PaymentType,
}

/// A customer who changed their mind still has the page of the choice before, and tries to pay there, which must take no
/// money.
async fn pay_by_old_link(
    patient: &Patient,
    id: i64,
    chosen: &Choices,
    random: &mut StdRng,
    served: &Mutex<ServedCustomers>,
) {
    let Some((before, link)) = &chosen.before else { return };
    if *before == chosen.last || *before == PaymentType::Atmos {
        return;
    }
    let mut payer = Payer::new(patient, *before, id);
    payer.open_link(link);
    let is_debited = payer.try_once(random).await == TryEnd::Debited;
    let mut served = served.lock().unwrap();
    served.paid_by_old_link.extend(is_debited.then_some(id));
    served.hear(payer);
}

/// The customer chooses on our page, and some change their mind; returns the last choice, or `None` if the time is over.
async fn choose(patient: &Patient, id: i64, token: &str, random: &mut StdRng, deadline: Instant) -> Option<Choices> {
    let mut choices = if random.random_bool(0.3) { 2 } else { 1 };
    let mut before = None;
    while Instant::now() < deadline {
        // What is not available is not waited for.
        let wanted = TURNS[random.random_range(0..TURNS.len())];
        let is_taken = patient.choose(token, wanted).await == Some(true);
        if is_taken {
            choices -= 1;
            // A choice whose answer was lost may be a later one than this customer knows of: the order tells.
            let order = patient.order_at_last(id, deadline).await?;
            let last = order["payment_type"].as_str().and_then(PaymentType::parse)?;
            if choices == 0 {
                return Some(Choices { before, last });
            }
            before = order["payment_url"].as_str().map(|link| (last, link.to_owned()));
        }
        tokio::time::sleep(CHOOSES_AGAIN_AFTER).await;
    }
    None
}

/// The customer pays, or does not; returns whether money was taken.
async fn visit(payer: &mut Payer<'_>, random: &mut StdRng, deadline: Instant, served: &Mutex<ServedCustomers>) -> bool {
    let (id, end) = (payer.order_id, payer.visit(random, deadline).await);
    let mut served = served.lock().unwrap();
    let ended_so = match end {
        VisitEnd::Debited => &mut served.payers,
        VisitEnd::Left => &mut served.left,
        VisitEnd::Held => &mut served.held,
        VisitEnd::GaveUp => &mut served.gave_up,
    };
    ended_so.push(id);
    end == VisitEnd::Debited
}

/// The shop cancels the order, with or without a payment at that moment.
async fn call_off(
    payer: &mut Payer<'_>,
    is_being_paid: bool,
    random: &mut StdRng,
    deadline: Instant,
    served: &Mutex<ServedCustomers>,
) {
    let (patient, id) = (payer.patient, payer.order_id);
    let canceled = match (is_being_paid, payer.payment_type) {
        (true, PaymentType::Atmos) => match patient.link(id, deadline).await {
            Some(transaction_id) => tokio::join!(patient.cancel(id, deadline), patient.pay(transaction_id)).0,
            None => None,
        },
        (true, PaymentType::Payme | PaymentType::Click) => {
            let Some(order) = patient.order_at_last(id, deadline).await else { return };
            payer.open_page(&order);
            let (canceled, end) = tokio::join!(patient.cancel(id, deadline), payer.try_once(random));
            match end {
                // It is not canceled then, and nothing is left to do for the payer.
                TryEnd::Debited => (),
                TryEnd::Left => served.lock().unwrap().left.push(id),
                TryEnd::Unpaid if canceled == Some(false) => {
                    visit(payer, random, deadline, served).await;
                }
                TryEnd::Unpaid => (),
            }
            canceled
        }
        (false, _) => patient.cancel(id, deadline).await,
    };
    if canceled == Some(true) {
        served.lock().unwrap().canceled.push(id);
    }
}

/// A clerk asks us, who cannot, and then gives the money back in Payme's cabinet.
async fn give_back_in_cabinet(patient: &Patient, id: i64, deadline: Instant, served: &Mutex<ServedCustomers>) {
    if !patient.is_refund_left_to_cabinet(id, &format!("storm-refund-{id}"), deadline).await {
        served.lock().unwrap().refunds_not_left.push(id);
    }
    if refund_in_cabinet(patient, id).await {
        served.lock().unwrap().cabinet_refunds.push(id);
        patient.reaches(id, "refunded", Instant::now() + PAID_WITHIN).await;
    }
}

/// The shop asks twice at once under one key, and a second clerk asks under another one.
async fn give_back(patient: &Patient, id: i64, deadline: Instant, served: &Mutex<ServedCustomers>) {
    let (mine, theirs) = (format!("storm-refund-{id}"), format!("storm-refund-{id}-too"));
    let (first, again, other) = tokio::join!(
        patient.refund(id, &mine, deadline),
        patient.refund(id, &mine, deadline),
        patient.refund(id, &theirs, deadline)
    );
    let mut accepted: Vec<(i64, i64)> =
        [first, again, other].into_iter().flatten().map(|refund| (id, refund)).collect();
    accepted.dedup();
    served.lock().unwrap().refunds.extend(accepted);
}
