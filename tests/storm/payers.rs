//! Payers at Payme and Click, where a transaction begins when they pay: they are declined, leave, come back, and try again;
//! and the person at the gateway who goes on with what was left in the middle.

use std::time::{Duration, Instant};

use domain::order::PaymentType;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::support::patient::Patient;

/// The pause between two tries of a payer.
const PAUSE: Duration = Duration::from_millis(400);

/// After this a person at the gateway goes on with what hangs.
const LOOKED_AT_AFTER: Duration = Duration::from_millis(600);

/// An attempt whose end Click did not tell us holds its order for minutes: an answer of ours to Prepare was lost, or a debit
/// was told of a payment that failed. A payer who is refused for so long goes away.
const HELD_AFTER: Duration = Duration::from_secs(45);

/// How a payer's visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VisitEnd {
    /// Money was taken.
    Debited,
    /// The payer left after the payment was allowed, and never came back.
    Left,
    /// An attempt of this payer, about which Click and we disagree, holds the order.
    Held,
    /// The order ended otherwise, or the time is over.
    GaveUp,
}

/// A payer of one order.
pub(crate) struct Payer<'a> {
    pub(crate) patient: &'a Patient,
    pub(crate) payment_type: PaymentType,
    pub(crate) order_id: i64,
    /// The gateway's page, which the payer keeps open: it is told only while no payment is under way.
    link: Option<String>,
    /// Since when an attempt that is not this payer's last one holds the order.
    refused_since: Option<Instant>,
    /// Other payers' transactions that Payme began beside this payer's.
    pub(crate) rivals: Vec<String>,
    /// Whether such a one and this payer's were allowed at the same time.
    pub(crate) is_allowed_twice: bool,
}

/// How one try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TryEnd {
    Debited,
    Unpaid,
    Left,
}

