//! Calls with our access token, and what becomes of them when the gateway does not accept it.

use domain::secret::Secret;
use serde::Serialize;

use super::client::Http;
use super::request::{Bearer, Connection, Operation};
use super::retry::{self, TryError};
use super::token::Tokens;
use crate::GatewayError;
use crate::coordination::Urgency;

impl Http {
    /// One call with our token that is safe to repeat: briefly retried, and once more with a fresh token after
    /// a 401.
    ///
    /// # Errors
    /// Every [`GatewayError`].
    pub(super) async fn call<T>(
        &self,
        tokens: &Tokens,
        operation: Operation,
        urgency: Urgency,
        body: &impl Serialize,
        read: impl Fn(&[u8]) -> Result<T, GatewayError>,
    ) -> Result<T, GatewayError> {
        retry::briefly(|connection| self.attempt(tokens, operation, urgency, connection, body, &read)).await
    }

    /// One call with our token that must not be repeated; only after a 401, which nobody has processed, it is sent once
    /// more with a fresh token. It leaves by a connection of its own: of one that the other side has closed nobody would
    /// know whether the request arrived.
    ///
    /// # Errors
    /// Every [`GatewayError`].
    pub(super) async fn call_once<T>(
        &self,
        tokens: &Tokens,
        operation: Operation,
        urgency: Urgency,
        body: &impl Serialize,
        read: impl Fn(&[u8]) -> Result<T, GatewayError>,
    ) -> Result<T, GatewayError> {
        let answer = self.attempt(tokens, operation, urgency, Connection::Fresh, body, &read).await;
        answer.map_err(TryError::into_final)
    }

    async fn attempt<T>(
        &self,
        tokens: &Tokens,
        operation: Operation,
        urgency: Urgency,
        connection: Connection,
        body: &impl Serialize,
        read: &impl Fn(&[u8]) -> Result<T, GatewayError>,
    ) -> Result<T, TryError> {
        let with_token = |token: &Secret, bearer| {
            let request = self.post(operation, connection).bearer_auth(token.expose()).json(body);
            self.send(operation, urgency, bearer, (connection, request), read)
        };
        let token = tokens.current(self).await.map_err(TryError::Lasting)?;
        if tokens.was_refused_fresh(&token) {
            // Yet another one would fare no better, and each call would ask for one.
            return with_token(&token, Bearer::Fresh).await;
        }
        match with_token(&token, Bearer::MayBeOld).await {
            Err(TryError::Unauthorized) => {
                // Another process may have made the gateway revoke it; once is normal, twice is not.
                tokens.reject(&token);
                let fresh = tokens.current(self).await.map_err(TryError::Lasting)?;
                let answer = with_token(&fresh, Bearer::Fresh).await;
                if let Err(TryError::Unauthorized) = answer {
                    tokens.note_refused_fresh(&fresh);
                }
                answer
            }
            answer => answer,
        }
    }
}
