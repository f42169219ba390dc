//! Protocol buffers by hand: the few field types that containerd's messages have, and a macro that declares messages.
//!
//! Unknown fields are skipped, as every reader of protocol buffers must. Nothing nests without bound: each message names the
//! types of its fields.

use std::collections::BTreeMap;

use thiserror::Error;

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum WireError {
    /// They end in the middle of a field.
    #[error("the message ends within a field")]
    Truncated,
    /// A tag or number that cannot be.
    #[error("the message has a malformed number")]
    Number,
    /// A field of another type than the message's.
    #[error("field {0} has another type than expected")]
    Type(u32),
    /// Text that is not UTF-8.
    #[error("field {0} is not UTF-8")]
    Text(u32),
}

/// The value of one field as it stands on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire types 1 and 5.
    Fixed(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
}

/// A message.
pub(crate) trait Message: Default {
    /// Appends its fields.
    fn write(&self, out: &mut Vec<u8>);
    /// Takes one field in; an unknown one is skipped.
    fn merge(&mut self, number: u32, field: Field<'_>) -> Result<(), WireError>;

    /// Its bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Reads one.
    fn from_bytes(mut bytes: &[u8]) -> Result<Self, WireError> {
        let mut message = Self::default();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            let number = u32::try_from(tag >> 3).map_err(|_large| WireError::Number)?;
            if number == 0 {
                return Err(WireError::Number);
            }
            let field = match tag & 7 {
                0 => Field::Varint(varint(&mut bytes)?),
                1 => Field::Fixed(fixed(&mut bytes, 8)?),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)?).map_err(|_large| WireError::Truncated)?;
                    Field::Bytes(take(&mut bytes, length)?)
                }
                5 => Field::Fixed(fixed(&mut bytes, 4)?),
                _ => return Err(WireError::Number),
            };
            message.merge(number, field)?;
        }
        Ok(message)
    }
}

/// What a field of a message can be.
pub(crate) trait Value {
    /// Appends it, unless it is the default.
    fn put(&self, number: u32, out: &mut Vec<u8>);
    /// Takes one occurrence in.
    fn take(&mut self, number: u32, field: Field<'_>) -> Result<(), WireError>;
}

fn varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte, rest @ ..] = bytes else { return Err(WireError::Truncated) };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(WireError::Number)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], WireError> {
    let (head, tail) = bytes.split_at_checked(length).ok_or(WireError::Truncated)?;
    *bytes = tail;
    Ok(head)
}

fn fixed(bytes: &mut &[u8], length: usize) -> Result<u64, WireError> {
    Ok(take(bytes, length)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// A field of 8 bytes.
pub(crate) fn put_fixed64(number: u32, bits: u64, out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | 1, out);
    out.extend_from_slice(&bits.to_le_bytes());
}

fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | 2, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn text(number: u32, bytes: &[u8]) -> Result<String, WireError> {
    String::from_utf8(bytes.to_vec()).map_err(|_bytes| WireError::Text(number))
}

macro_rules! numbers {
    ($($type:ty: $value:ident => $to:expr, $from:expr;)*) => {$(
        impl Value for $type {
            fn put(&self, number: u32, out: &mut Vec<u8>) {
                let $value = *self;
                if $value != <$type>::default() {
                    put_varint(u64::from(number) << 3, out);
                    put_varint($to, out);
                }
            }
            fn take(&mut self, number: u32, field: Field<'_>) -> Result<(), WireError> {
                let Field::Varint($value) = field else { return Err(WireError::Type(number)) };
                *self = $from;
                Ok(())
            }
        }
    )*};
}

// What is too wide is cut off, as the specification of protocol buffers says.
numbers! {
    bool: value => u64::from(value), value != 0;
    u32: value => u64::from(value), (value & u64::from(u32::MAX)).try_into().unwrap_or_default();
    u64: value => value, value;
    i64: value => value.cast_unsigned(), value.cast_signed();
    i32: value => i64::from(value).cast_unsigned(), u32::try_from(value & u64::from(u32::MAX)).unwrap_or_default().cast_signed();
}

impl Value for String {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if !self.is_empty() {
            put_bytes(number, self.as_bytes(), out);
        }
    }
    fn take(&mut self, number: u32, field: Field<'_>) -> Result<(), WireError> {
        let Field::Bytes(bytes) = field else { return Err(WireError::Type(number)) };
        *self = text(number, bytes)?;
        Ok(())
    }
}

impl Value for Vec<u8> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if !self.is_empty() {
            put_bytes(number, self, out);
        }
    }
    fn take(&mut self, number: u32, field: Field<'_>) -> Result<(), WireError> {
        let Field::Bytes(bytes) = field else { return Err(WireError::Type(number)) };
        *self = bytes.to_vec();
        Ok(())
    }
}

impl Value for Vec<String> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        for text in self {
            put_bytes(number, text.as_bytes(), out);
        }
    }
    fn take(&mut self, number: u32, field: Field<'_>) -> Result<(), WireError> {
        let Field::Bytes(bytes) = field else { return Err(WireError::Type(number)) };
        self.push(text(number, bytes)?);
        Ok(())
    }
}

