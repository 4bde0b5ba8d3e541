//! The problems of each endpoint, as `/openapi.json` lists them.

use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};

use super::{CONTENT_TYPE, Problem};
use crate::schema;

macro_rules! problems_of {
    ($($(#[$doc:meta])* $name:ident: $($status:literal = $description:literal),+;)*) => { $(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name(Problem);

        impl<E: Into<Problem>> From<E> for $name {
            fn from(error: E) -> Self {
                $name(error.into())
            }
        }

        impl From<$name> for poem::Error {
            fn from(problem: $name) -> Self {
                problem.0.into()
            }
        }

        impl ApiResponse for $name {
            fn meta() -> MetaResponses {
                MetaResponses { responses: vec![$(meta($status, $description),)+] }
            }

            fn register(registry: &mut Registry) {
                schema::register_problem(registry);
            }
        }
    )* };
}

problems_of! {
    /// The problems of making an order, for `/openapi.json`.
    CreateProblem:
        400 = "`unreadable-body`, `invalid-idempotency-key`",
        401 = "`missing-api-key`, `wrong-api-key`",
        409 = "`reference-taken` (with `order_id`), `request-in-flight`",
        413 = "`body-too-large`",
        415 = "`unsupported-media-type`",
        422 = "`missing-field`, `unknown-field`, `repeated-field`, `not-an-object`, `invalid-amount`, \
               `invalid-product-name`, `invalid-reference`, `invalid-return-url`, `invalid-cancel-url`, \
               `unknown-language`, `unknown-payment-type`, `payment-type-without-gateway` (with `payment_types`), `idempotency-key-reused`; \
               `field` names the field",
        429 = "`too-many-requests`: ask again after `Retry-After`",
        500 = "`internal`",
        503 = "`database-unavailable`, `too-slow`: ask again after `Retry-After`";
    /// The problems of canceling an order, for `/openapi.json`.
    CancelProblem:
        400 = "`unreadable-body`",
        401 = "`missing-api-key`, `wrong-api-key`",
        404 = "`order-not-found`: there is none, or it is not yours",
        409 = "`payment-in-progress`, `order-not-cancelable` (with `order_status`)",
        413 = "`body-too-large`",
        415 = "`unsupported-media-type`",
        422 = "`not-an-object`, `unknown-field`, `repeated-field`, `invalid-reason`; `field` names the field",
        429 = "`too-many-requests`: ask again after `Retry-After`",
        500 = "`internal`",
        503 = "`database-unavailable`, `too-slow`: ask again after `Retry-After`";
    /// The problems of a refund, for `/openapi.json`.
    RefundProblem:
        400 = "`unreadable-body`, `missing-idempotency-key`, `invalid-idempotency-key`",
        401 = "`missing-api-key`, `wrong-api-key`",
        404 = "`order-not-found`: there is none, or it is not yours",
        409 = "`order-not-paid` (with `order_status`), `refund-in-progress`, `refund-in-review` (both with `refund_id`), \
               `already-refunded`, `gateway-not-configured`, `request-in-flight`",
        413 = "`body-too-large`",
        415 = "`unsupported-media-type`",
        422 = "`not-an-object`, `unknown-field`, `repeated-field`, `invalid-amount`, `partial-refund-unavailable`, \
               `refund-only-in-cabinet`, `refund-month-over`, \
               `invalid-reason`, `idempotency-key-reused`; `field` names the field",
        429 = "`too-many-requests`: ask again after `Retry-After`",
        500 = "`internal`",
        503 = "`database-unavailable`, `too-slow`, `debit-unknown`: ask again after `Retry-After`";
    /// The problems of reading an order's refunds, for `/openapi.json`.
    ListRefundsProblem:
        401 = "`missing-api-key`, `wrong-api-key`",
        404 = "`order-not-found`: there is none, or it is not yours",
        429 = "`too-many-requests`: ask again after `Retry-After`",
        500 = "`internal`",
        503 = "`database-unavailable`, `too-slow`: ask again after `Retry-After`";
    /// The problems of listing orders, for `/openapi.json`.
    ListProblem:
        400 = "`invalid-request`: a parameter is not UTF-8",
        401 = "`missing-api-key`, `wrong-api-key`",
        422 = "`invalid-parameter`, `unknown-parameter`, `invalid-cursor`; `parameter` names the parameter",
        429 = "`too-many-requests`: ask again after `Retry-After`",
        500 = "`internal`",
        503 = "`database-unavailable`, `too-slow`: ask again after `Retry-After`";
    /// The problems of reading an order by its reference, for `/openapi.json`.
    ReferenceProblem:
        400 = "`invalid-request`: the reference is not UTF-8",
        401 = "`missing-api-key`, `wrong-api-key`",
        404 = "`order-not-found`: your shop has no order with this reference",
        429 = "`too-many-requests`: ask again after `Retry-After`",
        500 = "`internal`",
        503 = "`database-unavailable`, `too-slow`: ask again after `Retry-After`";
    /// The problems of reading an order, for `/openapi.json`.
    ReadProblem:
        401 = "`missing-api-key`, `wrong-api-key`, `wrong-token`",
        404 = "`order-not-found`: there is none, or it is not yours",
        429 = "`too-many-requests`: ask again after `Retry-After`",
        500 = "`internal`",
        503 = "`database-unavailable`, `too-slow`, `too-many-streams`: ask again after `Retry-After`";
}

fn meta(status: u16, description: &'static str) -> MetaResponse {
    MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content: vec![MetaMediaType { content_type: CONTENT_TYPE, schema: schema::problem() }],
        headers: vec![],
    }
}
