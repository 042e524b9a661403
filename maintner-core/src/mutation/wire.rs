//! The protobuf wire format, just as much of it as mutations use.

use std::marker::PhantomData;

use thiserror::Error;

/// Why a record is not a mutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The record ends inside a field.
    #[error("field ends after the record")]
    Truncated,
    /// A variable-length integer is longer than ten bytes, or a field key is not 32 bits.
    #[error("integer too long")]
    Overlong,
    /// The key names field 0 or a wire type that does not exist.
    #[error("impossible field key {0}")]
    BadKey(u64),
    /// A known field arrives in an encoding that its type does not have.
    #[error("field {0} has the wrong wire type")]
    WrongType(u32),
    /// A string field is not UTF-8.
    #[error("field {0} is not UTF-8")]
    NotUtf8(u32),
    /// A group (an encoding no mutation uses) does not end, or nests too deeply.
    #[error("unbalanced group in field {0}")]
    Group(u32),
}

/// How deep unknown groups may nest.
const GROUP_DEPTH: u32 = 64;

#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Fixed-width numbers and groups: no mutation field has these types.
    Foreign,
}

impl<'a> Value<'a> {
    pub(super) fn varint(self, field: u32) -> Result<u64, DecodeError> {
        match self {
            Value::Varint(value) => Ok(value),
            _ => Err(DecodeError::WrongType(field)),
        }
    }

    pub(super) fn bytes(self, field: u32) -> Result<&'a [u8], DecodeError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(DecodeError::WrongType(field)),
        }
    }

    pub(super) fn string(self, field: u32) -> Result<&'a str, DecodeError> {
        simdutf8::basic::from_utf8(self.bytes(field)?).map_err(|_| DecodeError::NotUtf8(field))
    }

    #[inline]
    pub(super) fn text(self, field: u32) -> Result<Text<'a>, DecodeError> {
        Text::checked(self.bytes(field)?).ok_or(DecodeError::NotUtf8(field))
    }
}

/// A string field: UTF-8, but kept as bytes, because most texts are only located, and to check
/// short ASCII takes a fraction of what making a `str` does.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    #[inline]
    pub(crate) fn checked(bytes: &'a [u8]) -> Option<Self> {
        let valid = bytes.is_ascii() || simdutf8::basic::from_utf8(bytes).is_ok();
        valid.then_some(Self(bytes))
    }

    #[inline]
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn str(self) -> &'a str {
        simdutf8::basic::from_utf8(self.0).expect("it was checked")
    }
}

/// The fields of one message, in the order they are stored.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// Inlined everywhere: the hottest function of loading, and its result goes through memory
    /// otherwise.
    #[inline(always)]
    pub(super) fn next_field(&mut self) -> Result<Option<(u32, Value<'a>)>, DecodeError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (field, wire_type) = self.key()?;
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            _ => {
                self.skip(field, wire_type, 0)?;
                Value::Foreign
            }
        };
        Ok(Some((field, value)))
    }

    #[inline]
    fn key(&mut self) -> Result<(u32, u64), DecodeError> {
        let key = self.varint()?;
        let field = u32::try_from(key).map_err(|_| DecodeError::Overlong)? >> 3;
        if field == 0 {
            return Err(DecodeError::BadKey(key));
        }
        Ok((field, key & 7))
    }

    /// Nearly all integers have one or two bytes.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        match *self.0 {
            [low, ref rest @ ..] if low < 0x80 => {
                self.0 = rest;
                Ok(low.into())
            }
            [low, high, ref rest @ ..] if high < 0x80 => {
                self.0 = rest;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for (index, &byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                // The tenth byte has room for one bit only.
                if index == 9 && byte > 1 {
                    return Err(DecodeError::Overlong);
                }
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.0.len() < 10 {
            DecodeError::Truncated
        } else {
            DecodeError::Overlong
        })
    }

    #[inline]
    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(len).map_err(|_| DecodeError::Truncated)?;
        let (head, tail) = self.0.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    #[cold]
    fn skip(&mut self, field: u32, wire_type: u64, depth: u32) -> Result<(), DecodeError> {
        match wire_type {
            0 => self.varint().map(drop),
            1 => self.take(8).map(drop),
            2 => {
                let len = self.varint()?;
                self.take(len).map(drop)
            }
            3 if depth < GROUP_DEPTH => self.skip_group(field, depth),
            5 => self.take(4).map(drop),
            6 | 7 => Err(DecodeError::BadKey(u64::from(field) << 3 | wire_type)),
            _ => Err(DecodeError::Group(field)),
        }
    }

    fn skip_group(&mut self, field: u32, depth: u32) -> Result<(), DecodeError> {
        loop {
            let (inner, wire_type) = self.key()?;
            match wire_type {
                4 if inner == field => return Ok(()),
                4 => return Err(DecodeError::Group(field)),
                _ => self.skip(inner, wire_type, depth + 1)?,
            }
        }
    }
}