impl<'a> Payer<'a> {
    pub(crate) fn new(patient: &'a Patient, payment_type: PaymentType, order_id: i64) -> Payer<'a> {
        Payer {
            patient,
            payment_type,
            order_id,
            link: None,
            refused_since: None,
            rivals: Vec::new(),
            is_allowed_twice: false,
        }
    }

    /// Tries to pay until money was taken.
    pub(crate) async fn visit(&mut self, random: &mut StdRng, deadline: Instant) -> VisitEnd {
        let id = self.order_id;
        if self.payment_type == PaymentType::Atmos {
            return match self.patient.pay_until_debited(id, deadline).await {
                Some(_) => VisitEnd::Debited,
                None => VisitEnd::GaveUp,
            };
        }
        while Instant::now() < deadline {
            let Some(order) = self.patient.order(id).await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            match order["status"].as_str().unwrap() {
                "pending" => {
                    self.open_page(&order);
                    self.refused_since = None;
                }
                "confirming" => {
                    if self.refused_since.get_or_insert_with(Instant::now).elapsed() > HELD_AFTER {
                        return VisitEnd::Held;
                    }
                }
                // By a try whose answer was lost.
                _ if self.money_of_order().await => return VisitEnd::Debited,
                _ => return VisitEnd::GaveUp,
            }
            match self.try_once(random).await {
                TryEnd::Debited => return VisitEnd::Debited,
                TryEnd::Left => return VisitEnd::Left,
                TryEnd::Unpaid => tokio::time::sleep(PAUSE).await,
            }
        }
        VisitEnd::GaveUp
    }

    /// Opens the gateway's page of an order that waits for its payment.
    pub(crate) fn open_page(&mut self, order: &Value) {
        self.link = order["payment_url"].as_str().map(str::to_owned);
    }

    /// Opens this page of the gateway.
    pub(crate) fn open_link(&mut self, link: &str) {
        self.link = Some(link.to_owned());
    }

    /// Pays once on the page that is open; what the gateway left in the middle is ended.
    pub(crate) async fn try_once(&mut self, random: &mut StdRng) -> TryEnd {
        let link = self.link.clone().expect("an open page");
        match self.payment_type {
            PaymentType::Atmos => unreachable!("a draft is paid by its number"),
            PaymentType::Payme => self.try_at_payme(&link, random).await,
            PaymentType::Click => self.try_at_click(&link, random).await,
        }
    }

    async fn try_at_payme(&mut self, link: &str, random: &mut StdRng) -> TryEnd {
        let mut came = self.patient.at_sandbox("/payme/_sim/pay", &json!({ "link": link })).await;
        if let Some(outcome) = &came
            && let Some(rival) = outcome["rival"]["id"].as_str()
        {
            let is_refused = matches!(outcome["outcome"].as_str(), Some("refused" | "unavailable"));
            self.is_allowed_twice |= outcome["rival"]["answer"]["state"] == 1 && !is_refused;
            self.end_rival(rival).await;
            self.rivals.push(rival.to_owned());
        }
        loop {
            let outcome = match came {
                Some(outcome) => outcome,
                // Its answer was lost: Payme's book says where it stands.
                None => match self.last_of_book().await {
                    Some(receipt) => as_outcome(&receipt),
                    None => return TryEnd::Unpaid,
                },
            };
            let receipt = outcome["receipt"]["id"].as_str();
            let path = match (outcome["outcome"].as_str().unwrap(), receipt) {
                ("paid" | "closing", _) => return TryEnd::Debited,
                ("unavailable" | "canceling", Some(receipt)) => {
                    tokio::time::sleep(LOOKED_AT_AFTER).await;
                    format!("/payme/_sim/resume/{receipt}")
                }
                ("left", Some(receipt)) => match random.random_range(0..4) {
                    0 => return TryEnd::Left,
                    1 => format!("/payme/_sim/resume/{receipt}"),
                    _ => format!("/payme/_sim/cancel/{receipt}"),
                },
                ("unavailable" | "refused" | "declined" | "canceled" | "returned" | "nothing", _) => {
                    return TryEnd::Unpaid;
                }
                other => panic!("{other:?}: {outcome}"),
            };
            came = self.patient.at_sandbox(&path, &json!({})).await;
        }
    }

    /// The other payer of the same order does not go on.
    async fn end_rival(&self, rival: &str) {
        let cancel = json!({ "method": "CancelTransaction", "params": { "id": rival, "reason": 3 } });
        loop {
            let answer = self.patient.at_sandbox("/payme/_sim/call", &cancel).await;
            if answer.is_some_and(|answer| answer["answer"]["silence"].is_null()) {
                return;
            }
            tokio::time::sleep(LOOKED_AT_AFTER).await;
        }
    }

    async fn try_at_click(&mut self, link: &str, random: &mut StdRng) -> TryEnd {
        let mut came = self.patient.at_sandbox("/click/_sim/pay", &json!({ "url": link })).await;
        loop {
            let outcome = match came {
                Some(outcome) => outcome,
                None => match self.last_of_book().await {
                    Some(attempt) => as_outcome(&attempt),
                    None => return TryEnd::Unpaid,
                },
            };
            let hangs = outcome["completion"] == "hangs";
            match outcome["outcome"].as_str().unwrap() {
                // A Complete that hangs, or never came: an inquiry finds the money.
                "debited" => return TryEnd::Debited,
                "left" if random.random_range(0..4) == 0 => return TryEnd::Left,
                "left" => (),
                _ if !hangs => return TryEnd::Unpaid,
                _ => (),
            }
            tokio::time::sleep(LOOKED_AT_AFTER).await;
            let path = format!("/click/_sim/resume/{}", outcome["click_trans_id"]);
            came = self.patient.at_sandbox(&path, &json!({})).await;
        }
    }

    /// The order's last line in the gateway's book.
    async fn last_of_book(&self) -> Option<Value> {
        self.book_of_order().await.pop()
    }

    async fn money_of_order(&self) -> bool {
        self.book_of_order().await.iter().any(|line| line["debits"].as_i64() > Some(0))
    }

    async fn book_of_order(&self) -> Vec<Value> {
        let (path, lines) = match self.payment_type {
            PaymentType::Atmos => ("/_sim/ledger", "transactions"),
            PaymentType::Payme => ("/payme/_sim/ledger", "receipts"),
            PaymentType::Click => ("/click/_sim/ledger", "transactions"),
        };
        let account = self.order_id.to_string();
        let mut book = self.patient.book(path, lines).await.unwrap_or_default();
        book.retain(|line| line["account"] == account);
        book
    }
}

/// The outcome of a try whose answer was lost, from its line in the gateway's book.
fn as_outcome(line: &Value) -> Value {
    let outcome = match (line["debits"].as_i64(), line["receipt_state"].as_i64(), line["state"].as_str()) {
        (Some(1..), ..) => "debited",
        // Payme's states of a receipt.
        (_, Some(50), _) => "canceled",
        (_, Some(_), _) => "unavailable",
        (_, None, Some("created" | "prepared")) => "left",
        (_, None, _) => "declined",
    };
    let outcome = if outcome == "debited" && line["receipt_state"].is_i64() { "paid" } else { outcome };
    json!({
        "outcome": outcome, "receipt": { "id": line["id"] },
        "click_trans_id": line["click_trans_id"], "completion": line["completion"],
    })
}

/// Gives the money of a Payme order back in its cabinet; returns whether Payme has begun to.
pub(crate) async fn refund_in_cabinet(patient: &Patient, order_id: i64) -> bool {
    let account = order_id.to_string();
    let Some(book) = patient.book("/payme/_sim/ledger", "receipts").await else { return false };
    let paid = book.iter().find(|line| line["account"] == account && line["state"] == 2);
    let Some(receipt) = paid.and_then(|line| line["id"].as_str()) else { return false };
    let outcome = patient.at_sandbox(&format!("/payme/_sim/refund/{receipt}"), &json!({})).await;
    // Without an answer it goes on all the same.
    outcome.is_none_or(|outcome| matches!(outcome["outcome"].as_str(), Some("canceled" | "canceling")))
}
