//! Everything that can go wrong with a request, as RFC 9457 problem documents. Only this module knows HTTP error codes.

use domain::body_coding::CODINGS;
use domain::id::OrderId;
use poem::error::{MethodNotAllowedError, NotFoundError, ReadBodyError, ResponseError};
use poem::http::{StatusCode, header};
use poem::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use store::StoreError;
use telemetry::causes;
use tracing::{error, warn};

use crate::request_body::BodyFault;

pub(crate) mod of_endpoints;

/// The media type of a problem document.
const CONTENT_TYPE: &str = "application/problem+json";

macro_rules! problem_types {
    ($($(#[$doc:meta])* $name:ident = $slug:literal, $status:literal, $title:literal;)*) => {
        /// The type of a problem. The slug is for programs and never changes; the title is for people.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum ProblemType { $($(#[$doc])* $name,)* }

        impl ProblemType {
            /// All types.
            pub(crate) const ALL: &[ProblemType] = &[$(ProblemType::$name,)*];

            /// The name for programs; `urn:tasdiq:problem:<slug>` is the document's `type`.
            pub(crate) fn slug(self) -> &'static str {
                match self { $(ProblemType::$name => $slug,)* }
            }

            /// The status code of its answers.
            pub(crate) fn status(self) -> u16 {
                match self { $(ProblemType::$name => $status,)* }
            }

            /// What it is, for people.
            pub(crate) fn title(self) -> &'static str {
                match self { $(ProblemType::$name => $title,)* }
            }
        }
    };
}

problem_types! {
    UnreadableBody = "unreadable-body", 400, "The body cannot be read";
    InvalidIdempotencyKey = "invalid-idempotency-key", 400, "The idempotency key cannot be used";
    MissingIdempotencyKey = "missing-idempotency-key", 400, "An idempotency key is needed";
    InvalidRequest = "invalid-request", 400, "The request cannot be read";
    MissingApiKey = "missing-api-key", 401, "An API key is needed";
    WrongApiKey = "wrong-api-key", 401, "The API key is not known";
    WrongToken = "wrong-token", 401, "The token does not open this order";
    NotFound = "not-found", 404, "There is nothing at this address";
    OrderNotFound = "order-not-found", 404, "There is no such order";
    MethodNotAllowed = "method-not-allowed", 405, "The address does not take this method";
    ReferenceTaken = "reference-taken", 409, "Another order has this reference";
    RequestInFlight = "request-in-flight", 409, "The same request is being carried out at this moment";
    PaymentInProgress = "payment-in-progress", 409, "The order is being paid at this moment";
    OrderNotCancelable = "order-not-cancelable", 409, "The order cannot be canceled";
    OrderNotPaid = "order-not-paid", 409, "The order is not paid";
    RefundInProgress = "refund-in-progress", 409, "A refund of the order is being made";
    RefundInReview = "refund-in-review", 409, "A person must look at an earlier refund of the order";
    AlreadyRefunded = "already-refunded", 409, "The order is refunded already";
    GatewayNotConfigured = "gateway-not-configured", 409, "The gateway that has the order's money is not configured";
    BodyTooLarge = "body-too-large", 413, "The body is too large";
    UnsupportedMediaType = "unsupported-media-type", 415, "The body must be JSON";
    NotAnObject = "not-an-object", 422, "The body must be a JSON object";
    MissingField = "missing-field", 422, "A field is missing";
    UnknownField = "unknown-field", 422, "A field is not known";
    RepeatedField = "repeated-field", 422, "A field appears twice";
    InvalidAmount = "invalid-amount", 422, "The amount cannot be used";
    InvalidProductName = "invalid-product-name", 422, "The product name cannot be used";
    InvalidReference = "invalid-reference", 422, "The reference cannot be used";
    InvalidReturnUrl = "invalid-return-url", 422, "The return URL cannot be used";
    InvalidCancelUrl = "invalid-cancel-url", 422, "The cancel URL cannot be used";
    InvalidReason = "invalid-reason", 422, "The reason cannot be used";
    RefundOnlyInCabinet = "refund-only-in-cabinet", 422, "The gateway gives money back only in its cabinet";
    RefundMonthOver = "refund-month-over", 422, "The gateway gives back no payment of an earlier month";
    PartialRefundUnavailable = "partial-refund-unavailable", 422, "Only the whole order can be refunded";
    InvalidParameter = "invalid-parameter", 422, "A parameter of the address cannot be used";
    UnknownParameter = "unknown-parameter", 422, "A parameter of the address is not known";
    InvalidCursor = "invalid-cursor", 422, "The cursor cannot be used";
    UnknownLanguage = "unknown-language", 422, "The language is not known";
    UnknownPaymentType = "unknown-payment-type", 422, "The payment type is not known";
    PaymentTypeWithoutGateway = "payment-type-without-gateway", 422, "The shop has no account for this payment type";
    IdempotencyKeyReused = "idempotency-key-reused", 422, "The idempotency key belongs to another body";
    TooManyRequests = "too-many-requests", 429, "Too many requests are running";
    Internal = "internal", 500, "We have made a mistake";
    DatabaseUnavailable = "database-unavailable", 503, "The database does not answer";
    TooSlow = "too-slow", 503, "The answer took too long";
    DebitUnknown = "debit-unknown", 503, "The gateway is being asked about the debit";
    TooManyStreams = "too-many-streams", 503, "Too many event streams are open";
    NotReady = "not-ready", 503, "This process does not take requests now";
}

