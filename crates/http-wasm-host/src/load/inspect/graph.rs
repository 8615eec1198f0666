//! The calls between the functions of a module.

mod brief;
mod repeats;

use std::collections::HashSet;

use wasmparser::{
    ConstExpr, DataKind, DataSectionReader, ElementItems, ExternalKind, FunctionBody, KnownCustom, Name,
    Operator, Parser, Payload, Result, TableInit, TypeRef,
};

use self::repeats::repeats;
use super::imports::ImportUse;

/// The functions of a module that is otherwise valid, with the calls between them.
pub(super) struct Graph<'a> {
    /// The imported functions, which come first in the function index space.
    pub(super) imports: Vec<ImportUse>,
    functions: Vec<Function>,
    bodies: Vec<FunctionBody<'a>>,
    exports: Vec<(&'a str, u32)>,
    /// The start function, if there is one.
    pub(super) start: Option<u32>,
    /// Functions whose references are taken anywhere: what one function puts into a table, another may call.
    referenced: Vec<u32>,
    /// Whether the legacy instructions `try` and `catch` are used.
    pub(super) uses_legacy_exceptions: bool,
    /// The function names from the name section, sorted by index.
    names: Vec<(u32, &'a str)>,
    data: Option<DataSectionReader<'a>>,
}

/// What a function of the module itself does.
#[derive(Default)]
struct Function {
    calls: Vec<u32>,
    /// Whether it calls through a table or a reference.
    calls_indirectly: bool,
    /// Whether it writes to memory or a table.
    stores: bool,
    /// The number of its instructions, and of the direct calls among them.
    size: usize,
    call_count: usize,
    /// Whether one of them may run more than once in a call, or take a time that depends on its operands.
    repeats: bool,
}

impl<'a> Graph<'a> {
    pub(super) fn read(wasm: &'a [u8]) -> Result<Self> {
        let mut graph = Self {
            imports: Vec::new(),
            functions: Vec::new(),
            bodies: Vec::new(),
            exports: Vec::new(),
            start: None,
            referenced: Vec::new(),
            uses_legacy_exceptions: false,
            names: Vec::new(),
            data: None,
        };
        for payload in Parser::new(0).parse_all(wasm) {
            graph.add(payload?)?;
        }
        Ok(graph)
    }

    fn add(&mut self, payload: Payload<'a>) -> Result<()> {
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import?;
                    if matches!(import.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)) {
                        let (module, name) = (import.module.into(), import.name.into());
                        self.imports.push(ImportUse { module, name });
                    }
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    if export.kind == ExternalKind::Func {
                        self.exports.push((export.name, export.index));
                    }
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::GlobalSection(globals) => {
                for global in globals {
                    self.add_references(&global?.init_expr)?;
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    if let TableInit::Expr(init) = table?.init {
                        self.add_references(&init)?;
                    }
                }
            }
            Payload::ElementSection(elements) => {
                for element in elements {
                    match element?.items {
                        ElementItems::Functions(functions) => {
                            for function in functions {
                                self.referenced.push(function?);
                            }
                        }
                        ElementItems::Expressions(_, expressions) => {
                            for expression in expressions {
                                self.add_references(&expression?)?;
                            }
                        }
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                let function = self.function(&body)?;
                self.functions.push(function);
                self.bodies.push(body);
            }
            Payload::DataSection(data) => self.data = Some(data),
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    self.add_names(names);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn function(&mut self, body: &FunctionBody<'a>) -> Result<Function> {
        let mut function = Function::default();
        for operator in body.get_operators_reader()? {
            function.size += 1;
            let operator = operator?;
            function.repeats |= repeats(&operator);
            match operator {
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    function.calls.push(function_index);
                }
                Operator::CallIndirect { .. }
                | Operator::ReturnCallIndirect { .. }
                | Operator::CallRef { .. }
                | Operator::ReturnCallRef { .. } => function.calls_indirectly = true,
                Operator::RefFunc { function_index } => self.referenced.push(function_index),
                Operator::Try { .. }
                | Operator::Catch { .. }
                | Operator::CatchAll
                | Operator::Delegate { .. }
                | Operator::Rethrow { .. } => self.uses_legacy_exceptions = true,
                Operator::I32Store { .. }
                | Operator::I64Store { .. }
                | Operator::I32Store8 { .. }
                | Operator::I32Store16 { .. }
                | Operator::I64Store8 { .. }
                | Operator::I64Store16 { .. }
                | Operator::I64Store32 { .. }
                | Operator::MemoryCopy { .. }
                | Operator::MemoryFill { .. }
                | Operator::MemoryInit { .. }
                | Operator::TableSet { .. }
                | Operator::TableInit { .. } => function.stores = true,
                _ => {}
            }
        }
        function.call_count = function.calls.len();
        // Several calls of the same function count as one.
        function.calls.sort_unstable();
        function.calls.dedup();
        Ok(function)
    }

    fn add_references(&mut self, expression: &ConstExpr<'_>) -> Result<()> {
        for operator in expression.get_operators_reader() {
            if let Operator::RefFunc { function_index } = operator? {
                self.referenced.push(function_index);
            }
        }
        Ok(())
    }

    /// Names are only displayed, so a section that can't be read is treated as empty.
    fn add_names(&mut self, names: wasmparser::NameSectionReader<'a>) {
        for subsection in names.into_iter().map_while(Result::ok) {
            if let Name::Function(map) = subsection {
                let named = map.into_iter().map_while(Result::ok);
                self.names.extend(named.map(|naming| (naming.index, naming.name)));
            }
        }
        self.names.sort_by_key(|(index, _)| *index);
    }

    /// The function exported as `name`.
    pub(super) fn exported(&self, name: &str) -> Option<u32> {
        self.exports.iter().find(|export| export.0 == name).map(|export| export.1)
    }

    /// The exported functions.
    pub(super) fn exports(&self) -> impl Iterator<Item = (&'a str, u32)> {
        self.exports.iter().copied()
    }

    /// The functions that have a name in the name section.
    pub(super) fn names(&self) -> impl Iterator<Item = (&'a str, u32)> {
        self.names.iter().map(|(index, name)| (*name, *index))
    }

    /// The name of this function in the name section.
    pub(super) fn name(&self, function: u32) -> Option<&'a str> {
        let found = self.names.binary_search_by_key(&function, |(index, _)| *index).ok()?;
        Some(self.names[found].1)
    }

    /// Whether the module has a name section.
    pub(super) fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// The first memory as initialised by the module, up to the last segment with a constant offset. `None` if that is
    /// more than `limit` bytes.
    pub(super) fn initial_memory(&self, limit: usize) -> Option<Vec<u8>> {
        let mut memory = Vec::new();
        for segment in self.data.clone()?.into_iter().map_while(Result::ok) {
            let DataKind::Active { memory_index: 0, offset_expr } = segment.kind else { continue };
            let Ok(Operator::I32Const { value }) = offset_expr.get_operators_reader().read() else {
                continue;
            };
            let start = value.cast_unsigned() as usize;
            let end = start.checked_add(segment.data.len()).filter(|end| *end <= limit)?;
            if memory.len() < end {
                memory.resize(end, 0);
            }
            memory[start..end].copy_from_slice(segment.data);
        }
        Some(memory)
    }

    /// The functions that may run when those in `from` are called. This is a conservative estimate: an indirect call is
    /// assumed to reach every function whose reference is taken.
    pub(super) fn reached(&self, from: impl IntoIterator<Item = u32>) -> Reachable {
        self.walk(from, true)
    }

    /// Like [`reached`](Self::reached), but only follows direct calls.
    pub(super) fn reached_directly(&self, from: impl IntoIterator<Item = u32>) -> Reachable {
        self.walk(from, false)
    }

    fn walk(&self, from: impl IntoIterator<Item = u32>, follow_references: bool) -> Reachable {
        let mut next: Vec<u32> = from.into_iter().collect();
        let mut reached = Reachable { functions: next.iter().copied().collect(), indirectly: false };
        while let Some(index) = next.pop() {
            let Some(function) = self.own(index) else { continue };
            let mut found: Vec<u32> =
                function.calls.iter().copied().filter(|call| reached.functions.insert(*call)).collect();
            next.append(&mut found);
            if function.calls_indirectly && !reached.indirectly {
                reached.indirectly = true;
                if follow_references {
                    let referenced = self.referenced.iter().copied();
                    next.extend(referenced.filter(|function| reached.functions.insert(*function)));
                }
            }
        }
        reached
    }

    /// Whether this function, which isn't an import, calls anything or writes to memory.
    pub(super) fn does_something(&self, function: u32) -> bool {
        self.own(function).is_some_and(|own| own.stores || own.calls_indirectly || !own.calls.is_empty())
    }

    /// The functions that this function, which isn't an import, calls directly.
    pub(super) fn called_by(&self, function: u32) -> &[u32] {
        self.own(function).map_or(&[], |own| &own.calls)
    }

    /// The code of a function that isn't an import.
    pub(super) fn body(&self, function: u32) -> Option<&FunctionBody<'a>> {
        self.bodies.get(self.defined_index(function)?)
    }

    fn own(&self, function: u32) -> Option<&Function> {
        self.functions.get(self.defined_index(function)?)
    }

    /// The n-th function that isn't an import, if there is one.
    pub(super) fn defined_at(&self, index: usize) -> Option<u32> {
        (index < self.functions.len()).then(|| u32::try_from(self.imports.len() + index).ok())?
    }

    fn defined_index(&self, function: u32) -> Option<usize> {
        (function as usize).checked_sub(self.imports.len())
    }
}

