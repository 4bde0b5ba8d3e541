//! The Merchant API: a merchant's server asks about payments and reverses them.

mod answer;
mod auth;
mod call;
mod calls;
mod spoil;

use std::sync::Arc;

use poem::http::{StatusCode, header};
use poem::{Endpoint, Request, Response, RouteMethod};
use tracing::{debug, error};

use self::answer::MerchantApiAnswer;
pub(crate) use self::call::ApiCall;
use self::calls::PaymentPath;
use super::faults::ClickSimFault;
use super::state::ClickSandbox;
use crate::answers::{broken, html};
use crate::clock::now_ms;
use crate::faults::FaultTarget;

/// The endpoint of a call, for its HTTP method alone.
pub(crate) fn endpoint(call: ApiCall, click: &Arc<ClickSandbox>) -> RouteMethod {
    let endpoint = ApiEndpoint { call, click: Arc::clone(click) };
    match call {
        ApiCall::Status | ApiCall::StatusByMti | ApiCall::StatusByMtiWithoutDay => RouteMethod::new().get(endpoint),
        ApiCall::Reversal | ApiCall::PartialReversal => RouteMethod::new().delete(endpoint),
    }
}

/// The endpoint of one call: first faults, then `Auth`, then the call itself.
struct ApiEndpoint {
    call: ApiCall,
    click: Arc<ClickSandbox>,
}

impl Endpoint for ApiEndpoint {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let text = |name: &str| request.raw_path_param(name).map(decoded).unwrap_or_default();
        let account = match self.call {
            ApiCall::StatusByMti | ApiCall::StatusByMtiWithoutDay => Some(text("mti")),
            ApiCall::Status | ApiCall::Reversal | ApiCall::PartialReversal => {
                let payment = text("payment_id").parse().ok().and_then(|id| self.click.ledger.find_payment(id));
                payment.map(|entry| entry.snapshot().account)
            }
        };
        let target = FaultTarget { call: Some(self.call.name()), account: account.as_deref() };
        let strikes = |fault| self.click.faults.strikes(fault, target);

        if let Some(strike) = strikes(ClickSimFault::ApiSlow) {
            tokio::time::sleep(strike.delay).await;
        }
        for (fault, status, title) in [
            (ClickSimFault::ApiUnavailable, StatusCode::BAD_GATEWAY, "Bad Gateway"),
            (ClickSimFault::ApiServerError, StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
            (ClickSimFault::ApiForbidden, StatusCode::FORBIDDEN, "Forbidden"),
        ] {
            if strikes(fault).is_some() {
                return Ok(html(status, title));
            }
        }
        if let Some(strike) = strikes(ClickSimFault::ApiThrottled) {
            return Ok(spoil::throttled(strike.delay));
        }
        if strikes(ClickSimFault::ApiUnauthorized).is_some() {
            return Ok(spoil::plain(&auth::refusal("the sandbox was told to refuse it")));
        }
        if let Err(problem) = auth::check(request.header("Auth"), now_ms()) {
            return Ok(spoil::plain(&auth::refusal(problem)));
        }
        if !takes_json(request.header(header::ACCEPT)) {
            let why = "the sandbox answers JSON only; send Accept: application/json";
            return Ok(spoil::plain(&MerchantApiAnswer::refused(StatusCode::NOT_ACCEPTABLE, -406, why)));
        }
        if strikes(ClickSimFault::ApiErrorCode).is_some() {
            return Ok(spoil::plain(&MerchantApiAnswer::refused(StatusCode::OK, -31_337, "Unknown error")));
        }

        let asked = PaymentPath {
            service_id: text("service_id"),
            payment_id: text("payment_id"),
            account: text("mti"),
            date: text("date"),
            amount: text("amount"),
        };
        let (call, click) = (self.call, Arc::clone(&self.click));
        let answer = match self.click.common.run(async move { calls::answer(call, &click, &asked).await }).await {
            Some(Ok(answer)) => answer,
            Some(Err(cause)) => {
                error!(error = %cause, call = self.call.name(), "the ledger failed a call of {}", self.call.name());
                return Ok(broken());
            }
            None => return Ok(broken()),
        };
        debug!(call = self.call.name(), status = answer.status.as_u16(), "{} is answered", self.call.name());

        if strikes(ClickSimFault::ApiAnswerLost).is_some() {
            self.click.common.connections.sever(request.remote_addr());
            return Ok(Response::default());
        }
        if let Some(strike) = strikes(ClickSimFault::ApiAnswerLate) {
            tokio::time::sleep(strike.delay).await;
        }
        Ok(spoil::write(answer, strikes))
    }
}

/// Whether a client that sends this `Accept` takes JSON; Click also has XML, which the sandbox does not write.
fn takes_json(accept: Option<&str>) -> bool {
    accept.is_none_or(|accept| accept.contains("json") || accept.contains("*/*") || accept.contains("application/*"))
}

/// A part of a path without percent signs.
fn decoded(part: &str) -> String {
    // A form would read a plus as a space, which it is not in a path; `&` and `=` would end the text.
    let form: String = part.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    let mut pairs = url::form_urlencoded::parse(form.as_bytes());
    pairs.next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_wants_xml_alone_gets_nothing() {
        for (accept, takes) in [
            (None, true),
            (Some("*/*"), true),
            (Some("application/json"), true),
            (Some("text/xml, application/json;q=0.5"), true),
            (Some("application/xml"), false),
        ] {
            assert_eq!(takes_json(accept), takes, "{accept:?}");
        }
    }
}
