//! Finds orders of a shop: lists with filters, and one by its reference.

use std::sync::Arc;

use domain::money::Tiyin;
use poem::Request;
use poem_openapi::param::Header;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use store::order_list::{self, OrderFilter};
use store::order_lookup;

use super::answer::OrderAnswer;
use super::cursor::{self, ListDigest};
use super::parameters::{
    Amount, Cursor, Flag, Limit, Name, Parameter, ReferenceInPath, Statuses, Time, TypeOfPayment, USUAL_ORDERS,
    WantedWords, check_names,
};
use super::read_answer::ReadAnswer;
use super::section::ApiSection;
use crate::Api;
use crate::auth::{KeyHolder, Viewer};
use crate::or_null::OrNull;
use crate::problem::of_endpoints::{ListProblem, ReferenceProblem};
use crate::problem::{Problem, ProblemType};

/// The operations that find orders.
pub(crate) struct OrderListApi(pub(super) Arc<Api>);

/// One page of orders.
#[derive(Debug, Object)]
#[oai(read_only_all)]
pub(crate) struct OrderListAnswer {
    /// Newest first; maybe fewer than `limit`, or none, although there is a further page.
    orders: Vec<OrderAnswer>,
    /// Send it as `cursor`, with the same filters, for the next page; `null` at the end of the list.
    next: OrNull<String>,
}

#[OpenApi(tag = "ApiSection::Orders")]
impl OrderListApi {
    /// List orders
    ///
    /// The orders of your shop that fit every filter, newest first. Ask for the next page with `cursor` until `next` is `null`:
    /// a page looks at no more than 1,000 orders, so it may have fewer than `limit`, or none, and still name a next one. No
    /// order comes twice, whatever is made or paid meanwhile, and an order that fits all the time is not left out. Needs an API
    /// key.
    #[oai(path = "/orders", method = "get", operation_id = "listOrders")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter, as the description lists them")]
    async fn list_orders(
        &self,
        key_holder: KeyHolder,
        request: &Request,
        /// Only orders with one of these statuses: `status=paid,refunded`, or `status=paid&status=refunded`.
        status: Parameter<Statuses>,
        /// Only orders that are paid this way. An order whose customer has not chosen yet has no payment type.
        payment_type: Parameter<TypeOfPayment>,
        /// Only orders made at this time or later: RFC 3339, or a date, which begins at 00:00 UTC.
        since: Parameter<Time>,
        /// Only orders made before this time: RFC 3339, or a date, which begins at 00:00 UTC.
        until: Parameter<Time>,
        /// Only orders of exactly this amount, in decimal soʻm.
        amount: Parameter<Amount>,
        /// Only orders of this amount or more.
        amount_from: Parameter<Amount>,
        /// Only orders of this amount or less.
        amount_to: Parameter<Amount>,
        /// Only the order with exactly this reference.
        reference: Parameter<Name>,
        /// Only the order of this transaction: its `transaction_id`, the gateway's own id of the payment, or the gateway's
        /// permanent number of the debit, as its cabinet shows it.
        transaction: Parameter<Name>,
        /// Only orders that a person must check although their status stays, or only others. Orders in `review` have that status.
        needs_review: Parameter<Flag>,
        /// Only orders in whose product name or reference each of these words stands, whole or as a part of a word, in capitals
        /// or not. Each page compares 1,000 orders at most: name `since` or `status`, too, where there are very many.
        text: Parameter<WantedWords>,
        /// The `next` of the page before, with the same filters.
        cursor: Parameter<Cursor>,
        /// How many orders the page has at most.
        limit: Parameter<Limit>,
    ) -> Result<Json<OrderListAnswer>, ListProblem> {
        check_names(request)?;
        let (amount_from, amount_to) = amounts(amount.0, amount_from.0, amount_to.0)?;
        let filter = OrderFilter {
            statuses: status.0.unwrap_or_default(),
            payment_type: payment_type.0,
            since_ms: since.0,
            until_ms: until.0,
            amount_from,
            amount_to,
            reference: reference.0,
            transaction: transaction.0,
            needs_review: needs_review.0,
            words: text.0.unwrap_or_default(),
        };
        if filter.since_ms.zip(filter.until_ms).is_some_and(|(since_ms, until_ms)| since_ms > until_ms) {
            return Err(wrong("until", "`until` must not be earlier than `since`").into());
        }
        let context = &self.0.context;
        let list = ListDigest::of(&key_holder.shop, &filter);
        let after = cursor.0.map(|text| cursor::read(list, &text)).transpose()?;
        let limit = limit.0.unwrap_or(USUAL_ORDERS);
        let page = order_list::list(&context.store, &[key_holder.shop], &filter, after, limit).await;
        let page = page.map_err(Problem::from)?;
        let mut orders = Vec::with_capacity(page.orders.len());
        for order in &page.orders {
            let answer = OrderAnswer::read(&context.store, order, Viewer::Shop, &context.public_url).await;
            orders.push(answer.map_err(Problem::from)?);
        }
        Ok(Json(OrderListAnswer { orders, next: OrNull(page.next.map(|next| cursor::write(list, next))) }))
    }

    /// Read an order by its reference
    ///
    /// The order that your shop made with this `reference`, as `GET /api/orders/{order_id}` answers it. Needs an API key.
    #[oai(path = "/orders/by-reference/:reference", method = "get", operation_id = "getOrderByReference")]
    async fn get_order_by_reference(
        &self,
        key_holder: KeyHolder,
        /// The order's reference, percent-encoded, as `encodeURIComponent` writes it.
        reference: ReferenceInPath,
        /// The `ETag` of the answer that the client has: where nothing has changed, the answer is 304 without a body.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
    ) -> Result<ReadAnswer<OrderAnswer>, ReferenceProblem> {
        let context = &self.0.context;
        let (shop, name) = (&key_holder.shop, &key_holder.name);
        // No order has such a one, and PostgreSQL takes no text with it.
        if reference.0.contains('\0') {
            return Err(Problem::reference_not_found().into());
        }
        let order =
            order_lookup::by_reference(&context.store, shop, name, &reference.0).await.map_err(Problem::from)?;
        let order = order.ok_or_else(Problem::reference_not_found)?;
        let answer = OrderAnswer::read(&context.store, &order, Viewer::Shop, &context.public_url).await;
        Ok(ReadAnswer::new(answer.map_err(Problem::from)?, if_none_match.0.as_deref()))
    }
}

/// The least and the largest amount.
fn amounts(
    exactly: Option<Tiyin>,
    from: Option<Tiyin>,
    to: Option<Tiyin>,
) -> Result<(Option<Tiyin>, Option<Tiyin>), Problem> {
    match exactly {
        Some(_) if from.is_some() || to.is_some() => {
            Err(wrong("amount", "`amount` is one amount; leave it out where you send `amount_from` or `amount_to`"))
        }
        Some(_) => Ok((exactly, exactly)),
        None if from.zip(to).is_some_and(|(from, to)| from > to) => {
            Err(wrong("amount_to", "`amount_to` must not be less than `amount_from`"))
        }
        None => Ok((from, to)),
    }
}

fn wrong(parameter: &str, detail: &str) -> Problem {
    Problem::with_parameter(ProblemType::InvalidParameter, parameter, detail)
}
