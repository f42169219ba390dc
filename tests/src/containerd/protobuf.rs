//! Protobuf without schemas: a message is written field by field, by number, and read back the same way. Enough for a client that knows its few messages.

use std::collections::BTreeMap;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A string field; an empty one is left out, as proto3 does.
    #[must_use]
    pub fn text(self, field: u64, value: &str) -> Self {
        if value.is_empty() { self } else { self.bytes(field, value.as_bytes()) }
    }

    /// A repeated string field.
    #[must_use]
    pub fn texts(self, field: u64, values: &[&str]) -> Self {
        values.iter().fold(self, |message, value| message.bytes(field, value.as_bytes()))
    }

    /// A number, an enum or a boolean.
    #[must_use]
    pub fn number(mut self, field: u64, value: impl Into<i64>) -> Self {
        self.varint(field << 3 | VARINT);
        self.varint(u64::from_ne_bytes(value.into().to_ne_bytes()));
        self
    }

    /// A message in this one.
    #[must_use]
    pub fn message(self, field: u64, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }

    /// A map of strings.
    #[must_use]
    pub fn map(self, field: u64, entries: &[(&str, &str)]) -> Self {
        let entry = |(key, value): &(&str, &str)| Self::new().text(1, key).text(2, value);
        entries.iter().fold(self, |message, it| message.message(field, &entry(it)))
    }

    /// A length and so many bytes.
    #[must_use]
    pub fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.varint(field << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// The message as it goes over the wire.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

#[derive(Clone, Debug)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

/// A message that has been read.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(u64, Value)>);

impl Fields {
    /// Read a message; none if it is not one.
    #[must_use]
    pub fn read(mut wire: &[u8]) -> Option<Self> {
        let mut fields = Vec::new();
        while !wire.is_empty() {
            let tag = varint(&mut wire)?;
            let value = match tag & 7 {
                VARINT => Value::Number(varint(&mut wire)?),
                FIXED64 => Value::Number(u64::from_le_bytes(take(&mut wire, 8)?.try_into().ok()?)),
                FIXED32 => Value::Number(u32::from_le_bytes(take(&mut wire, 4)?.try_into().ok()?).into()),
                BYTES => {
                    let length = varint(&mut wire)?;
                    Value::Bytes(take(&mut wire, usize::try_from(length).ok()?)?.to_vec())
                }
                _ => return None,
            };
            fields.push((tag >> 3, value));
        }
        Some(Self(fields))
    }

    /// The last value of a number, 0 if there is none.
    #[must_use]
    pub fn number(&self, field: u64) -> i64 {
        let numbers = self.0.iter().filter_map(|(it, value)| match value {
            Value::Number(number) if *it == field => Some(*number),
            Value::Number(_) | Value::Bytes(_) => None,
        });
        { numbers }.next_back().map_or(0, u64::cast_signed)
    }

    /// All values of a field that has a length.
    pub fn all_bytes(&self, field: u64) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter_map(move |(it, value)| match value {
            Value::Bytes(bytes) if *it == field => Some(bytes.as_slice()),
            Value::Number(_) | Value::Bytes(_) => None,
        })
    }

    /// The last value of a string, empty if there is none.
    #[must_use]
    pub fn text(&self, field: u64) -> String {
        self.all_bytes(field).last().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    }

    /// The message of a field, empty if there is none.
    #[must_use]
    pub fn message(&self, field: u64) -> Self {
        self.all_bytes(field).last().and_then(Self::read).unwrap_or_default()
    }

    /// All messages of a field.
    #[must_use]
    pub fn messages(&self, field: u64) -> Vec<Self> {
        self.all_bytes(field).filter_map(Self::read).collect()
    }

    /// A map of strings.
    #[must_use]
    pub fn map(&self, field: u64) -> BTreeMap<String, String> {
        self.messages(field).iter().map(|entry| (entry.text(1), entry.text(2))).collect()
    }
}

fn varint(wire: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(wire, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(wire: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = wire.split_at_checked(length)?;
    *wire = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let inner = Message::new().number(1, -5).text(2, "");
        let wire = Message::new().text(1, "a").texts(2, &["b", "c"]).message(3, &inner).map(4, &[("k", "v")]).number(300, 300);
        let fields = Fields::read(wire.encoded()).unwrap();
        assert_eq!((fields.text(1).as_str(), fields.text(2).as_str(), fields.number(300)), ("a", "c", 300));
        assert_eq!((fields.message(3).number(1), fields.map(4)["k"].as_str(), fields.all_bytes(2).count()), (-5, "v", 2));
    }

    #[test]
    fn a_cut_message_is_none() {
        let wire = Message::new().text(1, "abc");
        assert!((1..5).all(|length| Fields::read(&wire.encoded()[..length]).is_none()));
    }
}
