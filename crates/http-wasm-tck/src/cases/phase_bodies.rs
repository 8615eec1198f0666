//! Bodies and the status in either phase, whose rules differ from those of headers.

use super::shared::{
    BUFFER_REQUEST, BUFFER_RESPONSE, phases_case as case, phases_exchange as exchange, read_args,
};
use crate::backend::Reply;
use crate::case::{Case, Check, Exchange, Phase};
use crate::guest::Function;
use crate::script::{REQUEST, RESPONSE, eof_len, script};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    bodies(&mut cases);
    cases
}

/// Bodies and the status, whose rules differ from those of headers.
fn bodies(cases: &mut Vec<Case>) {
    let mut add = |id: &str, says: &str, exchange: Exchange| {
        cases.push(case(id.to_owned(), says.to_owned(), exchange));
    };
    let traps = || Check::Traps(Phase::Response);
    add(
        "read-body/request/before",
        "the request body can be read in handle_request",
        exchange().before(script().read(REQUEST, 64, "request body", true)),
    );
    add(
        "read-body/request/after",
        "without buffer_request reading the request body in handle_response traps",
        exchange().after(script().call(Function::ReadBody, read_args(REQUEST))).check(traps()),
    );
    let ended = || script().call(Function::ReadBody, read_args(REQUEST)).gives(eof_len(true, 0));
    add(
        "read-body/request/after-with-buffer-request",
        "with buffer_request the request body reads EOF in handle_response, as it was passed to the next \
         handler",
        exchange().features(BUFFER_REQUEST).after(ended()).check(Check::BackendBody("request body".into())),
    );
    add(
        "read-body/request/after-both",
        "with both features the request body, read in part before next, reads EOF in handle_response",
        exchange()
            .features(BUFFER_REQUEST | BUFFER_RESPONSE)
            .before(script().read(REQUEST, 3, "req", false))
            .after(ended())
            .check(Check::BackendBody("request body".into())),
    );
    add(
        "read-body/response/before",
        "before next the response body reads as what the guest wrote: nothing",
        exchange().before(script().read(RESPONSE, 8, "", true)),
    );
    add(
        "read-body/response/before-written",
        "before next the response body reads as what the guest wrote so far",
        exchange().before(
            script().write(RESPONSE, "abc").write(RESPONSE, "def").read(RESPONSE, 16, "abcdef", true),
        ),
    );
    add(
        "read-body/response/after",
        "without buffer_response reading the response body traps",
        exchange().after(script().call(Function::ReadBody, read_args(RESPONSE))).check(traps()),
    );
    add(
        "read-body/response/after-buffered",
        "with buffer_response the response body can be read in handle_response",
        exchange()
            .features(BUFFER_RESPONSE)
            .after(script().read(RESPONSE, 64, "from the backend", true))
            .check(Check::Body("from the backend".into())),
    );
    add(
        "write-body/response/before",
        "what the guest writes before next comes first, the next handler's body follows",
        exchange()
            .before(script().write(RESPONSE, "first, "))
            .check(Check::Body("first, from the backend".into())),
    );
    add(
        "write-body/response/after",
        "without buffer_response writing the response body traps in handle_response",
        exchange().after(script().write(RESPONSE, "written")).check(traps()),
    );
    add(
        "write-body/response/after-buffered",
        "with buffer_response what the guest writes in handle_response replaces the body",
        exchange()
            .features(BUFFER_RESPONSE)
            .after(script().write(RESPONSE, "written"))
            .check(Check::Body("written".into()))
            .check(Check::Length(Some(7))),
    );
    let status = || script().call(Function::SetStatusCode, [201.into()]);
    add(
        "set-status-code/before-stop",
        "a status set in handle_request is the response's if the guest stops",
        exchange().before(status()).stops().check(Check::Status(201)).check(Check::NotReached),
    );
    add(
        "set-status-code/after",
        "without buffer_response setting the status traps in handle_response",
        exchange().after(status()).check(traps()),
    );
    add(
        "set-status-code/after-buffered",
        "with buffer_response the status can be set in handle_response",
        exchange().features(BUFFER_RESPONSE).after(status()).check(Check::Status(201)),
    );
    cases.push(
        case(
            "set-status-code/before".to_owned(),
            "the next handler's status wins over one that was set before next".to_owned(),
            exchange().before(status()).reply(Reply::default().status(404)).check(Check::Status(404)),
        )
        .harmlessly_differs(
            "a status set before next without buffering is final",
            [Check::Status(201), Check::Body("from the backend".into())],
        ),
    );
}
