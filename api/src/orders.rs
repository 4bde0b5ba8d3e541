//! The order API: make an order, read it, follow it.

use std::sync::Arc;

use domain::id::{OrderId, OrderToken};
use domain::money::Tiyin;
use domain::order::Language;
use domain::terms::LinkOrigin;
use domain::time::millis;
use gateway::Gateway;
use poem::Request;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi, OpenApiService};
use store::idempotency::IdempotencyKey;
use store::orders::{self, Created, LocalLink};
use tracing::info;

use crate::auth::{Caller, KeyHolder};
use crate::idempotency::IdempotencyHeader;
use crate::problem::of_endpoints::{CreateProblem, ReadProblem};
use crate::problem::{Problem, ProblemType};
use crate::{Api, fair_share};

mod answer;
mod body;
pub(crate) mod cursor;
mod events;
mod json_object;
mod link_wait;
mod list;
pub(crate) mod parameters;
mod read_answer;
mod reason_body;
mod refunds;
mod section;
mod stream_slots;

pub(crate) use answer::OrderAnswer;
use answer::{CreatedOrder, History};
use body::OrderRequest;
pub(crate) use events::event_id;
use events::{FollowAnswer, Resumed};
use link_wait::LinkWait;
use list::OrderListApi;
use read_answer::ReadAnswer;
use refunds::RefundApi;
use section::ApiSection;
#[cfg(test)]
pub(crate) use stream_slots::{
    EVENT_STREAMS, EVENT_STREAMS_PER_ADDRESS, EVENT_STREAMS_PER_KEY, EVENT_STREAMS_PER_ORDER,
};
pub(crate) use stream_slots::{EventStreams, Follower};

/// The order API with its description; its paths begin with `/api`.
pub(crate) fn service(api: &Arc<Api>) -> OpenApiService<(OrderApi, OrderListApi, RefundApi), ()> {
    let parts = (OrderApi(Arc::clone(api)), OrderListApi(Arc::clone(api)), RefundApi(Arc::clone(api)));
    OpenApiService::new(parts, "Tasdiq", env!("CARGO_PKG_VERSION"))
        .description(
            "Payment orders for shops. **Ship on `paid`, and on nothing else**: `confirming` means that the gateway is \
             not finished yet. Every error is an `application/problem+json` document (RFC 9457); programs read its `type`.",
        )
        .server(api.context.public_url.to_string())
        .url_prefix("/api")
}

/// The order API.
pub(crate) struct OrderApi(Arc<Api>);

#[derive(ApiResponse)]
enum CreateAnswer {
    /// The order; also for a repeated request with the same `Idempotency-Key`, so that a retry gets the same answer.
    #[oai(status = 201)]
    Created(
        Json<CreatedOrder>,
        /** The address of the order. */
        #[oai(header = "Location")]
        String,
    ),
}

#[OpenApi(tag = "ApiSection::Orders")]
impl OrderApi {
    /// Make an order
    ///
    /// The answer has an address where the customer can pay: the gateway's page if it was ready in time, otherwise a
    /// page of ours that forwards to it as soon as it is ready. You can send the customer to either at once. Where your shop
    /// has several accounts and the body names no `payment_type`, the customer chooses one on our page.
    #[oai(path = "/orders/create", method = "post", operation_id = "createOrder")]
    async fn create_order(
        &self,
        key_holder: KeyHolder,
        request: OrderRequest,
        #[oai(name = "Idempotency-Key")] idempotency: IdempotencyHeader<Option<String>>,
    ) -> Result<CreateAnswer, CreateProblem> {
        let api = &self.0;
        let shop = api.context.shops.get(&key_holder.shop).ok_or_else(Problem::internal)?;
        let new_order = request.parse(key_holder.name, shop)?;
        let key = idempotency.0.map(|key| IdempotencyKey { key, body_digest: body::digest(&new_order) });
        let wait = LinkWait::begin(api);
        let store = &api.context.store;
        let keys = fair_share::names(&api.context.settings.keys);
        let gateway = new_order.account.as_ref().and_then(|account| api.context.gateways.get(&account.gateway));
        let created = match gateway.filter(|gateway| gateway.terms().link == LinkOrigin::Local) {
            _ if new_order.account.is_none() => {
                let choice_ttl_ms = millis(api.context.link_ttl);
                orders::create_for_choice(store, &new_order, key.as_ref(), choice_ttl_ms).await
            }
            Some(gateway) => {
                let link = local_link(api, gateway, new_order.amount, new_order.language);
                orders::create_linked(store, &new_order, key.as_ref(), &link).await
            }
            None => {
                let rate = gateway.and_then(|gateway| gateway.coordination().view().rate);
                if keys > 1 && rate.is_some() {
                    api.links.count_apis(store).await;
                }
                let queue = api.links.queue(&new_order.api_key_name, keys, rate);
                let created = orders::create_behind(store, &new_order, key.as_ref(), queue).await;
                if !matches!(created, Ok(Created::New(_))) {
                    api.links.give_back(&new_order.api_key_name, keys, rate, queue);
                }
                created
            }
        };
        let order = match created.map_err(Problem::from)? {
            Created::New(order) => {
                info!(
                    order.id = %order.id, amount_tiyin = order.amount.get(), shop = %order.shop, api_key = order.api_key_name,
                    "order {} is made: {} soʻm", order.id, order.amount
                );
                order
            }
            Created::Repeated(order) => order,
            Created::KeyReused => {
                return Err(Problem::new(
                    ProblemType::IdempotencyKeyReused,
                    "this key was sent with another body within 24 hours; take a new key for a new order",
                )
                .into());
            }
            Created::InFlight => {
                return Err(Problem::in_flight(key.is_some()).into());
            }
            Created::ReferenceTaken(order_id) => return Err(Problem::reference_taken(order_id).into()),
        };
        let order = wait.until_linked(order).await;
        let now_ms = api.context.store.now_ms();
        let location = format!("{}/api/orders/{}", api.context.public_url, order.id);
        Ok(CreateAnswer::Created(Json(CreatedOrder::new(&order, &api.context.public_url, now_ms)), location))
    }