/// One problem with one request.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct Problem {
    problem_type: ProblemType,
    detail: String,
    members: Map<String, Value>,
    retry_after_s: Option<u32>,
    accept_encoding: Option<&'static str>,
    /// The underlying error, for the log only.
    #[source]
    cause: Option<Box<StoreError>>,
}

impl Problem {
    /// A problem with a sentence that tells its reader what to do next.
    pub(crate) fn new(problem_type: ProblemType, detail: impl Into<String>) -> Self {
        Problem {
            problem_type,
            detail: detail.into(),
            members: Map::new(),
            retry_after_s: None,
            accept_encoding: None,
            cause: None,
        }
    }

    /// A problem with one field of the body.
    pub(crate) fn with_field(problem_type: ProblemType, field: &str, detail: impl Into<String>) -> Self {
        Self::new(problem_type, detail).member("field", field)
    }

    /// A problem with one parameter of the address.
    pub(crate) fn with_parameter(problem_type: ProblemType, parameter: &str, detail: impl Into<String>) -> Self {
        Self::new(problem_type, detail).member("parameter", parameter)
    }

    /// Adds a member to the document, for programs.
    pub(crate) fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Says when the same request may succeed.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The order does not exist, or this caller may not see it: the two must look the same.
    pub(crate) fn order_not_found() -> Self {
        Self::new(ProblemType::OrderNotFound, "you have no order with this number")
    }

    /// No order of the caller has this reference.
    pub(crate) fn reference_not_found() -> Self {
        Self::new(ProblemType::OrderNotFound, "you have no order with this reference")
    }

    /// A part of the address is not text.
    pub(crate) fn not_utf8(part: &str) -> Self {
        Self::new(
            ProblemType::InvalidRequest,
            format!("{part} is not UTF-8; percent-encode the bytes of its UTF-8 text, as `encodeURIComponent` does"),
        )
    }

    /// The same request is running at this moment. Without an idempotency key it is known by its reference.
    pub(crate) fn in_flight(has_key: bool) -> Self {
        let detail = match has_key {
            true => "a request with this key is not answered yet; ask again with the same key",
            false => "an order with this reference is being made at this moment; ask again",
        };
        Self::new(ProblemType::RequestInFlight, detail).retry_after(1)
    }

    /// Another order of the caller has this reference.
    pub(crate) fn reference_taken(order_id: OrderId) -> Self {
        Self::with_field(
            ProblemType::ReferenceTaken,
            "reference",
            format!("order {order_id} has this reference already; look at that order, or choose another reference"),
        )
        .member("order_id", order_id.0)
    }

    /// A defect of ours; the caller gets no details.
    pub(crate) fn internal() -> Self {
        Self::new(
            ProblemType::Internal,
            "the request failed because of an error on our side; its id helps us to find the reason",
        )
    }

    /// The request reached its time limit.
    pub(crate) fn too_slow(seconds: u64) -> Self {
        Self::new(ProblemType::TooSlow, format!("there was no answer within {seconds} s; ask again")).retry_after(1)
    }

    /// The body has a content coding that we do not read; the answer lists the ones we read (RFC 9110 §15.5.16).
    pub(crate) fn unknown_coding() -> Self {
        let mut problem = Self::new(
            ProblemType::UnsupportedMediaType,
            "send the body without `Content-Encoding`, or in one that the header `Accept-Encoding` of this answer names",
        );
        problem.accept_encoding = Some(CODINGS);
        problem
    }

