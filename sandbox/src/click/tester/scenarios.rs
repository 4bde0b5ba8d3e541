//! The scenarios, in an order in which one order is enough for all of them.

use std::time::Duration;

use super::expectation::Expectation;
use super::{TesterRun, TriedPayment};
use crate::click::shop_api::{PAYMENT_FAILED, ShopApiCall};
use crate::click::soum;

/// After a failed attempt the payer tries again; a merchant may take this long to free the order.
const FREED_WITHIN: Duration = Duration::from_secs(3);
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The scenarios after a first Prepare, for the case that there is none.
const WITH_AN_ATTEMPT: [&str; 13] = [
    "a repeated Prepare gets the same number",
    "another attempt while one is open",
    "Complete with a wrong signature",
    "Complete without a field",
    "Complete of another service",
    "Complete of an unknown order",
    "Complete with an unknown merchant_prepare_id",
    "Complete of another attempt",
    "Complete over another amount",
    "Complete with slid values",
    "Complete of a failed payment",
    "a repeated Complete of a failed payment",
    "Prepare of a canceled attempt",
];

/// The scenarios of a payment that succeeds, for the case that none is allowed.
const WITH_A_PAYMENT: [&str; 8] = [
    "the same Prepare twice at the same moment",
    "Complete",
    "a repeated Complete",
    "the same Complete twice at the same moment",
    "Prepare of a paid attempt",
    "Complete of a failed payment, after it was paid",
    "another attempt on a paid order",
    "a Complete whose error was altered to 0",
];

