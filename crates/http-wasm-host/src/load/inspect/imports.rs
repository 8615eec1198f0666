//! Checks a guest's imports.

use wasmparser::FuncType;
use wasmparser::types::{EntityType, TypesRef};

use super::causes::{self, Kind};
use super::signatures::{self, HANDLER, WASI, describe, func_type};
use crate::fault::{Fault, Faults, shown};

/// A host function that a guest imports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportUse {
    /// `http_handler` or `wasi_snapshot_preview1`.
    pub module: String,
    /// The function's name in that module.
    pub name: String,
}

/// Checks each import, and returns those that the host provides.
pub(super) fn check(types: TypesRef<'_>, faults: &mut Faults) -> Vec<ImportUse> {
    let mut uses: Vec<ImportUse> = Vec::new();
    let mut foreign = ForeignImports::default();
    for (module, name, entity) in types.core_imports().into_iter().flatten() {
        let kind = kind(types, entity);
        match (module, func_type(types, entity)) {
            (HANDLER | WASI, Some(found)) => match check_function(module, name, found) {
                // Only functions of the ABI get here, so the search stays short.
                Ok(import) if uses.contains(&import) => {}
                Ok(import) => uses.push(import),
                Err(fault) => faults.push(fault),
            },
            (HANDLER | WASI, None) => faults.push(Fault::new(
                format!(
                    "`{module}.{}` is imported as a {}, but `{module}` has only functions",
                    shown(name),
                    kind.name()
                ),
                causes::cause(module, name, kind),
            )),
            _ => foreign.add(module, name, kind),
        }
    }
    foreign.into_faults(faults);
    uses
}

fn check_function(module: &str, name: &str, found: &FuncType) -> Result<ImportUse, Fault> {
    let known = if module == HANDLER { signatures::handler(name) } else { signatures::wasi(name) };
    match known {
        None => Err(Fault::new(
            format!("the import `{module}.{}` names a function that `{module}` doesn't have", shown(name)),
            causes::unknown_function(module, name),
        )),
        Some(expected) if !expected.matches(found) => Err(Fault::new(
            format!(
                "the import `{module}.{name}` has the signature {}, but {expected} is expected",
                describe(found)
            ),
            "correct its declaration in the guest, or the version of the library that declares it",
        )),
        Some(_) => Ok(ImportUse { module: module.into(), name: name.into() }),
    }
}

fn kind(types: TypesRef<'_>, entity: EntityType) -> Kind {
    match entity {
        EntityType::Func(_) | EntityType::FuncExact(_) => {
            Kind::Function(func_type(types, entity).map_or(0, |ty| ty.params().len()))
        }
        EntityType::Memory(ty) => Kind::Memory { shared: ty.shared },
        EntityType::Table(_) => Kind::Table,
        EntityType::Global(_) => Kind::Global,
        EntityType::Tag(_) => Kind::Tag,
    }
}

/// Imports from other modules. A wrong toolchain adds dozens for one reason, so they are combined into one fault.
#[derive(Default)]
struct ForeignImports {
    groups: Vec<Group>,
}

struct Group {
    cause: String,
    /// The first few of them, as shown in a message.
    named: Vec<String>,
    count: usize,
}

/// How many imports with the same cause a message names.
const MAX_NAMED: usize = 8;
/// How many causes are distinguished. A malicious module could have a different one for each import.
const MAX_GROUPS: usize = 64;

impl ForeignImports {
    fn add(&mut self, module: &str, name: &str, kind: Kind) {
        let cause = causes::cause(module, name, kind);
        let full = self.groups.len() >= MAX_GROUPS;
        let named = format!("`{}.{}` ({})", shown(module), shown(name), kind.name());
        match self.groups.iter_mut().find(|group| full || group.cause == cause) {
            Some(group) => {
                group.count += 1;
                if group.named.len() < MAX_NAMED {
                    group.named.push(named);
                }
            }
            None => self.groups.push(Group { cause, named: vec![named], count: 1 }),
        }
    }

    fn into_faults(self, faults: &mut Faults) {
        for Group { cause, named, count } in self.groups {
            let (nouns, are) = if count == 1 { ("import", "is") } else { ("imports", "are") };
            let more = match count - named.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let what = format!("the {nouns} {}{more} {are} not part of the http-wasm ABI", named.join(", "));
            faults.push(Fault::new(what, cause));
        }
    }
}
