//! The gateways, which move the money, in words that fit every one. Only the folder of a gateway knows its JSON.

use domain::id::{OrderId, TransactionId};
use domain::money::Tiyin;
use domain::order::{GatewayIdentity, Language, PaymentType};
use domain::terms::Terms;
use domain::transaction::{BookLine, Draft, DraftRequest, StoredTransaction, TransactionReport};

use crate::coordination::{Coordination, Urgency};

mod account_settings;
pub mod atmos;
mod call_fields;
pub mod callback_addresses;
pub mod click;
pub mod coordination;
mod error;
mod gateways;
mod http;
mod inquiry;
mod json_answer;
mod metrics;
pub mod payme;
mod setting_checks;

pub use account_settings::AccountSettings;
use atmos::AtmosGateway;
use click::ClickGateway;
pub use error::{AnswerFault, GatewayError, UnreachableCause};
pub use gateways::Gateways;
pub use http::ClientFault;
pub use inquiry::InquiryFacts;
use payme::PaymeGateway;

/// No gateway gives this number to a transaction. So a question about it shows whether the gateway accepts us, and nothing
/// else.
const NO_TRANSACTION: TransactionId = TransactionId(0);

/// One account at a gateway. It is an enum and not a trait object, because there are few gateways and all are known.
#[derive(Clone, Debug)]
pub enum Gateway {
    /// Atmos, or the sandbox that speaks like it.
    Atmos(AtmosGateway),
    /// Payme, or the sandbox that speaks like it.
    Payme(PaymeGateway),
    /// Click, or the sandbox that speaks like it.
    Click(ClickGateway),
}

impl Gateway {
    /// The gateway account that is asked to move the money; each order and transaction names it.
    pub fn identity(&self) -> &GatewayIdentity {
        match self {
            Gateway::Atmos(atmos) => atmos.identity(),
            Gateway::Payme(payme) => payme.identity(),
            Gateway::Click(click) => click.identity(),
        }
    }

    /// The payment type that is paid through it.
    pub fn payment_type(&self) -> PaymentType {
        match self {
            Gateway::Atmos(_) => PaymentType::Atmos,
            Gateway::Payme(_) => PaymentType::Payme,
            Gateway::Click(_) => PaymentType::Click,
        }
    }

    /// How this gateway works.
    pub fn terms(&self) -> Terms {
        match self {
            Gateway::Atmos(atmos) => atmos.terms(),
            Gateway::Payme(payme) => payme.terms(),
            Gateway::Click(click) => click.terms(),
        }
    }

    /// The account as one of Atmos, if it is one.
    pub fn as_atmos(&self) -> Option<&AtmosGateway> {
        match self {
            Gateway::Atmos(atmos) => Some(atmos),
            Gateway::Payme(_) | Gateway::Click(_) => None,
        }
    }

    /// The account as one of Payme, if it is one.
    pub fn as_payme(&self) -> Option<&PaymeGateway> {
        match self {
            Gateway::Payme(payme) => Some(payme),
            Gateway::Atmos(_) | Gateway::Click(_) => None,
        }
    }

    /// The account as one of Click, if it is one.
    pub fn as_click(&self) -> Option<&ClickGateway> {
        match self {
            Gateway::Click(click) => Some(click),
            Gateway::Atmos(_) | Gateway::Payme(_) => None,
        }
    }

    /// The store that the gateway's answers must name.
    pub fn store_id(&self) -> &str {
        match self {
            Gateway::Atmos(atmos) => atmos.store_id(),
            Gateway::Payme(payme) => &payme.settings().cashbox_id,
            Gateway::Click(click) => &click.settings().service_id,
        }
    }

    /// Makes a draft. To repeat it is harmless: no customer knows the page of an unused draft. A link beyond its shop's fair
    /// share has the lowest urgency.
    ///
    /// # Errors
    /// Every [`GatewayError`]; `Refused` where links need no draft.
    pub async fn create_draft(&self, request: &DraftRequest, urgency: Urgency) -> Result<Draft, GatewayError> {
        match self {
            Gateway::Atmos(atmos) => atmos.create_draft(request, urgency).await,
            Gateway::Payme(_) => Err(GatewayError::Refused { code: "PAYME-HAS-NO-DRAFTS".to_owned() }),
            Gateway::Click(_) => Err(GatewayError::Refused { code: "CLICK-HAS-NO-DRAFTS".to_owned() }),
        }
    }

    /// The page where the customer pays this draft; `return_url` is where it sends the customer back. `None` where links need
    /// no draft.
    pub fn payment_url(&self, transaction_id: TransactionId, return_url: &str) -> Option<String> {
        match self {
            Gateway::Atmos(atmos) => Some(atmos.payment_url(transaction_id, return_url)),
            Gateway::Payme(_) | Gateway::Click(_) => None,
        }
    }

