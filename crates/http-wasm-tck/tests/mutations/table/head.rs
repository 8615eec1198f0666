//! Faults of heads, features and the log.

use crate::host::Fault;
use crate::mutation::Mutation;

pub(super) const ROWS: &[(Fault, &[&str])] = &[
    (Fault::Rule(Mutation::UriDecoded), &["uri/get/", "uri/set/"]),
    (Fault::Rule(Mutation::UriWithoutQuery), &["limits/get-uri/", "phases/get-uri/", "uri/get/", "uri/set/"]),
    (Fault::Rule(Mutation::UriQueryKept), &["phases/request-as-handed-on", "uri/set/"]),
    (Fault::Rule(Mutation::UriEmptyIgnored), &["uri/set/empty"]),
    (
        Fault::Rule(Mutation::UriSlashesMerged),
        &["uri/set/double-slash", "uri/set/double-slash-path", "uri/set/long"],
    ),
    (Fault::Rule(Mutation::MethodUpperCased), &["method/"]),
    (Fault::Rule(Mutation::ProtocolWithoutName), &["protocol"]),
    (Fault::Rule(Mutation::SourceAddrWithoutPort), &["source-addr"]),
    (
        Fault::Rule(Mutation::SetAdds),
        &[
            "headers/response-set-after-next",
            "headers/set-replaces-all",
            "phases/request-as-handed-on",
            "phases/set-header-value/",
            "trailers/request/",
            "trailers/response/",
        ],
    ),
    (
        Fault::Rule(Mutation::AddSets),
        &[
            "headers/add-appends",
            "headers/response-set-after-next",
            "headers/set-cookie-adds",
            "phases/add-header-value/request-headers/",
            "phases/add-header-value/response-headers/",
            "phases/get-header-values/response-headers/",
        ],
    ),
    (
        Fault::Rule(Mutation::RemovesFirstOnly),
        &[
            "headers/remove-removes-all",
            "phases/get-header-values/request-trailers/before",
            "phases/get-header-values/response-headers/before",
            "phases/get-header-values/response-trailers/before",
        ],
    ),
    (Fault::Rule(Mutation::HostIgnored), &["host/add", "host/invalid", "host/set", "host/set-then-after"]),
    (
        Fault::Rule(Mutation::ConnectionHeadersPass),
        &[
            "headers/connection-level/keep-alive",
            "headers/connection-level/proxy-connection",
            "headers/connection-level/te",
        ],
    ),
    (
        Fault::Rule(Mutation::LengthZeroIgnored),
        &["framing/set/request/zero", "framing/set/response/zero", "framing/set/response/zero-and-status"],
    ),
    (
        Fault::Rule(Mutation::TrailerAddSets),
        &[
            "phases/add-header-value/request-trailers/",
            "phases/add-header-value/response-trailers/",
            "phases/get-header-values/request-trailers/",
            "phases/get-header-values/response-trailers/",
            "trailers/request/add",
            "trailers/response/add",
        ],
    ),
    (Fault::Rule(Mutation::TrailerChangesIgnored), &["names/", "phases/", "trailers/", "values/"]),
    (
        Fault::Rule(Mutation::TrailersUnread),
        &[
            "limits/get-header-values/",
            "phases/get-header-values/",
            "trailers/request/",
            "trailers/response/",
        ],
    ),
    (
        Fault::Rule(Mutation::StatusIs200),
        &["phases/get-status-code/", "status/get/", "status/informational/", "status/set-then-read"],
    ),
    (
        Fault::Rule(Mutation::StatusNeedsBuffering),
        &[
            "bodies/untouched/chunked/",
            "bodies/untouched/length/",
            "phases/get-status-code/after",
            "status/informational/from-backend",
        ],
    ),
    (
        Fault::Rule(Mutation::InformationalTraps),
        &[
            "status/informational/after",
            "status/informational/before-next",
            "status/informational/read-back",
            "status/informational/stop",
            "status/informational/stop-alone",
        ],
    ),
    (Fault::Rule(Mutation::FeaturesEchoed), &["phases/enable-features/after-buffered"]),
    (
        Fault::Rule(Mutation::FeaturesIgnored),
        &[
            "bodies/",
            "content-type/",
            "flow/",
            "framing/",
            "headers/",
            "limits/",
            "names/remove-",
            "order/",
            "phases/",
            "status/",
            "streaming/",
            "trailers/",
        ],
    ),
    (Fault::Rule(Mutation::FeaturesStick), &["bodies/", "framing/", "phases/", "trailers/"]),
    (Fault::Rule(Mutation::FeaturesLate), &["phases/enable-features/after"]),
    (
        Fault::Rule(Mutation::LogLevelTraps),
        &["kinds/log/-2", "kinds/log/2147483647", "kinds/log/3", "kinds/log/4"],
    ),
    (Fault::Rule(Mutation::LogEnabledIsTwo), &["log-enabled"]),
];
