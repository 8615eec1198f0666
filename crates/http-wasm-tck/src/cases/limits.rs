//! `buf_limit`: too small, exact, zero, and more than enough.

use crate::backend::Reply;
use crate::case::{Case, Exchange, Section};
use crate::guest::{FREE, Function};
use crate::script::{Arg, REQUEST, RESPONSE, RESPONSE_TRAILERS, Script, count_len, script};

/// A getter with the arguments that precede the buffer, and its kind of result: a list, or a single value.
struct Getter {
    name: &'static str,
    function: Function,
    args: Vec<Arg>,
    /// The expected bytes, if they are known.
    value: Option<&'static [u8]>,
    list: bool,
    phases: &'static [&'static str],
}

const BOTH: &[&str] = &["before", "after"];

fn getters() -> Vec<Getter> {
    let plain =
        |name, function, value| Getter { name, function, args: Vec::new(), value, list: false, phases: BOTH };
    let list = |name, function, args: &[Arg], value, phases| Getter {
        name,
        function,
        args: args.to_vec(),
        value,
        list: true,
        phases,
    };
    let (names, values) = (Function::GetHeaderNames, Function::GetHeaderValues);
    vec![
        plain("get-method", Function::GetMethod, Some(b"DELETE")),
        plain("get-uri", Function::GetUri, Some(b"/limits?a=1")),
        plain("get-protocol-version", Function::GetProtocolVersion, None),
        list("get-header-names/request", names, &[REQUEST.into()], None, BOTH),
        list("get-header-names/response", names, &[RESPONSE.into()], None, &["after"]),
        list(
            "get-header-values/request",
            values,
            &[REQUEST.into(), "x-a".into()],
            Some(b"one\0\0two\0"),
            BOTH,
        ),
        list(
            "get-header-values/response",
            values,
            &[RESPONSE.into(), "x-r".into()],
            Some(b"un\0deux\0"),
            &["after"],
        ),
        list(
            "get-header-values/response-trailers",
            values,
            &[RESPONSE_TRAILERS.into(), "x-t".into()],
            Some(b"sum\0"),
            &["after-buffered"],
        ),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for getter in getters() {
        for &phase in getter.phases {
            for (limit, says) in [
                ("zero", "buf_limit 0 returns only the length"),
                (
                    "too-small",
                    "a value longer than buf_limit is not written, not even in part, and its length is returned",
                ),
                ("exact", "a value as long as buf_limit is written completely, and nothing after it"),
                ("huge", "a buf_limit beyond the memory is allowed if the value fits"),
            ] {
                let script = getter.script(limit);
                let exchange = Exchange::get("/limits?a=1").method("DELETE");
                let exchange =
                    exchange.header("x-a", "one").header("x-a", "").header("X-A", "two").reply(
                        Reply::default().header("x-r", "un").header("x-r", "deux").trailer("x-t", "sum"),
                    );
                let exchange = match phase {
                    "before" => exchange.before(script),
                    "after" => exchange.after(script),
                    _ => exchange.features(2).after(script),
                };
                let id = format!("limits/{}/{phase}/{limit}", getter.name);
                cases.push(Case::new(
                    id,
                    Section::Fields,
                    format!("{}: {says}", getter.function.name()),
                    exchange,
                ));
            }
        }
    }
    cases
}

impl Getter {
    /// Asks for the length first, since most values are up to the host.
    fn script(&self, limit: &str) -> Script {
        let mut script = self.call(script().fill(FREE, 0xaa, 4096), 0.into());
        if let Some(value) = self.value {
            script = script.gives(self.packed(value));
        }
        script = script.keep(0).holds(FREE, [0xaa; 8]);
        match limit {
            "zero" => script,
            "too-small" => self.call(script.plus(-1), Arg::Low).same_as(0).holds(FREE, [0xaa; 8]),
            "exact" => {
                let script = self.call(script, Arg::Low).same_as(0);
                self.written(script)
            }
            _ => {
                let script = self.call(script, u32::MAX.into()).same_as(0);
                self.written(script)
            }
        }
    }

    fn written(&self, script: Script) -> Script {
        match self.value {
            Some(value) => script.holds(FREE, [value, &[0xaa]].concat()),
            None => script,
        }
    }

    fn call(&self, script: Script, limit: Arg) -> Script {
        let args = [&self.args[..], &[FREE.into(), limit]].concat();
        script.call_with(self.function, &args)
    }

    fn packed(&self, value: &[u8]) -> u64 {
        if self.list {
            let values: Vec<&[u8]> = value.strip_suffix(b"\0").unwrap_or(value).split(|&b| b == 0).collect();
            count_len(&values)
        } else {
            value.len() as u64
        }
    }
}
