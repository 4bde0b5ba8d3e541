//! The load: shops make orders at a steady rate, and each customer pays, or does not. Some orders are canceled, some of
//! them while their customer pays. Some are paid and refunded, by shops that ask more than once.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

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
    /// Orders whose customers were told that they have paid.
    pub(crate) payers: Vec<i64>,
    /// Orders whose customers wanted to pay and could not.
    pub(crate) gave_up: Vec<i64>,
    /// Orders whose shops were told that they are canceled.
    pub(crate) canceled: Vec<i64>,
    /// Refunds that were accepted, with their orders.
    pub(crate) refunds: Vec<(i64, i64)>,
}

/// How many orders of a hundred are canceled, and how many are refunded once they are paid.
const CANCELED_PERCENT: u32 = 8;
const REFUNDED_PERCENT: u32 = 15;

/// How long a shop that wants to refund waits for the payment. An order whose jobs crash is never paid.
const PAID_WITHIN: Duration = Duration::from_secs(60);

impl fmt::Display for ServedCustomers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} orders acknowledged, {} shops gave up, {} customers have paid, {} gave up, {} orders canceled, {} refunds",
            self.acknowledged.len(),
            self.turned_away,
            self.payers.len(),
            self.gave_up.len(),
            self.canceled.len(),
            self.refunds.len()
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
    let Some(id) = patient.create(&format!("storm-{number}"), deadline).await else {
        served.lock().unwrap().turned_away += 1;
        return;
    };
    served.lock().unwrap().acknowledged.push(id);
    if random.random_range(0..100) < plan.never_pay_percent {
        return;
    }
    let fate = random.random_range(0..100);
    if fate < CANCELED_PERCENT {
        return call_off(patient, id, random.random_bool(0.5), deadline, served).await;
    }
    tokio::time::sleep(Duration::from_millis(random.random_range(0..2_000))).await;
    let comes_back = random.random_bool(0.7);
    if patient.pay_until_debited(id, deadline).await.is_none() {
        served.lock().unwrap().gave_up.push(id);
        return;
    }
    served.lock().unwrap().payers.push(id);
    if comes_back
        && let Some(order) = patient.order(id).await
        && let Some(token) = order["order_token"].as_str()
    {
        patient.open_return_page(token).await;
    }
    if fate >= 100 - REFUNDED_PERCENT && patient.reaches(id, "paid", Instant::now() + PAID_WITHIN).await {
        give_back(patient, id, deadline, served).await;
    }
}

/// The shop cancels the order, with or without a payment at that moment.
async fn call_off(patient: &Patient, id: i64, is_being_paid: bool, deadline: Instant, served: &Mutex<ServedCustomers>) {
    let canceled = match is_being_paid {
        true => match patient.link(id, deadline).await {
            Some(transaction_id) => tokio::join!(patient.cancel(id, deadline), patient.pay(transaction_id)).0,
            None => None,
        },
        false => patient.cancel(id, deadline).await,
    };
    if canceled == Some(true) {
        served.lock().unwrap().canceled.push(id);
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
