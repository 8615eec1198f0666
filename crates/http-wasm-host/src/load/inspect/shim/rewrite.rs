//! Rewrites a module section by section.

use std::borrow::Cow;
use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{
    BlockType, CodeSection, CustomSection, Encode as _, EntityType, Function, FunctionSection, ImportSection,
    Instruction, Module, SectionId, TypeSection, ValType,
};
use wasmparser::{
    CodeSectionReader, CustomSectionReader, FunctionBody, FunctionSectionReader, Operator, TypeSectionReader,
};

use super::names;
use super::plan::{Plan, Redirect};
use crate::symbols::Shift;

pub(super) struct Rewriter {
    plan: Plan,
    moved: Vec<Shift>,
    functions_written: bool,
    code_written: bool,
}

impl Rewriter {
    pub(super) fn new(plan: Plan) -> Self {
        Self { plan, moved: Vec::new(), functions_written: false, code_written: false }
    }

    /// Which code has moved within its function.
    pub(super) fn into_moved(self) -> Vec<Shift> {
        self.moved
    }

    fn add_functions(&mut self, functions: &mut FunctionSection) {
        for point in &self.plan.points {
            functions.function(point.type_index);
        }
        // The type of the pause is added at the end.
        functions.function(self.plan.types);
        self.functions_written = true;
    }

    /// The function's code, with the uses of suspension points redirected and everything else copied.
    fn redirected<'a>(&mut self, function: u32, body: &FunctionBody<'a>) -> Result<Cow<'a, [u8]>, Error> {
        let (code, start) = (body.as_bytes(), body.range().start);
        let (mut out, mut copied, mut by) = (Vec::new(), 0, 0);
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let (operator, at) = operators.read_with_offset()?;
            let (Operator::Call { function_index }
            | Operator::ReturnCall { function_index }
            | Operator::RefFunc { function_index }) = operator
            else {
                continue;
            };
            let target = self.plan.redirect(function_index);
            if target == function_index {
                continue;
            }
            // The opcode takes one byte, and the index follows.
            let (operand, end) = (at + 1 - start, operators.original_position() - start);
            out.extend_from_slice(&code[copied..operand]);
            copied = end;
            let begin = out.len();
            encode_padded(target, end - operand, &mut out);
            let added = (out.len() - begin - (end - operand)) as u32;
            if added > 0 {
                by += added;
                self.moved.push(Shift { function, from: out.len() as u32, by });
            }
        }
        if copied == 0 {
            return Ok(code.into());
        }
        out.extend_from_slice(&code[copied..]);
        Ok(out.into())
    }

    fn add_code(&mut self, code: &mut CodeSection) {
        for point in &self.plan.points {
            code.function(&retry_loop(point, self.plan.pause()));
        }
        let mut pause = Function::new([]);
        pause.instruction(&Instruction::End);
        code.function(&pause);
        self.code_written = true;
    }
}

impl Reencode for Rewriter {
    type Error = Infallible;

