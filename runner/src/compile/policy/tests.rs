use super::*;

/// A module made of the given sections (identifier and body each).
fn module(sections: &[(u8, &[u8])]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    for (id, body) in sections {
        module.push(*id);
        module.push(u8::try_from(body.len()).unwrap());
        module.extend_from_slice(body);
    }
    module
}

fn import(from: &str, name: &str, kind: &[u8]) -> Vec<u8> {
    let mut body = vec![1, from.len() as u8];
    body.extend(from.as_bytes());
    body.push(name.len() as u8);
    body.extend(name.as_bytes());
    body.extend(kind);
    body
}

const TYPE: (u8, &[u8]) = (1, &[1, 0x60, 0, 0]);
/// Of a function of nothing, and of one that takes a number.
const TYPES: (u8, &[u8]) = (1, &[2, 0x60, 0, 0, 0x60, 1, 0x7f, 0]);
const FUNCTION: (u8, &[u8]) = (3, &[1, 0]);
const MEMORY: (u8, &[u8]) = (5, &[1, 0, 1]);
const EXPORTS: (u8, &[u8]) = (7, b"\x02\x06_start\0\0\x06memory\x02\0");
const CODE: (u8, &[u8]) = (10, &[1, 2, 0, 0x0b]);

fn refusal(module: &[u8]) -> (Code, String) {
    match check(module) {
        Err(Error::Refused { code, message }) => (code, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_with_known_imports_is_accepted() {
    assert_eq!(
        check(&module(&[TYPE, FUNCTION, MEMORY, EXPORTS, CODE])),
        Ok(())
    );
    let import = import(WASI, "proc_exit", &[0, 1]);
    let exports: (u8, &[u8]) = (7, b"\x02\x06_start\0\x01\x06memory\x02\0");
    let sections = [TYPES, (2, &import), FUNCTION, MEMORY, exports, CODE];
    assert_eq!(check(&module(&sections)), Ok(()));
}

#[test]
fn functions_are_imported_with_their_own_types() {
    let body = import(WASI, "proc_exit", &[0, 0]);
    let (code, message) = refusal(&module(&[TYPES, (2, &body)]));
    assert_eq!(code, Code::UnknownImport);
    assert_eq!(
        message,
        "imports wasi_snapshot_preview1.\"proc_exit\" as () -> (); it is (i32) -> ()"
    );
    let body = import(WASI, "fd_seek", &[0, 1]);
    let (_, message) = refusal(&module(&[TYPES, (2, &body)]));
    assert!(
        message.ends_with("as (i32) -> (); it is (i32, i64, i32, i32) -> (i32)"),
        "{message}"
    );
}

#[test]
fn a_start_that_takes_values_is_no_command() {
    let function: (u8, &[u8]) = (3, &[1, 1]);
    let sections = [TYPES, function, MEMORY, EXPORTS, CODE];
    let (code, message) = refusal(&module(&sections));
    assert_eq!(code, Code::NoStart);
    assert!(message.starts_with("its _start takes"), "{message}");
}

#[test]
fn foreign_imports_are_named() {
    let body = import("env", "emscripten_fetch", &[0, 0]);
    let (code, message) = refusal(&module(&[TYPE, (2, &body)]));
    assert_eq!(code, Code::UnknownImport);
    assert_eq!(
        message,
        "imports \"env\".\"emscripten_fetch\"; \
         only functions of wasi_snapshot_preview1 are provided"
    );
}

#[test]
fn unknown_functions_and_imported_memories_are_refused() {
    let body = import(WASI, "path_teleport", &[0, 0]);
    assert_eq!(refusal(&module(&[TYPE, (2, &body)])).0, Code::UnknownImport);
    let body = import(WASI, "memory", &[2, 0, 1]);
    let (code, message) = refusal(&module(&[(2, &body)]));
    assert_eq!(code, Code::UnknownImport);
    assert!(message.contains("not a function"), "{message}");
}

#[test]
fn what_is_no_command_is_told_what_it_exports() {
    let exports: (u8, &[u8]) = (7, b"\x01\x0b_initialize\0\0");
    let (code, message) = refusal(&module(&[TYPE, FUNCTION, exports, CODE]));
    assert_eq!(code, Code::NoStart);
    assert!(
        message.starts_with("exports no function _start"),
        "{message}"
    );
    assert!(message.contains("exports: _initialize"), "{message}");
    let exports: (u8, &[u8]) = (7, b"\x01\x06_start\0\0");
    let (_, message) = refusal(&module(&[TYPE, FUNCTION, exports, CODE]));
    assert!(message.starts_with("exports no memory"), "{message}");
}

#[test]
fn components_and_other_versions_are_refused() {
    let (code, message) = refusal(b"\0asm\x0d\0\x01\0");
    assert_eq!(code, Code::InvalidModule);
    assert!(message.contains("component"), "{message}");
    let (code, _) = refusal(b"\0asm\x02\0\0\0");
    assert_eq!(code, Code::InvalidModule);
    assert_eq!(refusal(b"\0asm").0, Code::InvalidModule);
}

#[test]
fn a_cut_off_module_is_invalid() {
    let whole = module(&[TYPE, FUNCTION, MEMORY, EXPORTS, CODE]);
    let (code, message) = refusal(whole.get(..whole.len() - 2).unwrap());
    assert_eq!(code, Code::InvalidModule);
    assert!(message.starts_with("invalid module"), "{message}");
}
