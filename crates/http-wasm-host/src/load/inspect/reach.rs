//! Which host functions each of a guest's two functions can reach.
//!
//! An import says that a guest may call a function, but not when. What `handle_response` can't reach need not be kept ready for it. The
//! answer errs on the safe side: an indirect call is taken to reach each function whose reference the module ever takes.

use std::collections::HashSet;

use wasmparser::{
    ConstExpr, ElementItems, ExternalKind, FunctionBody, Operator, Parser, Payload, Result, TableInit,
    TypeRef,
};

use super::imports::ImportUse;

/// What one exported function can lead to.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    /// Host functions that it may call.
    pub(super) imports: Vec<ImportUse>,
    /// It does nothing at all.
    pub(super) is_empty: bool,
}

/// What is reached from the exported functions called `exports`, in a module that is otherwise valid.
pub(super) fn reach<const N: usize>(wasm: &[u8], exports: [&str; N]) -> Result<[Reach; N]> {
    let module = Module::read(wasm)?;
    let mut reached = [const { None }; N];
    for (reached, export) in reached.iter_mut().zip(exports) {
        *reached = Some(module.from(export)?);
    }
    Ok(reached.map(Option::unwrap_or_default))
}

/// What of a module tells who calls whom.
struct Module<'a> {
    /// The imported functions, which come first in the index of functions.
    imports: Vec<ImportUse>,
    bodies: Vec<FunctionBody<'a>>,
    exports: Vec<(&'a str, u32)>,
    /// Functions whose references are in tables and globals from the start.
    referenced: Vec<u32>,
}

impl<'a> Module<'a> {
    fn read(wasm: &'a [u8]) -> Result<Self> {
        let mut module =
            Self { imports: Vec::new(), bodies: Vec::new(), exports: Vec::new(), referenced: Vec::new() };
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        if matches!(import.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)) {
                            let (module_name, name) = (import.module.into(), import.name.into());
                            module.imports.push(ImportUse { module: module_name, name });
                        }
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            module.exports.push((export.name, export.index));
                        }
                    }
                }
                Payload::GlobalSection(globals) => {
                    for global in globals {
                        references(&global?.init_expr, &mut module.referenced)?;
                    }
                }
                Payload::TableSection(tables) => {
                    for table in tables {
                        if let TableInit::Expr(init) = table?.init {
                            references(&init, &mut module.referenced)?;
                        }
                    }
                }
                Payload::ElementSection(elements) => {
                    for element in elements {
                        match element?.items {
                            ElementItems::Functions(functions) => {
                                for function in functions {
                                    module.referenced.push(function?);
                                }
                            }
                            ElementItems::Expressions(_, expressions) => {
                                for expression in expressions {
                                    references(&expression?, &mut module.referenced)?;
                                }
                            }
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => module.bodies.push(body),
                _ => {}
            }
        }
        Ok(module)
    }

    fn from(&self, export: &str) -> Result<Reach> {
        let Some(&(_, start)) = self.exports.iter().find(|(name, _)| *name == export) else {
            return Ok(Reach::default());
        };
        let mut seen = HashSet::from([start]);
        let mut next = vec![start];
        let mut indirect = false;
        while let Some(function) = next.pop() {
            let Some(body) = self.body(function) else { continue };
            let mut calls = Vec::new();
            for operator in body.get_operators_reader()? {
                match operator? {
                    Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                        calls.push(function_index);
                    }
                    Operator::CallIndirect { .. }
                    | Operator::ReturnCallIndirect { .. }
                    | Operator::CallRef { .. }
                    | Operator::ReturnCallRef { .. }
                        if !indirect =>
                    {
                        indirect = true;
                        calls.extend(self.all_references()?);
                    }
                    _ => {}
                }
            }
            next.extend(calls.into_iter().filter(|function| seen.insert(*function)));
        }
        let imports = self.imports.iter().zip(0..).filter(|(_, index)| seen.contains(index));
        let is_empty = match self.body(start) {
            Some(body) => matches!(body.get_operators_reader()?.read()?, Operator::End),
            None => false,
        };
        Ok(Reach { imports: imports.map(|(import, _)| import.clone()).collect(), is_empty })
    }

    /// Functions whose references are taken anywhere: what one function puts into a table another may call.
    fn all_references(&self) -> Result<Vec<u32>> {
        let mut all = self.referenced.clone();
        for body in &self.bodies {
            for operator in body.get_operators_reader()? {
                if let Operator::RefFunc { function_index } = operator? {
                    all.push(function_index);
                }
            }
        }
        Ok(all)
    }

    fn body(&self, function: u32) -> Option<&FunctionBody<'a>> {
        self.bodies.get((function as usize).checked_sub(self.imports.len())?)
    }
}

fn references(expression: &ConstExpr<'_>, functions: &mut Vec<u32>) -> Result<()> {
    for operator in expression.get_operators_reader() {
        if let Operator::RefFunc { function_index } = operator? {
            functions.push(function_index);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(reach: &Reach) -> Vec<&str> {
        reach.imports.iter().map(|import| import.name.as_str()).collect()
    }

    fn reached(body: &str) -> [Reach; 2] {
        let wat = format!(
            r#"(module
            (import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))
            (import "http_handler" "get_method" (func $get_method (param i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func $uri (drop (call $get_uri (i32.const 0) (i32.const 0))))
            (func $method (drop (call $get_method (i32.const 0) (i32.const 0))))
            {body})"#
        );
        reach(&wat::parse_str(wat).unwrap(), ["handle_request", "handle_response"]).unwrap()
    }

    #[test]
    fn each_function_reaches_what_it_calls_and_no_more() {
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
    fn an_import_that_stands_twice_is_two_functions() {
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
        let [request, response] = reach(&wasm.unwrap(), ["handle_request", "handle_response"]).unwrap();
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
    fn what_one_function_puts_into_a_table_another_may_call() {
        let [_, response] = reached(
            r#"(table 1 funcref) (export "method" (func $method)) (type $t (func))
            (func (export "handle_request") (result i64)
              (table.set (i32.const 0) (ref.func $method)) i64.const 1)
            (func (export "handle_response") (param i32 i32) (call_indirect (type $t) (i32.const 0)))"#,
        );
        assert_eq!(names(&response), ["get_method"]);
    }

    #[test]
    fn a_function_without_code_is_empty_and_one_that_traps_is_not() {
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