    fn function_index(&mut self, func: u32) -> Result<u32, Error> {
        Ok(self.plan.redirect(func))
    }

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: TypeSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_type_section(self, types, section)?;
        types.ty().function([], []);
        let widened: Vec<_> = self.plan.widened().map(|point| point.params.clone()).collect();
        for params in widened {
            let params = params.into_iter().map(|param| self.val_type(param));
            types.ty().function(params.collect::<Result<Vec<_>, _>>()?, [ValType::I32]);
        }
        Ok(())
    }

    fn parse_imports(
        &mut self,
        section: &mut ImportSection,
        imports: wasmparser::Imports<'_>,
    ) -> Result<(), Error> {
        if let wasmparser::Imports::Single(_, import) = &imports
            && let Some(ty) = self.plan.widened_type(import.module, import.name)
        {
            section.import(import.module, import.name, EntityType::Function(ty));
            return Ok(());
        }
        utils::parse_imports(self, section, imports)
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_function_section(self, functions, section)?;
        self.add_functions(functions);
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), Error> {
        for (function, body) in (0..).zip(section) {
            code.raw(&self.redirected(function, &body?)?);
        }
        self.add_code(code);
        Ok(())
    }

    /// Called between all sections, since a module may have no functions, and therefore no sections for them.
    fn intersperse_section_hook(
        &mut self,
        module: &mut Module,
        _after: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Result<(), Error> {
        let is_past = |section| before.is_none_or(|before| rank(before) > rank(section));
        if !self.functions_written && is_past(SectionId::Function) {
            let mut functions = FunctionSection::new();
            self.add_functions(&mut functions);
            module.section(&functions);
        }
        if !self.code_written && is_past(SectionId::Code) {
            let mut code = CodeSection::new();
            self.add_code(&mut code);
            module.section(&code);
        }
        Ok(())
    }

    fn parse_custom_section(
        &mut self,
        module: &mut Module,
        section: CustomSectionReader<'_>,
    ) -> Result<(), Error> {
        let name = section.name();
        if depends_on_code_offsets(name) {
            return Ok(());
        }
        let data = if name == "name" { names::extended(section.data(), &self.plan) } else { None };
        // The section is copied and not parsed, since an unknown custom section is not an error.
        let data = data.map_or(section.data().into(), Into::into);
        module.section(&CustomSection { name: name.into(), data });
        Ok(())
    }
}

/// Writes a number as LEB128, padded to the length of the one that it replaces: linkers pad numbers that they may still
/// change.
fn encode_padded(number: u32, length: usize, out: &mut Vec<u8>) {
    let begin = out.len();
    number.encode(out);
    while out.len() - begin < length {
        if let Some(last) = out.last_mut() {
            *last |= 0x80;
        }
        out.push(0);
    }
}

/// `loop: r = import(params…); if r == -1 { pause(); continue }; return r`
fn retry_loop(point: &Redirect, pause: u32) -> Function {
    let (local, ty) = (point.params.len() as u32, point.result);
    let (ty, all_ones, equal) = match ty {
        Some(wasmparser::ValType::I64) => (ValType::I64, Instruction::I64Const(-1), Instruction::I64Eq),
        _ => (ValType::I32, Instruction::I32Const(-1), Instruction::I32Eq),
    };
    let mut body = Function::new([(1, ty)]);
    body.instruction(&Instruction::Loop(BlockType::Empty));
    for param in 0..local {
        body.instruction(&Instruction::LocalGet(param));
    }
    body.instruction(&Instruction::Call(point.import))
        .instruction(&Instruction::LocalTee(local))
        .instruction(&all_ones)
        .instruction(&equal)
        .instruction(&Instruction::If(BlockType::Empty))
        .instruction(&Instruction::Call(pause))
        .instruction(&Instruction::Br(1))
        .instruction(&Instruction::End)
        .instruction(&Instruction::End);
    if point.result.is_some() {
        body.instruction(&Instruction::LocalGet(local));
    }
    body.instruction(&Instruction::End);
    body
}

/// Whether a section refers to code positions, which have moved.
fn depends_on_code_offsets(section: &str) -> bool {
    ["sourceMappingURL", "external_debug_info", "linking"].contains(&section)
        || [".debug_", "reloc.", "metadata.code."].iter().any(|prefix| section.starts_with(prefix))
}

/// The position of a section in a module, which its ID doesn't show.
fn rank(section: SectionId) -> u8 {
    match section {
        SectionId::Custom => 0,
        SectionId::Type => 1,
        SectionId::Import => 2,
        SectionId::Function => 3,
        SectionId::Table => 4,
        SectionId::Memory => 5,
        SectionId::Tag => 6,
        SectionId::Global => 7,
        SectionId::Export => 8,
        SectionId::Start => 9,
        SectionId::Element => 10,
        SectionId::DataCount => 11,
        SectionId::Code => 12,
        SectionId::Data => 13,
    }
}
