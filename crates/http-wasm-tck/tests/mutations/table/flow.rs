//! Faults of calls, of instances, and of the response to a failure.

use crate::host::{Fault, OnFailure};
use crate::mutation::Mutation;

pub(super) const ROWS: &[(Fault, &[&str])] = &[
    (Fault::Rule(Mutation::NextIsOne), &["flow/next/"]),
    // From here on, rows with only "/" are faults in what most cases rely on: stopping, the response phase, and the
    // response to a trap. Which cases fail isn't specific to the fault.
    (Fault::Rule(Mutation::StopIgnored), &["/"]),
    (Fault::Rule(Mutation::ReqCtxTruncated), &["flow/req-ctx/"]),
    (Fault::Rule(Mutation::ReqCtxZero), &["preflight"]),
    (Fault::Rule(Mutation::InstanceSwapped), &["flow/"]),
    (Fault::Rule(Mutation::ResponsePhaseSkipped), &["/"]),
    (Fault::Rule(Mutation::TrappedInstanceKept), &["flow/trap/"]),
    (Fault::Answer(OnFailure::WithDetail), &["/"]),
    (Fault::Answer(OnFailure::AsIfNothing), &["/"]),
];
