//! What is known of a module before it runs, for a process that waits for its job.
//!
//! Whether its instance can be made ahead: not if that takes code of the artefact's (a
//! start function, or what computes the beginnings of tables and globals), which must
//! not run before the last step of the lock-down; nor if it writes much. And which
//! pages of memory every run writes to at its start, so that the process can have its
//! own copies of them before the job comes; where nobody has listed them, those where
//! C programs have little data and the top of their stack.
//!
//! ```text
//! in a module     custom section `zerocloud.written_at_start`:
//!                 numbers of 4 KiB pages of the first memory, ascending
//! in an artefact  the same, then flags (1: not ahead), then how many
//! ```
//!
//! All numbers are u32, little-endian. The section is advice: zvm-template writes it
//! into what it makes, any module may have one, and it changes nothing but the time
//! that a run takes and where the pages are counted. A section that is no such list
//! is passed over.

use std::collections::BTreeSet;

use wasmparser::{
    BinaryReaderError, ConstExpr, Data, DataKind, ElementItems, ElementKind, Operator,
    Parser, Payload, TableInit,
};

use crate::engine::DENSE_IMAGE_BYTES;

/// Name of the custom section.
pub const SECTION: &str = "zerocloud.written_at_start";
/// Bytes of a page, as they are counted here.
pub const PAGE_BYTES: usize = 4 << 10;
/// Pages of a list at most; they are memory of a process that waits.
pub const MAX_PAGES: usize = 1024;

const WORD_BYTES: usize = 4;
/// Flags and number of pages.
pub const END_BYTES: usize = 2 * WORD_BYTES;
const LATE: u32 = 1;
/// A memory that starts with more pages of 64 KiB may have an initial image that is
/// written, not mapped.
const MAX_MEMORY_PAGES: u64 = DENSE_IMAGE_BYTES / (64 << 10);
/// Functions in tables that are all looked at when an instance is made.
const MAX_ELEMENTS: u32 = 64 << 10;
/// Pages of data that are taken for written at the start; more are mostly read.
const MAX_DATA_PAGES: usize = 8;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// No instance can be made before the job is known.
    pub late: bool,
    /// Pages that every run writes to, ascending.
    pub pages: Vec<u32>,
}

impl Hints {
    /// Reads them from a module. What is wrong with it is for others to say.
    pub fn of_module(module: &[u8]) -> Self {
        let mut listed = None;
        let mut guess = Guess::default();
        let mut late = false;
        let mut elements = 0;
        for payload in Parser::new(0).parse_all(module) {
            if let Ok(Payload::CustomSection(section)) = &payload
                && section.name() == SECTION
            {
                listed = pages_of(section.data());
            }
            if let Ok(payload) = &payload {
                guess.look_at(payload);
            }
            // What cannot be read can be anything.
            let seen = payload.and_then(|payload| is_late(payload, &mut elements));
            late |= seen.unwrap_or(true);
        }
        Hints {
            late: late || elements > MAX_ELEMENTS,
            pages: listed.unwrap_or_else(|| guess.pages()),
        }
    }

    /// Content of the custom section.
    pub fn section(&self) -> Vec<u8> {
        self.pages
            .iter()
            .flat_map(|page| page.to_le_bytes())
            .collect()
    }

