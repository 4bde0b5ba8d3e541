//! What is served: each address once, with its handler. From this list comes what must be known of an address before its
//! handler answers, and if it never does: its methods, its time limit, and the name it is counted under.
//!
//! poem tells which pattern it has matched (`PathPattern`) to handlers and with their answers. A request that is turned
//! away before, takes too long or panics would have none.

use std::time::Duration;

use poem::http::{HeaderValue, Method};
use poem::{IntoEndpoint, Route, get, post};
use poem_openapi::registry::{MetaOperation, MetaParamIn};
use poem_openapi::{OpenApi, OpenApiService};

/// How long a request may take until its answer begins, besides a wait that it was told to make; an event stream may go
/// on for longer.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(30);

/// What a `GET` is served with.
const READ: &str = "GET, HEAD";

/// The address of everything that is not served.
static OTHER: Address =
    Address { parts: Vec::new(), name: String::new(), methods: String::new(), audience: Audience::Other };

/// Who calls an address, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Programs of a shop, and nobody's browser.
    Program,
    /// A shop's programs, and its pages from their own origin.
    ShopPage,
    /// The same, and it waits for the payment link.
    MakesOrder,
    /// A customer's browser, which is shown words and no JSON; whatever is asked below this address as well.
    PayPage,
    /// Whoever watches the process.
    Health,
    /// People who read how the order API works; whatever is asked below this address as well.
    Docs,
    /// Nothing is served there.
    Other,
}

/// One address.
#[derive(Debug)]
pub(crate) struct Address {
    parts: Vec<String>,
    name: String,
    methods: String,
    audience: Audience,
}

impl Address {
    fn new(pattern: &str, methods: String, audience: Audience) -> Self {
        let parts: Vec<String> = parts(pattern).map(str::to_owned).collect();
        let name = match audience {
            Audience::Health => "health",
            Audience::Docs => "docs",
            Audience::Program | Audience::ShopPage | Audience::MakesOrder | Audience::PayPage | Audience::Other => {
                name_of(&parts)
            }
        };
        Address { name: name.to_owned(), parts, methods, audience }
    }

    /// As [`Route::at`] would find it.
    fn fits(&self, path: &[&str]) -> bool {
        self.parts.len() == path.len()
            && self.parts.iter().zip(path).all(|(part, given)| is_parameter(part) || part == given)
    }

    fn is_above(&self, path: &[&str]) -> bool {
        matches!(self.audience, Audience::PayPage | Audience::Docs)
            && self.parts.first().map(String::as_str) == path.first().copied()
    }

    /// Who calls it.
    pub(crate) fn audience(&self) -> Audience {
        self.audience
    }

    /// The name that a metric may carry.
    pub(crate) fn name(&self) -> &str {
        match self.audience {
            Audience::Other => "other",
            Audience::Program
            | Audience::ShopPage
            | Audience::MakesOrder
            | Audience::PayPage
            | Audience::Health
            | Audience::Docs => &self.name,
        }
    }

    /// What it takes, as the header `Allow` tells it.
    pub(crate) fn methods(&self) -> HeaderValue {
        HeaderValue::from_str(&self.methods).unwrap_or(HeaderValue::from_static(READ))
    }

    /// Whether pages of a shop's own origin may read its answers.
    pub(crate) fn is_called_from_shop_pages(&self) -> bool {
        matches!(self.audience, Audience::ShopPage | Audience::MakesOrder)
    }

    /// An order is committed before its link is waited for, so that this wait must never end in "ask again".
    pub(crate) fn time_limit(&self, link_wait: Duration) -> Duration {
        match self.audience {
            Audience::MakesOrder => TIME_LIMIT + link_wait,
            Audience::Program
            | Audience::ShopPage
            | Audience::PayPage
            | Audience::Health
            | Audience::Docs
            | Audience::Other => TIME_LIMIT,
        }
    }
}

/// All addresses of a process.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Vec<Address>);

impl Addresses {
    /// Which of them is asked for.
    pub(crate) fn of(&self, path: &str) -> &Address {
        let path: Vec<&str> = parts(path).collect();
        // One that says a part of the path is meant rather than one that takes any.
        let fitting = self.0.iter().filter(|address| address.fits(&path));
        let fitting = fitting.min_by_key(|address| address.parts.iter().filter(|part| is_parameter(part)).count());
        fitting.or_else(|| self.0.iter().find(|address| address.is_above(&path))).unwrap_or(&OTHER)
    }
}

/// Addresses with their handlers.
#[derive(Default)]
pub(crate) struct Served {
    /// For poem.
    pub(crate) routes: Route,
    /// For what stands around it.
    pub(crate) addresses: Addresses,
}

impl Served {
    /// Serves `GET`.
    pub(crate) fn get<E>(mut self, pattern: &str, audience: Audience, handler: E) -> Self
    where
        E: IntoEndpoint,
        E::Endpoint: 'static,
    {
        self.addresses.0.push(Address::new(pattern, READ.to_owned(), audience));
        Served { routes: self.routes.at(pattern, get(handler)), ..self }
    }

    /// Serves `POST`.
    pub(crate) fn post<E>(mut self, pattern: &str, audience: Audience, handler: E) -> Self
    where
        E: IntoEndpoint,
        E::Endpoint: 'static,
    {
        self.addresses.0.push(Address::new(pattern, Method::POST.to_string(), audience));
        Served { routes: self.routes.at(pattern, post(handler)), ..self }
    }

    /// Serves each operation of a described API below `root`.
    pub(crate) fn api<A: OpenApi + 'static>(mut self, root: &str, service: OpenApiService<A, ()>) -> Self {
        for path in A::meta().into_iter().flat_map(|api| api.paths) {
            let methods: Vec<&str> = path.operations.iter().map(methods_of).collect();
            let audience = path.operations.iter().map(audience_of).find(|audience| *audience != Audience::Program);
            let pattern = format!("{root}{}", path.path);
            self.addresses.0.push(Address::new(&pattern, methods.join(", "), audience.unwrap_or(Audience::Program)));
        }
        Served { routes: self.routes.nest(root, service), ..self }
    }
}

fn methods_of(operation: &MetaOperation) -> &str {
    match operation.method {
        Method::GET => READ,
        _ => operation.method.as_str(),
    }
}

/// Whatever takes an order's token is asked by pages.
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

/// The last word of an address; of one that names a single thing of many, the word for one of them.
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
    fn the_longest_wait_for_a_link_is_no_reason_to_give_up() {
        let longest = Duration::from_secs(30);
        let at = |audience| Address::new("/api/orders/create", "POST".to_owned(), audience);

        assert_eq!(at(Audience::MakesOrder).time_limit(longest), longest + TIME_LIMIT);
        assert_eq!(at(Audience::ShopPage).time_limit(longest), TIME_LIMIT);
    }

    #[test]
    fn an_address_is_found_by_the_words_that_it_names() {
        let of = |pattern: &str, audience| Address::new(pattern, READ.to_owned(), audience);
        let addresses = Addresses(vec![
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
            assert_eq!(addresses.of(path).name(), name, "{path}");
        }
    }
}
