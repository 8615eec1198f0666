use wasmparser::{Parser, Payload, Validator, WasmFeatures};

use super::*;

const POINTS: &[(&str, &str)] = &[("h", "wide"), ("h", "narrow")];

fn rewritten(guest: &str) -> Vec<u8> {
    let wasm = add_suspension_points(&wat::parse_str(guest).unwrap(), POINTS).unwrap().wasm;
    Validator::new_with_features(WasmFeatures::all()).validate_all(&wasm).unwrap();
    wasm
}

/// Asserts that the module equals the text, including the added functions.
#[track_caller]
fn assert_rewritten(guest: &str, expected: &str) {
    assert_eq!(sections(&rewritten(guest)), sections(&wat::parse_str(expected).unwrap()));
}

/// The relevant sections with their bytes, without names and similar sections.
fn sections(wasm: &[u8]) -> Vec<(u8, Vec<u8>)> {
    Parser::new(0)
        .parse_all(wasm)
        .filter_map(|payload| payload.unwrap().as_section())
        .filter(|(id, _)| *id != 0)
        .map(|(id, range)| (id, wasm[range].to_vec()))
        .collect()
}

fn custom_sections(wasm: &[u8]) -> Vec<(String, Vec<u8>)> {
    let payloads = Parser::new(0).parse_all(wasm);
    payloads
        .filter_map(|payload| match payload.unwrap() {
            Payload::CustomSection(section) => Some((section.name().to_owned(), section.data().to_owned())),
            _ => None,
        })
        .collect()
}

/// The replacement for `h.wide`, given its index, its type, and the index of the pause.
fn wide(import: u32, ty: u32, pause: u32) -> String {
    format!(
        "(func (type {ty}) (local i64)
            (loop
                (local.tee 1 (call {import} (local.get 0)))
                i64.const -1
                i64.eq
                (if (then (call {pause}) (br 1))))
            local.get 1)"
    )
}

#[test]
fn a_call_to_a_suspending_import_is_redirected_to_a_loop_after_all_functions() {
    assert_rewritten(
        r#"(module
            (import "h" "other" (func $other))
            (import "h" "wide" (func $wide (param i64) (result i64)))
            (func (export "f") (drop (call $wide (i64.const 1))) (call $other)))"#,
        &format!(
            r#"(module
            (type (func)) (type (func (param i64) (result i64))) (type (func))
            (import "h" "other" (func $other (type 0)))
            (import "h" "wide" (func $wide (type 1)))
            (func (export "f") (type 0) (drop (call 3 (i64.const 1))) (call $other))
            {}
            (func (type 2)))"#,
            wide(1, 1, 4)
        ),
    );
}

#[test]
fn a_padded_index_is_replaced_in_place_and_a_short_one_shifts_the_code_behind_it() {
    let body = |index: &[u8]| [&[0, 0x42, 1, 0x10], index, &[0x1a, 0x0b]].concat();
    let fillers = "(func)".repeat(130);
    let wasm = wat::parse_str(format!(
        r#"(module (import "h" "wide" (func $wide (param i64) (result i64)))
            (func (drop (call $wide (i64.const 1)))) {fillers})"#
    ));
    let wasm = wasm.unwrap();
    let code = |wasm: &[u8]| sections(wasm).into_iter().find(|(id, _)| *id == 10).unwrap().1;
    let contains = |code: &[u8], part: &[u8]| code.windows(part.len()).any(|window| window == part);

    let short = add_suspension_points(&wasm, POINTS).unwrap();
    assert!(contains(&code(&short.wasm), &body(&[0x84, 0x01])), "132");
    assert_eq!(short.moved, [Shift { function: 0, from: 6, by: 1 }]);

    let mut module = wasm_encoder::Module::new();
    for (id, data) in sections(&wasm) {
        if id == 10 {
            let mut code = wasm_encoder::CodeSection::new();
            code.raw(&body(&[0x80, 0x80, 0x80, 0x80, 0]));
            for _ in 0..130 {
                code.raw(&[0, 0x0b]);
            }
            module.section(&code);
        } else {
            module.section(&wasm_encoder::RawSection { id, data: &data });
        }
    }
    let padded = add_suspension_points(&module.finish(), POINTS).unwrap();
    assert!(contains(&code(&padded.wasm), &body(&[0x84, 0x81, 0x80, 0x80, 0])));
    assert!(padded.moved.is_empty(), "{:?}", padded.moved);
}