    /// The end of an artefact's engine data.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.section();
        let flags = if self.late { LATE } else { 0 };
        bytes.extend(flags.to_le_bytes());
        bytes.extend((self.pages.len() as u32).to_le_bytes());
        bytes
    }

    /// Number of bytes of the list that stands before these last ones; none if
    /// there can be no such list.
    pub fn list_bytes(end: &[u8; END_BYTES]) -> Option<usize> {
        let (_, count) = end.split_first_chunk::<WORD_BYTES>()?;
        let count = u32::from_le_bytes(*count.first_chunk()?) as usize;
        (count <= MAX_PAGES).then_some(count * WORD_BYTES)
    }

    /// Reads what [`Hints::to_bytes`] wrote.
    pub fn parse(list: &[u8], end: &[u8; END_BYTES]) -> Option<Self> {
        let (flags, _) = end.split_first_chunk::<WORD_BYTES>()?;
        Some(Hints {
            late: u32::from_le_bytes(*flags) & LATE != 0,
            pages: pages_of(list)?,
        })
    }

    /// The pages as ranges of bytes, neighbours together, as far as they lie in a
    /// memory of so many bytes.
    pub fn ranges(&self, memory_bytes: usize) -> Vec<std::ops::Range<usize>> {
        let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
        for page in &self.pages {
            let start = *page as usize * PAGE_BYTES;
            let end = start + PAGE_BYTES;
            match ranges.last_mut() {
                _ if end > memory_bytes => break,
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        ranges
    }
}

/// Where a module as C compilers make them writes first: its data, and the top of its
/// stack, which the first of its globals points to.
#[derive(Default)]
struct Guess {
    stack: Option<u32>,
    data: BTreeSet<u32>,
    is_wrong: bool,
}

impl Guess {
    fn look_at(&mut self, payload: &Payload<'_>) {
        match payload {
            Payload::GlobalSection(section) => {
                let first = section.clone().into_iter().next().and_then(Result::ok);
                let first = first.filter(|global| global.ty.mutable);
                let top = first.and_then(|global| constant(&global.init_expr));
                self.stack = top.filter(|top| *top > 0);
            }
            Payload::DataSection(section) => {
                for data in section.clone() {
                    self.is_wrong |= data.is_ok_and(|data| !self.add(&data));
                }
            }
            _ => {}
        }
    }

    /// Adds the pages of data; false if they are too many.
    fn add(&mut self, data: &Data<'_>) -> bool {
        let DataKind::Active {
            memory_index: 0,
            offset_expr,
        } = &data.kind
        else {
            return true;
        };
        let Some(start) = constant(offset_expr).filter(|_| !data.data.is_empty()) else {
            return true;
        };
        let last = u64::from(start) + data.data.len() as u64 - 1;
        let page =
            |byte: u64| u32::try_from(byte / PAGE_BYTES as u64).unwrap_or(u32::MAX);
        let pages = page(start.into())..=page(last);
        if pages.clone().count() > MAX_DATA_PAGES {
            return false;
        }
        self.data.extend(pages);
        self.data.len() <= MAX_DATA_PAGES
    }

    fn pages(mut self) -> Vec<u32> {
        if self.is_wrong {
            self.data.clear();
        }
        let stack = self.stack.map(|top| (top - 1) / PAGE_BYTES as u32);
        self.data.extend(stack);
        self.data.into_iter().collect()
    }
}

/// The number that an expression is, if it is one of 32 bits that stands there.
fn constant(expression: &ConstExpr<'_>) -> Option<u32> {
    match expression.get_operators_reader().read() {
        Ok(Operator::I32Const { value }) if !is_computed(expression) => {
            Some(value.cast_unsigned())
        }
        _ => None,
    }
}

/// Whether a section stands against making the instance ahead; counts elements.
fn is_late(payload: Payload<'_>, elements: &mut u32) -> Result<bool, BinaryReaderError> {
    match payload {
        Payload::StartSection { .. } => Ok(true),
        Payload::MemorySection(section) => {
            any(section, |memory| memory.initial > MAX_MEMORY_PAGES)
        }
        Payload::TableSection(section) => any(section, |table| match table.init {
            TableInit::RefNull => false,
            TableInit::Expr(_) => true,
        }),
        Payload::GlobalSection(section) => {
            any(section, |global| is_computed(&global.init_expr))
        }
        Payload::DataSection(section) => any(section, |data| match &data.kind {
            DataKind::Passive => false,
            DataKind::Active { offset_expr, .. } => is_computed(offset_expr),
        }),
        Payload::ElementSection(section) => any(section, |element| {
            let ElementItems::Functions(items) = &element.items else {
                return true;
            };
            *elements = elements.saturating_add(items.count());
            match &element.kind {
                ElementKind::Passive => true,
                ElementKind::Declared => false,
                ElementKind::Active { offset_expr, .. } => is_computed(offset_expr),
            }
        }),
        _ => Ok(false),
    }
}

/// Whether one of the items is late; all are read.
fn any<T>(
    items: impl IntoIterator<Item = Result<T, BinaryReaderError>>,
    mut is_late: impl FnMut(T) -> bool,
) -> Result<bool, BinaryReaderError> {
    let mut found = false;
    for item in items {
        found |= is_late(item?);
    }
    Ok(found)
}

/// True unless a value is one number that stands there.
fn is_computed(expression: &ConstExpr<'_>) -> bool {
    let mut operators = expression.get_operators_reader();
    let constant = matches!(
        operators.read(),
        Ok(Operator::I32Const { .. }
            | Operator::I64Const { .. }
            | Operator::F32Const { .. }
            | Operator::F64Const { .. }
            | Operator::V128Const { .. })
    );
    !(constant && matches!(operators.read(), Ok(Operator::End)))
}

/// A list of ascending numbers, not too many.
fn pages_of(bytes: &[u8]) -> Option<Vec<u32>> {
    let (words, rest) = bytes.as_chunks::<WORD_BYTES>();
    let pages: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let ascending = pages.is_sorted_by(|one, next| one < next);
    (rest.is_empty() && ascending && pages.len() <= MAX_PAGES).then_some(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(sections: &[&[u8]]) -> Vec<u8> {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        for section in sections {
            module.extend(*section);
        }
        module
    }

    fn custom(content: &[u8]) -> Vec<u8> {
        let mut section = vec![SECTION.len() as u8];
        section.extend(SECTION.as_bytes());
        section.extend(content);
        let mut bytes = vec![0, section.len() as u8];
        bytes.extend(section);
        bytes
    }

    fn hints(pages: &[u32]) -> Hints {
        Hints {
            late: false,
            pages: pages.to_vec(),
        }
    }

    #[test]
    fn pages_are_read_from_a_module_and_an_artefact() {
        let hints = hints(&[1, 2, 700]);
        let module = module(&[&custom(&hints.section())]);
        assert_eq!(Hints::of_module(&module), hints);

        let bytes = hints.to_bytes();
        let (list, end) = bytes.split_last_chunk().unwrap();
        assert_eq!(Hints::list_bytes(end), Some(list.len()));
        assert_eq!(Hints::parse(list, end), Some(hints));
    }

    fn guessed(text: &str) -> Vec<u32> {
        Hints::of_module(&wat::parse_str(text).unwrap()).pages
    }

    #[test]
    fn without_a_list_the_first_writes_are_guessed() {
        let stack = "(global (mut i32) (i32.const 8192))";
        let data = |at: usize, bytes: usize| {
            format!("(data (i32.const {at}) \"{}\")", "a".repeat(bytes))
        };
        let module = |parts: &str| guessed(&format!("(module (memory 2) {parts})"));
        assert_eq!(module(stack), [1]);
        assert_eq!(module(&data(8191, 2)), [1, 2]);
        assert_eq!(module(&(stack.to_owned() + &data(8192, 1))), [1, 2]);
        assert_eq!(module(&data(0, 8 * 4096)), [0, 1, 2, 3, 4, 5, 6, 7]);
        // More is read, most of it.
        assert_eq!(module(&(stack.to_owned() + &data(1, 8 * 4096))), [1]);
        let many: String = (0..9).map(|page| data(page * 4096, 1)).collect();
        assert!(module(&many).is_empty());
        for none in [
            "(global i32 (i32.const 8192))",
            "(global (mut i64) (i64.const 8192))",
            "(global (mut i32) (i32.const 0))",
            "(data \"passive\")",
            "(data (i32.const 0) \"\")",
        ] {
            assert!(module(none).is_empty(), "{none}");
        }
        let listed = hints(&[3]).section();
        let with_stack = wat::parse_str(format!("(module {stack})")).unwrap();
        let both = [with_stack, custom(&listed)].concat();
        assert_eq!(Hints::of_module(&both).pages, [3]);
    }

    #[test]
    fn a_start_function_is_seen_and_kept() {
        let start: &[u8] = &[8, 1, 0];
        let found = Hints::of_module(&module(&[start]));
        assert!(found.late);
        let bytes = found.to_bytes();
        let (list, end) = bytes.split_last_chunk().unwrap();
        assert_eq!(Hints::parse(list, end), Some(found));
    }

    fn late(text: &str) -> bool {
        Hints::of_module(&wat::parse_str(text).unwrap()).late
    }

    #[test]
    fn instances_that_write_much_are_not_made_ahead() {
        assert!(!late("(module (memory 4096))"));
        assert!(late("(module (memory 4097))"));
        let functions = |count: usize| {
            let names = " $f".repeat(count);
            format!(
                "(module (func $f) (table {count} funcref)
                 (elem (i32.const 0) func{names}))"
            )
        };
        assert!(!late(&functions(MAX_ELEMENTS as usize)));
        assert!(late(&functions(MAX_ELEMENTS as usize + 1)));
    }

    /// Modules whose instance is no more than what stands in them.
    const PLAIN: [&str; 4] = [
        "(module (memory 2) (data (i32.const 65536) \"a\") (data \"passive\"))",
        "(module (func $f) (table 9 funcref) (elem (i32.const 3) func $f $f)
          (elem declare func $f))",
        "(module (global (mut i32) (i32.const 7)) (global f64 (f64.const 7))
          (global v128 (v128.const i64x2 1 2)) (global (mut i64) (i64.const 1))
          (global (mut f32) (f32.const 1)))",
        "(module (tag (param i32)) (memory 1) (func $f (throw 0 (i32.const 1))))",
    ];

    #[test]
    fn instances_that_take_code_are_not_made_ahead() {
        for text in PLAIN {
            assert!(!late(text), "{text}");
        }
        for text in [
            "(module (func $f) (start $f))",
            "(module (memory 1) (global $at i32 (i32.const 8))
              (data (global.get $at) \"a\"))",
            "(module (memory 1) (data (i32.add (i32.const 1) (i32.const 2)) \"a\"))",
            "(module (global i32 (i32.mul (i32.const 1) (i32.const 2))))",
            "(module (func $f) (elem declare func $f)
              (table 9 (ref null func) (ref.func $f)))",
            "(module (func $f) (table 9 funcref)
              (elem (i32.const 0) funcref (ref.func $f)))",
            "(module (func $f) (table 9 funcref) (elem func $f))",
            "(module (global (mut funcref) (ref.null func)))",
            "(module (func $f) (global funcref (ref.func $f)) (elem declare func $f))",
            "(module (func $f) (global $at i32 (i32.const 1)) (table 9 funcref)
              (elem (global.get $at) func $f))",
        ] {
            assert!(late(text), "{text}");
        }
    }

    /// With no fuel at all, whatever runs ends at once.
    #[cfg(feature = "compiler")]
    #[test]
    fn no_code_runs_when_an_instance_is_made_ahead() {
        use crate::determinism::Determinism;
        use crate::engine;
        use wasmtime::{Instance, Module, Store};
        let kind = Determinism::Strict;
        let engine = engine::engine(engine::DEFAULT_STACK_BYTES, kind).unwrap();
        let made = |text: &str| {
            let module = Module::new(&engine, wat::parse_str(text).unwrap()).unwrap();
            let mut store = Store::new(&engine, ());
            store.set_fuel(0).unwrap();
            Instance::new(&mut store, &module, &[]).is_ok()
        };
        for text in PLAIN {
            assert!(made(text), "{text}");
        }
        assert!(!made("(module (func $f) (start $f))"));
    }

    #[test]
    fn what_cannot_be_read_is_not_made_ahead() {
        assert!(Hints::of_module(&module(&[&[8, 9]])).late);
    }

    #[test]
    fn lists_that_are_none_are_passed_over() {
        let words = |pages: &[u32]| hints(pages).section();
        let many: Vec<u32> = (0..=MAX_PAGES as u32).collect();
        for bad in [vec![1], words(&[2, 1]), words(&[1, 1]), words(&many)] {
            assert_eq!(pages_of(&bad), None);
        }
        let module = module(&[&custom(&words(&[2, 1]))]);
        assert_eq!(Hints::of_module(&module), hints(&[]));
        assert_eq!(Hints::list_bytes(&[0xff; END_BYTES]), None);
    }

    #[test]
    fn neighbours_are_one_range_and_none_is_outside() {
        let page = PAGE_BYTES;
        let found = hints(&[0, 1, 3, 16]).ranges(16 * page);
        assert_eq!(found, [0..2 * page, 3 * page..4 * page]);
        assert!(hints(&[u32::MAX]).ranges(16 * page).is_empty());
    }
}
