//! Debug information in which each instruction has its own source line.

use wasmparser::{FunctionBody, Parser, Payload};

/// Adds debug information (DWARF 4) to a module. The lines of function n begin at n · 100.
pub(super) fn with_debug_info(wasm: &[u8]) -> Vec<u8> {
    let (start, bodies) = code(wasm);
    let place = |offset: usize| (offset - start) as u32;
    let end = place(bodies.last().unwrap().range().end);
    let mut module = wasm.to_vec();
    for (name, data) in [
        (".debug_abbrev", abbreviations()),
        (".debug_info", info(&bodies, place, end)),
        (".debug_line", line_program(&bodies, place, end)),
    ] {
        custom_section(&mut module, name, &data);
    }
    module
}

/// The positions of the contents of the custom sections after `end`.
pub(super) fn contents_after(wasm: &[u8], end: usize) -> Vec<usize> {
    let sections = Parser::new(0).parse_all(wasm).filter_map(|payload| match payload.unwrap() {
        // The rest of a long section is like its beginning.
        Payload::CustomSection(section) if section.range().start > end => {
            Some(section.data_offset()..section.data_offset() + section.data().len().min(60))
        }
        _ => None,
    });
    sections.flatten().collect()
}

fn code(wasm: &[u8]) -> (usize, Vec<FunctionBody<'_>>) {
    let (mut start, mut bodies) = (0, Vec::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::CodeSectionStart { range, .. } => start = range.start,
            Payload::CodeSectionEntry(body) => bodies.push(body),
            _ => {}
        }
    }
    (start, bodies)
}

fn abbreviations() -> Vec<u8> {
    const NAME: [u8; 2] = [0x03, 0x08];
    const LOW_PC: [u8; 2] = [0x11, 0x01];
    const HIGH_PC: [u8; 2] = [0x12, 0x06];
    const LINES: [u8; 2] = [0x10, 0x17];
    const END: [u8; 2] = [0, 0];
    // A compilation unit with children, and a function without.
    [&[1, 0x11, 1][..], &NAME, &LINES, &LOW_PC, &HIGH_PC, &END, &[2, 0x2e, 0], &NAME, &LOW_PC, &HIGH_PC, &END]
        .concat()
        .into_iter()
        .chain([0])
        .collect()
}

fn info(bodies: &[FunctionBody<'_>], place: impl Fn(usize) -> u32, end: u32) -> Vec<u8> {
    let mut unit = vec![4, 0, 0, 0, 0, 0, 4];
    unit.push(1);
    unit.extend_from_slice(b"src/guest.c\0");
    let start = place(bodies[0].range().start);
    unit.extend_from_slice(&[0; 4]);
    unit.extend_from_slice(&start.to_le_bytes());
    unit.extend_from_slice(&(end - start).to_le_bytes());
    for (n, body) in bodies.iter().enumerate() {
        let range = body.range();
        unit.push(2);
        unit.extend_from_slice(format!("function_{n}\0").as_bytes());
        unit.extend_from_slice(&place(range.start).to_le_bytes());
        unit.extend_from_slice(&(range.len() as u32).to_le_bytes());
    }
    unit.push(0);
    with_length(unit)
}

fn line_program(bodies: &[FunctionBody<'_>], place: impl Fn(usize) -> u32, end: u32) -> Vec<u8> {
    const HEADER: [u8; 18] = [1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1];
    const FILES: &[u8] = b"\0src/guest.c\0\0\0\0\0";
    let mut program = vec![4, 0];
    program.extend_from_slice(&((HEADER.len() + FILES.len()) as u32).to_le_bytes());
    program.extend_from_slice(&HEADER);
    program.extend_from_slice(FILES);
    let mut line = 1;
    for (n, body) in bodies.iter().enumerate() {
        let mut operators = body.get_operators_reader().unwrap();
        let mut number = 0;
        while !operators.eof() {
            let (_, offset) = operators.read_with_offset().unwrap();
            let next = n as i64 * 100 + number;
            // A function's first line begins with the declaration of its locals.
            let begin = if number == 0 { body.range().start } else { offset };
            set_address(&mut program, place(begin));
            program.push(3);
            signed(&mut program, next - line);
            program.push(1);
            (line, number) = (next, number + 1);
        }
    }
    set_address(&mut program, end);
    program.extend_from_slice(&[0, 1, 1]);
    with_length(program)
}

fn set_address(program: &mut Vec<u8>, address: u32) {
    program.extend_from_slice(&[0, 5, 2]);
    program.extend_from_slice(&address.to_le_bytes());
}

fn with_length(unit: Vec<u8>) -> Vec<u8> {
    [&(unit.len() as u32).to_le_bytes()[..], &unit].concat()
}

fn custom_section(module: &mut Vec<u8>, name: &str, data: &[u8]) {
    let mut content = Vec::new();
    unsigned(&mut content, name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(data);
    module.push(0);
    unsigned(module, content.len());
    module.extend_from_slice(&content);
}

fn unsigned(out: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn signed(out: &mut Vec<u8>, mut number: i64) {
    while !(-0x40..0x40).contains(&number) {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8 & 0x7f);
}
