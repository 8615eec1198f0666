//! State that all requests to the admin listener share.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::{HostPattern, Located};
use crate::observe::Monitor;

/// State that all requests to the admin listener need.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) monitor: Arc<Monitor>,
    /// Host names that the listener accepts, besides addresses.
    pub(super) hosts: ArcSwap<Vec<Located<HostPattern>>>,
}

impl Shared {
    pub(super) fn new(monitor: Arc<Monitor>, hosts: Vec<Located<HostPattern>>) -> Arc<Self> {
        Arc::new(Self { monitor, hosts: ArcSwap::from_pointee(hosts) })
    }
}
