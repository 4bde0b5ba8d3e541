//! Receives the traces of this process. A process has only one subscriber, and more than one test listens.

use std::sync::{Arc, Once};

use parking_lot::RwLock;
use tracing::callsite::rebuild_interest_cache;
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// A receiver of traces.
pub(crate) trait TraceListener: Send + Sync + 'static {
    /// Whether the receiver wants these traces; unwanted ones cost nothing.
    fn wants(&self, what: &Metadata<'_>) -> bool;

    /// A new span.
    fn span(&self, _span: &Attributes<'_>) {}

    /// An event.
    fn event(&self, _event: &Event<'_>) {}
}

static LISTENERS: RwLock<Vec<Arc<dyn TraceListener>>> = RwLock::new(Vec::new());

/// Adds a receiver for the rest of the process's life.
pub(crate) fn listen(listener: Arc<dyn TraceListener>) {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        let layer = tracing_subscriber::registry().with(TraceLayer);
        tracing::subscriber::set_global_default(layer).expect("no other subscriber in this process");
    });
    LISTENERS.write().push(listener);
    rebuild_interest_cache();
}

fn listeners(what: &Metadata<'_>) -> Vec<Arc<dyn TraceListener>> {
    let all = LISTENERS.read();
    all.iter().filter(|listener| listener.wants(what)).map(Arc::clone).collect()
}

struct TraceLayer;

impl<S: Subscriber> Layer<S> for TraceLayer {
    fn enabled(&self, what: &Metadata<'_>, _: Context<'_, S>) -> bool {
        !listeners(what).is_empty()
    }

    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        listeners(span.metadata()).iter().for_each(|listener| listener.span(span));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        listeners(event.metadata()).iter().for_each(|listener| listener.event(event));
    }
}
