//! The access token. All processes with the same credentials share one, because the gateway may revoke the previous token
//! when it issues the next (it looks like WSO2 API Manager, which does so by default).

use std::sync::Arc;
use std::time::Duration;

use domain::secret::Secret;
use parking_lot::{Mutex, MutexGuard};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::AtmosSettings;
use super::paths::path;
use crate::GatewayError;
use crate::coordination::{Claim, Coordination, Note, Urgency};
use crate::http::Http;
use crate::http::request::{CredentialAge, Operation, RequestConnection};
use crate::http::retry;
use crate::json_answer::{AnswerFields, unknown};

/// A token is renewed this long before its end, so that none ends on its way to the gateway.
const RENEW_EARLY: Duration = Duration::from_secs(60);

/// The lifetime of a token whose answer has no `expires_in`, which the gateway's documents promise.
const UNSAID_LIFETIME: Duration = Duration::from_secs(120);

/// Even a token that ends at once is used this long. A gateway may hand out the old token until its very end, and not every
/// call may ask for it.
const SHORTEST_USE: Duration = Duration::from_secs(1);

/// How long one process may be the only one that asks for a token, and how long the others wait for it. After that they ask,
/// too: a second token does little harm, while without a token all work stands still.
const CLAIM: Duration = Duration::from_secs(5);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// After a failed renewal the old token is used, and is not renewed for this long. The same holds for a token that was refused
/// although it was new.
const RENEW_AGAIN: Duration = Duration::from_secs(5);

/// The token of one credential pair, asked for by one caller at a time.
pub(super) struct AccessTokens {
    consumer_key: String,
    consumer_secret: Secret,
    /// The name of the note in which all processes find it.
    pub(super) note: String,
    claim: String,
    coordination: Coordination,
    held: Mutex<TokenState>,
    /// Held by the one caller that renews the token.
    renewal: tokio::sync::Mutex<()>,
}

/// The token as this process knows it.
#[derive(Default)]
struct TokenState {
    token: Option<AccessToken>,
    /// The token that a call was refused with; it may still be in the shared note.
    rejected: Option<Secret>,
    /// The last failure and its time. It is the answer for all callers that were waiting then. Otherwise they would ask one
    /// after the other, each for as long as a call may take.
    failure: Option<(Instant, Arc<GatewayError>)>,
    /// The token that was refused although it was new, and when.
    refused_fresh: Option<(Secret, Instant)>,
}

#[derive(Clone)]
pub(super) struct AccessToken {
    pub(super) text: Secret,
    renew_at: Instant,
    ends_at: Instant,
}

impl AccessTokens {
    pub(super) fn new(settings: &AtmosSettings, coordination: Coordination) -> Self {
        let owner = Sha256::digest(format!("{}{}", settings.base_url, settings.consumer_key));
        let owner = hex::encode(owner);
        AccessTokens {
            consumer_key: settings.consumer_key.clone(),
            consumer_secret: settings.consumer_secret.clone(),
            note: format!("gateway-token:{owner}"),
            claim: format!("gateway-token-claim:{owner}"),
            coordination,
            held: Mutex::default(),
            renewal: tokio::sync::Mutex::default(),
        }
    }

    /// A token to call with: the one at hand, another process's, or a new one.
    ///
    /// # Errors
    /// `Unreachable` also for an unknown outcome of the token request: the call itself never left. `Throttled`
    /// and `NotAdmitted` as they came.
    pub(super) async fn current(&self, http: &Http) -> Result<Secret, GatewayError> {
        let asked_at = Instant::now();
        let old = self.held().token.clone();
        if let Some(token) = old.as_ref().filter(|token| token.renew_at > asked_at) {
            return Ok(token.text.clone());
        }
        let _renewal = match (self.renewal.try_lock(), old) {
            (Ok(renewal), _) => renewal,
            // Another caller renews it now; until then it still works.
            (Err(_), Some(token)) if token.ends_at > asked_at => return Ok(token.text),
            (Err(_), _) => self.renewal.lock().await,
        };
        let rejected = {
            let held = self.held();
            if let Some(token) = held.token.as_ref().filter(|token| token.renew_at > Instant::now()) {
                return Ok(token.text.clone());
            }
            match &held.failure {
                Some((failed_at, error)) if *failed_at >= asked_at => return Err(before_the_call(error)),
                _ => held.rejected.clone(),
            }
        };
        let answer = self.renewed(http, rejected.as_ref()).await;
        self.held().take(answer)
    }

    /// Forgets `token` after a 401, unless a newer one has taken its place.
    ///
    /// The shared note stays: every process that was refused with it ignores it, and the next token replaces it. To remove the
    /// note could remove that next token.
    pub(super) fn reject(&self, token: &Secret) {
        let mut held = self.held();
        if held.token.as_ref().is_some_and(|held| held.text == *token) {
            *held = TokenState { rejected: Some(token.clone()), ..TokenState::default() };
        }
    }

    /// Remembers that `token` got a 401 although it was new. It is used for a while all the same: if the gateway refuses new
    /// tokens, it refuses the next one, too.
    pub(super) fn note_refused_fresh(&self, token: &Secret) {
        let mut held = self.held();
        if held.token.as_ref().is_some_and(|held| held.text == *token) {
            held.refused_fresh = Some((token.clone(), Instant::now()));
        }
    }

    /// Whether `token` was refused in that way a moment ago.
    pub(super) fn was_refused_fresh(&self, token: &Secret) -> bool {
        let held = self.held();
        held.refused_fresh.as_ref().is_some_and(|(refused, at)| refused == token && at.elapsed() < RENEW_AGAIN)
    }

