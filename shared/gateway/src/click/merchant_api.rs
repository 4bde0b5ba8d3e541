//! Our calls of Click's Merchant API.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::id::TransactionId;
use domain::secret::Secret;
use reqwest::RequestBuilder;
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::authorization::auth;
use super::settings::ClickSettings;
use super::wire::{self, ClickPayment};
use crate::coordination::{Coordination, Urgency};
use crate::http::request::{CredentialAge, Operation, RequestConnection};
use crate::http::retry::{self, TryError};
use crate::http::{ClientFault, Http, HttpSettings};
use crate::{AnswerFault, GatewayError};

/// Where it lies (Click documents, Merchant API).
const API: &str = "/v2/merchant";

/// The Merchant API, as one service calls it.
pub(super) struct MerchantApi {
    http: Http,
    service_id: String,
    merchant_user_id: String,
    /// The present key: the first one while keys are changed.
    key: Secret,
    /// See [`ClickSettings::not_found_codes`].
    not_found_codes: Vec<i64>,
}

impl MerchantApi {
    pub(super) fn new(
        settings: &ClickSettings,
        call_timeout: Duration,
        coordination: Coordination,
    ) -> Result<Self, ClientFault> {
        let to_click = HttpSettings {
            base_url: &settings.api_url,
            proxy_url: settings.proxy_url.as_ref(),
            proxy_setting: "CLICK_PROXY_URL",
            is_understood: wire::is_understood,
            read_not_found: Some(wire::read_not_found),
        };
        Ok(MerchantApi {
            http: Http::new(&to_click, call_timeout, coordination)?,
            service_id: settings.service_id.clone(),
            merchant_user_id: settings.merchant_user_id.clone(),
            key: settings.secret_keys.first().cloned().unwrap_or_else(|| Secret::new("")),
            not_found_codes: settings.not_found_codes.clone().unwrap_or_default(),
        })
    }

    pub(super) fn coordination(&self) -> &Coordination {
        self.http.coordination()
    }

    /// `GET payment/status`: the `payment_status` of a payment.
    ///
    /// # Errors
    /// Every [`GatewayError`] but `Refused`.
    pub(super) async fn status(&self, payment_id: TransactionId, urgency: Urgency) -> Result<i64, GatewayError> {
        let path = format!("{API}/payment/status/{}/{payment_id}", self.service_id);
        self.ask(&path, urgency, |body| wire::read_status(payment_id, body, &self.not_found_codes)).await
    }

    /// `GET payment/status_by_mti`: a payment for an order on a day, `YYYY-MM-DD` in Tashkent. `None` where Click says that it
    /// finds none: HTTP 404, which it documents, with an `error_code`; or a code that an operator has named. Any other code may
    /// mean anything.
    ///
    /// # Errors
    /// Every [`GatewayError`] but `Refused`.
    pub(super) async fn status_by_mti(
        &self,
        order_id: &str,
        day: &str,
        urgency: Urgency,
    ) -> Result<Option<ClickPayment>, GatewayError> {
        let path = format!("{API}/payment/status_by_mti/{}/{order_id}/{day}", self.service_id);
        match self.ask(&path, urgency, |body| wire::read_status_by_mti(order_id, body, &self.not_found_codes)).await {
            Ok(payment) => Ok(Some(payment)),
            Err(GatewayError::OutcomeUnknown { fault: AnswerFault::NotFound(_), .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `DELETE payment/reversal`. Sent once, on a new connection: on an old one that the other side has closed it would be unknown
    /// whether the request arrived.
    ///
    /// # Errors
    /// Every [`GatewayError`].
    pub(super) async fn reverse(&self, payment_id: TransactionId) -> Result<(), GatewayError> {
        let path = format!("{API}/payment/reversal/{}/{payment_id}", self.service_id);
        let connection = RequestConnection::Fresh;
        let request = (connection, self.authorized(self.http.delete(&path, connection)));
        let read = |body: &[u8]| wire::read_reversed(payment_id, body);
        let answer = self.http.send(Operation::Reverse, Urgency::Now, CredentialAge::Lasting, request, read).await;
        answer.map_err(TryError::into_final)
    }

    /// A question, which may be repeated.
    async fn ask<T>(
        &self,
        path: &str,
        urgency: Urgency,
        read: impl Fn(&[u8]) -> Result<T, GatewayError>,
    ) -> Result<T, GatewayError> {
        retry::briefly(|connection| {
            let request = (connection, self.authorized(self.http.get(path, connection)));
            self.http.send(Operation::Inquiry, urgency, CredentialAge::Lasting, request, &read)
        })
        .await
    }

    /// Each try has a time of its own.
    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        request
            .header("Auth", auth(&self.merchant_user_id, &self.key, now_s))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
    }
}