    /// Read an order
    #[oai(path = "/orders/:order_id", method = "get", operation_id = "getOrder")]
    async fn get_order(
        &self,
        caller: Caller,
        /// The order's number.
        order_id: Path<i64>,
        /// The order's `order_token`, instead of an API key.
        token: Query<Option<String>>,
        /// The `ETag` of the answer that the client has: where nothing has changed, the answer is 304 without a body.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
    ) -> Result<ReadAnswer<OrderAnswer>, ReadProblem> {
        let (order, viewer) = caller.order(&self.0, OrderId(order_id.0), token.0.as_deref()).await?;
        let answer = OrderAnswer::read(&self.0.context.store, &order, viewer, &self.0.context.public_url).await;
        Ok(ReadAnswer::new(answer.map_err(Problem::from)?, if_none_match.0.as_deref()))
    }

    /// Read an order's history
    ///
    /// An API key sees every line with its cause. The order's token sees the changes of the status, each with a fixed
    /// sentence.
    #[oai(path = "/orders/:order_id/history", method = "get", operation_id = "getOrderHistory")]
    async fn get_history(
        &self,
        caller: Caller,
        /// The order's number.
        order_id: Path<i64>,
        /// The order's `order_token`, instead of an API key.
        token: Query<Option<String>>,
        /// The `ETag` of the answer that the client has: where nothing has changed, the answer is 304 without a body.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
    ) -> Result<ReadAnswer<History>, ReadProblem> {
        let (order, viewer) = caller.order(&self.0, OrderId(order_id.0), token.0.as_deref()).await?;
        let lines = orders::history(&self.0.context.store, order.id).await.map_err(Problem::from)?;
        Ok(ReadAnswer::new(History::new(&lines, viewer), if_none_match.0.as_deref()))
    }

    /// Follow an order
    ///
    /// Server-sent events named `order`, each with the order as `GET` returns it: the first at once, then one after
    /// each change. After a final status comes an event named `end`, and the stream ends: close your `EventSource`
    /// then. A client that connects again after that (browsers do, with `Last-Event-ID`) gets 204, after which browsers
    /// stop. A stream also ends after 30 minutes, without `end`.
    #[oai(path = "/orders/:order_id/events", method = "get", operation_id = "followOrder")]
    async fn get_events(
        &self,
        caller: Caller,
        request: &Request,
        /// The order's number.
        order_id: Path<i64>,
        /// The order's `order_token`, instead of an API key.
        token: Query<Option<String>>,
        /// The id of the last event that the client has; browsers send it by themselves.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
    ) -> Result<FollowAnswer, ReadProblem> {
        let since = self.0.context.notice.now();
        let (order, viewer) = caller.order(&self.0, OrderId(order_id.0), token.0.as_deref()).await?;
        let follower = caller.follower(&self.0, token.0.as_deref(), request);
        let from = Resumed { since, last_event_id: last_event_id.0 };
        Ok(events::follow(&self.0, order, viewer, from, follower).await?)
    }
}

/// The payment link of an order, of a gateway that makes its links without a call.
pub(crate) fn local_link(api: &Api, gateway: &Gateway, amount: Tiyin, language: Language) -> LocalLink {
    let (gateway, public_url) = (gateway.clone(), api.context.public_url.clone());
    let write = move |order_id: OrderId, token: &OrderToken| {
        let page = format!("{public_url}/pay/{}", token.as_str());
        // Our own page is the link of a gateway that makes none.
        gateway.local_link(order_id, amount, language, &format!("{page}/return")).unwrap_or(page)
    };
    LocalLink { write: Arc::new(write), payment_ttl_ms: millis(api.context.payment_ttl) }
}
