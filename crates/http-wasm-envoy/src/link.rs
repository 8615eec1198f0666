//! What a stream and the hosts of its guests share.

use std::cell::{Cell, RefCell};

use http_wasm_host::InMemoryHost;

use crate::filter::Filter;
use crate::heads::DetachedHeads;

/// What a stream and the hosts of its guests share: hosts do to the stream in Envoy what their guests ask for,
/// whichever call of theirs the stream drives.
pub(crate) struct Link {
    pub(crate) filter: Filter,
    /// What Envoy had when the current host let go of it.
    left: RefCell<Option<DetachedHeads>>,
    route_changed: Cell<bool>,
}

impl Link {
    pub(crate) fn new(filter: Filter) -> Self {
        Self { filter, left: RefCell::default(), route_changed: Cell::default() }
    }

    /// Guests have changed what routes are chosen by.
    pub(crate) fn route_changes(&self) {
        self.route_changed.set(true);
    }

    /// Whether they have since this was asked last.
    pub(crate) fn take_route_change(&self) -> bool {
        self.route_changed.take()
    }

    /// A host has let go of the stream.
    pub(crate) fn detached(&self, left: DetachedHeads) {
        self.left.replace(Some(left));
    }

    /// Applies what has been done to a detached host's copies.
    pub(crate) fn attached(&self, memory: &InMemoryHost) {
        if let Some(left) = self.left.take()
            && left.apply(memory, &self.filter)
        {
            self.route_changes();
        }
    }
}
