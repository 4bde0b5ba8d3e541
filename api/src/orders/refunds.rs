//! Cancels orders and refunds them, for holders of an API key. A refund is staged as a job; nothing here calls the
//! gateway.

use std::sync::Arc;

use domain::id::OrderId;
use domain::money::som;
use domain::order::{Order, OrderStatus};
use domain::refund::{Refund, RefundState};
use domain::terms::{NoRefundCall, RefundWay};
use domain::time::rfc3339;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use store::idempotency::IdempotencyKey;
use store::orders::{self, Canceled};
use store::refunds::{self, NewRefund, Requested};
use store::{processes, transactions};
use tracing::info;

use super::answer::OrderAnswer;
use super::reason_body::{self, CancelRequest, RefundRequest};
use super::section::ApiSection;
use crate::Api;
use crate::auth::{KeyHolder, Viewer};
use crate::idempotency::IdempotencyHeader;
use crate::or_null::OrNull;
use crate::problem::of_endpoints::{CancelProblem, ListRefundsProblem, RefundProblem};
use crate::problem::{Problem, ProblemType};

/// The operations that end an order for its shop.
pub(crate) struct RefundApi(pub(super) Arc<Api>);

/// A refund.
#[derive(Debug, Object)]
#[oai(read_only_all)]
pub(crate) struct RefundAnswer {
    /// The refund's number.
    refund_id: i64,
    /// The refunded order.
    order_id: i64,
    /// Decimal soʻm.
    amount: String,
    /// `open`: in progress. `done`: the money was returned. `refused`: the refund was not made, and another one may be
    /// requested. `review`: the result is unknown, and a person must check it.
    state: String,
    /// The reason given with the request; `null` if none was given.
    reason: OrNull<String>,
    /// Why it was refused, or what is unknown about it; else `null`.
    outcome: OrNull<String>,
    /// RFC 3339, UTC.
    created_at: String,
    /// RFC 3339, UTC; `null` until it is done or refused.
    finished_at: OrNull<String>,
}

impl From<&Refund> for RefundAnswer {
    fn from(refund: &Refund) -> Self {
        RefundAnswer {
            refund_id: refund.id.0,
            order_id: refund.order_id.0,
            amount: som(refund.amount),
            state: refund.state.to_string(),
            reason: OrNull(refund.reason.clone()),
            outcome: OrNull(refund.outcome.clone()),
            created_at: rfc3339(refund.created_at_ms),
            finished_at: OrNull(refund.finished_at_ms.map(rfc3339)),
        }
    }
}

/// The answer to `GET …/refunds`.
#[derive(Debug, Object)]
#[oai(read_only_all)]
struct Refunds {
    /// The newest hundred, oldest first.
    refunds: Vec<RefundAnswer>,
}

#[derive(ApiResponse)]
enum RefundAccepted {
    /// The refund in progress; also for a repeated request with the same `Idempotency-Key`.
    #[oai(status = 202)]
    Accepted(
        Json<RefundAnswer>,
        /** The address of the order's refunds. */
        #[oai(header = "Location")]
        String,
    ),
}

#[OpenApi(tag = "ApiSection::RefundAndCancel")]
impl RefundApi {
    /// Cancel an order
    ///
    /// Only a pending order can be canceled; after that its payment link takes no money. A repeated request gets the
    /// same answer.
    #[oai(path = "/orders/:order_id/cancel", method = "post", operation_id = "cancelOrder")]
    async fn cancel_order(
        &self,
        key_holder: KeyHolder,
        /// The order's number.
        order_id: Path<i64>,
        request: CancelRequest,
    ) -> Result<Json<OrderAnswer>, CancelProblem> {
        let api = &self.0;
        let order = key_holder.order(api, OrderId(order_id.0)).await?;
        let cause = match request.parse()? {
            Some(reason) => format!("the shop canceled it: {reason}"),
            None => "the shop canceled it".to_owned(),
        };
        match orders::call_off(&api.context.store, order.id, &cause).await.map_err(Problem::from)? {
            Canceled::Done(canceled) => {
                if order.status != OrderStatus::Canceled {
                    info!(order.id = %order.id, api_key = key_holder.name, "order {} is canceled", order.id);
                }
                let answer =
                    OrderAnswer::read(&api.context.store, &canceled, Viewer::Shop, &api.context.public_url).await;
                Ok(Json(answer.map_err(Problem::from)?))
            }
            Canceled::Refused(order) => Err(not_cancelable(&order).into()),
            Canceled::Unknown => Err(Problem::order_not_found().into()),
        }
    }

