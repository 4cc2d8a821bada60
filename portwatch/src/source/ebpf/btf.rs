//! A reader of BTF, the kernel's own description of its types: just enough to find a field in a structure.
//!
//! Format: `include/uapi/linux/btf.h`. Pure; every length and index in the input is checked.

use std::collections::HashMap;

/// Why bytes are not usable BTF.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BtfError {
    /// Not BTF, or of the other byte order.
    #[error("no BTF of this machine's byte order (magic {0:#06x})")]
    Magic(u16),
    /// It ends too early.
    #[error("BTF ends inside {0}")]
    Short(&'static str),
    /// A kind of type this reader does not know, so the size of its entry is unknown too.
    #[error("BTF holds a type of unknown kind {0}")]
    Kind(u32),
}

/// Where a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// Offset in bits from the beginning of the structure.
    pub(super) bit_offset: u32,
    /// Width in bits of a bit field, 0 for an ordinary field.
    pub(super) bits: u32,
    /// The field's type.
    type_id: u32,
}

const STRUCT: u32 = 4;
const UNION: u32 = 5;

struct Member {
    name: u32,
    type_id: u32,
    bit_offset: u32,
    bits: u32,
}

/// What is kept of a type.
enum Type {
    /// A structure or union.
    Composite { first: usize, count: usize, bitfields: bool },
    /// const, volatile, typedef, restrict, type tag: looked through.
    Alias(u32),
    /// Everything else.
    Other,
}

/// A parsed BTF blob.
pub(super) struct Btf<'a> {
    bytes: &'a [u8],
    strings: &'a [u8],
    types: Vec<Type>,
    by_name: HashMap<&'a [u8], u32>,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Usize is at least 32 bits wherever this runs.
fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl<'a> Btf<'a> {
    /// Parses the header and the table of types.
    pub(super) fn parse(blob: &'a [u8]) -> Result<Self, BtfError> {
        let magic = u16_at(blob, 0).ok_or(BtfError::Short("its header"))?;
        if magic != 0xeb9f {
            return Err(BtfError::Magic(magic));
        }
        let word = |at| u32_at(blob, at).map(index).ok_or(BtfError::Short("its header"));
        let header = word(4)?;
        let section = |offset: usize, length: usize, what| {
            header
                .checked_add(offset)
                .and_then(|from| Some(from..from.checked_add(length)?))
                .and_then(|range| blob.get(range))
                .ok_or(BtfError::Short(what))
        };
        let bytes = section(word(8)?, word(12)?, "its types")?;
        let strings = section(word(16)?, word(20)?, "its strings")?;
        // Type 0 is void and has no entry.
        let mut btf = Self { bytes, strings, types: vec![Type::Other], by_name: HashMap::new() };
        btf.read_types()?;
        Ok(btf)
    }

    fn read_types(&mut self) -> Result<(), BtfError> {
        let short = BtfError::Short("a type");
        let mut at = 0;
        while at < self.bytes.len() {
            let name = u32_at(self.bytes, at).ok_or(short.clone())?;
            let info = u32_at(self.bytes, at + 4).ok_or(short.clone())?;
            let size_or_type = u32_at(self.bytes, at + 8).ok_or(short.clone())?;
            let count = index(info & 0xffff);
            let kind = (info >> 24) & 0x1f;
            at += 12;
            let (extra, kept) = match kind {
                // int, variable, declaration tag
                1 | 14 | 17 => (4, Type::Other),
                // pointer, forward, function, float
                2 | 7 | 12 | 16 => (0, Type::Other),
                // array
                3 => (12, Type::Other),
                // enum, function prototype
                6 | 13 => (count * 8, Type::Other),
                // data section, 64-bit enum
                15 | 19 => (count * 12, Type::Other),
                // typedef, volatile, const, restrict, type tag
                8 | 9 | 10 | 11 | 18 => (0, Type::Alias(size_or_type)),
                STRUCT | UNION => {
                    (count * 12, Type::Composite { first: at, count, bitfields: info >> 31 == 1 })
                }
                other => return Err(BtfError::Kind(other)),
            };
            if kind == STRUCT && name != 0 {
                let id = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
                if let Some(text) = self.string(name) {
                    self.by_name.entry(text).or_insert(id);
                }
            }
            self.types.push(kept);
            at += extra;
        }
        if at == self.bytes.len() { Ok(()) } else { Err(short) }
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        let tail = self.strings.get(index(offset)..)?;
        tail.split(|&b| b == 0).next()
    }

    fn member(&self, first: usize, number: usize, bitfields: bool) -> Option<Member> {
        let at = first + number * 12;
        let raw = u32_at(self.bytes, at + 8)?;
        let (bits, bit_offset) = if bitfields { (raw >> 24, raw & 0x00ff_ffff) } else { (0, raw) };
        Some(Member { name: u32_at(self.bytes, at)?, type_id: u32_at(self.bytes, at + 4)?, bit_offset, bits })
    }

    /// Finds `path` (names joined by dots) in the structure `name`, through anonymous members.
    pub(super) fn field(&self, name: &str, path: &str) -> Option<Field> {
        let mut found = Field { bit_offset: 0, bits: 0, type_id: *self.by_name.get(name.as_bytes())? };
        for part in path.split('.') {
            let step = self.find(found.type_id, part.as_bytes(), 0)?;
            found = Field { bit_offset: found.bit_offset.checked_add(step.bit_offset)?, ..step };
        }
        Some(found)
    }

    /// `depth` bounds the descent: hostile input could nest a structure in itself.
    fn find(&self, type_id: u32, name: &[u8], depth: usize) -> Option<Field> {
        if depth > 16 {
            return None;
        }
        match self.types.get(index(type_id))? {
            Type::Alias(of) => self.find(*of, name, depth + 1),
            Type::Other => None,
            &Type::Composite { first, count, bitfields } => (0..count).find_map(|number| {
                let member = self.member(first, number, bitfields)?;
                if member.name == 0 {
                    let inner = self.find(member.type_id, name, depth + 1)?;
                    return Some(Field {
                        bit_offset: member.bit_offset.checked_add(inner.bit_offset)?,
                        ..inner
                    });
                }
                (self.string(member.name)? == name).then_some(Field {
                    bit_offset: member.bit_offset,
                    bits: member.bits,
                    type_id: member.type_id,
                })
            }),
        }
    }
}
