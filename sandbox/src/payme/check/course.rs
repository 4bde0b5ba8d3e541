//! The two scenarios, call by call.

use reqwest::{Client, header};
use serde_json::{Value, json};

use super::answer::SeenAnswer;
use super::expectation::{ExpectedWord, Shown};
use super::plan::{PaymeScenarios, RefundPolicy};
use crate::check::{CheckLine, CheckReport};
use crate::clock::now_ms;
use crate::exchange::exchange;
use crate::payme::caller::basic;
use crate::payme::ledger::new_id;
use crate::payme::paying::REFUND;
use crate::payme::wire::{PaymeMethod, RpcCall};

/// The reason with which scenario 1 cancels (Payme documents, reasons: error while performing).
const UNPERFORMED: i64 = 3;

/// A run of the course, line by line.
pub(super) struct Course<'a> {
    plan: &'a PaymeScenarios,
    client: Client,
    lines: Vec<CheckLine>,
    next_id: u64,
}

/// The transaction of a scenario.
struct Made {
    id: String,
    account: String,
    /// The answer to Create.
    created: Value,
}

impl<'a> Course<'a> {
    pub(super) fn new(plan: &'a PaymeScenarios, client: Client) -> Self {
        Course { plan, client, lines: Vec::new(), next_id: 1 }
    }

    pub(super) fn report(self) -> CheckReport {
        CheckReport { lines: self.lines }
    }

    /// Scenario 1: nothing is paid.
    pub(super) async fn unconfirmed(&mut self) {
        self.wrong_key().await;
        let account = self.account(0);
        let id = new_id(now_ms());
        let wrong = self.plan.amount_tiyin + 1;
        for method in [PaymeMethod::CheckPerform, PaymeMethod::Create] {
            let params = self.params(method, &id, &account, wrong);
            self.step("1: a wrong amount", method, params, ExpectedWord::Code(-31_001)).await;
        }
        for method in [PaymeMethod::CheckPerform, PaymeMethod::Create] {
            let params = self.params(method, &id, UNKNOWN_ACCOUNT, self.plan.amount_tiyin);
            self.step("1: an account that does not exist", method, params, ExpectedWord::AccountError).await;
        }
        let made = self.make("1", account).await;
        let busy = new_id(now_ms());
        let params = self.params(PaymeMethod::Create, &busy, &made.account, self.plan.amount_tiyin);
        let expected = ExpectedWord::Busy(self.plan.busy_code);
        self.step("1: another transaction for the same order", PaymeMethod::Create, params, expected).await;
        let canceled = self.cancel("1: it is cancelled", &made, UNPERFORMED, -1).await;
        let shown = Shown {
            state: -1,
            cancel_time: canceled["cancel_time"].clone(),
            reason: json!(UNPERFORMED),
            ..made.shown()
        };
        self.look("1: it shows as cancelled", &made, shown).await;
    }

    /// Scenario 2: paid, and refunded.
    pub(super) async fn confirmed(&mut self) {
        let made = self.make("2", self.account(1)).await;
        let params = json!({"id": made.id});
        let expected = ExpectedWord::State(2, "perform_time");
        let performed = self.step("2: it is performed", PaymeMethod::Perform, params.clone(), expected).await;
        self.again("2: performed again", PaymeMethod::Perform, params, &performed).await;
        let paid = Shown { state: 2, perform_time: performed["perform_time"].clone(), ..made.shown() };
        self.look("2: it shows as performed", &made, paid.clone()).await;
        match self.plan.refund {
            RefundPolicy::Accept => {
                let canceled = self.cancel("2: it is refunded", &made, REFUND, -2).await;
                let shown =
                    Shown { state: -2, cancel_time: canceled["cancel_time"].clone(), reason: json!(REFUND), ..paid };
                self.look("2: it shows as refunded", &made, shown).await;
            }
            RefundPolicy::Refuse => {
                let params = json!({"id": made.id, "reason": REFUND});
                self.step("2: its refund is refused", PaymeMethod::Cancel, params, ExpectedWord::Code(-31_007)).await;
                self.look("2: it still shows as performed", &made, paid).await;
            }
        }
    }

    /// Every method with a wrong key.
    async fn wrong_key(&mut self) {
        let (account, id) = (self.account(0), new_id(now_ms()));
        for method in PaymeMethod::ALL {
            // Payme's own course leaves it out, for it is optional.
            if method == PaymeMethod::FiscalData {
                continue;
            }
            let params = self.params(method, &id, &account, self.plan.amount_tiyin);
            let key = format!("{}-wrong", self.plan.key);
            let expected = ExpectedWord::Code(-32_504);
            self.step_with("1: a wrong key", method, params, expected, &key).await;
        }
    }