    /// Refund an order
    ///
    /// Refunds the whole amount of a paid order. The answer comes before the gateway is asked: the order becomes
    /// `refunded`, and the refund `done`, once the money has been returned.
    #[oai(path = "/orders/:order_id/refund", method = "post", operation_id = "refundOrder")]
    async fn refund_order(
        &self,
        key_holder: KeyHolder,
        /// The order's number.
        order_id: Path<i64>,
        request: RefundRequest,
        #[oai(name = "Idempotency-Key")] key: IdempotencyHeader<String>,
    ) -> Result<RefundAccepted, RefundProblem> {
        let api = &self.0;
        let order = key_holder.order(api, OrderId(order_id.0)).await?;
        let reason = request.parse(&order)?;
        if order.status == OrderStatus::Paid
            && let Some(gateway) = order.gateway().filter(|gateway| !api.context.gateways.has(gateway))
            && !processes::has_worker_of(&api.context.store, gateway).await.map_err(Problem::from)?
        {
            let detail = format!("the order was paid through {gateway}, which is not configured here any more");
            return Err(Problem::new(ProblemType::GatewayNotConfigured, detail).into());
        }
        check_terms(api, &order).await?;
        let key = IdempotencyKey { key: key.0, body_digest: reason_body::digest(&order, reason.as_deref()) };
        let new = NewRefund { order_id: order.id, amount: order.amount, reason, requested_by: key_holder.name };
        let refund = match refunds::request(&api.context.store, &new, Some(&key)).await.map_err(Problem::from)? {
            Requested::New(refund) => {
                info!(
                    order.id = %order.id, refund.id = %refund.id, amount_tiyin = refund.amount, api_key = new.requested_by,
                    "refund {} of order {} is asked for: {} soʻm", refund.id, order.id, som(refund.amount)
                );
                refund
            }
            Requested::Repeated(refund) => refund,
            refused => return Err(not_refundable(refused).into()),
        };
        let location = format!("{}/api/orders/{}/refunds", api.context.public_url, order.id);
        Ok(RefundAccepted::Accepted(Json(RefundAnswer::from(&refund)), location))
    }

    /// Read an order's refunds
    #[oai(path = "/orders/:order_id/refunds", method = "get", operation_id = "getOrderRefunds")]
    async fn get_refunds(
        &self,
        key_holder: KeyHolder,
        /// The order's number.
        order_id: Path<i64>,
    ) -> Result<Json<Refunds>, ListRefundsProblem> {
        let order = key_holder.order(&self.0, OrderId(order_id.0)).await?;
        let refunds = refunds::of_order(&self.0.context.store, order.id).await.map_err(Problem::from)?;
        Ok(Json(Refunds { refunds: refunds.iter().map(RefundAnswer::from).collect() }))
    }
}

