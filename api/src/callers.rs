//! How much of this process one caller has in use, by what it is known by.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use http_server::network_of;
use parking_lot::{Mutex, MutexGuard};
use poem::{Endpoint, IntoResponse, Middleware, Request, Response};

use crate::problem::{Problem, ProblemType};
use crate::{Api, sender};

/// At most so many requests of one address are worked on at once, where a proxy of ours brings them.
///
/// Without a proxy there is one request to a connection, and the connections of an address are bounded.
pub(crate) const REQUESTS_PER_ADDRESS: usize = 1_000;

/// How many things each caller has in use.
#[derive(Debug)]
pub(crate) struct InUse<K: Eq + Hash>(Mutex<HashMap<K, usize>>);

impl<K: Eq + Hash> Default for InUse<K> {
    fn default() -> Self {
        InUse(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> InUse<K> {
    /// One more for this caller; `None` where it has `most` already.
    pub(crate) fn take(self: &Arc<Self>, key: K, most: usize) -> Option<Taken<K>> {
        let mut counts = self.counts();
        let count = counts.entry(key.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Taken { of: Arc::clone(self), key })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.0.lock()
    }
}

/// One thing in use; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Taken<K: Clone + Eq + Hash> {
    of: Arc<InUse<K>>,
    key: K,
}

impl<K: Clone + Eq + Hash> Drop for Taken<K> {
    fn drop(&mut self) {
        let mut counts = self.of.counts();
        match counts.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.key)),
        }
    }
}

/// Requests under way by the address that a proxy of ours names.
pub(crate) type Callers = InUse<IpAddr>;

/// Bounds the requests of each address behind our proxies: there the connections are the proxy's.
pub(crate) struct PerCaller(pub(crate) Arc<Api>);

/// All routes, bounded so.
pub(crate) struct BoundedPerCaller<E> {
    api: Arc<Api>,
    routes: E,
}

impl<E: Endpoint> Middleware<E> for PerCaller {
    type Output = BoundedPerCaller<E>;

    fn transform(&self, routes: E) -> Self::Output {
        BoundedPerCaller { api: Arc::clone(&self.0), routes }
    }
}

impl<E: Endpoint> Endpoint for BoundedPerCaller<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let addresses = &self.api.context.callback_addresses;
        let is_forwarded = request.remote_addr().as_socket_addr().is_some_and(|peer| addresses.trusts(peer.ip()));
        // A proxy of ours that names no caller speaks for itself, as for its health checks.
        let caller = sender::sender(&request, addresses).filter(|caller| is_forwarded && !addresses.trusts(*caller));
        let _taken = match caller {
            Some(caller) => Some(
                self.api
                    .callers
                    .take(network_of(caller), REQUESTS_PER_ADDRESS)
                    .ok_or_else(Problem::too_many_requests)?,
            ),
            None => None,
        };
        self.routes.call(request).await.map(IntoResponse::into_response)
    }
}

impl Problem {
    /// One caller has as many requests under way as it may have.
    pub(crate) fn too_many_requests() -> Self {
        let detail = format!("your address has {REQUESTS_PER_ADDRESS} requests under way; wait for their answers");
        Problem::new(ProblemType::TooManyRequests, detail).retry_after(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_remembered_of_what_is_given_back() {
        let in_use = Arc::new(InUse::<u8>::default());

        let taken = [in_use.take(1, 2), in_use.take(1, 2), in_use.take(2, 1)];
        assert!(taken.iter().all(Option::is_some));
        assert!(in_use.take(1, 2).is_none());
        drop(taken);

        assert!(in_use.counts().is_empty());
    }
}
