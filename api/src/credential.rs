//! The credential by which the sender of a request was authenticated: set where it is checked, read when the request is
//! logged.

use std::sync::{Arc, OnceLock};

use poem::Request;

/// The credential of one request, once one was proven.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProvenCredential(Arc<OnceLock<Credential>>);

/// How a sender was authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// By the API key of this name; the name is empty if no keys are configured.
    ApiKey(String),
    /// By an order's token, which the order's customer has.
    OrderToken,
    /// By the signature of a gateway's callback.
    Signature,
}

impl ProvenCredential {
    /// Attaches an empty cell to a request that is about to be answered.
    pub(crate) fn attach(request: &mut Request) -> Self {
        let credential = ProvenCredential::default();
        request.extensions_mut().insert(credential.clone());
        credential
    }

    /// The cell of a request that is being answered.
    pub(crate) fn of(request: &Request) -> Self {
        request.extensions().get::<ProvenCredential>().cloned().unwrap_or_default()
    }

    /// Records a proven credential. The first one counts.
    pub(crate) fn record(&self, credential: Credential) {
        let _ = self.0.set(credential);
    }

    /// The credential proven so far.
    pub(crate) fn get(&self) -> Option<&Credential> {
        self.0.get()
    }

    /// The name of the sender's API key, if it has one. Never the key itself.
    pub(crate) fn key_name(&self) -> Option<&str> {
        match self.get()? {
            Credential::ApiKey(name) if !name.is_empty() => Some(name),
            Credential::ApiKey(_) | Credential::OrderToken | Credential::Signature => None,
        }
    }
}