/// Refuses a refund that the gateway's terms do not allow, before anything is written. Other processes may know the
/// gateway where this one does not; the refund's job checks again.
async fn check_terms(api: &Api, order: &Order) -> Result<(), Problem> {
    let Some(gateway) = order.gateway().and_then(|gateway| api.context.gateways.get(gateway)) else { return Ok(()) };
    let (store, way) = (&api.context.store, gateway.terms().refunds);
    if order.status != OrderStatus::Paid || way == RefundWay::Call {
        return Ok(());
    }
    // A repeated request about a refund that is being made gets the answer that it had.
    let is_under_way = |refund: &Refund| matches!(refund.state, RefundState::Open | RefundState::Review);
    if refunds::of_order(store, order.id).await.map_err(Problem::from)?.iter().any(is_under_way) {
        return Ok(());
    }
    let payments = transactions::of_order(store, order.id).await.map_err(Problem::from)?;
    let payment = payments
        .iter()
        .find(|payment| Some(payment.transaction_id) == order.transaction_id && order.is_of(&payment.gateway));
    let paid_at_ms = payment.map_or(order.created_at_ms, |payment| payment.paid_at_ms(order.final_at_ms));
    way.check(paid_at_ms, store.now_ms()).map_err(|why| match why {
        NoRefundCall::OnlyInCabinet => Problem::new(
            ProblemType::RefundOnlyInCabinet,
            "this gateway gives money back only in its cabinet: refund the payment there, and the order becomes `refunded`",
        ),
        NoRefundCall::MonthIsOver => Problem::new(
            ProblemType::RefundMonthOver,
            "the gateway gives back only payments of this month, and on its first day those of the month before; give the \
             money back by other means",
        ),
    })
}

fn not_cancelable(order: &Order) -> Problem {
    let what_to_do = match order.status {
        OrderStatus::Confirming => {
            return Problem::new(
                ProblemType::PaymentInProgress,
                "the customer is paying at this moment; ask again in a minute, and refund the order if it is paid by then",
            )
            .retry_after(60);
        }
        OrderStatus::Paid => "the order is paid; refund it instead",
        OrderStatus::Refunded => "the order is refunded already; there is nothing left to do",
        OrderStatus::Expired => "the order has expired and can no longer be paid; there is nothing left to do",
        OrderStatus::Failed => {
            "the gateway made no payment link for it, so it cannot be paid; there is nothing left to do"
        }
        OrderStatus::Review => "a person must decide about the order first; its `reason` says why",
        // Another request changed the order between the two reads.
        OrderStatus::Pending | OrderStatus::Canceled => "the order has changed in this moment; ask again",
    };
    Problem::new(ProblemType::OrderNotCancelable, what_to_do).member("order_status", order.status.as_str())
}

fn not_refundable(refused: Requested) -> Problem {
    let with_refund = |problem_type, refund: &Refund, detail: &str| {
        Problem::new(problem_type, detail).member("refund_id", refund.id.0)
    };
    match refused {
        Requested::KeyReused => Problem::new(
            ProblemType::IdempotencyKeyReused,
            "this key was sent with another request within 24 hours; take a new key for a new refund",
        ),
        Requested::InFlight | Requested::New(_) | Requested::Repeated(_) => Problem::in_flight(true),
        Requested::UnknownOrder => Problem::order_not_found(),
        Requested::NotPaid(status) => {
            let detail = match status {
                OrderStatus::Pending => "the order is not paid; cancel it instead",
                OrderStatus::Confirming => "the order is being paid at this moment; ask again once it is `paid`",
                OrderStatus::Review => "a person must decide about the order first; its `reason` says why",
                OrderStatus::Expired | OrderStatus::Canceled | OrderStatus::Failed => {
                    "the order was never paid, so there is nothing to return"
                }
                OrderStatus::Paid | OrderStatus::Refunded => "the order has changed in this moment; ask again",
            };
            Problem::new(ProblemType::OrderNotPaid, detail).member("order_status", status.as_str())
        }
        Requested::InProgress(refund) => with_refund(
            ProblemType::RefundInProgress,
            &refund,
            "another refund of this order is being made; `GET …/refunds` shows its result",
        ),
        Requested::InReview(refund) => with_refund(
            ProblemType::RefundInReview,
            &refund,
            "the result of an earlier refund of this order is unknown; a person must find it out first, otherwise the \
             money might be returned twice",
        ),
        Requested::AlreadyRefunded => {
            Problem::new(ProblemType::AlreadyRefunded, "the order's whole amount was already returned")
        }
        Requested::DebitUnknown => Problem::new(
            ProblemType::DebitUnknown,
            "the gateway's number of the debit is not known here yet; the gateway is being asked for it: ask again",
        )
        .retry_after(5),
    }
}