#[test]
fn every_kind_of_reference_to_a_suspending_import_is_redirected() {
    let guest = |target: &str, tail: &str| {
        format!(
            r#"(module
            (type $t (func (param i64) (result i64))) (type $u (func)) {}
            (import "h" "wide" (func $wide (type $t)))
            (table $direct 4 funcref)
            (table $init 1 (ref null $t) (ref.func {target}))
            (global $g (ref $t) (ref.func {target}))
            (export "wide" (func {target}))
            (elem (table $direct) (i32.const 0) func {target})
            (elem (table $direct) (i32.const 1) funcref (ref.func {target}))
            (elem func {target})
            (elem declare func {target})
            (func (type $t) (return_call {target} (local.get 0)))
            (func (type $u) (drop (ref.func {target})) (drop (call {target} (i64.const 0))))
            {tail})"#,
            if tail.is_empty() { "" } else { "(type (func))" }
        )
    };
    let tail = format!("{} (func (type 2))", wide(0, 0, 4));
    assert_rewritten(&guest("$wide", ""), &guest("3", &tail));
}

#[test]
fn a_module_without_functions_of_its_own_gets_sections_for_them() {
    for rest in [
        "",
        "(memory 1) (data (i32.const 0) \"x\")",
        "(tag) (global i32 (i32.const 0))",
        "(elem declare func $wide)",
    ] {
        let imports = r#"(import "h" "wide" (func $wide (param i64) (result i64)))"#;
        let wasm = rewritten(&format!("(module {imports} {rest} (export \"f\" (func $wide)))"));
        let ids: Vec<u8> = sections(&wasm).iter().map(|section| section.0).collect();
        assert!(ids.contains(&3) && ids.contains(&10), "{rest}: {ids:?}");
    }
}

#[test]
fn a_start_function_that_does_not_suspend_is_unchanged() {
    let wasm = rewritten(
        r#"(module (import "h" "start" (func $start))
            (import "h" "wide" (func (param i64) (result i64))) (start $start))"#,
    );
    let start = Parser::new(0).parse_all(&wasm).find_map(|payload| match payload.unwrap() {
        Payload::StartSection { func, .. } => Some(func),
        _ => None,
    });
    assert_eq!(start, Some(0));
}

#[test]
fn modules_with_newer_wasm_features_stay_valid() {
    rewritten(
        r#"(module
            (rec (type $node (struct (field (mut (ref null $node)))  (field i8))) (type $f (func (param (ref $node)))))
            (type $array (array (mut i64)))
            (import "h" "wide" (func $wide (param i64) (result i64)))
            (import "h" "narrow" (func $narrow (param i32 i32) (result i32)))
            (memory $a 1) (memory $b 1)
            (tag $tag (param i64))
            (data $passive "hello")
            (elem $refs (ref null $f) (ref.null $f))
            (func (export "f") (param (ref $node)) (local v128)
                (memory.init $b $passive (i32.const 0) (i32.const 0) (i32.const 5))
                (data.drop $passive)
                (memory.copy $a $b (i32.const 0) (i32.const 0) (i32.const 5))
                (drop (i64.load $b (i32.const 0)))
                (drop (block $caught (result i64)
                    (try_table (catch $tag $caught) (throw $tag (call $wide (i64.const 7))))
                    unreachable))
                (drop (array.new_fixed $array 1 (call $wide (i64.const 1))))
                (struct.set $node 0 (local.get 0) (ref.null $node))
                (local.set 1 (v128.const i64x2 1 2))
                (drop (call $narrow (i32.const 1) (i32.const 2)))))"#,
    );
}

