//! The route table: each path once, with its handler. It also holds everything that must be known of a path even if its
//! handler never answers: its methods, its time limit, and its name in metrics.
//!
//! poem tells handlers and their responses which pattern matched (`PathPattern`). A request that is refused earlier,
//! takes too long or panics would have none.

use std::time::Duration;

use poem::http::{HeaderValue, Method};
use poem::{IntoEndpoint, Route, get, post};
use poem_openapi::registry::{MetaOperation, MetaParamIn};
use poem_openapi::{OpenApi, OpenApiService};

/// The time limit until the response begins, without the wait for a payment link. An event stream may go on for longer.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The methods of a path that is served by `GET`.
const READ: &str = "GET, HEAD";

/// The entry of all paths that are not served.
static OTHER: RouteEntry =
    RouteEntry { parts: Vec::new(), name: String::new(), methods: String::new(), audience: Audience::Other };

/// The callers for which a path is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Programs of a shop, but no browser.
    Program,
    /// A shop's programs, and its pages from their own origin.
    ShopPage,
    /// Like [`Audience::ShopPage`], and the request waits for the payment link.
    MakesOrder,
    /// A customer's browser, which gets pages instead of JSON; also for every path below.
    PayPage,
    /// Payme, which takes any status but 200 for a system error.
    Payme,
    /// The operator's monitoring.
    Health,
    /// People who read how the order API works; also for every path below.
    Docs,
    /// Nothing is served there.
    Other,
}

/// One path.
#[derive(Debug)]
pub(crate) struct RouteEntry {
    parts: Vec<String>,
    name: String,
    methods: String,
    audience: Audience,
}

impl RouteEntry {
    fn new(pattern: &str, methods: String, audience: Audience) -> Self {
        let parts: Vec<String> = parts(pattern).map(str::to_owned).collect();
        let name = match audience {
            Audience::Health => "health",
            Audience::Docs => "docs",
            Audience::Program
            | Audience::ShopPage
            | Audience::MakesOrder
            | Audience::PayPage
            | Audience::Payme
            | Audience::Other => name_of(&parts),
        };
        RouteEntry { name: name.to_owned(), parts, methods, audience }
    }

    /// Matches as [`Route::at`] does.
    fn fits(&self, path: &[&str]) -> bool {
        self.parts.len() == path.len()
            && self.parts.iter().zip(path).all(|(part, given)| is_parameter(part) || part == given)
    }

    fn is_above(&self, path: &[&str]) -> bool {
        matches!(self.audience, Audience::PayPage | Audience::Docs)
            && self.parts.first().map(String::as_str) == path.first().copied()
    }

    /// The callers for which the path is made.
    pub(crate) fn audience(&self) -> Audience {
        self.audience
    }

    /// The name in metrics.
    pub(crate) fn name(&self) -> &str {
        match self.audience {
            Audience::Other => "other",
            Audience::Program
            | Audience::ShopPage
            | Audience::MakesOrder
            | Audience::PayPage
            | Audience::Payme
            | Audience::Health
            | Audience::Docs => &self.name,
        }
    }

    /// The methods, as the header `Allow` lists them.
    pub(crate) fn methods(&self) -> HeaderValue {
        HeaderValue::from_str(&self.methods).unwrap_or(HeaderValue::from_static(READ))
    }

    /// Whether pages of a shop's own origin may read the responses.
    pub(crate) fn is_called_from_shop_pages(&self) -> bool {
        matches!(self.audience, Audience::ShopPage | Audience::MakesOrder)
    }

    /// An order is committed before the wait for its link, so this wait must never end as too slow.
    pub(crate) fn time_limit(&self, link_wait: Duration) -> Duration {
        match self.audience {
            Audience::MakesOrder => TIME_LIMIT + link_wait,
            Audience::Program
            | Audience::ShopPage
            | Audience::PayPage
            | Audience::Payme
            | Audience::Health
            | Audience::Docs
            | Audience::Other => TIME_LIMIT,
        }
    }
}

/// All paths of a process.
#[derive(Debug, Default)]
pub(crate) struct RouteEntries(Vec<RouteEntry>);

impl RouteEntries {
    /// The entry of a path.
    pub(crate) fn of(&self, path: &str) -> &RouteEntry {
        let path: Vec<&str> = parts(path).collect();
        // A pattern with fewer parameters is preferred.
        let fitting = self.0.iter().filter(|entry| entry.fits(&path));
        let fitting = fitting.min_by_key(|entry| entry.parts.iter().filter(|part| is_parameter(part)).count());
        fitting.or_else(|| self.0.iter().find(|entry| entry.is_above(&path))).unwrap_or(&OTHER)
    }
}

/// The routes with their entries.
#[derive(Default)]
pub(crate) struct RouteTable {
    /// The routes for poem.
    pub(crate) routes: Route,
    /// The entries for the middleware.
    pub(crate) entries: RouteEntries,
}