    /// The type of the problem.
    pub(crate) fn problem_type(&self) -> ProblemType {
        self.problem_type
    }

    /// The status code of the answer.
    pub(crate) fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.problem_type.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Converts an error of poem or poem-openapi.
    pub(crate) fn from_error(error: poem::Error) -> Self {
        let error = match error.downcast::<Problem>() {
            Ok(problem) => return problem,
            Err(error) => error,
        };
        if error.is::<NotFoundError>() {
            return Self::new(ProblemType::NotFound, "no page and no resource has this address");
        }
        if error.is::<MethodNotAllowedError>() {
            return Self::new(ProblemType::MethodNotAllowed, "the header `Allow` says which methods it takes");
        }
        if error.is::<poem_openapi::error::ParsePathError>() {
            return Self::order_not_found();
        }
        match error.status() {
            status if status.is_client_error() => Self::new(ProblemType::InvalidRequest, error.to_string()),
            _ => {
                error!(error = %error, "a request failed: {error}");
                Self::internal()
            }
        }
    }

    /// The same problem under another type, because its reader must act differently.
    pub(crate) fn with_type(mut self, problem_type: ProblemType) -> Self {
        self.problem_type = problem_type;
        self
    }

    /// Logs problems that the caller cannot repair.
    pub(crate) fn log(&self) {
        let cause = self.cause.as_deref();
        let error = cause.map(|cause| causes(cause)).unwrap_or_default();
        match self.problem_type {
            _ if cause.is_some_and(|cause| !cause.is_passing()) => {
                error!(error, "a request failed because of a defect of ours: {error}");
            }
            ProblemType::DatabaseUnavailable => {
                warn!(error, "a request was refused because the database does not answer: {error}");
            }
            ProblemType::TooSlow => warn!("a request was refused because its answer took too long"),
            ProblemType::TooManyStreams => warn!("an event stream was refused because too many are open"),
            _ => (),
        }
    }

    /// The problem document.
    pub(crate) fn document(&self, request_id: &str) -> Value {
        let mut document = json!({
            "type": format!("urn:tasdiq:problem:{}", self.problem_type.slug()),
            "title": self.problem_type.title(),
            "status": self.problem_type.status(),
            "detail": self.detail,
            "request_id": request_id,
        });
        if let Some(document) = document.as_object_mut() {
            document.extend(self.members.clone());
        }
        document
    }

    /// Writes the headers that belong to the problem.
    pub(crate) fn write_headers(&self, response: &mut Response) {
        let headers = response.headers_mut();
        if self.problem_type.status() == 401 {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(codings) = self.accept_encoding {
            headers.insert(header::ACCEPT_ENCODING, header::HeaderValue::from_static(codings));
        }
    }

    /// The response to the request with this id.
    pub(crate) fn answer(&self, request_id: &str) -> Response {
        let mut response = Response::builder()
            .status(self.status_code())
            .content_type(CONTENT_TYPE)
            .body(self.document(request_id).to_string());
        self.write_headers(&mut response);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let mut problem = if error.is_passing() {
            Self::new(ProblemType::DatabaseUnavailable, "nothing was changed by this request; ask again").retry_after(1)
        } else {
            Self::internal()
        };
        problem.cause = Some(Box::new(error));
        problem
    }
}

impl From<BodyFault> for Problem {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge => Self::new(ProblemType::BodyTooLarge, "the body is larger than its limit"),
            BodyFault::Incomplete => Self::new(ProblemType::UnreadableBody, "the body did not arrive completely"),
            BodyFault::UnknownCoding => Self::unknown_coding(),
        }
    }
}

/// Happens only if a handler takes the body twice.
impl From<ReadBodyError> for Problem {
    fn from(_error: ReadBodyError) -> Self {
        BodyFault::Incomplete.into()
    }
}

/// Used only if poem answers without our middleware; inside it, [`Problem::answer`] is used.
impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.status_code()
    }

    fn as_response(&self) -> Response {
        self.answer("").into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two simultaneous orders with one reference, sent without keys: the answer must not mention a key.
    #[test]
    fn a_request_in_flight_is_named_by_its_key_or_its_reference() {
        assert!(Problem::in_flight(true).detail.contains("with the same key"));
        let without_key = Problem::in_flight(false);
        assert!(without_key.detail.contains("reference") && !without_key.detail.contains("key"), "{without_key}");
    }
}
