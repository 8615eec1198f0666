//! The phase rules: what a guest may do with a message, in which of its two functions and with which features.

use crate::abi::{Access, BodyKind, Features, Phase};

/// The bytes that a guest gets when it reads a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    /// The message's body as received.
    Received,
    /// What the guest has written itself.
    Own,
    /// Nothing: the rest was passed to the next handler.
    Nothing,
}

/// Checks whether the guest may change a message.
///
/// # Errors
/// The reason why it may not.
pub(super) fn check_change(phase: Phase, message: BodyKind, features: Features) -> Result<(), &'static str> {
    match (phase, message) {
        (Phase::Request, _) => Ok(()),
        (Phase::Response, BodyKind::Request) => {
            Err("the request has already been passed to the next handler and can't be changed in \
                 handle_response")
        }
        (Phase::Response, BodyKind::Response) if features.contains(Features::BUFFER_RESPONSE) => Ok(()),
        (Phase::Response, BodyKind::Response) => Err(
            "the response can be changed in handle_response only with the feature buffer_response, enabled at \
             start-up or in handle_request",
        ),
    }
}

/// What the guest reads of a message's body.
///
/// # Errors
/// The reason why it may not read the body.
pub(super) fn check_read(
    phase: Phase,
    message: BodyKind,
    features: Features,
) -> Result<Readable, &'static str> {
    match (phase, message) {
        (Phase::Request, BodyKind::Request) => Ok(Readable::Received),
        (Phase::Request, BodyKind::Response) => Ok(Readable::Own),
        (Phase::Response, BodyKind::Request) if features.contains(Features::BUFFER_REQUEST) => {
            Ok(Readable::Nothing)
        }
        (Phase::Response, BodyKind::Request) => Err(
            "the request body can be read in handle_response only with the feature buffer_request, enabled at \
             start-up or in handle_request",
        ),
        (Phase::Response, BodyKind::Response) if features.contains(Features::BUFFER_RESPONSE) => {
            Ok(Readable::Received)
        }
        (Phase::Response, BodyKind::Response) => Err(
            "the response body can be read in handle_response only with the feature buffer_response, enabled at \
             start-up or in handle_request",
        ),
    }
}

/// Whether there is a message for which a function with this access is allowed.
pub(crate) fn allows(access: Access, phase: Phase, features: Features) -> bool {
    const REQUEST: BodyKind = BodyKind::Request;
    const RESPONSE: BodyKind = BodyKind::Response;
    let changes = |message| check_change(phase, message, features).is_ok();
    let reads = |message| check_read(phase, message, features).is_ok();
    match access {
        Access::Unrestricted => true,
        Access::ChangesRequest => changes(REQUEST),
        Access::ChangesResponse => changes(RESPONSE),
        Access::ChangesMessage => changes(REQUEST) || changes(RESPONSE),
        Access::ReadsBody => reads(REQUEST) || reads(RESPONSE),
    }
}
