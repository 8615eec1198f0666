//! Missing traps, and traps where there should be none.

use crate::host::Fault;
use crate::mutation::Mutation;

pub(super) const ROWS: &[(Fault, &[&str])] = &[
    (
        Fault::Rule(Mutation::WriteFaultIgnored),
        &[
            "pointers/get-header-names/",
            "pointers/get-header-values/",
            "pointers/get-method/",
            "pointers/get-protocol-version/",
            "pointers/get-uri/",
            "pointers/read-body/",
        ],
    ),
    (Fault::Rule(Mutation::ReadFaultIgnored), &["pointers/"]),
    (Fault::Rule(Mutation::EmptyMethodIgnored), &["method/invalid/empty"]),
    (
        Fault::Rule(Mutation::InvalidMethodIgnored),
        &[
            "method/invalid/8-bit",
            "method/invalid/cr-lf",
            "method/invalid/lf",
            "method/invalid/nul",
            "method/invalid/space",
        ],
    ),
    (Fault::Rule(Mutation::EmptyNameIgnored), &["names/add/empty", "names/set/empty"]),
    (Fault::Rule(Mutation::InvalidNameIgnored), &["names/add/", "names/set/", "names/after", "names/re"]),
    (Fault::Rule(Mutation::InvalidLookupTraps), &["names/get-"]),
    (Fault::Rule(Mutation::InvalidRemovalTraps), &["names/remove-"]),
    (
        Fault::Rule(Mutation::InvalidValueIgnored),
        &[
            "host/invalid",
            "values/add/request-trailers/",
            "values/add/response-headers/",
            "values/set/request-headers/",
            "values/set/response-trailers/",
        ],
    ),
    (Fault::Rule(Mutation::InvalidUriIgnored), &["uri/refused/"]),
    (
        Fault::Rule(Mutation::HeaderKindIgnored),
        &[
            "flow/trap/",
            "kinds/add-header-value/",
            "kinds/get-header-names/",
            "kinds/get-header-values/",
            "kinds/remove-header/",
            "kinds/set-header-value/",
        ],
    ),
    (
        Fault::Rule(Mutation::BodyKindIgnored),
        &[
            "kinds/read-body/2",
            "kinds/read-body/4294967295",
            "kinds/write-body/2",
            "kinds/write-body/4294967295",
        ],
    ),
    (
        Fault::Rule(Mutation::NoRoomIgnored),
        &["pointers/read-body/buf/no-room", "pointers/read-body/no-room/after-buffered/out-of-bounds"],
    ),
    (Fault::Rule(Mutation::StatusRangeIgnored), &["status/refused-after/", "status/refused/"]),
    (
        Fault::Rule(Mutation::SwitchingIgnored),
        &["status/informational/101", "status/informational/101-after"],
    ),
    (Fault::Rule(Mutation::HostRemovalIgnored), &["host/remove"]),
    (
        Fault::Rule(Mutation::LateRequestChangeIgnored),
        &[
            "phases/add-header-value/",
            "phases/remove-header/",
            "phases/set-header-value/",
            "phases/set-method/",
            "phases/set-uri/",
            "phases/write-body/",
        ],
    ),
    (
        Fault::Rule(Mutation::UnbufferedResponseChangeIgnored),
        &[
            "phases/add-header-value/",
            "phases/enable-features/",
            "phases/remove-header/",
            "phases/set-header-value/",
            "phases/set-status-code/",
            "phases/write-body/",
        ],
    ),
    (Fault::Rule(Mutation::LateRequestReadIgnored), &["phases/read-body/request/after"]),
    (Fault::Rule(Mutation::UnbufferedResponseReadIgnored), &["phases/read-body/response/after"]),
];