#[test]
fn a_function_imported_twice_gets_two_loops() {
    let wasm = rewritten(
        r#"(module
            (import "h" "wide" (func $one (param i64) (result i64)))
            (import "h" "wide" (func $two (param i64) (result i64)))
            (func (export "f") (result i64) (call $two (call $one (i64.const 1)))))"#,
    );
    let wasm = sections(&wasm);
    let functions = &wasm.iter().find(|section| section.0 == 3).unwrap().1;
    assert_eq!(functions, &[4, 1, 0, 0, 2], "one of its own, two loops and the pause");
}

#[test]
fn a_module_without_suspending_imports_is_unchanged() {
    let wasm = wat::parse_str(r#"(module (import "h" "other" (func)) (@custom ".debug_info" "x"))"#).unwrap();
    assert_eq!(add_suspension_points(&wasm, POINTS).unwrap().wasm, wasm);
    assert_eq!(add_suspension_points(&wasm, &[]).unwrap().wasm, wasm);
}

#[test]
fn custom_sections_with_code_offsets_are_dropped_and_others_kept() {
    let wasm = rewritten(
        r#"(module
            (@custom "first" (before first) "1")
            (import "h" "wide" (func (param i64) (result i64)))
            (func)
            (@custom ".debug_line" "x") (@custom "metadata.code.branch_hint" "x") (@custom "sourceMappingURL" "x")
            (@custom "external_debug_info" "x") (@custom "reloc.CODE" "x")
            (@custom "name" "\ff\ff") (@custom "last" "2"))"#,
    );
    let kept: Vec<_> = custom_sections(&wasm);
    let expected = [("first", &b"1"[..]), ("name", b"\xff\xff"), ("last", b"2")];
    assert_eq!(kept, expected.map(|(name, data)| (name.to_owned(), data.to_owned())));
}

#[test]
fn the_added_functions_have_names_in_a_module_that_has_names() {
    let wasm = rewritten(
        r#"(module $guest (import "h" "wide" (func $wide (param i64) (result i64))) (func $mine (local $x i32)))"#,
    );
    let [(_, names)] = &custom_sections(&wasm)[..] else { panic!("one section is expected") };
    let mut functions = Vec::new();
    let mut others = 0;
    for subsection in wasmparser::NameSectionReader::new(wasmparser::BinaryReader::new(names, 0)) {
        match subsection.unwrap() {
            wasmparser::Name::Function(map) => functions.extend(map.into_iter().map(|n| n.unwrap())),
            _ => others += 1,
        }
    }
    let functions: Vec<_> = functions.iter().map(|naming| (naming.index, naming.name)).collect();
    assert_eq!(functions, [(0, "wide"), (1, "mine"), (2, "h.wide"), (3, "suspension_point")]);
    assert_eq!(others, 2, "module and locals");
}

#[test]
fn a_suspending_import_must_have_one_integer_result() {
    for ty in ["(result f32)", "(result i32 i32)"] {
        let wasm = wat::parse_str(format!(r#"(module (import "h" "wide" (func {ty})))"#)).unwrap();
        let error = add_suspension_points(&wasm, POINTS).unwrap_err().to_string();
        assert!(error.contains("`h.wide` returns more than an integer"), "{error}");
    }
}

#[test]
fn damaged_modules_never_cause_a_panic() {
    let wasm = wat::parse_str(
        r#"(module (import "h" "wide" (func $w (param i64) (result i64)))
            (memory 1) (table 1 funcref) (elem (i32.const 0) $w)
            (func (export "f") (drop (call $w (i64.const 1)))) (data (i32.const 0) "x"))"#,
    )
    .unwrap();
    for end in 0..wasm.len() {
        let _may_end_between_sections = add_suspension_points(&wasm[..end], POINTS);
    }
    for at in 8..wasm.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = wasm.clone();
            damaged[at] ^= flip;
            let _may_still_be_readable = add_suspension_points(&damaged, POINTS);
        }
    }
}
