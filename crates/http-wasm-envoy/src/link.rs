//! State that a stream shares with the hosts of its guests.

use std::cell::{Cell, RefCell};

use http_wasm_host::InMemoryHost;

use crate::ffi::Map;
use crate::filter::{Filter, METHODS};
use crate::heads::{self, DetachedHeads};

/// State that a stream shares with the hosts of its guests. Through it, hosts apply the guests' changes to the stream
/// in Envoy.
pub(crate) struct Link {
    pub(crate) filter: Filter,
    /// Envoy's heads at the time when the current host was detached.
    left: RefCell<Option<DetachedHeads>>,
    route_changed: Cell<bool>,
    /// The response's status, once it is known.
    status: Cell<Option<u16>>,
}

impl Link {
    pub(crate) fn new(filter: Filter) -> Self {
        Self { filter, left: RefCell::default(), route_changed: Cell::default(), status: Cell::default() }
    }

    /// The method in Envoy's map. It is cached, since each look-up in a map costs as much as a small guest's call.
    pub(crate) fn method(&self) -> &[u8] {
        match self.filter.method.get() {
            Some(method) => method,
            None => {
                let method = self.filter.header(Map::Request, b":method").unwrap_or_default();
                self.method_is(method);
                method
            }
        }
    }

    /// Caches the method in Envoy's map.
    pub(crate) fn method_is(&self, method: &[u8]) {
        self.filter.method.set(METHODS.into_iter().find(|known| *known == method));
    }

    /// The status in Envoy's map. It is cached too.
    pub(crate) fn status(&self) -> u16 {
        let status = self.status.get().unwrap_or_else(|| heads::status(&self.filter));
        self.status.set(Some(status));
        status
    }

    pub(crate) fn set_status(&self, status: u16) {
        heads::set_status(&self.filter, status);
        self.status.set(Some(status));
    }

    /// Forgets the cached status, since the response's head has arrived. The cached method stays as the guests left it,
    /// whatever has changed it since.
    pub(crate) fn has_response(&self) {
        self.status.set(None);
    }

    /// Forgets what is cached, since Envoy's maps may have changed.
    pub(crate) fn forget(&self) {
        self.filter.method.set(None);
        self.status.set(None);
    }

    /// Records that guests have changed something that affects route selection.
    pub(crate) fn route_changes(&self) {
        self.route_changed.set(true);
    }

    /// Whether they have since the last call.
    pub(crate) fn take_route_change(&self) -> bool {
        self.route_changed.take()
    }

    /// Records that a host was detached from the stream.
    pub(crate) fn detached(&self, left: DetachedHeads) {
        self.left.replace(Some(left));
    }

    /// Changes Envoy's maps.
    pub(crate) fn applied<T>(&self, change: impl FnOnce(&Filter) -> T) -> T {
        let result = change(&self.filter);
        self.forget();
        result
    }

    /// Applies the changes made to a detached host's copies.
    pub(crate) fn attached(&self, memory: &InMemoryHost) {
        if let Some(left) = self.left.take()
            && self.applied(|filter| left.apply(memory, filter))
        {
            self.route_changes();
        }
    }
}
