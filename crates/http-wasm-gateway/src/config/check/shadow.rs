//! Routes that no request can reach.

use crate::config::model::{Address, HeaderMatch, HostPattern, Route};
use crate::config::read::Located;

/// Whether each request that matches `later` also matches `earlier`, as far as can be determined.
pub(super) fn covers(earlier: &Route, later: &Route) -> bool {
    arrivals(earlier, later)
        && hosts(earlier, later)
        && paths(earlier, later)
        && methods(earlier, later)
        && headers(earlier, later)
}

/// Listeners and schemes.
fn arrivals(earlier: &Route, later: &Route) -> bool {
    let same = |address: &Located<Address>| earlier.listen.iter().any(|other| other.value == address.value);
    (earlier.listen.is_empty() || !later.listen.is_empty() && later.listen.iter().all(same))
        && (earlier.scheme.is_none() || earlier.scheme == later.scheme)
}

fn hosts(earlier: &Route, later: &Route) -> bool {
    let covered = |host: &Located<HostPattern>| earlier.host.iter().any(|wide| wide.covers(host));
    earlier.host.is_empty() || !later.host.is_empty() && later.host.iter().all(covered)
}

fn methods(earlier: &Route, later: &Route) -> bool {
    let covered = |method| earlier.method.contains(method);
    earlier.method.is_empty() || !later.method.is_empty() && later.method.iter().all(covered)
}

fn headers(earlier: &Route, later: &Route) -> bool {
    let find = |name: &str, route: &Route| -> Option<HeaderMatch> {
        let found = route.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, condition)| condition.value.clone())
    };
    earlier.headers.iter().all(|(name, wide)| find(name, later).is_some_and(|narrow| wide.covers(&narrow)))
}

fn paths(earlier: &Route, later: &Route) -> bool {
    if let Some(prefix) = &earlier.path_prefix {
        return match (&later.path, &later.path_prefix, &later.path_pattern) {
            (Some(path), _, _) => prefix.fits(path.as_str()),
            (_, Some(narrow), _) => prefix.fits(narrow.as_str()),
            (_, _, Some(pattern)) => prefix.fits(pattern.fixed_part()),
            // A route without a path matches everything, like the prefix "/".
            _ => prefix.as_str() == "/",
        };
    }
    if let Some(path) = &earlier.path {
        return later.path.as_ref() == Some(path);
    }
    if let Some(pattern) = &earlier.path_pattern {
        return match &later.path {
            Some(path) => pattern.fits(path.as_str()),
            None => later.path_pattern.as_ref() == Some(pattern),
        };
    }
    true
}
