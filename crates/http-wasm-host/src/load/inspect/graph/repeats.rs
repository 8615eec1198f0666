//! Instructions that may run others again, or whose time depends on their operands.

use wasmparser::Operator;

/// Defines `repeats` from wasmparser's list of instructions.
macro_rules! repeats {
    ($(@$proposal:ident $operator:ident $({ $($field:ident: $type:ty),* })? => $visit:ident $arity:tt)*) => {
        /// Whether an instruction may make others run again, or take a time that depends on its operands.
        pub(super) fn repeats(operator: &Operator<'_>) -> bool {
            match operator {
                _ if matches!(operator, Operator::Loop { .. } | Operator::MemoryGrow { .. }) => true,
                $(Operator::$operator $({ $($field: _),* })? => !takes_fixed_time!($proposal),)*
                _ => true,
            }
        }
    };
}

/// Whether a proposal only has instructions that run once, in a fixed time. Calls are followed.
macro_rules! takes_fixed_time {
    (mvp) => {
        true
    };
    (sign_extension) => {
        true
    };
    (saturating_float_to_int) => {
        true
    };
    (simd) => {
        true
    };
    (tail_call) => {
        true
    };
    ($other:ident) => {
        false
    };
}

wasmparser::for_each_operator!(repeats);
