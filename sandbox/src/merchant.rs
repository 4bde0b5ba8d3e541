//! `/merchant/pay/*`: the API a merchant's server calls.

use std::sync::Arc;

use poem::{
    Endpoint, Request, Response,
    http::{StatusCode, header},
};
use serde_json::{Map, Value, json};
use tracing::{debug, error};

use crate::{
    cards::{CardError, PayingCard},
    codes::{Code, Language},
    faults::{Fault, Target},
    gateway::{BODY_BYTES, Gateway, broken, html, json},
    journal::JournalError,
    payment::Verdict,
    transaction::State,
    wire::{Answer, ResultBody, StoreTransaction},
};

/// Longer accounts are refused; Atmos' own limit is not published.
const ACCOUNT_BYTES: usize = 255;

/// A call of the merchant API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    CreateWithReceipt,
    PreApply,
    Apply,
    ApplyWithReceipt,
    RetryOtp,
    Get,
    Reverse,
}

impl Call {
    /// Every call with its path (Atmos API, payments).
    pub(crate) const PATHS: [(Self, &'static str); 8] = [
        (Self::Create, "/merchant/pay/create"),
        (Self::CreateWithReceipt, "/merchant/pay/create/checkout-ofd"),
        (Self::PreApply, "/merchant/pay/pre-apply"),
        (Self::Apply, "/merchant/pay/apply"),
        (Self::ApplyWithReceipt, "/merchant/pay/apply-ofd"),
        (Self::RetryOtp, "/merchant/pay/retry-otp"),
        (Self::Get, "/merchant/pay/get"),
        (Self::Reverse, "/merchant/pay/reverse"),
    ];
}

/// The endpoint of one call: faults, token, then the call itself.
pub(crate) struct MerchantEndpoint {
    pub(crate) call: Call,
    pub(crate) path: &'static str,
    pub(crate) gateway: Arc<Gateway>,
}

impl Endpoint for MerchantEndpoint {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let Ok(bytes) = request.take_body().into_bytes_limit(BODY_BYTES).await else {
            return Ok(html(StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large"));
        };
        let fields = Fields::read(&bytes);
        let account = self.account_of(&fields);
        let target = Target {
            path: Some(self.path),
            account: account.as_deref(),
        };
        let strikes = |fault| self.gateway.faults.strikes(fault, target);

        if let Some(delay) = strikes(Fault::Latency) {
            tokio::time::sleep(delay).await;
        }
        if strikes(Fault::Unavailable).is_some() {
            return Ok(html(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"));
        }
        if strikes(Fault::ServerError).is_some() {
            return Ok(html(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal Server Error",
            ));
        }
        if strikes(Fault::Forbidden).is_some() {
            return Ok(html(StatusCode::FORBIDDEN, "Forbidden"));
        }
        if let Some(wait) = strikes(Fault::Throttled) {
            return Ok(throttled(wait));
        }
        let authorization = request.header(header::AUTHORIZATION);
        if strikes(Fault::TokenRejected).is_some() || !self.gateway.tokens.accept(authorization) {
            return Ok(invalid_token());
        }

        let language = fields.language();
        let (call, gateway) = (self.call, Arc::clone(&self.gateway));
        let answer = if call == Call::Get {
            Some(answer_get(&gateway, &fields, language))
        } else {
            let work = async move { answer_change(call, &gateway, &fields, language).await };
            match self.gateway.run(work).await {
                Some(Ok(answer)) => Some(answer),
                Some(Err(cause)) => {
                    error!(error = %cause, path = self.path, "the ledger failed a call of {}", self.path);
                    None
                }
                None => None,
            }
        };
        let Some(mut answer) = answer else {
            return Ok(broken());
        };
        debug!(
            path = self.path,
            code = answer.result.code,
            "{} answered {}",
            self.path,
            answer.result.code
        );

        if strikes(Fault::AnswerLost).is_some() {
            self.gateway.connections.sever(request.remote_addr());
            return Ok(Response::default());
        }
        if strikes(Fault::UnknownCode).is_some() {
            answer = Answer::bare(Code::NeverHeardOf, language);
        }
        if strikes(Fault::Malformed).is_some() {
            return Ok(half_of(&answer));
        }
        Ok(json(StatusCode::OK, &answer))
    }
}

impl MerchantEndpoint {
    /// The account a call is about, for faults that strike only one.
    fn account_of(&self, fields: &Fields) -> Option<String> {
        let entry = match self.call {
            Call::Create | Call::CreateWithReceipt => {
                return fields.text("account").map(str::to_owned);
            }
            Call::Reverse => self.gateway.ledger.find_debit(fields.id("transaction_id")?),
            Call::PreApply | Call::Apply | Call::ApplyWithReceipt | Call::RetryOtp | Call::Get => {
                self.gateway.ledger.find(fields.id("transaction_id")?)
            }
        };
        entry.map(|entry| entry.snapshot().account)
    }
}

/// The JSON object a call brought; anything else reads as an object without fields.
struct Fields(Map<String, Value>);

impl Fields {
    fn read(bytes: &[u8]) -> Self {
        Self(serde_json::from_slice(bytes).unwrap_or_default())
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A text, or a whole number written as one: Atmos takes ids and codes either way.
    fn text_or_number(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) if !number.is_f64() => Some(number.to_string()),
            _ => None,
        }
    }

    fn id(&self, name: &str) -> Option<i64> {
        self.text_or_number(name)?.parse().ok()
    }

    /// Whether the field is there at all; null is not.
    fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    fn language(&self) -> Language {
        self.text("lang")
            .and_then(Language::read)
            .unwrap_or_default()
    }

    /// Checks the store, which most calls must name.
    fn check_store(&self, gateway: &Gateway) -> Result<(), Code> {
        match self.text_or_number("store_id") {
            Some(store_id) if store_id == gateway.config.store_id => Ok(()),
            Some(_) => Err(Code::NotFound),
            None => Err(Code::WrongParameters),
        }
    }

    /// The transaction a call names, after its store.
    fn transaction_id(&self, gateway: &Gateway) -> Result<i64, Code> {
        self.check_store(gateway)?;
        self.id("transaction_id").ok_or(Code::WrongParameters)
    }
}

/// `get`: the truth about a transaction. It never waits for an apply in flight.
fn answer_get(gateway: &Gateway, fields: &Fields, language: Language) -> Answer {
    let entry = match fields.transaction_id(gateway) {
        Ok(id) => gateway.ledger.find(id),
        Err(code) => return Answer::bare(code, language),
    };
    let Some(transaction) = entry.map(|entry| entry.snapshot()) else {
        return Answer::bare(Code::NotFound, language);
    };
    let code = match transaction.state {
        State::Closed => Code::Closed,
        State::Debited if gateway.strikes(Fault::PaidAsClosed, &transaction).is_some() => {
            Code::Closed
        }
        State::Draft | State::Prepaid | State::Debited | State::Reversed => Code::Ok,
    };
    let mut shown = StoreTransaction::new(&transaction, &gateway.config);
    if gateway
        .strikes(Fault::AmountDiffers, &transaction)
        .is_some()
    {
        shown.amount = shown.amount.saturating_add(100);
        shown.total = shown.total.saturating_add(100);
    }
    Answer {
        store_transaction: Some(shown),
        ..Answer::bare(code, language)
    }
}

/// Every call but `get`.
async fn answer_change(
    call: Call,
    gateway: &Arc<Gateway>,
    fields: &Fields,
    language: Language,
) -> Result<Answer, JournalError> {
    let answered = match call {
        Call::Create => create(gateway, fields, language, false).await?,
        Call::CreateWithReceipt => create(gateway, fields, language, true).await?,
        Call::PreApply => pre_apply(gateway, fields, language).await?,
        Call::Apply | Call::ApplyWithReceipt => apply(gateway, fields, language).await?,
        Call::RetryOtp => retry_otp(gateway, fields, language),
        Call::Get => Ok(answer_get(gateway, fields, language)),
        Call::Reverse => reverse(gateway, fields, language).await?,
    };
    Ok(answered.unwrap_or_else(|code| Answer::bare(code, language)))
}

/// What a call answers, or the code with which it is turned away.
type Answered = Result<Answer, Code>;

async fn create(
    gateway: &Gateway,
    fields: &Fields,
    language: Language,
    with_receipt: bool,
) -> Result<Answered, JournalError> {
    let draft = match NewDraft::read(gateway, fields, with_receipt) {
        Ok(draft) => draft,
        Err(code) => return Ok(Err(code)),
    };
    let transaction = gateway
        .ledger
        .create(draft.account, draft.amount_tiyin, draft.details)
        .await?;
    Ok(Ok(Answer {
        transaction_id: Some(transaction.id),
        store_transaction: Some(StoreTransaction::new(&transaction, &gateway.config)),
        ..Answer::bare(Code::Ok, language)
    }))
}

/// A draft as it is asked for.
struct NewDraft<'a> {
    account: &'a str,
    amount_tiyin: i64,
    details: Option<&'a str>,
}

impl<'a> NewDraft<'a> {
    fn read(gateway: &Gateway, fields: &'a Fields, with_receipt: bool) -> Result<Self, Code> {
        fields.check_store(gateway)?;
        let amount = fields
            .0
            .get("amount")
            .and_then(Value::as_i64)
            .filter(|amount| *amount > 0);
        let account = fields
            .text("account")
            .filter(|account| !account.is_empty() && account.len() <= ACCOUNT_BYTES);
        let language_is_known = !fields.has("lang")
            || fields
                .text("lang")
                .is_some_and(|lang| Language::read(lang).is_some());
        let details = fields.text("details");
        let (Some(amount_tiyin), Some(account), true) = (amount, account, language_is_known) else {
            return Err(Code::WrongParameters);
        };
        if (fields.has("details") && details.is_none())
            || (with_receipt && !receipt_lines_are_whole(fields))
        {
            return Err(Code::WrongParameters);
        }
        if fields.has("terminal_id")
            && fields.text_or_number("terminal_id").as_ref() != Some(&gateway.config.terminal_id)
        {
            return Err(Code::NotFound);
        }
        Ok(Self {
            account,
            amount_tiyin,
            details,
        })
    }
}

/// Each line of the fiscal receipt needs a code, a name and an amount (Atmos API, field `ofd_items`).
fn receipt_lines_are_whole(fields: &Fields) -> bool {
    let lines = fields.0.get("ofd_items").and_then(Value::as_array);
    lines.is_some_and(|lines| {
        !lines.is_empty()
            && lines.iter().all(|line| {
                let has_text = |name| line.get(name).is_some_and(|value| value.is_string());
                let amount = line.get("amount").and_then(Value::as_i64);
                has_text("ofd_code") && has_text("name") && amount.is_some_and(|amount| amount > 0)
            })
    })
}

async fn pre_apply(
    gateway: &Gateway,
    fields: &Fields,
    language: Language,
) -> Result<Answered, JournalError> {
    let read = || {
        let id = fields.transaction_id(gateway)?;
        let number = fields.text_or_number("card_number");
        let expiry = fields.text_or_number("expiry");
        let token = fields.text("card_token").filter(|token| !token.is_empty());
        let card = match (number, expiry, token) {
            (Some(number), Some(expiry), None) => {
                PayingCard::read(&number, &expiry).map_err(card_code)?
            }
            (None, None, Some(_)) => PayingCard::bound(),
            _ => return Err(Code::WrongParameters),
        };
        Ok((id, card))
    };
    let (id, card) = match read() {
        Ok(read) => read,
        Err(code) => return Ok(Err(code)),
    };
    let verdict = gateway.prepay(id, card).await?;
    Ok(Ok(answer_verdict(gateway, verdict, language)))
}

/// The code for a card that cannot be one.
pub(crate) fn card_code(error: CardError) -> Code {
    match error {
        CardError::Malformed => Code::WrongParameters,
        CardError::WrongNumber => Code::WrongCard,
    }
}

async fn apply(
    gateway: &Arc<Gateway>,
    fields: &Fields,
    language: Language,
) -> Result<Answered, JournalError> {
    let read = || {
        let id = fields.transaction_id(gateway)?;
        let otp = fields.text_or_number("otp").ok_or(Code::WrongParameters)?;
        Ok((id, otp))
    };
    let (id, otp) = match read() {
        Ok(read) => read,
        Err(code) => return Ok(Err(code)),
    };
    let verdict = gateway.pay(id, &otp).await?;
    let paid = verdict
        .transaction
        .clone()
        .filter(|_| verdict.code == Code::Ok);
    let mut answer = answer_verdict(gateway, verdict, language);
    answer.transaction_id = None;
    if let Some(paid) = paid {
        let receipt = paid
            .success_trans_id
            .map(|id| format!("{}/ofd/{id}", gateway.public_url));
        answer.store_transaction = Some(StoreTransaction::new(&paid, &gateway.config));
        answer.ofd_url_commission.clone_from(&receipt);
        answer.ofd_url = receipt;
    }
    Ok(Ok(answer))
}

fn retry_otp(gateway: &Gateway, fields: &Fields, language: Language) -> Answered {
    let id = fields.transaction_id(gateway)?;
    let transaction = gateway.ledger.find(id).ok_or(Code::NotFound)?.snapshot();
    let code = match transaction.state {
        State::Prepaid => Code::Ok,
        // No card was entered that an OTP could belong to.
        State::Draft => Code::WrongParameters,
        State::Debited | State::Closed | State::Reversed => Code::Closed,
    };
    let verdict = Verdict {
        code,
        transaction: Some(transaction),
        reply: None,
    };
    Ok(answer_verdict(gateway, verdict, language))
}

/// `reverse` takes the debit's id (`success_trans_id`) under the name `transaction_id`; the store may be left out.
async fn reverse(
    gateway: &Gateway,
    fields: &Fields,
    language: Language,
) -> Result<Answered, JournalError> {
    let read = || {
        if fields.has("store_id") {
            fields.check_store(gateway)?;
        }
        fields.id("transaction_id").ok_or(Code::WrongParameters)
    };
    let success_trans_id = match read() {
        Ok(id) => id,
        Err(code) => return Ok(Err(code)),
    };
    let verdict = gateway
        .reverse(gateway.ledger.find_debit(success_trans_id))
        .await?;
    let mut answer = answer_verdict(gateway, verdict, language);
    answer.transaction_id = answer.transaction_id.map(|_| success_trans_id);
    Ok(Ok(answer))
}

/// A verdict on the wire. A closed transaction is shown whole: only that tells a paid one from a canceled one.
fn answer_verdict(gateway: &Gateway, verdict: Verdict, language: Language) -> Answer {
    let transaction = verdict.transaction.as_ref();
    Answer {
        result: ResultBody::new(verdict.code, language),
        transaction_id: transaction
            .filter(|_| verdict.code == Code::Ok)
            .map(|transaction| transaction.id),
        store_transaction: transaction
            .filter(|_| verdict.code == Code::Closed)
            .map(|transaction| StoreTransaction::new(transaction, &gateway.config)),
        ofd_url: None,
        ofd_url_commission: None,
    }
}

/// The answer to a token that is unknown or over, as WSO2 API Manager writes it.
fn invalid_token() -> Response {
    json(
        StatusCode::UNAUTHORIZED,
        &json!({"fault": {
            "code": 900_901,
            "message": "Invalid Credentials",
            "description": "Invalid Credentials. Make sure you have given the correct access token",
        }}),
    )
}

/// The answer to too many calls, as WSO2 API Manager writes it.
fn throttled(wait: std::time::Duration) -> Response {
    let mut response = json(
        StatusCode::TOO_MANY_REQUESTS,
        &json!({"fault": {
            "code": 900_800,
            "message": "Message throttled out",
            "description": "You have exceeded your quota",
        }}),
    );
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    if let Ok(value) = header::HeaderValue::from_str(&seconds.to_string()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

/// An answer that was cut in the middle and still claims to be whole.
fn half_of(answer: &Answer) -> Response {
    let mut bytes = serde_json::to_vec(answer).unwrap_or_default();
    bytes.truncate(bytes.len() / 2);
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
        .body(bytes)
}