/// Packed.
impl Value for Vec<u64> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        let mut packed = Vec::new();
        self.iter().for_each(|&value| put_varint(value, &mut packed));
        if !packed.is_empty() {
            put_bytes(number, &packed, out);
        }
    }
    fn take(&mut self, _number: u32, field: Field<'_>) -> Result<(), WireError> {
        match field {
            Field::Varint(value) | Field::Fixed(value) => self.push(value),
            Field::Bytes(mut bytes) => {
                while !bytes.is_empty() {
                    self.push(varint(&mut bytes)?);
                }
            }
        }
        Ok(())
    }
}

impl<M: Message> Value for Option<M> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if let Some(message) = self {
            put_bytes(number, &message.to_bytes(), out);
        }
    }
    fn take(&mut self, number: u32, field: Field<'_>) -> Result<(), WireError> {
        let Field::Bytes(bytes) = field else { return Err(WireError::Type(number)) };
        *self = Some(M::from_bytes(bytes)?);
        Ok(())
    }
}

impl<M: Message> Value for Vec<M> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        for message in self {
            put_bytes(number, &message.to_bytes(), out);
        }
    }
    fn take(&mut self, number: u32, field: Field<'_>) -> Result<(), WireError> {
        let Field::Bytes(bytes) = field else { return Err(WireError::Type(number)) };
        self.push(M::from_bytes(bytes)?);
        Ok(())
    }
}

impl Value for BTreeMap<String, String> {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        for (key, value) in self {
            let entry = Entry { key: key.clone(), value: value.clone() };
            put_bytes(number, &entry.to_bytes(), out);
        }
    }
    fn take(&mut self, number: u32, field: Field<'_>) -> Result<(), WireError> {
        let Field::Bytes(bytes) = field else { return Err(WireError::Type(number)) };
        let Entry { key, value } = Entry::from_bytes(bytes)?;
        self.insert(key, value);
        Ok(())
    }
}

/// Declares messages: `Name { number name: Type, … }`.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($number:literal $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub(crate) struct $name { $(pub(crate) $field: $type),* }
        impl crate::wire::Message for $name {
            #[allow(unused_variables, reason = "some messages have no fields")]
            fn write(&self, out: &mut Vec<u8>) {
                $(crate::wire::Value::put(&self.$field, $number, out);)*
            }
            #[allow(unused_variables, reason = "some messages have no fields")]
            fn merge(&mut self, number: u32, field: crate::wire::Field<'_>) -> Result<(), crate::wire::WireError> {
                match number {
                    $($number => crate::wire::Value::take(&mut self.$field, number, field),)*
                    _ => Ok(()),
                }
            }
        }
    )*};
}
pub(crate) use messages;

messages! {
    /// One entry of a map.
    Entry { 1 key: String, 2 value: String }
}

#[cfg(test)]
mod tests {
    use super::*;

    messages! {
        Inner { 1 number: i64, 2 small: i32 }
        Outer { 1 name: String, 2 flag: bool, 3 inner: Option<Inner>, 4 many: Vec<Inner>, 5 labels: BTreeMap<String, String>, 16 packed: Vec<u64>, 17 bytes: Vec<u8>, 18 words: Vec<String> }
    }

    fn example() -> Outer {
        let inner = |number| Inner { number, small: -7 };
        Outer {
            name: "ä".into(),
            flag: true,
            inner: Some(inner(-1)),
            many: vec![inner(1), inner(i64::MAX)],
            labels: BTreeMap::from([("a".into(), "b".into()), (String::new(), String::new())]),
            packed: vec![0, 300],
            bytes: vec![0, 255],
            words: vec!["x".into(), String::new()],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Outer::from_bytes(&example().to_bytes()), Ok(example()));
        assert_eq!(Outer::default().to_bytes(), b"");
        // As protoc encodes it.
        assert_eq!(Inner { number: 150, small: 0 }.to_bytes(), [0x08, 0x96, 0x01]);
    }

    #[test]
    fn unknown_fields_are_skipped_and_nonsense_is_refused() {
        let with_unknown = [&[0xf8, 0x07, 1, 0xfa, 0x07, 2, 9, 9][..], &example().to_bytes()].concat();
        assert_eq!(Outer::from_bytes(&with_unknown), Ok(example()));
        for (bytes, error) in [
            (&[0x0a, 5, b'x'][..], WireError::Truncated),
            (&[0x0a, 1, 0xff], WireError::Text(1)),
            (&[0x08, 1], WireError::Type(1)),
            (&[0x00, 1], WireError::Number),
            (&[0x0f], WireError::Number),
            (&[0xff; 11], WireError::Number),
            (&[0x09, 1, 2], WireError::Truncated),
        ] {
            assert_eq!(Outer::from_bytes(bytes), Err(error), "{bytes:?}");
        }
    }
}