/// Functions that may run.
pub(super) struct Reachable {
    functions: HashSet<u32>,
    /// Whether one of the functions makes indirect calls.
    pub(super) indirectly: bool,
}

impl Reachable {
    pub(super) fn contains(&self, function: u32) -> bool {
        self.functions.contains(&function)
    }

    /// The imports among them.
    pub(super) fn imports<'g>(&'g self, graph: &'g Graph<'_>) -> impl Iterator<Item = &'g ImportUse> {
        graph.imports.iter().zip(0..).filter(|(_, index)| self.contains(*index)).map(|(import, _)| import)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_has_effects_if_it_calls_or_stores_and_none_if_it_only_computes() {
        let wasm = wat::parse_str(
            r#"(module (memory 1) (global $g (mut i32) (i32.const 0))
            (func $computes (result i32) (global.set $g (i32.const 1)) (i32.load (i32.const 0)))
            (func $stores (i32.store8 (i32.const 0) (i32.const 1)))
            (func $calls (drop (call $computes))))"#,
        );
        let wasm = wasm.unwrap();
        let graph = Graph::read(&wasm).unwrap();
        assert_eq!([0, 1, 2].map(|function| graph.does_something(function)), [false, true, true]);
        assert_eq!(graph.name(1), Some("stores"));
        assert_eq!(graph.name(3), None);
    }

    #[test]
    fn a_walk_over_direct_calls_reports_indirect_calls_and_stops_there() {
        let wasm = wat::parse_str(
            r#"(module (table 1 funcref) (elem (i32.const 0) $far) (type $t (func))
            (func $far)
            (func $near (call_indirect (type $t) (i32.const 0)))
            (func (export "from") (call $near)))"#,
        );
        let wasm = wasm.unwrap();
        let graph = Graph::read(&wasm).unwrap();
        let from = graph.exported("from").unwrap();
        let (direct, all) = (graph.reached_directly([from]), graph.reached([from]));
        assert!(direct.contains(1) && !direct.contains(0) && direct.indirectly);
        assert!(all.contains(0) && all.indirectly);
    }
}
