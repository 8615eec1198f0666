//! Faults of bodies, and of what is set before the next handler is called.

use crate::host::Fault;
use crate::mutation::Mutation;

pub(super) const ROWS: &[(Fault, &[&str])] = &[
    (Fault::Rule(Mutation::EofNever), &["bodies/", "flow/", "framing/", "phases/", "pointers/", "trailers/"]),
    (
        Fault::Rule(Mutation::EofEarly),
        &["bodies/", "flow/", "framing/", "phases/", "streaming/", "trailers/"],
    ),
    (Fault::Rule(Mutation::EofLate), &["bodies/", "flow/", "phases/", "pointers/", "trailers/"]),
    (
        Fault::Rule(Mutation::ReadShort),
        &["bodies/alternate/", "bodies/partial/", "bodies/request/", "bodies/response/"],
    ),
    (Fault::Rule(Mutation::ReadClamped), &["pointers/read-body/buf/across-end"]),
    (
        Fault::Rule(Mutation::WriteReplaces),
        &["bodies/alternate/", "bodies/write/", "order/write-header-write/", "phases/read-body/"],
    ),
    (
        Fault::Rule(Mutation::EmptyWriteIgnored),
        &[
            "bodies/write/after/0-by-0",
            "bodies/write/request-chunked/0-by-0",
            "bodies/write/request-length/0-by-0",
            "framing/request/empty",
            "framing/response/empty",
        ],
    ),
    (
        Fault::Rule(Mutation::RequestConsumed),
        &["bodies/partial/", "bodies/request/", "flow/together/", "phases/read-body/", "trailers/request/"],
    ),
    (Fault::Rule(Mutation::LastReadOnly), &["bodies/", "flow/", "trailers/"]),
    (Fault::Rule(Mutation::LengthKept), &["bodies/", "body", "content-type/", "framing/", "order/"]),
    (Fault::Rule(Mutation::HeadLengthDropped), &["framing/bodiless/"]),
    (Fault::Rule(Mutation::TrailersLost), &["trailers/"]),
    (
        Fault::Rule(Mutation::ReplacedBodyTrailersLost),
        &["trailers/request/replaced-", "trailers/response/emptied", "trailers/response/replaced-"],
    ),
    (Fault::Rule(Mutation::AnnouncementKept), &["/removed-unannounced"]),
    (Fault::Rule(Mutation::ContentTypeInvented), &["content-type/"]),
    (Fault::Rule(Mutation::StatusAfterWriteLost), &["order/status-after-write/"]),
    (
        Fault::Rule(Mutation::HeadersAfterWriteLost),
        &["bodies/alternate/", "order/header-after-write/", "order/write-header-write/"],
    ),
    (Fault::Rule(Mutation::HeadersAfterStatusLost), &["order/header-after-status/stop"]),
    (Fault::Rule(Mutation::EarlyStatusWins), &["phases/set-status-code/before"]),
    (Fault::Rule(Mutation::EarlyHeadersWin), &["early"]),
    (Fault::Rule(Mutation::EarlyHeadersLost), &["early", "response-headers/before"]),
    (Fault::Rule(Mutation::EarlyCookiesReplaced), &["early-set-cookie"]),
    (Fault::Rule(Mutation::EarlyCookiesLast), &["early-set-cookie"]),
    (Fault::Rule(Mutation::EarlyBodyLost), &["early", "phases/write-body/response/before"]),
];