    /// Check, Create, the same Create, CheckTransaction.
    async fn make(&mut self, scenario: &str, account: String) -> Made {
        let id = new_id(now_ms());
        let amount = self.plan.amount_tiyin;
        let params = self.params(PaymeMethod::CheckPerform, &id, &account, amount);
        let name = format!("{scenario}: it may be paid");
        self.step(&name, PaymeMethod::CheckPerform, params, ExpectedWord::Allowed).await;
        let params = self.params(PaymeMethod::Create, &id, &account, amount);
        let name = format!("{scenario}: a transaction is created");
        let expected = ExpectedWord::State(1, "create_time");
        let created = self.step(&name, PaymeMethod::Create, params.clone(), expected).await;
        self.again(&format!("{scenario}: created again"), PaymeMethod::Create, params, &created).await;
        let made = Made { id, account, created };
        self.look(&format!("{scenario}: it shows as created"), &made, Shown { state: 1, ..made.shown() }).await;
        made
    }

    async fn cancel(&mut self, name: &str, made: &Made, reason: i64, state: i64) -> Value {
        let params = json!({"id": made.id, "reason": reason});
        let expected = ExpectedWord::State(state, "cancel_time");
        let canceled = self.step(name, PaymeMethod::Cancel, params.clone(), expected).await;
        self.again(&format!("{name} again"), PaymeMethod::Cancel, params, &canceled).await;
        canceled
    }

    async fn look(&mut self, name: &str, made: &Made, shown: Shown) {
        self.step(name, PaymeMethod::Check, json!({"id": made.id}), ExpectedWord::Shown(shown)).await;
    }

    /// The same call again, after a pause: the answer must be the same.
    async fn again(&mut self, name: &str, method: PaymeMethod, params: Value, first: &Value) {
        tokio::time::sleep(self.plan.pause).await;
        self.step(name, method, params, ExpectedWord::Same(first.clone())).await;
    }

    async fn step(&mut self, name: &str, method: PaymeMethod, params: Value, expected: ExpectedWord) -> Value {
        let key = self.plan.key.clone();
        self.step_with(name, method, params, expected, &key).await
    }

    /// Sends a call, judges its answer, adds the line, and returns the result.
    async fn step_with(
        &mut self,
        name: &str,
        method: PaymeMethod,
        params: Value,
        expected: ExpectedWord,
        key: &str,
    ) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        let body = RpcCall { method: method.name().to_owned(), params, account: None }.body(id, false);
        let request = self
            .client
            .post(self.plan.url.clone())
            .header(header::CONTENT_TYPE, "text/json; charset=UTF-8")
            .header(header::AUTHORIZATION, basic(key));
        let answer = SeenAnswer::new(exchange(request.body(body.clone())).await);
        let fault = match answer.envelope_fault(id, &self.plan.account_field) {
            Some(fault) => Some(fault),
            None => expected.judge(&answer).err(),
        };
        self.lines.push(CheckLine {
            name: format!("{name} ({})", method.name()),
            is_green: fault.is_none(),
            sent: body,
            expected: expected.text(),
            answered: answer.text(),
            note: fault.unwrap_or_default(),
        });
        answer.result().clone()
    }

    /// The order of a scenario; the last one given serves further scenarios.
    fn account(&self, place: usize) -> String {
        self.plan.accounts.get(place).or(self.plan.accounts.last()).cloned().unwrap_or_default()
    }

    fn params(&self, method: PaymeMethod, id: &str, account: &str, amount_tiyin: i64) -> Value {
        let fields = json!({ self.plan.account_field.as_str(): account });
        match method {
            PaymeMethod::CheckPerform => json!({"amount": amount_tiyin, "account": fields}),
            PaymeMethod::Create => json!({"id": id, "time": now_ms(), "amount": amount_tiyin, "account": fields}),
            PaymeMethod::Perform | PaymeMethod::Check => json!({"id": id}),
            PaymeMethod::Cancel => json!({"id": id, "reason": UNPERFORMED}),
            PaymeMethod::Statement => json!({"from": now_ms() - 86_400_000, "to": now_ms()}),
            PaymeMethod::FiscalData => json!({"id": id, "type": "PERFORM", "fiscal_data": {}}),
        }
    }
}

/// No shop numbers an order so.
const UNKNOWN_ACCOUNT: &str = "0";

impl Made {
    /// What CheckTransaction shows of a transaction that was just created.
    fn shown(&self) -> Shown {
        Shown {
            state: 1,
            transaction: self.created["transaction"].clone(),
            create_time: self.created["create_time"].clone(),
            perform_time: json!(0),
            cancel_time: json!(0),
            reason: Value::Null,
        }
    }
}
