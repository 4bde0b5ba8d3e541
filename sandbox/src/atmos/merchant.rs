//! `/merchant/pay/*`: the API for a merchant's server.

mod call;
mod calls;
mod fields;
mod spoil;

use std::sync::Arc;

use poem::http::{StatusCode, header};
use poem::{Endpoint, Request, Response};
use serde_json::json;
use tracing::{debug, error};

pub(crate) use self::call::Call;
pub(crate) use self::calls::card_code;
use self::fields::AtmosCallFields;
use crate::answers::{broken, html, json};
use crate::atmos::faults::AtmosFault;
use crate::atmos::state::AtmosSandbox;
use crate::faults::FaultTarget;
use crate::state::BODY_BYTES;

/// The endpoint of one call: first faults, then the token, then the call itself.
pub(crate) struct MerchantEndpoint {
    pub(crate) call: Call,
    pub(crate) path: &'static str,
    pub(crate) state: Arc<AtmosSandbox>,
}

impl Endpoint for MerchantEndpoint {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let Ok(bytes) = request.take_body().into_bytes_limit(BODY_BYTES).await else {
            return Ok(html(StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large"));
        };
        let fields = AtmosCallFields::read(&bytes);
        let account = self.account_of(&fields);
        let target = FaultTarget { call: Some(self.path), account: account.as_deref() };
        let strikes = |fault| self.state.faults.strikes(fault, target);

        if let Some(strike) = strikes(AtmosFault::Latency) {
            tokio::time::sleep(strike.delay).await;
        }
        if strikes(AtmosFault::Unavailable).is_some() {
            return Ok(html(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"));
        }
        if strikes(AtmosFault::ServerError).is_some() {
            return Ok(html(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"));
        }
        if strikes(AtmosFault::Forbidden).is_some() {
            return Ok(html(StatusCode::FORBIDDEN, "Forbidden"));
        }
        if let Some(strike) = strikes(AtmosFault::Throttled) {
            return Ok(throttled(strike.delay));
        }
        if strikes(AtmosFault::TokenRevoked).is_some() {
            self.state.tokens.log_in_elsewhere();
        }
        let authorization = request.header(header::AUTHORIZATION);
        if strikes(AtmosFault::TokenRejected).is_some() || !self.state.tokens.accept(authorization) {
            self.state.tokens.count_rejection();
            return Ok(invalid_token());
        }

        let language = fields.language();
        let (call, state) = (self.call, Arc::clone(&self.state));
        let work = async move { calls::answer(call, &state, &fields, language).await };
        let answer = match self.state.common.run(work).await {
            Some(Ok(answer)) => answer,
            Some(Err(cause)) => {
                error!(error = %cause, path = self.path, "the ledger failed a call of {}", self.path);
                return Ok(broken());
            }
            None => return Ok(broken()),
        };
        debug!(path = self.path, code = answer.result.code, "{} answered {}", self.path, answer.result.code);

        if strikes(AtmosFault::AnswerLost).is_some() {
            self.state.common.connections.sever(request.remote_addr());
            return Ok(Response::default());
        }
        if let Some(strike) = strikes(AtmosFault::AnswerLate) {
            tokio::time::sleep(strike.delay).await;
        }
        Ok(spoil::write(answer, language, strikes))
    }
}

impl MerchantEndpoint {
    /// The account of a call, for faults limited to one account.
    fn account_of(&self, fields: &AtmosCallFields) -> Option<String> {
        let entry = match self.call {
            Call::Create | Call::CreateWithReceipt => {
                return fields.text("account").map(str::to_owned);
            }
            Call::Reverse => self.state.ledger.find_debit(fields.id("transaction_id")?),
            Call::PreApply | Call::Apply | Call::ApplyWithReceipt | Call::RetryOtp | Call::Get => {
                self.state.ledger.find(fields.id("transaction_id")?)
            }
        };
        entry.map(|entry| entry.snapshot().account)
    }
}

/// The answer to an invalid token, as WSO2 API Manager writes it.
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
