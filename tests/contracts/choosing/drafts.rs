//! A gateway that makes drafts, as Atmos: the runs of the job that has one made, and what becomes of each draft there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use domain::callback_verdict::CallbackVerdict;
use domain::job::{Job, JobState, Lease, QueueName};
use domain::order::{Order, OrderStatus};
use domain::transaction::StoredState;
use store::jobs::Finish;
use store::orders::{self, Transition};
use store::{jobs, kinds};

use super::atmos;
use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, new_link};

/// A draft at the gateway, whatever the order's rows say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    /// It was allowed, and may be debited at any moment.
    Allowed,
    Debited,
    /// It ended unpaid.
    Closed,
}

/// How often a walk met the cases that it is for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Met {
    pub(super) links_stored: u32,
    pub(super) links_refused: u32,
    pub(super) questions_allowed: u32,
    pub(super) questions_refused: u32,
    pub(super) debits: u32,
}

/// The drafts of one order.
pub(super) struct Drafts<'f> {
    f: &'f Fixture,
    order: &'f Order,
    fates: Mutex<BTreeMap<i64, Fate>>,
    /// Runs that have their draft and have not stored it, with the order as they read it.
    making: Mutex<Vec<(Lease, Order, i64)>>,
    met: Mutex<Met>,
}

impl<'f> Drafts<'f> {
    pub(super) fn of(f: &'f Fixture, order: &'f Order) -> Self {
        Drafts { f, order, fates: Mutex::default(), making: Mutex::default(), met: Mutex::default() }
    }

    fn fates(&self) -> MutexGuard<'_, BTreeMap<i64, Fate>> {
        self.fates.lock().unwrap()
    }

    pub(super) fn fate(&self, transaction_id: i64) -> Option<Fate> {
        self.fates().get(&transaction_id).copied()
    }

    pub(super) fn met(&self) -> Met {
        *self.met.lock().unwrap()
    }

    /// The state that an inquiry shows of each draft.
    pub(super) fn shown(&self) -> Vec<(i64, StoredState)> {
        let state = |fate: Fate| match fate {
            Fate::Open | Fate::Allowed => StoredState::Open,
            Fate::Debited => StoredState::Debited,
            Fate::Closed => StoredState::Closed,
        };
        self.fates().iter().map(|(id, fate)| (*id, state(*fate))).collect()
    }

    /// The first half of `create_payment_link`: the order is read, and the gateway makes a draft.
    pub(super) async fn begin_making(&self) {
        let of_order = kinds::jobs_of_order(&self.f.store, self.order.id).await.unwrap();
        let link = of_order.iter().find(|job| job.kind == "create_payment_link" && job.state.is_open());
        let Some(job) = link.filter(|job| job.state != JobState::Running) else { return };
        jobs::stage_now(&self.f.store, Job::CreatePaymentLink { order_id: self.order.id }).await.unwrap();
        let claimed = jobs::claim(&self.f.store, &[job.id]).await.unwrap();
        let [run] = claimed.as_slice() else { panic!("{job:?} is not claimed") };
        let order = self.f.find(self.order).await;
        if order.status != OrderStatus::Pending || order.payment_url.is_some() {
            jobs::finish_alone(&self.f.store, &run.lease, &Finish::Complete).await.unwrap();
            return;
        }
        assert_eq!(order.account, Some(atmos()), "an order without a link is one of drafts");
        let number = self.fates().len() + self.making.lock().unwrap().len();
        let draft = self.order.id.0 * 100 + i64::try_from(number).unwrap();
        self.making.lock().unwrap().push((run.lease, order, draft));
    }

    /// The second half: the draft and its link are stored, wherever the order stands by now.
    pub(super) async fn store_made(&self) {
        let Some((lease, order, draft)) = self.making.lock().unwrap().pop() else { return };
        let first_inquiry_ms = self.f.store.now_ms() + 60_000;
        // Its page is open from the moment at which the row says so.
        self.fates().insert(draft, Fate::Open);
        let link = new_link(draft);
        let stored = orders::store_link(&self.f.store, &lease, &order, &link, PAYMENT_TTL_MS, first_inquiry_ms).await;
        if stored.unwrap() == Transition::Made {
            self.met.lock().unwrap().links_stored += 1;
            return;
        }
        self.met.lock().unwrap().links_refused += 1;
        let again = Finish::Snooze { until_ms: self.f.store.now_ms(), queue: QueueName::Links };
        jobs::finish_alone(&self.f.store, &lease, &again).await.unwrap();
    }

    /// The gateway asks about a draft whose customer pays, or sends its question again.
    pub(super) async fn ask(&self, newest: bool) {
        let draft = {
            let fates = self.fates();
            let mut ids = fates.iter().filter(|(_, fate)| **fate != Fate::Closed).map(|(id, _)| *id);
            if newest { ids.next_back() } else { ids.next() }
        };
        let Some(draft) = draft else { return };
        let verdict = self.f.ask(self.order, draft).await;
        let mut met = self.met.lock().unwrap();
        match verdict {
            CallbackVerdict::Allowed => {
                met.questions_allowed += 1;
                let mut fates = self.fates();
                let fate = fates.get_mut(&draft).unwrap();
                if *fate == Fate::Open {
                    *fate = Fate::Allowed;
                }
            }
            CallbackVerdict::AlreadyPaid => (),
            _ => met.questions_refused += 1,
        }
    }

    /// An allowed draft is debited.
    pub(super) fn debit(&self) {
        let mut fates = self.fates();
        if let Some(fate) = fates.values_mut().find(|fate| **fate == Fate::Allowed) {
            *fate = Fate::Debited;
            self.met.lock().unwrap().debits += 1;
        }
    }

    /// A draft ends unpaid: the newest one, or the one that was allowed. The inquiry that shows it comes minutes later.
    pub(super) async fn close(&self, allowed: bool) {
        let closed = {
            let mut fates = self.fates();
            let wanted = if allowed { Fate::Allowed } else { Fate::Open };
            let Some((id, fate)) = fates.iter_mut().rfind(|(_, fate)| **fate == wanted) else { return };
            *fate = Fate::Closed;
            *id
        };
        self.f
            .execute(&[format!(
                "update orders set last_allowed_at_ms = last_allowed_at_ms - 200000
                 where id = {} and allowed_transaction_id = {closed}",
                self.order.id
            )])
            .await;
    }
}