impl TesterRun<'_> {
    /// Plays everything.
    pub(super) async fn play(&mut self) {
        self.refused_prepares().await;
        let first = self.new_payment(&self.failing_account(), false);
        let call = self.prepare(&first);
        let answer = self.check("Prepare", &call, &Expectation::code(0)).await;
        let Some(prepare_id) = answer.integer("merchant_prepare_id").filter(|_| answer.code() == Some(0)) else {
            self.skip(&WITH_AN_ATTEMPT, "Prepare gave no merchant_prepare_id");
            self.skip(&WITH_A_PAYMENT, "Prepare gave no merchant_prepare_id");
            return;
        };
        self.open_attempt(&call, prepare_id).await;
        self.refused_completes(&first, prepare_id).await;
        let failed = self.failing(&first, prepare_id).await;
        self.paying(&failed).await;
    }

    /// Prepares that a merchant must refuse. None of them leaves a trace.
    async fn refused_prepares(&mut self) {
        let key = self.tester.secret_key.clone();
        let (too_much, too_little) =
            (self.tester.amount_tiyin.saturating_add(100), (self.tester.amount_tiyin / 2).max(1));
        let over = |tiyin| move |call| ShopApiCall { amount: soum::with_decimals(tiyin), ..call };

        let code = Expectation::code;
        let wrong_key = format!("{key}x");
        self.refuse("Prepare with a wrong signature", code(-1), |call| Some(call.signed(&wrong_key))).await;
        let without = |call| Some(ShopApiCall { without: Some("amount"), ..call });
        self.refuse("Prepare without a field", code(-8), without).await;
        let other_action = |call| ShopApiCall { action: "7".to_owned(), ..call };
        self.refuse("an unknown action", code(-3), |call| Some(other_action(call).signed(&key))).await;
        let other_service = |call: ShopApiCall| ShopApiCall { service_id: other_number(&call.service_id), ..call };
        self.refuse("Prepare of another service", code(-8), |call| Some(other_service(call).signed(&key))).await;
        self.refuse("Prepare of an unknown order", code(-5), |call| Some(of_unknown_order(call).signed(&key))).await;
        self.refuse("Prepare over too much", code(-2), |call| Some(over(too_much)(call).signed(&key))).await;
        self.refuse("Prepare over too little", code(-2), |call| Some(over(too_little)(call).signed(&key))).await;
        self.refuse("Prepare with slid values", refused_as_slid(), ShopApiCall::slid).await;
    }

    /// A Prepare that a merchant must refuse, made of an honest one. If it is allowed, its payment fails, so that it does
    /// not stand in the way of the next scenario.
    async fn refuse(
        &mut self,
        name: &'static str,
        expected: Expectation,
        spoil: impl FnOnce(ShopApiCall) -> Option<ShopApiCall>,
    ) {
        let payment = self.new_payment(&self.failing_account(), false);
        let Some(call) = spoil(self.prepare(&payment)) else { return };
        let answer = self.check(name, &call, &expected).await;
        if let Some(prepare_id) = answer.integer("merchant_prepare_id").filter(|_| answer.code() == Some(0)) {
            let failed = self.failed(&payment, prepare_id);
            self.send(&failed).await;
        }
    }

    /// A Complete of a payment that failed.
    fn failed(&self, payment: &TriedPayment, prepare_id: i64) -> ShopApiCall {
        self.signed(ShopApiCall {
            error: PAYMENT_FAILED.to_string(),
            error_note: "Transaction cancelled".to_owned(),
            ..self.complete(payment, prepare_id)
        })
    }

    /// What may come while an attempt is open.
    async fn open_attempt(&mut self, prepared: &ShopApiCall, prepare_id: i64) {
        let same = Expectation::prepared_as(prepare_id);
        self.check("a repeated Prepare gets the same number", prepared, &same).await;
        let other = self.new_payment(&prepared.merchant_trans_id, false);
        let call = self.prepare(&other);
        let either = Expectation::any(&[
            (-9, "the open attempt holds the order"),
            (0, "both attempts may pay: the second payment must be returned"),
        ]);
        self.check("another attempt while one is open", &call, &either).await;
    }

    /// Completes that a merchant must refuse. None of them ends the attempt.
    async fn refused_completes(&mut self, payment: &TriedPayment, prepare_id: i64) {
        let honest = self.complete(payment, prepare_id);

        let mut call = honest.clone().signed(&format!("{}x", self.tester.secret_key));
        self.check("Complete with a wrong signature", &call, &Expectation::code(-1)).await;
        call = ShopApiCall { without: Some("merchant_prepare_id"), ..honest.clone() };
        self.check("Complete without a field", &call, &Expectation::code(-8)).await;
        call = self.signed(ShopApiCall { service_id: other_number(&honest.service_id), ..honest.clone() });
        self.check("Complete of another service", &call, &Expectation::code(-8)).await;
        call = self.signed(of_unknown_order(honest.clone()));
        self.check("Complete of an unknown order", &call, &Expectation::code(-5)).await;
        let never_given = prepare_id.saturating_add(1_000_000).to_string();
        call = self.signed(ShopApiCall { merchant_prepare_id: Some(never_given), ..honest.clone() });
        self.check("Complete with an unknown merchant_prepare_id", &call, &Expectation::code(-6)).await;
        let other = self.new_payment(&payment.account, false);
        call = self.complete(&other, prepare_id);
        self.check("Complete of another attempt", &call, &Expectation::code(-6)).await;
        let amount = soum::with_decimals((self.tester.amount_tiyin / 2).max(1));
        call = self.signed(ShopApiCall { amount, ..honest.clone() });
        self.check("Complete over another amount", &call, &Expectation::code(-2)).await;
        if let Some(slid) = honest.slid() {
            self.check("Complete with slid values", &slid, &refused_as_slid()).await;
        }
    }

    /// A payment that fails; returns its Complete.
    async fn failing(&mut self, payment: &TriedPayment, prepare_id: i64) -> ShopApiCall {
        let failed = self.failed(payment, prepare_id);
        self.check("Complete of a failed payment", &failed, &Expectation::code(-9)).await;
        self.check("a repeated Complete of a failed payment", &failed, &Expectation::code(-9)).await;
        let call = self.prepare(payment);
        self.check("Prepare of a canceled attempt", &call, &Expectation::code(-9)).await;
        failed
    }

    /// A payment that succeeds, by the payer whose first attempt failed.
    async fn paying(&mut self, failed: &ShopApiCall) {
        let payment = self.new_payment(&self.paying_account(), true);
        let call = self.prepare(&payment);
        let Some(prepare_id) = self.prepared_at_last(&call).await else {
            self.skip(&WITH_A_PAYMENT[1..], "the payer's second attempt was not allowed");
            return;
        };
        let call = self.complete(&payment, prepare_id);
        self.check("Complete", &call, &Expectation::code(0)).await;
        self.paid(&payment, &call).await;

        // The signature does not cover `error`, so a captured Complete can be altered.
        let altered = ShopApiCall { error: "0".to_owned(), error_note: "Success".to_owned(), ..failed.clone() };
        let expected = Expectation::any(&[
            (-9, "the attempt stays canceled"),
            (-4, "the order is paid, by another attempt"),
            (0, "taken as a late payment: Click must be asked before anything follows from it"),
        ]);
        self.check("a Complete whose error was altered to 0", &altered, &expected).await;
    }

    /// The same Prepare twice at once, until it is allowed or the time is over.
    async fn prepared_at_last(&mut self, call: &ShopApiCall) -> Option<i64> {
        let name = "the same Prepare twice at the same moment";
        let begun = tokio::time::Instant::now();
        loop {
            let (first, second) = tokio::join!(self.send(call), self.send(call));
            let prepare_id = first.integer("merchant_prepare_id").filter(|_| first.code() == Some(0));
            if let Some(prepare_id) = prepare_id {
                self.judge(name, call, &second, &Expectation::prepared_as(prepare_id));
                return Some(prepare_id);
            }
            if first.code() != Some(-9) || begun.elapsed() >= FREED_WITHIN {
                self.judge(name, call, &first, &Expectation::code(0));
                return None;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// What may come after a payment.
    async fn paid(&mut self, payment: &TriedPayment, complete: &ShopApiCall) {
        // Click documents -4 as one of the two errors that are permitted after a debit; others answer 0 once more.
        let again = Expectation::any(&[(0, "answered as the first one"), (-4, "answered that it is paid")]);
        self.check("a repeated Complete", complete, &again).await;
        let (first, second) = tokio::join!(self.send(complete), self.send(complete));
        let name = "the same Complete twice at the same moment";
        match again.judge(complete, &first) {
            Ok(_) => self.judge(name, complete, &second, &again),
            Err(_) => self.judge(name, complete, &first, &again),
        }
        let call = self.prepare(payment);
        self.check("Prepare of a paid attempt", &call, &Expectation::code(-4)).await;
        let failed = ShopApiCall {
            error: PAYMENT_FAILED.to_string(),
            error_note: "Transaction cancelled".to_owned(),
            ..complete.clone()
        };
        self.check("Complete of a failed payment, after it was paid", &failed, &again).await;
        let other = self.new_payment(&payment.account, false);
        let call = self.prepare(&other);
        let refused = Expectation::any(&[(-9, "the order takes no other payment"), (-4, "the order is paid")]);
        self.check("another attempt on a paid order", &call, &refused).await;
    }
}

/// Values slid over a boundary have a valid signature; they name an order or attempt that does not fit the amount.
fn refused_as_slid() -> Expectation {
    let why = "the values do not fit each other";
    Expectation::any(&[(-2, why), (-5, why), (-6, why), (-8, why)])
}

fn of_unknown_order(call: ShopApiCall) -> ShopApiCall {
    ShopApiCall { merchant_trans_id: format!("{}999999", call.merchant_trans_id), ..call }
}

/// Another number of as many digits.
fn other_number(number: &str) -> String {
    let turned = |digit: char| if digit == '9' { '1' } else { '9' };
    number.chars().map(turned).collect()
}
