//! Atmos: its wire format, its token, its signatures.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::answer::{callback_answer, callback_message};
use self::paths::path;
pub use self::settings::{AtmosSettings, SANDBOX_KEY, SignAlgorithm};
use self::token::AccessTokens;
use self::wire::{CreateBody, GetBody, ReverseBody};
use super::GatewayError;
use crate::coordination::{Coordination, Urgency};
use crate::http::request::Operation;
use crate::http::{self, ClientFault, Http, HttpSettings};
use domain::id::TransactionId;
use domain::order::GatewayIdentity;
use domain::terms::{LinkOrigin, OutcomeSource, RefundWay, Terms};
use domain::transaction::{BookLine, Callback, CallbackFault, Draft, DraftRequest, TransactionReport};

mod answer;
mod authorized;
mod callback;
mod ledger;
mod paths;
mod settings;
mod sign;
mod token;
mod wire;

/// Long enough for a slow gateway, short enough that two calls fit into a job's deadline.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// The client for Atmos; cheap to clone, shared by all jobs of a process.
#[derive(Clone)]
pub struct AtmosGateway(Arc<Parts>);

struct Parts {
    settings: AtmosSettings,
    identity: GatewayIdentity,
    http: Http,
    tokens: AccessTokens,
}

impl AtmosGateway {
    /// Prepares calls; connects to nothing yet. A rustls crypto provider must have been installed.
    ///
    /// # Errors
    /// [`ClientFault`]: a proxy address that cannot be used, or no root certificates where TLS is called for.
    pub fn new(settings: AtmosSettings, coordination: Coordination) -> Result<Self, ClientFault> {
        AtmosGateway::with_call_timeout(settings, CALL_TIMEOUT, coordination)
    }

    /// As [`AtmosGateway::new`], with another time that one call may take.
    ///
    /// # Errors
    /// As [`AtmosGateway::new`].
    pub fn with_call_timeout(
        settings: AtmosSettings,
        call_timeout: Duration,
        coordination: Coordination,
    ) -> Result<Self, ClientFault> {
        let to_atmos = HttpSettings {
            base_url: &settings.base_url,
            proxy_url: settings.proxy_url.as_ref(),
            proxy_setting: "ATMOS_PROXY_URL",
            is_understood: wire::is_understood,
            read_not_found: None,
        };
        let http = Http::new(&to_atmos, call_timeout, coordination.clone())?;
        let tokens = AccessTokens::new(&settings, coordination);
        Ok(AtmosGateway(Arc::new(Parts { identity: settings.identity(), settings, http, tokens })))
    }

    /// The admission of its calls.
    pub fn coordination(&self) -> &Coordination {
        self.0.http.coordination()
    }

    /// Our account there.
    pub fn identity(&self) -> &GatewayIdentity {
        &self.0.identity
    }

    /// How Atmos works. A debit may take 120 s (Atmos documents, apply); ten minutes after the last yes none can still be on
    /// its way.
    pub fn terms(&self) -> Terms {
        Terms {
            link: LinkOrigin::Draft,
            outcome: OutcomeSource::Asked,
            debit_within: Duration::from_secs(600),
            closed_believed_after: Duration::from_secs(180),
            refunds: RefundWay::Call,
        }
    }

    /// The store our callbacks must name.
    pub fn store_id(&self) -> &str {
        &self.0.settings.store_id
    }

    /// `POST /merchant/pay/create`. A repetition only leaves an unused draft behind.
    ///
    /// # Errors
    /// Every [`GatewayError`].
    pub async fn create_draft(&self, request: &DraftRequest, urgency: Urgency) -> Result<Draft, GatewayError> {
        let Parts { settings, http, tokens, .. } = &*self.0;
        let body = CreateBody::new(settings, request);
        http.call(tokens, Operation::Create, urgency, &body, wire::read_created).await
    }

    /// The page of flow A: `{checkout}/invoice/get?storeId=…&transactionId=…&redirectLink=…`. The gateway gives
    /// no link of its own; every integration builds it like this.
    pub fn payment_url(&self, transaction_id: TransactionId, return_url: &str) -> String {
        let settings = &self.0.settings;
        let mut url = http::with_path(&settings.checkout_url, "/invoice/get");
        let [store_id, return_url] = [&settings.store_id, return_url].map(http::percent_encoded);
        url.set_query(Some(&format!("storeId={store_id}&transactionId={transaction_id}&redirectLink={return_url}")));
        url.into()
    }

    /// `POST /merchant/pay/get`. It moves no money.
    ///
    /// # Errors
    /// Every [`GatewayError`]; `Refused` means that the gateway knows no such transaction of ours.
    pub async fn inquire(
        &self,
        transaction_id: TransactionId,
        urgency: Urgency,
    ) -> Result<TransactionReport, GatewayError> {
        let Parts { settings, http, tokens, .. } = &*self.0;
        let read = |body: &[u8]| wire::read_report(transaction_id, body);
        http.call(tokens, Operation::Inquiry, urgency, &GetBody::new(settings, transaction_id), read).await
    }

    /// Gets a token, so that a call which follows soon has one.
    ///
    /// # Errors
    /// Every [`GatewayError`] but `OutcomeUnknown` and `Refused`.
    pub async fn prepare(&self) -> Result<(), GatewayError> {
        let Parts { http, tokens, .. } = &*self.0;
        tokens.current(http).await.map(|_| ())
    }

    /// `POST /merchant/pay/reverse`, by the permanent id of the debit (`success_trans_id`). It is sent once; a second time only
    /// after a 401, because then the gateway has not processed it.
    ///
    /// # Errors
    /// Every [`GatewayError`].
    pub async fn reverse(&self, success_transaction_id: TransactionId, reason: &str) -> Result<(), GatewayError> {
        let Parts { settings, http, tokens, .. } = &*self.0;
        let body = ReverseBody::new(settings, success_transaction_id, reason);
        http.call_once(tokens, Operation::Reverse, Urgency::Now, &body, wire::read_reversed).await
    }

    /// `GET /_sim/ledger` of the sandbox; Atmos shows no ledger.
    ///
    /// # Errors
    /// Every [`GatewayError`] but `Refused`.
    pub async fn ledger(&self) -> Result<Option<Vec<BookLine>>, GatewayError> {
        let Parts { settings, http, .. } = &*self.0;
        match settings.is_sandbox() {
            true => http.read_ledger(path(Operation::Ledger), ledger::read).await.map(Some),
            false => Ok(None),
        }
    }

    /// A callback body for this transaction with a correct signature, for tests by hand (`tasdiq callback sign`).
    pub fn sign_callback(&self, transaction_id: TransactionId, account: &str, amount: i64) -> String {
        callback::write(&self.0.settings, transaction_id, account, amount)
    }
}

/// Reads a callback's body and checks its signature with the keys of the account whose store it names, which is returned
/// with it. A callback that names the store of none is checked with the keys of each. It is a pure function.
///
/// # Errors
/// [`CallbackFault`].
pub(crate) fn read_callback<'a>(
    accounts: &[&'a AtmosGateway],
    body: &[u8],
) -> Result<(&'a AtmosGateway, Callback), CallbackFault> {
    let settings: Vec<&AtmosSettings> = accounts.iter().map(|account| &account.0.settings).collect();
    let (index, callback) = callback::read(&settings, body)?;
    let account = accounts.get(index).ok_or(CallbackFault::BadlySigned)?;
    Ok((account, callback))
}

impl fmt::Debug for AtmosGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AtmosGateway").field(&self.0.settings).finish()
    }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]
mod tests;
