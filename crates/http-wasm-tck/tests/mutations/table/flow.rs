//! Faults of calls, instances, and what clients get.

use crate::host::{Fault, OnFailure};
use crate::mutation::Mutation;

pub(super) const ROWS: &[(Fault, &[&str])] = &[
    (Fault::Rule(Mutation::NextIsOne), &["flow/next/"]),
    // From here on, rows with "/" alone are faults of what most cases stand on: stopping, the response phase, the
    // answer to a trap. Which cases fail says nothing more about them.
    (Fault::Rule(Mutation::StopIgnored), &["/"]),
    (Fault::Rule(Mutation::ReqCtxTruncated), &["flow/req-ctx/"]),
    (Fault::Rule(Mutation::ReqCtxZero), &["preflight"]),
    (Fault::Rule(Mutation::InstanceSwapped), &["flow/"]),
    (Fault::Rule(Mutation::ResponsePhaseSkipped), &["/"]),
    (Fault::Rule(Mutation::TrappedInstanceKept), &["flow/trap/"]),
    (Fault::Answer(OnFailure::WithDetail), &["/"]),
    (Fault::Answer(OnFailure::AsIfNothing), &["/"]),
];