impl RouteTable {
    /// Serves `GET`.
    pub(crate) fn get<E>(mut self, pattern: &str, audience: Audience, handler: E) -> Self
    where
        E: IntoEndpoint,
        E::Endpoint: 'static,
    {
        self.entries.0.push(RouteEntry::new(pattern, READ.to_owned(), audience));
        RouteTable { routes: self.routes.at(pattern, get(handler)), ..self }
    }

    /// Serves `POST`.
    pub(crate) fn post<E>(mut self, pattern: &str, audience: Audience, handler: E) -> Self
    where
        E: IntoEndpoint,
        E::Endpoint: 'static,
    {
        self.entries.0.push(RouteEntry::new(pattern, Method::POST.to_string(), audience));
        RouteTable { routes: self.routes.at(pattern, post(handler)), ..self }
    }

    /// Serves `GET` with a page, and `POST` with what its form does.
    pub(crate) fn page_with_form<P, F>(mut self, pattern: &str, audience: Audience, page: P, form: F) -> Self
    where
        P: IntoEndpoint,
        P::Endpoint: 'static,
        F: IntoEndpoint,
        F::Endpoint: 'static,
    {
        self.entries.0.push(RouteEntry::new(pattern, format!("{READ}, {}", Method::POST), audience));
        RouteTable { routes: self.routes.at(pattern, get(page).post(form)), ..self }
    }

    /// Serves every method: the handler itself answers those that are not its own.
    pub(crate) fn any<E>(mut self, pattern: &str, audience: Audience, handler: E) -> Self
    where
        E: IntoEndpoint,
        E::Endpoint: 'static,
    {
        self.entries.0.push(RouteEntry::new(pattern, Method::POST.to_string(), audience));
        RouteTable { routes: self.routes.at(pattern, handler), ..self }
    }

    /// Serves each operation of a described API below `root`.
    pub(crate) fn api<A: OpenApi + 'static>(mut self, root: &str, service: OpenApiService<A, ()>) -> Self {
        for path in A::meta().into_iter().flat_map(|api| api.paths) {
            let methods: Vec<&str> = path.operations.iter().map(methods_of).collect();
            let audience = path.operations.iter().map(audience_of).find(|audience| *audience != Audience::Program);
            let pattern = format!("{root}{}", path.path);
            self.entries.0.push(RouteEntry::new(&pattern, methods.join(", "), audience.unwrap_or(Audience::Program)));
        }
        RouteTable { routes: self.routes.nest(root, service), ..self }
    }
}

fn methods_of(operation: &MetaOperation) -> &str {
    match operation.method {
        Method::GET => READ,
        _ => operation.method.as_str(),
    }
}

/// Operations that take an order's token are called from pages.
fn audience_of(operation: &MetaOperation) -> Audience {
    let takes_token =
        operation.params.iter().any(|parameter| parameter.in_type == MetaParamIn::Query && parameter.name == "token");
    match (operation.operation_id, takes_token) {
        (Some("createOrder"), _) => Audience::MakesOrder,
        (_, true) => Audience::ShopPage,
        (_, false) => Audience::Program,
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.trim_matches('/').split('/')
}

fn is_parameter(part: &str) -> bool {
    part.starts_with([':', '{'])
}

/// The last word of a path; in the singular if the path ends with a parameter.
fn name_of(parts: &[String]) -> &str {
    let word = parts.iter().rfind(|part| !is_parameter(part)).map_or("", String::as_str);
    match parts.last() {
        Some(last) if is_parameter(last) => word.strip_suffix('s').unwrap_or(word),
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_for_a_link_is_within_the_time_limit() {
        let longest = Duration::from_secs(30);
        let at = |audience| RouteEntry::new("/api/orders/create", "POST".to_owned(), audience);

        assert_eq!(at(Audience::MakesOrder).time_limit(longest), longest + TIME_LIMIT);
        assert_eq!(at(Audience::ShopPage).time_limit(longest), TIME_LIMIT);
    }

    #[test]
    fn an_address_is_found_by_the_words_that_it_names() {
        let of = |pattern: &str, audience| RouteEntry::new(pattern, READ.to_owned(), audience);
        let entries = RouteEntries(vec![
            of("/api/orders/:order_id", Audience::ShopPage),
            of("/api/orders/create", Audience::MakesOrder),
            of("/api/orders/{order_id}/history", Audience::ShopPage),
            of("/pay/:token", Audience::PayPage),
            of("/readyz", Audience::Health),
        ]);

        for (path, name) in [
            ("/api/orders/create", "create"),
            ("/api/orders/7", "order"),
            ("/api/orders/7/history", "history"),
            ("/api/orders/7/nothing", "other"),
            ("/api", "other"),
            ("/", "other"),
            ("/pay/secret", "pay"),
            ("/pay/secret/and/more", "pay"),
            ("/readyz", "health"),
            ("/readyz/more", "other"),
        ] {
            assert_eq!(entries.of(path).name(), name, "{path}");
        }
    }
}
