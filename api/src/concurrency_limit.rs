//! Limits how many things of one kind each caller may have in use at the same time.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use http_server::network_of;
use parking_lot::{Mutex, MutexGuard};
use poem::{Endpoint, IntoResponse, Middleware, Request, Response};

use crate::problem::{Problem, ProblemType};
use crate::{Api, sender};

/// The most simultaneous requests of one address that come through our proxies.
///
/// Without a proxy there is one request per connection, and the connections of an address are limited.
pub(crate) const REQUESTS_PER_ADDRESS: usize = 1_000;

/// Counts how many things each caller has in use.
#[derive(Debug)]
pub(crate) struct ConcurrencyLimit<K: Eq + Hash>(Mutex<HashMap<K, usize>>);

impl<K: Eq + Hash> Default for ConcurrencyLimit<K> {
    fn default() -> Self {
        ConcurrencyLimit(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> ConcurrencyLimit<K> {
    /// One more for this caller; `None` if it already has `most`.
    pub(crate) fn acquire(self: &Arc<Self>, key: K, most: usize) -> Option<ConcurrencyPermit<K>> {
        let mut counts = self.counts();
        let count = counts.entry(key.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(ConcurrencyPermit { of: Arc::clone(self), key })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.0.lock()
    }
}

/// One thing in use; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct ConcurrencyPermit<K: Clone + Eq + Hash> {
    of: Arc<ConcurrencyLimit<K>>,
    key: K,
}

impl<K: Clone + Eq + Hash> Drop for ConcurrencyPermit<K> {
    fn drop(&mut self) {
        let mut counts = self.of.counts();
        match counts.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.key)),
        }
    }
}

/// Running requests, by the address that one of our proxies names.
pub(crate) type RequestsInProgress = ConcurrencyLimit<IpAddr>;

/// Limits the requests of each address behind our proxies: their connections are the proxy's, so they cannot be
/// limited.
pub(crate) struct RequestLimit(pub(crate) Arc<Api>);

/// All routes with this limit.
pub(crate) struct RequestLimitEndpoint<E> {
    api: Arc<Api>,
    routes: E,
}

impl<E: Endpoint> Middleware<E> for RequestLimit {
    type Output = RequestLimitEndpoint<E>;

    fn transform(&self, routes: E) -> Self::Output {
        RequestLimitEndpoint { api: Arc::clone(&self.0), routes }
    }
}

impl<E: Endpoint> Endpoint for RequestLimitEndpoint<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let addresses = &self.api.context.callback_addresses;
        let is_forwarded = request.remote_addr().as_socket_addr().is_some_and(|peer| addresses.trusts(peer.ip()));
        // A proxy that names no caller sends its own requests, such as health checks.
        let caller = sender::sender(&request, addresses).filter(|caller| is_forwarded && !addresses.trusts(*caller));
        let _permit = match caller {
            Some(caller) => Some(
                self.api
                    .requests_in_progress
                    .acquire(network_of(caller), REQUESTS_PER_ADDRESS)
                    .ok_or_else(Problem::too_many_requests)?,
            ),
            None => None,
        };
        self.routes.call(request).await.map(IntoResponse::into_response)
    }
}

impl Problem {
    /// The caller has as many running requests as it may have.
    pub(crate) fn too_many_requests() -> Self {
        let detail = format!("your address has {REQUESTS_PER_ADDRESS} requests running; wait for their answers");
        Problem::new(ProblemType::TooManyRequests, detail).retry_after(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_that_is_given_back_leaves_no_trace() {
        let limit = Arc::new(ConcurrencyLimit::<u8>::default());

        let taken = [limit.acquire(1, 2), limit.acquire(1, 2), limit.acquire(2, 1)];
        assert!(taken.iter().all(Option::is_some));
        assert!(limit.acquire(1, 2).is_none());
        drop(taken);

        assert!(limit.counts().is_empty());
    }
}