    /// The page where the customer pays this order, made without any call; `return_url` is where it sends the customer back.
    /// `None` where a link needs a draft.
    pub fn local_link(&self, order_id: OrderId, amount: Tiyin, language: Language, return_url: &str) -> Option<String> {
        match self {
            Gateway::Atmos(_) => None,
            Gateway::Payme(payme) => Some(payme.local_link(order_id, amount, language, return_url)),
            Gateway::Click(click) => Some(click.local_link(order_id, amount, return_url)),
        }
    }

    /// Makes an inquiry: asks for the state of one transaction. It moves no money, so it may always be repeated.
    ///
    /// # Errors
    /// Every [`GatewayError`]; `Refused` means that the gateway does not know such a transaction.
    pub async fn inquire(
        &self,
        transaction: &StoredTransaction,
        facts: &InquiryFacts<'_>,
        urgency: Urgency,
    ) -> Result<TransactionReport, GatewayError> {
        match self {
            Gateway::Atmos(atmos) => atmos.inquire(transaction.transaction_id, urgency).await,
            Gateway::Payme(payme) => Ok(payme.inquire(transaction)),
            Gateway::Click(click) => click.inquire(transaction, facts, urgency).await,
        }
    }

    /// As [`Gateway::inquire`], about a transaction that we have no row for. `None` where a number of ours alone says nothing
    /// to the gateway.
    ///
    /// # Errors
    /// As [`Gateway::inquire`].
    pub async fn inquire_unrecorded(
        &self,
        transaction_id: TransactionId,
        urgency: Urgency,
    ) -> Result<Option<TransactionReport>, GatewayError> {
        match self {
            Gateway::Atmos(atmos) => atmos.inquire(transaction_id, urgency).await.map(Some),
            Gateway::Payme(_) | Gateway::Click(_) => Ok(None),
        }
    }

    /// Shows whether the gateway accepts us, by a question about a transaction that cannot exist.
    ///
    /// # Errors
    /// Every [`GatewayError`] but `Refused`.
    pub async fn check_access(&self) -> Result<(), GatewayError> {
        let answer = match self {
            Gateway::Atmos(atmos) => atmos.inquire(NO_TRANSACTION, Urgency::Later).await,
            // It is never called; only its own calls show whether its key is ours.
            Gateway::Payme(_) => return Ok(()),
            Gateway::Click(click) => return click.check_access().await,
        };
        match answer {
            Ok(_) | Err(GatewayError::Refused { .. }) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// The admission of its calls, which this process shares with the others.
    pub fn coordination(&self) -> &Coordination {
        match self {
            Gateway::Atmos(atmos) => atmos.coordination(),
            Gateway::Payme(payme) => payme.coordination(),
            Gateway::Click(click) => click.coordination(),
        }
    }

    /// Gets the access token that the next call needs. If there is none, this fails and the call itself is not sent.
    ///
    /// # Errors
    /// Every [`GatewayError`] but `OutcomeUnknown` and `Refused`.
    pub async fn prepare(&self) -> Result<(), GatewayError> {
        match self {
            Gateway::Atmos(atmos) => atmos.prepare().await,
            Gateway::Payme(_) | Gateway::Click(_) => Ok(()),
        }
    }

    /// Gives back a whole debit, by its permanent id. The request is sent once: see [`GatewayError::is_unprocessed`].
    ///
    /// # Errors
    /// Every [`GatewayError`]. `Refused` is final. It does not say whether the debit is reversed already: make an inquiry.
    pub async fn reverse(&self, transaction: &StoredTransaction, reason: &str) -> Result<(), GatewayError> {
        let Some(success_transaction_id) = transaction.success_transaction_id else {
            return Err(GatewayError::Refused { code: "NO-DEBIT-IS-KNOWN".to_owned() });
        };
        match self {
            Gateway::Atmos(atmos) => atmos.reverse(success_transaction_id, reason).await,
            Gateway::Payme(_) => Err(GatewayError::Refused { code: "PAYME-REFUNDS-IN-ITS-CABINET".to_owned() }),
            Gateway::Click(click) => click.reverse(success_transaction_id).await,
        }
    }

    /// All transactions in the gateway's own ledger, also those that we do not know. `None` where the gateway shows no ledger,
    /// as Atmos, Payme and Click do not. It moves no money.
    ///
    /// # Errors
    /// Every [`GatewayError`].
    pub async fn ledger(&self) -> Result<Option<Vec<BookLine>>, GatewayError> {
        match self {
            Gateway::Atmos(atmos) => atmos.ledger().await,
            Gateway::Payme(_) | Gateway::Click(_) => Ok(None),
        }
    }
}
