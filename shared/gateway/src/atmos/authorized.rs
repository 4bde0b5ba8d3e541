//! Calls with our access token, and the new token when the gateway does not accept the old one.

use domain::secret::Secret;
use serde::Serialize;

use super::paths::path;
use super::token::AccessTokens;
use crate::GatewayError;
use crate::coordination::Urgency;
use crate::http::Http;
use crate::http::request::{CredentialAge, Operation, RequestConnection};
use crate::http::retry::{self, TryError};

impl Http {
    /// One call with our token that is safe to repeat: retried for a short time, and once more with a new token after a
    /// 401.
    ///
    /// # Errors
    /// Every [`GatewayError`].
    pub(super) async fn call<T>(
        &self,
        tokens: &AccessTokens,
        operation: Operation,
        urgency: Urgency,
        body: &impl Serialize,
        read: impl Fn(&[u8]) -> Result<T, GatewayError>,
    ) -> Result<T, GatewayError> {
        retry::briefly(|connection| self.attempt(tokens, operation, urgency, connection, body, &read)).await
    }

    /// One call with our token that must not be repeated. Only after a 401, which the gateway has not processed, it is sent
    /// once more with a new token. It opens a new connection: on an old one that the other side has closed it would be
    /// unknown whether the request arrived.
    ///
    /// # Errors
    /// Every [`GatewayError`].
    pub(super) async fn call_once<T>(
        &self,
        tokens: &AccessTokens,
        operation: Operation,
        urgency: Urgency,
        body: &impl Serialize,
        read: impl Fn(&[u8]) -> Result<T, GatewayError>,
    ) -> Result<T, GatewayError> {
        let answer = self.attempt(tokens, operation, urgency, RequestConnection::Fresh, body, &read).await;
        answer.map_err(TryError::into_final)
    }

    async fn attempt<T>(
        &self,
        tokens: &AccessTokens,
        operation: Operation,
        urgency: Urgency,
        connection: RequestConnection,
        body: &impl Serialize,
        read: &impl Fn(&[u8]) -> Result<T, GatewayError>,
    ) -> Result<T, TryError> {
        let with_token = |token: &Secret, age| {
            let request = self.post(path(operation), connection).bearer_auth(token.expose()).json(body);
            self.send(operation, urgency, age, (connection, request), read)
        };
        let token = tokens.current(self).await.map_err(TryError::Lasting)?;
        if tokens.was_refused_fresh(&token) {
            // Another new token would be refused as well, and each call would ask for one.
            return with_token(&token, CredentialAge::Fresh).await;
        }
        match with_token(&token, CredentialAge::MayBeOld).await {
            Err(TryError::Unauthorized) => {
                // The gateway may have revoked it for another process's token; once is normal, twice is not.
                tokens.reject(&token);
                let fresh = tokens.current(self).await.map_err(TryError::Lasting)?;
                let answer = with_token(&fresh, CredentialAge::Fresh).await;
                if let Err(TryError::Unauthorized) = answer {
                    tokens.note_refused_fresh(&fresh);
                }
                answer
            }
            answer => answer,
        }
    }
}
