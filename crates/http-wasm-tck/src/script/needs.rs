//! The capabilities that a guest needs for a script.

use super::arg::Arg;
use crate::guest::{Capabilities, Function, MEMORY_END, Param};

/// The capabilities that a guest needs for this call.
pub(super) fn needed_for(function: Function, args: &[Arg]) -> Capabilities {
    let (mut needed, mut args) = (Capabilities::default(), args.iter());
    let mut params = function.params().iter();
    while let (Some(param), Some(arg)) = (params.next(), args.next()) {
        needed |= match (param, arg) {
            (Param::HeaderKind, Arg::N(4..)) | (Param::BodyKind, Arg::N(2..)) => Capabilities::NUMBERS,
            (Param::Level, Arg::N(level)) if !(-1..=2).contains(&level.cast_signed()) => {
                Capabilities::NUMBERS
            }
            // Arbitrary bytes are allowed.
            (Param::In("value" | "body"), Arg::T(_)) => {
                params.next();
                Capabilities::default()
            }
            (Param::In(_), Arg::T(text)) => {
                params.next();
                if str::from_utf8(text).is_ok() { Capabilities::default() } else { Capabilities::TEXT }
            }
            (Param::In(_), start) => {
                params.next();
                in_memory(start, args.next())
            }
            (Param::Buf, start) => {
                params.next();
                let limit = args.next();
                match limit {
                    _ if function == Function::ReadBody => in_memory(start, limit),
                    Some(Arg::N(1..)) => in_memory(start, limit),
                    _ => Capabilities::LIMITS | in_memory(start, None),
                }
            }
            _ => Capabilities::default(),
        };
    }
    needed
}

/// The capabilities that are needed for bytes at an address.
fn in_memory(start: &Arg, len: Option<&Arg>) -> Capabilities {
    let len = match len {
        Some(Arg::N(len)) => *len,
        _ => 0,
    };
    match start {
        Arg::N(start) if start.checked_add(len).is_some_and(|end| end <= MEMORY_END) => {
            Capabilities::default()
        }
        _ => Capabilities::MEMORY,
    }
}

#[cfg(test)]
mod tests {
    use super::super::script;
    use super::*;
    use crate::guest::FREE;

    fn needs(function: Function, args: &[Arg]) -> Capabilities {
        script().call_with(function, args).needs()
    }

    #[test]
    fn what_any_binding_can_pass_needs_nothing() {
        let nothing = Capabilities::default();
        assert_eq!(needs(Function::SetUri, &["/é".into()]), nothing);
        assert_eq!(needs(Function::GetUri, &[FREE.into(), 64.into()]), nothing);
        assert_eq!(needs(Function::SetHeaderValue, &[3.into(), "a".into(), b"\xff".into()]), nothing);
        assert_eq!(needs(Function::ReadBody, &[1.into(), FREE.into(), 0.into()]), nothing);
        assert_eq!(needs(Function::WriteBody, &[0.into(), (MEMORY_END - 1).into(), 1.into()]), nothing);
        assert_eq!(needs(Function::Log, &[u32::MAX.into(), "debug".into()]), nothing);
        assert_eq!(script().call(Function::GetUri, [FREE.into(), 64.into()]).gives(64).needs(), nothing);
    }

    #[test]
    fn a_script_needs_what_bindings_may_hide() {
        let memory = Capabilities::MEMORY;
        assert_eq!(needs(Function::SetUri, &[(MEMORY_END - 1).into(), 2.into()]), memory);
        assert_eq!(needs(Function::SetUri, &[u32::MAX.into(), 2.into()]), memory);
        assert_eq!(needs(Function::GetUri, &[FREE.into(), u32::MAX.into()]), memory);
        assert_eq!(script().grow(1, 48).needs(), memory);
        let limits = Capabilities::LIMITS;
        assert_eq!(needs(Function::GetUri, &[FREE.into(), 0.into()]), limits);
        assert_eq!(needs(Function::GetUri, &[FREE.into(), Arg::Low]), limits);
        assert_eq!(script().call(Function::GetUri, [FREE.into(), 6.into()]).gives(7).needs(), limits);
        assert_eq!(needs(Function::RemoveHeader, &[0.into(), b"\xff".into()]), Capabilities::TEXT);
        assert_eq!(needs(Function::RemoveHeader, &[4.into(), "a".into()]), Capabilities::NUMBERS);
        assert_eq!(needs(Function::WriteBody, &[2.into(), "a".into()]), Capabilities::NUMBERS);
        assert_eq!(needs(Function::LogEnabled, &[3.into()]), Capabilities::NUMBERS);
        assert_eq!(script().proceed(2, 1).needs(), Capabilities::RESULTS);
        assert_eq!(script().then(script().proceed(2, 1)).needs(), Capabilities::RESULTS);
    }
}