    fn held(&self) -> MutexGuard<'_, TokenState> {
        self.held.lock()
    }

    /// Another process's token, or a new one that this process asks for while the others wait.
    async fn renewed(&self, http: &Http, rejected: Option<&Secret>) -> Result<AccessToken, GatewayError> {
        let me = Secret::new(format!("{:032x}", rand::random::<u128>()));
        let alone_at = Instant::now() + CLAIM;
        let claim = loop {
            if let Some(token) = self.of_another(rejected).await {
                return Ok(token);
            }
            match self.coordination.claim(&self.claim, &me, CLAIM).await {
                Claim::Taken if Instant::now() < alone_at => sleep(ASK_EVERY).await,
                claim @ (Claim::Yours | Claim::Unknown | Claim::Taken) => break claim,
            }
        };
        // The process that had the claim before may have written a token meanwhile; another request would void it.
        if claim == Claim::Yours
            && let Some(token) = self.of_another(rejected).await
        {
            self.coordination.drop_note(&self.claim, &me).await;
            return Ok(token);
        }
        let answer = retry::briefly(|connection| self.ask(http, connection)).await;
        if let Ok(token) = &answer {
            let good_for = token.renew_at.saturating_duration_since(Instant::now());
            self.coordination.write_note(&self.note, &Note { text: token.text.clone(), good_for }).await;
        }
        self.coordination.drop_note(&self.claim, &me).await;
        answer
    }

    /// The token in the shared note, if it is another than the one we were refused with.
    async fn of_another(&self, rejected: Option<&Secret>) -> Option<AccessToken> {
        let note = self.coordination.note(&self.note).await?;
        (Some(&note.text) != rejected).then(|| AccessToken::of_another(note))
    }

    /// `POST /token`, OAuth 2 client credentials (Atmos API, token).
    async fn ask(&self, http: &Http, connection: RequestConnection) -> Result<AccessToken, retry::TryError> {
        // Before the request, not after the answer: its lifetime began somewhere between.
        let asked_at = Instant::now();
        let request = http
            .post(path(Operation::Token), connection)
            .basic_auth(&self.consumer_key, Some(self.consumer_secret.expose()))
            .form(&[("grant_type", "client_credentials")]);
        let request = (connection, request);
        http.send(Operation::Token, Urgency::Now, CredentialAge::None, request, |body| read(body, asked_at)).await
    }
}

impl TokenState {
    /// Stores the result of a renewal, and answers the token to call with.
    fn take(&mut self, answer: Result<AccessToken, GatewayError>) -> Result<Secret, GatewayError> {
        let now = Instant::now();
        let error = match answer {
            Ok(token) => {
                *self = TokenState { token: Some(token.clone()), ..TokenState::default() };
                return Ok(token.text);
            }
            Err(error) => Arc::new(error),
        };
        match self.token.as_mut().filter(|token| token.ends_at > now) {
            Some(old) => {
                old.renew_at = old.ends_at.min(now + RENEW_AGAIN);
                tracing::warn!(error = %error, "the gateway token was not renewed; the old one serves until its end");
                Ok(old.text.clone())
            }
            None => {
                self.failure = Some((now, Arc::clone(&error)));
                Err(before_the_call(&error))
            }
        }
    }
}

impl AccessToken {
    fn new(text: Secret, asked_at: Instant, lifetime: Duration) -> Self {
        let use_for = if lifetime < RENEW_EARLY * 2 { lifetime / 2 } else { lifetime - RENEW_EARLY };
        AccessToken { text, renew_at: asked_at + use_for.max(SHORTEST_USE), ends_at: asked_at + lifetime }
    }

    /// A note is only good until its token should be renewed.
    fn of_another(note: Note) -> Self {
        let renew_at = Instant::now() + note.good_for;
        AccessToken { text: note.text, renew_at, ends_at: renew_at }
    }
}

pub(super) fn read(body: &[u8], asked_at: Instant) -> Result<AccessToken, GatewayError> {
    /// Keeps the arithmetic of moments within its range, whatever the gateway says.
    const LONGEST: u64 = 7 * 24 * 3_600;
    let answer = AnswerFields::of_answer(body).map_err(|_| unknown("a token answer that is no JSON"))?;
    // A token with a line break could not be a header.
    let text = answer.get("access_token").string().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    let text = text.ok_or_else(|| unknown("a token answer without access_token"))?;
    let lifetime = match answer.get("expires_in").integer() {
        Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(LONGEST)),
        None => UNSAID_LIFETIME,
    };
    Ok(AccessToken::new(Secret::new(text), asked_at, lifetime))
}

/// A failed token request as the failure of the call that needed it: whatever became of the token, the call
/// itself never left.
fn before_the_call(error: &Arc<GatewayError>) -> GatewayError {
    match &**error {
        GatewayError::Unreachable(cause) => GatewayError::Unreachable(Arc::clone(cause)),
        GatewayError::OutcomeUnknown { .. } => GatewayError::Unreachable(Arc::clone(error) as _),
        GatewayError::Throttled { retry_after } => GatewayError::Throttled { retry_after: *retry_after },
        GatewayError::HeldBack { obstacle, retry_after } => {
            GatewayError::HeldBack { obstacle: obstacle.clone(), retry_after: *retry_after }
        }
        GatewayError::NotAdmitted { what } => GatewayError::NotAdmitted { what: what.clone() },
        GatewayError::Refused { code } => GatewayError::NotAdmitted { what: format!("code {code} for a token") },
    }
}
