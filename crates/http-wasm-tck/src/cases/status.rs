//! Status codes.

use crate::backend::Reply;
use crate::case::{Case, Check, Exchange, Phase, Section};
use crate::guest::Function;
use crate::script::{Script, script};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |id: String, says: String, exchange: Exchange| {
        cases.push(Case::new(id, Section::Fields, says, exchange));
    };
    for status in [200, 204, 302, 304, 404, 418, 500, 503, 599] {
        add(
            format!("status/set/{status}"),
            format!("a guest that stops may respond with {status}"),
            Exchange::get("/").before(set(&[status])).stops().check(Check::Status(status as u16)),
        );
        add(
            format!("status/set-after/{status}"),
            format!("with buffer_response the status becomes {status}"),
            Exchange::get("/").features(2).after(set(&[status])).check(Check::Status(status as u16)),
        );
    }
    for status in [0, 1, 99, 1000, 65_736, u32::MAX] {
        add(
            format!("status/refused/{status}"),
            format!("the status {status} is outside 100..=999 and traps"),
            Exchange::get("/").before(set(&[status])).check(Check::Traps(Phase::Request)),
        );
        add(
            format!("status/refused-after/{status}"),
            format!("the status {status} traps in handle_response as well"),
            Exchange::get("/").features(2).after(set(&[status])).check(Check::Traps(Phase::Response)),
        );
    }
    for status in [200, 201, 301, 404, 500, 503] {
        add(
            format!("status/get/{status}"),
            format!("handle_response reads the next handler's {status}, and it reaches the client"),
            Exchange::get("/")
                .reply(Reply::default().status(status))
                .features(2)
                .after(script().call(Function::GetStatusCode, []).gives(status.into()))
                .check(Check::Status(status)),
        );
    }
    add(
        "status/last-wins".to_owned(),
        "the last final status wins".to_owned(),
        Exchange::get("/").before(set(&[404, 201, 202])).stops().check(Check::Status(202)),
    );
    add(
        "status/set-then-read".to_owned(),
        "with buffer_response the guest reads the status that it set".to_owned(),
        Exchange::get("/")
            .features(2)
            .after(set(&[202]).call(Function::GetStatusCode, []).gives(202))
            .check(Check::Status(202)),
    );
    add(
        "status/none-is-200".to_owned(),
        "without any status, the response is 200".to_owned(),
        Exchange::get("/").before(script().write(1, "x")).stops().check(Check::Status(200)),
    );
    informational(&mut cases);
    cases
}

fn set(statuses: &[u32]) -> Script {
    statuses.iter().fold(script(), |script, &status| script.call(Function::SetStatusCode, [status.into()]))
}

fn informational(cases: &mut Vec<Case>) {
    let mut add = |id: &str, says: &str, exchange: Exchange| {
        cases.push(Case::new(format!("status/informational/{id}"), Section::Fields, says, exchange));
    };
    add(
        "stop",
        "1xx may be set several times before the final status, which wins",
        Exchange::get("/").before(set(&[102, 103, 201])).stops().check(Check::Status(201)),
    );
    add(
        "stop-alone",
        "1xx is not final: without another status, the response is 200",
        Exchange::get("/").before(set(&[103])).stops().check(Check::Status(200)),
    );
    add(
        "before-next",
        "1xx set before next doesn't become the response's status",
        Exchange::get("/").before(set(&[103])).reply(Reply::default().status(202)).check(Check::Status(202)),
    );
    add(
        "read-back",
        "1xx leaves the status as it was",
        Exchange::get("/")
            .before(set(&[404, 103]).call(Function::GetStatusCode, []).gives(404))
            .stops()
            .check(Check::Status(404)),
    );
    add(
        "after",
        "1xx set in handle_response leaves the next handler's status",
        Exchange::get("/")
            .reply(Reply::default().status(202))
            .features(2)
            .after(set(&[103]))
            .check(Check::Status(202)),
    );
    add(
        "from-backend",
        "a 1xx of the next handler isn't its final response",
        Exchange::get("/")
            .reply(Reply::default().status(202).after(103))
            .after(script().call(Function::GetStatusCode, []).gives(202))
            .check(Check::Status(202)),
    );
    add(
        "101",
        "a guest's own 101 traps",
        Exchange::get("/").before(set(&[101])).check(Check::Traps(Phase::Request)),
    );
    add(
        "101-after",
        "a guest's own 101 traps in handle_response as well",
        Exchange::get("/").features(2).after(set(&[101])).check(Check::Traps(Phase::Response)),
    );
}
