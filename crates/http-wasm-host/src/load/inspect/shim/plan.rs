//! Where a module gets suspension points.

use wasm_encoder::reencode;
use wasmparser::{CompositeInnerType, FuncType, Parser, Payload, TypeRef, ValType};

/// Why suspension points couldn't be added to a module. Modules that passed `inspect` never cause these errors.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShimError {
    /// The module can't be read.
    #[error("the module is malformed")]
    Malformed(#[from] wasmparser::Error),
    /// The module can't be rewritten.
    #[error("the module can't be rewritten")]
    Rewrite(#[from] reencode::Error),
    /// The sentinel needs one integer result, or a place for one.
    #[error("the import `{module}.{name}` returns more than an integer, so it can't be a suspension point")]
    Signature {
        /// The module of the import.
        module: String,
        /// The name of the import.
        name: String,
    },
}

/// What is added to a module, and where.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) points: Vec<Redirect>,
    /// The number of types and functions in the original module. Added ones follow them.
    pub(super) types: u32,
    pub(super) functions: u32,
}

/// An imported function whose uses are redirected.
#[derive(Debug)]
pub(super) struct Redirect {
    /// "module.name".
    pub(super) label: String,
    pub(super) import: u32,
    pub(super) type_index: u32,
    pub(super) params: Vec<ValType>,
    /// `None` if it returns nothing: its import then gets a type with a result, only for the sentinel.
    pub(super) result: Option<ValType>,
}

impl Plan {
    pub(super) fn new(wasm: &[u8], points: &[(&str, &str)]) -> Result<Self, ShimError> {
        let mut types: Vec<Option<FuncType>> = Vec::new();
        let mut plan = Self { points: Vec::new(), types: 0, functions: 0 };
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(section) => {
                    for group in section {
                        types.extend(group?.into_types().map(|ty| match ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => Some(ty),
                            _ => None,
                        }));
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        let (TypeRef::Func(type_index) | TypeRef::FuncExact(type_index)) = import.ty else {
                            continue;
                        };
                        if points.contains(&(import.module, import.name)) {
                            let ty = types.get(type_index as usize).and_then(Option::as_ref);
                            plan.points.push(Redirect::new(&import, plan.functions, type_index, ty)?);
                        }
                        plan.functions += 1;
                    }
                }
                Payload::FunctionSection(section) => {
                    plan.functions = plan.functions.wrapping_add(section.count())
                }
                // Nothing after the start of the code section is needed.
                Payload::CodeSectionStart { .. } => break,
                _ => {}
            }
        }
        plan.types = types.len() as u32;
        Ok(plan)
    }

    /// The index of the function that replaces the n-th point.
    pub(super) fn replacement(&self, n: usize) -> u32 {
        // If the count is so large that this wraps, the module is rejected when the section is read.
        self.functions.wrapping_add(n as u32)
    }

    /// The index of the empty function, which follows the replacements.
    pub(super) fn pause(&self) -> u32 {
        self.replacement(self.points.len())
    }

    /// The points without a result, whose imports get other types. These come after that of the pause.
    pub(super) fn widened(&self) -> impl Iterator<Item = &Redirect> {
        self.points.iter().filter(|point| point.result.is_none())
    }

    /// Index of the type that an import gets, if it is one of those.
    pub(super) fn widened_type(&self, module: &str, name: &str) -> Option<u32> {
        let label = format!("{module}.{name}");
        let place = self.widened().position(|point| point.label == label)?;
        Some(self.types + 1 + place as u32)
    }

    /// The replacement for a use of function `index`.
    pub(super) fn redirect(&self, index: u32) -> u32 {
        let point = self.points.iter().position(|point| point.import == index);
        point.map_or(index, |n| self.replacement(n))
    }
}

impl Redirect {
    fn new(
        import: &wasmparser::Import<'_>,
        index: u32,
        type_index: u32,
        ty: Option<&FuncType>,
    ) -> Result<Self, ShimError> {
        let result = ty.and_then(|ty| match ty.results() {
            [] => Some((None, ty.params().to_vec())),
            [result @ (ValType::I32 | ValType::I64)] => Some((Some(*result), ty.params().to_vec())),
            _ => None,
        });
        let (module, name) = (import.module.to_owned(), import.name.to_owned());
        let Some((result, params)) = result else {
            return Err(ShimError::Signature { module, name });
        };
        Ok(Self { label: format!("{module}.{name}"), import: index, type_index, params, result })
    }
}
