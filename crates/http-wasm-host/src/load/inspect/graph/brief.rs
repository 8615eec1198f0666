//! Functions whose calls end after few instructions, whatever they are given.

use std::collections::HashMap;

use super::Graph;

/// The most instructions of a call that is brief. They take well under a millisecond.
const FEW: usize = 1_000_000;

/// The number of instructions that a host function counts as.
const HOST_CALL: usize = 1_000;

/// The most functions that a brief call may involve.
const FUNCTIONS: usize = 200;

impl Graph<'_> {
    /// Whether each call of `function` ends after few instructions: neither it nor what it calls has loops or calls
    /// itself.
    pub(in crate::load::inspect) fn is_brief(&self, function: u32) -> bool {
        self.longest_run(function, &mut HashMap::new()).is_some()
    }

    /// The most instructions that a call of `function` runs, if they are few. `known` has the results so far, and
    /// `None` for functions whose calls are being followed.
    fn longest_run(&self, function: u32, known: &mut HashMap<u32, Option<usize>>) -> Option<usize> {
        let Some(own) = self.own(function) else { return Some(HOST_CALL) };
        if let Some(known) = known.get(&function) {
            return *known;
        }
        known.insert(function, None);
        if own.repeats || own.calls_indirectly || known.len() > FUNCTIONS {
            return None;
        }
        let mut longest = 0;
        for called in &own.calls {
            longest = longest.max(self.longest_run(*called, known)?);
        }
        let run = own.size.saturating_add(own.call_count.saturating_mul(longest));
        let run = (run <= FEW).then_some(run);
        known.insert(function, run);
        run
    }
}

#[cfg(test)]
mod tests {
    use super::Graph;

    #[test]
    fn a_function_is_brief_if_it_and_what_it_calls_run_once() {
        let brief = |functions: &str| {
            let wat = format!(
                r#"(module (import "http_handler" "log" (func $log (param i32 i32 i32)))
                (memory 1) (table 1 funcref) (type $t (func))
                (func $short (i32.store (i32.const 0) (i32.const 1)))
                {functions})"#
            );
            let wasm = wat::parse_str(wat).unwrap();
            let graph = Graph::read(&wasm).unwrap();
            graph.is_brief(graph.exported("f").unwrap())
        };
        assert!(brief(r#"(func (export "f") (if (i32.const 1) (then (call $short) (call $short))))"#));
        assert!(brief(r#"(func (export "f") (call $log (i32.const 0) (i32.const 0) (i32.const 0)))"#));
        assert!(brief(r#"(func (export "f") (block (br 0)) (return_call $short))"#));
        assert!(!brief(r#"(func (export "f") (loop))"#));
        assert!(!brief(r#"(func $f (export "f") (call $f))"#));
        assert!(!brief(r#"(func $f (export "f") (call $g)) (func $g (return_call $f))"#));
        assert!(!brief(r#"(func (export "f") (call_indirect (type $t) (i32.const 0)))"#));
        assert!(!brief(r#"(func (export "f") (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)))"#));
        assert!(!brief(r#"(func (export "f") (call $g)) (func $g (loop))"#));
        assert!(!brief(r#"(func (export "f") (drop (memory.grow (i32.const 1))))"#));
    }

    #[test]
    fn a_function_that_calls_others_very_often_is_not_brief() {
        // Each function calls the next twice.
        let functions = |count: usize| -> bool {
            let mut wat = String::from("(module ");
            for function in 0..count {
                let next = function + 1;
                wat.push_str(&format!("(func $f{function} (call $f{next}) (call $f{next}))"));
            }
            wat.push_str(&format!("(func $f{count}))"));
            let wasm = wat::parse_str(wat).unwrap();
            Graph::read(&wasm).unwrap().is_brief(0)
        };
        assert!(functions(10));
        assert!(!functions(20));
        assert!(!functions(5_000));
    }
}
