//! The front page: the cabinet with its refunds, and the button that runs Payme's two scenarios.

use std::sync::Arc;

use askama::Template;
use poem::http::{StatusCode, header};
use poem::web::Data;
use poem::{Body, Response};
use serde::Deserialize;
use tracing::error;
use url::form_urlencoded;

use super::render::{note, render};
use crate::answers::{broken, json};
use crate::check::CheckReport;
use crate::payme::check::PaymeScenarios;
use crate::payme::paying::REFUND;
use crate::payme::receipt::ReceiptState;
use crate::payme::soum::soum;
use crate::payme::state::PaymeSandbox;
use crate::sim::{bad_request, read_json};
use crate::state::BODY_BYTES;

/// How many of the latest receipts the cabinet lists.
const LISTED: usize = 50;

/// The front page; with the list of the scenarios once they ran.
#[derive(Template)]
#[template(path = "payme_front.html")]
struct CabinetPage<'a> {
    cashbox: Vec<(&'a str, String)>,
    accounts: [&'a str; 2],
    amount: &'a str,
    message: &'a str,
    report: Option<&'a CheckReport>,
    receipts: Vec<ListedReceipt>,
}

/// A receipt in the cabinet.
struct ListedReceipt {
    id: String,
    account: String,
    amount: String,
    state: i64,
    can_be_refunded: bool,
}

/// The front page before anything ran.
pub(super) fn front(payme: &PaymeSandbox) -> Response {
    show(payme, StatusCode::OK, ["", ""], "", "", None)
}

/// `POST /payme/check`: runs Payme's two scenarios against the merchant, and shows the list.
#[poem::handler]
pub(crate) async fn post_check(Data(payme): Data<&Arc<PaymeSandbox>>, form: Body) -> Response {
    let Some(fields) = read_form(form).await else {
        return note(StatusCode::BAD_REQUEST, "The form could not be read.");
    };
    let typed = |name: &str| field(&fields, name);
    let (accounts, amount) = ([typed("account"), typed("second_account")], typed("amount"));
    let given = accounts.into_iter().filter(|account| !account.is_empty()).map(str::to_owned).collect();
    let scenarios = match read_tiyin(amount) {
        Some(amount_tiyin) => scenarios(payme, given, amount_tiyin),
        None => Err("the amount is in soʻm, such as 50.00, and above 0".to_owned()),
    };
    let scenarios = match scenarios {
        Ok(scenarios) => scenarios,
        Err(problem) => return show(payme, StatusCode::UNPROCESSABLE_ENTITY, accounts, amount, &problem, None),
    };
    match scenarios.run().await {
        Ok(report) => show(payme, StatusCode::OK, accounts, amount, "", Some(&report)),
        Err(cause) => {
            error!(error = %cause, "could not make a client for the scenarios");
            broken()
        }
    }
}

/// The orders for the scenarios, and what each costs in tiyin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenariosRequest {
    accounts: Vec<String>,
    amount: i64,
}

/// `POST /payme/_sim/check`: the same for programs.
#[poem::handler]
pub(crate) async fn post_sim_check(Data(payme): Data<&Arc<PaymeSandbox>>, body: Body) -> Response {
    let request: ScenariosRequest = match read_json(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    let scenarios = match scenarios(payme, request.accounts, request.amount) {
        Ok(scenarios) => scenarios,
        Err(problem) => return bad_request(&problem),
    };
    match scenarios.run().await {
        Ok(report) => json(StatusCode::OK, &report),
        Err(cause) => {
            error!(error = %cause, "could not make a client for the scenarios");
            broken()
        }
    }
}

/// `POST /payme/refund`: the cabinet's button.
#[poem::handler]
pub(crate) async fn post_front_refund(Data(payme): Data<&Arc<PaymeSandbox>>, form: Body) -> Response {
    let fields = read_form(form).await.unwrap_or_default();
    let Some(entry) = payme.ledger.find(field(&fields, "receipt")) else {
        return note(StatusCode::NOT_FOUND, "There is no such receipt.");
    };
    let runner = Arc::clone(payme);
    match payme.common.run(async move { runner.give_back(&entry, REFUND).await }).await {
        Some(Ok(_)) => Response::builder().status(StatusCode::SEE_OTHER).header(header::LOCATION, "./").finish(),
        Some(Err(cause)) => {
            error!(error = %cause, "the ledger failed a refund");
            broken()
        }
        None => broken(),
    }
}

/// The scenarios against this sandbox's merchant.
///
/// # Errors
/// What is wrong, for a person.
fn scenarios(payme: &PaymeSandbox, accounts: Vec<String>, amount_tiyin: i64) -> Result<PaymeScenarios, String> {
    let url = payme.caller.url().ok_or(
        "the cashbox has no endpoint: start the sandbox with --payme-webhook, or use tasdiq sandbox check payme URL",
    )?;
    if accounts.is_empty() || accounts.iter().any(String::is_empty) {
        return Err("an account is an order's number at the merchant".to_owned());
    }
    if amount_tiyin <= 0 {
        return Err("the amount is above 0".to_owned());
    }
    let config = &payme.common.config;
    Ok(PaymeScenarios {
        key: config.payme_key.clone(),
        account_field: config.payme_account_field.clone(),
        busy_code: *payme.busy_code.read(),
        ..PaymeScenarios::new(url, accounts, amount_tiyin)
    })
}

fn show(
    payme: &PaymeSandbox,
    status: StatusCode,
    accounts: [&str; 2],
    amount: &str,
    message: &str,
    report: Option<&CheckReport>,
) -> Response {
    let config = &payme.common.config;
    let endpoint = payme.caller.url().map_or_else(|| "none: nothing can be paid".to_owned(), |url| url.to_string());
    let receipts = payme.ledger.entries().into_iter().rev().take(LISTED).map(|entry| {
        let receipt = entry.snapshot();
        ListedReceipt {
            account: receipt.account_value().to_owned(),
            amount: soum(receipt.amount_tiyin),
            state: receipt.state.number(),
            can_be_refunded: receipt.state == ReceiptState::Paid,
            id: receipt.id,
        }
    });
    render(
        status,
        &CabinetPage {
            cashbox: vec![
                ("id", config.payme_id.clone()),
                ("key", config.payme_key.clone()),
                ("account field", config.payme_account_field.clone()),
                ("endpoint", endpoint),
            ],
            accounts,
            amount,
            message,
            report,
            receipts: receipts.collect(),
        },
    )
}

async fn read_form(form: Body) -> Option<Vec<(String, String)>> {
    let bytes = form.into_bytes_limit(BODY_BYTES).await.ok()?;
    Some(form_urlencoded::parse(&bytes).into_owned().collect())
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value.trim())
}

/// Reads soʻm with at most two decimals as tiyin; `None` unless it is above zero.
fn read_tiyin(text: &str) -> Option<i64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "00"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) || decimals.len() != 2 {
        return None;
    }
    let tiyin = whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(decimals.parse().ok()?)?;
    (tiyin > 0).then_some(tiyin)
}
