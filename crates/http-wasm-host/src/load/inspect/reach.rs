//! Which host functions each of a guest's two functions can reach.
//!
//! An import shows that a guest may call a function, but not when. What `handle_response` can't reach need not be
//! available to it. The result is a conservative estimate: an indirect call is assumed to reach every function whose
//! reference is taken.

use wasmparser::{Operator, Result};

use super::graph::Graph;
use super::imports::ImportUse;

/// What an exported function can reach.
#[derive(Clone, Debug, Default)]
pub(super) struct ExportReach {
    /// Host functions that it may call.
    pub(super) imports: Vec<ImportUse>,
    /// Whether it does nothing at all.
    pub(super) is_empty: bool,
    /// Whether each call of it ends after few instructions.
    pub(super) is_brief: bool,
}

impl ExportReach {
    /// What the exported function `export` can reach.
    pub(super) fn of(graph: &Graph<'_>, export: &str) -> Result<Self> {
        let Some(start) = graph.exported(export) else {
            return Ok(Self::default());
        };
        let imports = graph.reached([start]).imports(graph).cloned().collect();
        let is_empty = match graph.body(start) {
            Some(body) => matches!(body.get_operators_reader()?.read()?, Operator::End),
            None => false,
        };
        Ok(Self { imports, is_empty, is_brief: graph.is_brief(start) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(wasm: &[u8]) -> [ExportReach; 2] {
        let graph = Graph::read(wasm).unwrap();
        ["handle_request", "handle_response"].map(|export| ExportReach::of(&graph, export).unwrap())
    }

    fn names(reach: &ExportReach) -> Vec<&str> {
        reach.imports.iter().map(|import| import.name.as_str()).collect()
    }

    fn reached(body: &str) -> [ExportReach; 2] {
        let wat = format!(
            r#"(module
            (import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))
            (import "http_handler" "get_method" (func $get_method (param i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func $uri (drop (call $get_uri (i32.const 0) (i32.const 0))))
            (func $method (drop (call $get_method (i32.const 0) (i32.const 0))))
            {body})"#
        );
        reach(&wat::parse_str(wat).unwrap())
    }

    #[test]
    fn each_function_reaches_exactly_what_it_calls() {
        let [request, response] = reached(
            r#"(func $between (call $uri))
            (func (export "handle_request") (result i64) (call $between) i64.const 1)
            (func (export "handle_response") (param i32 i32) (call $method))"#,
        );
        assert_eq!(names(&request), ["get_uri"]);
        assert_eq!(names(&response), ["get_method"]);
        assert!(!request.is_empty && !response.is_empty);
    }

    #[test]
    fn a_repeated_import_is_two_functions() {
        let wasm = wat::parse_str(
            r#"(module
            (import "http_handler" "get_uri" (func (param i32 i32) (result i32)))
            (import "http_handler" "log" (func $log (param i32 i32 i32)))
            (import "http_handler" "get_uri" (func $again (param i32 i32) (result i32)))
            (func (export "handle_request") (result i64)
              (call $log (i32.const 0) (i32.const 0) (i32.const 0)) i64.const 1)
            (func (export "handle_response") (param i32 i32)
              (drop (call $again (i32.const 0) (i32.const 0)))))"#,
        );
        let [request, response] = reach(&wasm.unwrap());
        assert_eq!(names(&request), ["log"]);
        assert_eq!(names(&response), ["get_uri"]);
    }

    #[test]
    fn an_indirect_call_reaches_whatever_has_a_reference() {
        for source in [
            "(table 1 funcref) (elem (i32.const 0) $uri)",
            "(table 1 funcref) (elem (table 0) (i32.const 0) funcref (ref.func $uri))",
            "(table 1 funcref (ref.func $uri))",
            "(table 1 funcref) (global $g funcref (ref.func $uri))",
        ] {
            let [_, response] = reached(&format!(
                r#"{source} (type $t (func))
                (func (export "handle_request") (result i64) i64.const 1)
                (func (export "handle_response") (param i32 i32) (call_indirect (type $t) (i32.const 0)))"#
            ));
            assert_eq!(names(&response), ["get_uri"], "{source}");
        }
    }

    #[test]
    fn a_function_that_another_stores_in_a_table_can_be_called_indirectly() {
        let [_, response] = reached(
            r#"(table 1 funcref) (export "method" (func $method)) (type $t (func))
            (func (export "handle_request") (result i64)
              (table.set (i32.const 0) (ref.func $method)) i64.const 1)
            (func (export "handle_response") (param i32 i32) (call_indirect (type $t) (i32.const 0)))"#,
        );
        assert_eq!(names(&response), ["get_method"]);
    }

    #[test]
    fn a_function_without_instructions_is_empty_and_one_that_traps_is_not() {
        let with = |response: &str| {
            let [_, response] = reached(&format!(
                r#"(func (export "handle_request") (result i64) i64.const 1)
                (func (export "handle_response") (param i32 i32) {response})"#
            ));
            response.is_empty
        };
        assert!(with("") && with("(local i64)"));
        assert!(!with("unreachable") && !with("nop"));
    }
}
