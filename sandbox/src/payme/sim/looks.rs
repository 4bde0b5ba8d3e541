//! Calls that move no money: CheckTransaction, GetStatement, SetFiscalData, and any call by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Body, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::receipt::Receipt;
use super::super::state::PaymeSandbox;
use super::super::wire::{MerchantWord, PaymeMethod, RpcCall};
use super::no_receipt;
use crate::answers::json;
use crate::sim::{bad_request, read_json, read_optional};

/// The answer as JSON.
fn said(word: &MerchantWord) -> Value {
    match word {
        MerchantWord::Result(result) => json!({"result": result}),
        MerchantWord::Error(error) => json!({"error": error}),
        MerchantWord::Silence(why) => json!({"silence": why}),
    }
}

/// `POST /payme/_sim/look/{receipt}`: CheckTransaction, and what differs from Payme's record.
#[poem::handler]
pub(crate) async fn post_look(Data(payme): Data<&Arc<PaymeSandbox>>, Path(id): Path<String>) -> Response {
    let Some(entry) = payme.ledger.find(&id) else { return no_receipt(&id) };
    let receipt = entry.snapshot();
    let call = RpcCall::new(PaymeMethod::Check, json!({"id": id}), receipt.account_value());
    let word = payme.caller.call(&call).await;
    let differences = match &word {
        MerchantWord::Result(result) => differences(&receipt, result),
        MerchantWord::Error(_) | MerchantWord::Silence(_) => Vec::new(),
    };
    json(StatusCode::OK, &json!({"answer": said(&word), "differences": differences}))
}

/// The names of the fields in which the merchant's record differs from Payme's.
fn differences(receipt: &Receipt, merchants: &Value) -> Vec<&'static str> {
    let time = |time: Option<i64>| json!(time.unwrap_or_default());
    let zero = |name: &str| match &merchants[name] {
        Value::Null => json!(0),
        other => other.clone(),
    };
    let created = receipt.created.as_ref();
    [
        ("state", json!(receipt.transaction_state()), merchants["state"].clone()),
        ("transaction", json!(created.map(|created| &created.transaction)), merchants["transaction"].clone()),
        ("create_time", time(created.map(|created| created.create_time)), zero("create_time")),
        ("perform_time", time(receipt.perform_time), zero("perform_time")),
        ("cancel_time", time(receipt.cancel_time), zero("cancel_time")),
        ("reason", json!(receipt.reason), merchants["reason"].clone()),
    ]
    .into_iter()
    .filter(|(_, ours, theirs)| ours != theirs)
    .map(|(name, ..)| name)
    .collect()
}

/// A span of Payme's time, in epoch milliseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StatementRequest {
    from: Option<i64>,
    to: Option<i64>,
}

/// The end of the hugest window: 9999-12-31, in milliseconds.
const END_OF_TIME: i64 = 253_402_300_799_999;

/// `POST /payme/_sim/statement`: GetStatement, and what differs from Payme's record. Without bounds it is over all of
/// time.
#[poem::handler]
pub(crate) async fn post_statement(Data(payme): Data<&Arc<PaymeSandbox>>, body: Body) -> Response {
    let request: StatementRequest = match read_optional(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    let (from, to) = (request.from.unwrap_or(0), request.to.unwrap_or(END_OF_TIME));
    let params = json!({"from": from, "to": to});
    let call = RpcCall { method: PaymeMethod::Statement.name().to_owned(), params, account: None };
    let word = payme.caller.call(&call).await;
    let MerchantWord::Result(result) = &word else {
        return json(StatusCode::OK, &json!({"answer": said(&word)}));
    };
    let listed = result["transactions"].as_array().cloned().unwrap_or_default();
    let mut by_id: BTreeMap<String, Value> =
        listed.iter().filter_map(|row| Some((row["id"].as_str()?.to_owned(), row.clone()))).collect();
    let (mut missing, mut different) = (Vec::new(), Vec::new());
    for entry in payme.ledger.entries() {
        let receipt = entry.snapshot();
        if receipt.created.is_none() || !(from..=to).contains(&receipt.time_ms) {
            continue;
        }
        match by_id.remove(&receipt.id) {
            None => missing.push(receipt.id),
            Some(row) => {
                let mut fields = differences(&receipt, &row);
                if row["time"] != json!(receipt.time_ms) {
                    fields.push("time");
                }
                if row["amount"] != json!(receipt.amount_tiyin) {
                    fields.push("amount");
                }
                if !fields.is_empty() {
                    different.push(json!({"id": receipt.id, "fields": fields}));
                }
            }
        }
    }
    let times: Vec<i64> = listed.iter().filter_map(|row| row["time"].as_i64()).collect();
    json(
        StatusCode::OK,
        &json!({
            "listed": listed.len(),
            "is_sorted_by_time": times.len() == listed.len() && times.is_sorted(),
            "missing": missing,
            "unknown": by_id.into_keys().collect::<Vec<_>>(),
            "different": different,
        }),
    )
}

/// Which fiscal receipt.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FiscalRequest {
    #[serde(rename = "type")]
    kind: Option<String>,
    status_code: i64,
}

/// `POST /payme/_sim/fiscal/{receipt}`: SetFiscalData, `PERFORM` or `CANCEL`.
#[poem::handler]
pub(crate) async fn post_fiscal(Data(payme): Data<&Arc<PaymeSandbox>>, Path(id): Path<String>, body: Body) -> Response {
    let request: FiscalRequest = match read_optional(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    let kind = request.kind.as_deref().unwrap_or("PERFORM");
    if !matches!(kind, "PERFORM" | "CANCEL") {
        return bad_request("`type` is PERFORM or CANCEL");
    }
    let Some(entry) = payme.ledger.find(&id) else { return no_receipt(&id) };
    let params = json!({"id": id, "type": kind, "fiscal_data": {
        "receipt_id": 121, "status_code": request.status_code, "message": "accepted",
        "terminal_id": "EP000000000025", "fiscal_sign": "800031554082",
        "qr_code_url": "https://ofd.soliq.uz/epi?t=EP000000000025&r=121&c=20220706221021&s=800031554082",
        "date": "20220706221021"}});
    let call = RpcCall::new(PaymeMethod::FiscalData, params, entry.snapshot().account_value());
    json(StatusCode::OK, &json!({"answer": said(&payme.caller.call(&call).await)}))
}

/// Any call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HandCall {
    method: String,
    #[serde(default)]
    params: Value,
}

/// `POST /payme/_sim/call`: sends exactly this, once, with the cashbox's key. Payme's own record does not change.
#[poem::handler]
pub(crate) async fn post_call(Data(payme): Data<&Arc<PaymeSandbox>>, body: Body) -> Response {
    let request: HandCall = match read_json(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&format!("{fault}; send {{\"method\": …, \"params\": {{…}}}}")),
    };
    let account = request.params["account"].as_object().and_then(|fields| fields.values().next());
    let account = account.and_then(Value::as_str).map(str::to_owned);
    let call = RpcCall { method: request.method, params: request.params, account };
    json(StatusCode::OK, &json!({"answer": said(&payme.caller.call_once(&call).await)}))
}