/// For messages whose fields are all stored in the view.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Nothing<'a>(PhantomData<&'a [u8]>);

impl<'a> Nothing<'a> {
    pub(super) fn push(&mut self, _part: &'a [u8]) {}
}

/// The bytes of a message that occurs in one piece.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    pub(super) fn push(&mut self, part: &'a [u8]) {
        self.0 = part;
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The stored pieces of one message: nearly always one, but a sub-message that occurs twice is
/// the concatenation of both.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts<'a> {
    /// Which repeated fields occur, a bit each (numbers are below 32): most do not, and looking
    /// for them means reading the message again.
    present: u32,
    first: &'a [u8],
    more: Vec<&'a [u8]>,
}

impl<'a> Parts<'a> {
    pub(super) fn push(&mut self, part: &'a [u8]) {
        if self.first.is_empty() {
            self.first = part;
        } else {
            self.more.push(part);
        }
    }

    pub(super) fn note(&mut self, field: u32) {
        self.present |= 1 << (field & 31);
    }

    /// Values of `field` in all parts; call on checked messages only (errors end the iteration).
    pub(super) fn values(&self, field: u32) -> impl Iterator<Item = Value<'a>> + '_ {
        let occurs = self.present & 1 << (field & 31) != 0;
        let first = occurs.then_some(self.first);
        first
            .into_iter()
            .chain(self.more.iter().copied())
            .flat_map(move |part| {
                let mut fields = Fields(part);
                std::iter::from_fn(move || {
                    loop {
                        match fields.next_field() {
                            Ok(Some((number, value))) if number == field => return Some(value),
                            Ok(Some(_)) => {}
                            Ok(None) | Err(_) => return None,
                        }
                    }
                })
            })
    }

    /// Integers of a repeated field, packed or not.
    pub(super) fn integers(&self, field: u32) -> impl Iterator<Item = i64> + '_ {
        self.values(field).flat_map(|value| {
            let (single, packed) = match value {
                Value::Varint(number) => (Some(number), &[][..]),
                Value::Bytes(bytes) => (None, bytes),
                Value::Foreign => (None, &[][..]),
            };
            let mut fields = Fields(packed);
            let rest = std::iter::from_fn(move || {
                if fields.0.is_empty() {
                    None
                } else {
                    fields.varint().ok()
                }
            });
            single.into_iter().chain(rest).map(u64::cast_signed)
        })
    }
}

/// Checks one occurrence of a repeated integer.
pub(super) fn check_integers(field: u32, value: Value<'_>) -> Result<(), DecodeError> {
    match value {
        Value::Varint(_) => Ok(()),
        Value::Bytes(bytes) => {
            let mut fields = Fields(bytes);
            while !fields.0.is_empty() {
                fields.varint()?;
            }
            Ok(())
        }
        Value::Foreign => Err(DecodeError::WrongType(field)),
    }
}
