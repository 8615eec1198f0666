//! Traps that don't come.

use std::task::Poll;

use wasmtime::{Caller, Linker};

use crate::abi::{EofLen, MODULE};
use crate::error::Reason;
use crate::host::Host;
use crate::mutation::Mutation;
use crate::run::hostcalls::{Answer, body, fields, head, instance};
use crate::run::memory;
use crate::run::state::State;

pub(super) fn replace<H: Host>(linker: &mut Linker<State<H>>, mutation: Mutation) -> wasmtime::Result<()> {
    match forgiven(mutation) {
        Some(forgiven) => forgive(linker, forgiven),
        None => Ok(()),
    }
}

type Forgiven = fn(&Reason) -> bool;

fn forgiven(mutation: Mutation) -> Option<Forgiven> {
    Some(match mutation {
        Mutation::WriteFaultIgnored => |r| matches!(r, Reason::OutOfBounds { argument: "buf", .. }),
        Mutation::ReadFaultIgnored => {
            |r| matches!(r, Reason::OutOfBounds { argument, .. } if *argument != "buf")
        }
        Mutation::EmptyMethodIgnored => |r| matches!(r, Reason::Empty { argument: "method" }),
        Mutation::IllegalMethodIgnored => |r| matches!(r, Reason::Illegal { argument: "method", .. }),
        Mutation::EmptyNameIgnored => |r| matches!(r, Reason::Empty { argument: "name" }),
        Mutation::IllegalNameIgnored => |r| matches!(r, Reason::Illegal { what: "header name", .. }),
        Mutation::IllegalValueIgnored => |r| matches!(r, Reason::Illegal { argument: "value", .. }),
        Mutation::IllegalUriIgnored => |r| matches!(r, Reason::Illegal { argument: "uri", .. }),
        Mutation::HeaderKindIgnored => |r| matches!(r, Reason::UnknownKind { argument: "header kind", .. }),
        Mutation::BodyKindIgnored => |r| matches!(r, Reason::UnknownKind { argument: "body kind", .. }),
        Mutation::NoRoomIgnored => |r| matches!(r, Reason::NoRoom),
        Mutation::StatusRangeIgnored => |r| matches!(r, Reason::Status(_)),
        Mutation::SwitchingIgnored => |r| phase(r, "a guest can't switch"),
        Mutation::HostRemovalIgnored => {
            |r| matches!(r, Reason::Illegal { what, .. } if what.starts_with("header to remove"))
        }
        Mutation::LateRequestChangeIgnored => |r| phase(r, "the request has gone"),
        Mutation::UnbufferedResponseChangeIgnored => |r| phase(r, "the response can be changed"),
        Mutation::LateRequestReadIgnored => |r| phase(r, "the request body can be read"),
        Mutation::UnbufferedResponseReadIgnored => |r| phase(r, "the response body can be read"),
        _ => return None,
    })
}

fn phase(reason: &Reason, says: &str) -> bool {
    matches!(reason, Reason::WrongPhase(text) if text.starts_with(says))
}

fn forgive<H: Host>(linker: &mut Linker<State<H>>, forgiven: Forgiven) -> wasmtime::Result<()> {
    macro_rules! forgiving {
        ($($module:ident::$name:ident($($arg:ident),*) -> $result:ty, $instead:expr;)*) => {$(
            replace!(linker, $name, |memory, state $(, $arg: u32)*| -> $result {
                match $module::$name(memory, state $(, $arg)*) {
                    Err(reason) if forgiven(&reason) => Ok($instead),
                    result => result,
                }
            });
        )*};
    }
    const AT_END: u64 = EofLen { eof: true, len: 0 }.pack();
    forgiving! {
        head::get_method(buf, buf_limit) -> u32, 0;
        head::get_uri(buf, buf_limit) -> u32, 0;
        head::get_protocol_version(buf, buf_limit) -> u32, 0;
        head::get_source_addr(buf, buf_limit) -> u32, 0;
        head::set_method(method, method_len) -> (), ();
        head::set_uri(uri, uri_len) -> (), ();
        fields::get_header_names(kind, buf, buf_limit) -> u64, Poll::Ready(0);
        fields::get_header_values(kind, name, name_len, buf, buf_limit) -> u64, Poll::Ready(0);
        fields::set_header_value(kind, name, name_len, value, value_len) -> (), ();
        fields::add_header_value(kind, name, name_len, value, value_len) -> (), ();
        fields::remove_header(kind, name, name_len) -> (), ();
        body::read_body(kind, buf, buf_limit) -> u64, Poll::Ready(AT_END);
        body::write_body(kind, body, body_len) -> (), ();
    }
    replace!(linker, set_status_code, |_memory, state, status: u32| -> () {
        match head::set_status_code(state, status) {
            Err(reason) if forgiven(&reason) => Ok(()),
            result => result,
        }
    });
    replace!(linker, log, |memory, state, level: i32, message: u32, message_len: u32| -> () {
        match instance::log(memory, state, level, message, message_len) {
            Err(reason) if forgiven(&reason) => Ok(()),
            result => result,
        }
    });
    Ok(())
}
