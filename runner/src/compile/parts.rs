//! What the passes over a module have in common: its types as they are read, the
//! sections that are left out, and the module put together again.

use wasm_encoder::{CodeSection, Encode, RawSection};
use wasmparser::{
    BinaryReader, BinaryReaderError, CompositeInnerType, FuncType, Payload,
    TypeSectionReader,
};

pub const CODE: u8 = 10;

/// Adds the types of a section, in their order; none for what is not a function's.
pub fn add_types(
    section: TypeSectionReader<'_>,
    types: &mut Vec<Option<FuncType>>,
) -> Result<(), BinaryReaderError> {
    for group in section {
        for ty in group?.into_types() {
            types.push(match ty.composite_type.inner {
                CompositeInnerType::Func(function) => Some(function),
                _ => None,
            });
        }
    }
    Ok(())
}

/// True for a section with offsets in code, which is about to move.
pub fn has_offsets(payload: &Payload<'_>) -> bool {
    matches!(
        payload,
        Payload::CustomSection(section)
            if section.name().starts_with("metadata.code.")
                || section.name().starts_with(".debug_")
    )
}

/// A module of these sections, with other code.
pub fn with_code<'a>(
    sections: impl IntoIterator<Item = (u8, &'a [u8])>,
    code: &CodeSection,
) -> Result<Vec<u8>, BinaryReaderError> {
    let mut bytes = Vec::new();
    code.encode(&mut bytes);
    // A section's own encoding begins with its length.
    let mut reader = BinaryReader::new(&bytes, 0);
    reader.read_var_u32()?;
    let code = bytes.get(reader.original_position()..).unwrap_or_default();
    let mut module = wasm_encoder::Module::new();
    for (id, content) in sections {
        let data = if id == CODE { code } else { content };
        module.section(&RawSection { id, data });
    }
    Ok(module.finish())
}
