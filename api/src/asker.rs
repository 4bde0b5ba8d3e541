//! Who a request has proved to come from: written where the proof is weighed, read when the request is logged.

use std::sync::{Arc, OnceLock};

use poem::Request;

/// What was proved about the sender of one request, once something was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asker(Arc<OnceLock<Proof>>);

/// How a sender proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By the API key of this name; empty where no keys are configured.
    Key(String),
    /// By an order's own token, which every customer has.
    Token,
    /// By the signature of a gateway's callback.
    Signature,
}

impl Asker {
    /// Puts an asker into a request that is about to be answered, about whom nothing is proved yet.
    pub(crate) fn unproven(request: &mut Request) -> Self {
        let asker = Asker::default();
        request.extensions_mut().insert(asker.clone());
        asker
    }

    /// The asker of a request that is being answered.
    pub(crate) fn of(request: &Request) -> Self {
        request.extensions().get::<Asker>().cloned().unwrap_or_default()
    }

    /// Tells what was proved. The first proof counts.
    pub(crate) fn proved(&self, proof: Proof) {
        let _ = self.0.set(proof);
    }

    /// What was proved so far.
    pub(crate) fn proof(&self) -> Option<&Proof> {
        self.0.get()
    }

    /// The name of the sender's API key, if it has one. Never the key.
    pub(crate) fn key_name(&self) -> Option<&str> {
        match self.proof()? {
            Proof::Key(name) if !name.is_empty() => Some(name),
            Proof::Key(_) | Proof::Token | Proof::Signature => None,
        }
    }
}
