//! Messages as bytes: numbers are aligned to their size, structures to eight, all counted from the message's start.

/// A value of a property, with the types that systemd's properties have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `b`
    Bool(bool),
    /// `i`
    I32(i32),
    /// `x`
    I64(i64),
    /// `u`
    U32(u32),
    /// `t`
    U64(u64),
    /// `d`
    F64(f64),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `au`
    U32s(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
    /// `a(st)`
    Rates(Vec<(String, u64)>),
}

/// What kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Answer,
    Error,
    Signal,
}

/// A received message, as far as it matters.
#[derive(Debug)]
pub(crate) struct Message {
    pub(super) kind: Kind,
    pub(super) answers: u32,
    pub(super) error: String,
    pub(super) member: String,
    signature: String,
    body: Vec<u8>,
}

/// A body that grows; its start counts as aligned.
#[derive(Debug, Default)]
pub(crate) struct Body(Vec<u8>);

impl Body {
    /// `s` or `o`.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.put_text(text);
        self
    }

    /// `b`.
    pub(crate) fn flag(mut self, flag: bool) -> Self {
        self.put_u32(u32::from(flag));
        self
    }

    /// `a(sv)`.
    pub(crate) fn properties(mut self, properties: &[(String, Value)]) -> Self {
        self.put_array(8, properties, |body, (name, value)| {
            body.align(8);
            body.put_text(name);
            body.put_signature(value.signature());
            body.put(value);
        });
        self
    }

    /// An array without elements; `alignment` is that of its elements.
    pub(crate) fn empty_array(mut self, alignment: usize) -> Self {
        self.put_array(alignment, &[], |_body, (): &()| {});
        self
    }

    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn put_u32(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn put_8(&mut self, bytes: [u8; 8]) {
        self.align(8);
        self.0.extend(bytes);
    }

    fn put_text(&mut self, text: &str) {
        self.put_u32(length(text.len()));
        self.0.extend(text.bytes());
        self.0.push(0);
    }

    fn put_signature(&mut self, signature: &str) {
        self.0.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.0.extend(signature.bytes());
        self.0.push(0);
    }

    /// The length counts from the first element on, without the padding before it.
    fn put_array<T>(&mut self, alignment: usize, elements: &[T], mut put: impl FnMut(&mut Self, &T)) {
        self.put_u32(0);
        let counted_at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        elements.iter().for_each(|element| put(self, element));
        let counted = length(self.0.len() - start).to_le_bytes();
        self.0.iter_mut().skip(counted_at).zip(counted).for_each(|(byte, counted)| *byte = counted);
    }

    fn put(&mut self, value: &Value) {
        match value {
            Value::Bool(flag) => self.put_u32(u32::from(*flag)),
            Value::I32(number) => self.put_u32(number.cast_unsigned()),
            Value::U32(number) => self.put_u32(*number),
            Value::I64(number) => self.put_8(number.to_le_bytes()),
            Value::U64(number) => self.put_8(number.to_le_bytes()),
            Value::F64(number) => self.put_8(number.to_le_bytes()),
            Value::Text(text) => self.put_text(text),
            Value::Texts(texts) => self.put_array(4, texts, |body, text| body.put_text(text)),
            Value::U32s(numbers) => self.put_array(4, numbers, |body, number| body.put_u32(*number)),
            Value::Bytes(bytes) => self.put_array(1, bytes, |body, byte| body.0.push(*byte)),
            Value::Pairs(pairs) => self.put_array(8, pairs, |body, (first, second)| {
                body.align(8);
                body.put_text(first);
                body.put_text(second);
            }),
            Value::Rates(rates) => self.put_array(8, rates, |body, (path, rate)| {
                body.align(8);
                body.put_text(path);
                body.put_8(rate.to_le_bytes());
            }),
        }
    }
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::I32(_) => "i",
            Self::I64(_) => "x",
            Self::U32(_) => "u",
            Self::U64(_) => "t",
            Self::F64(_) => "d",
            Self::Text(_) => "s",
            Self::Texts(_) => "as",
            Self::U32s(_) => "au",
            Self::Bytes(_) => "ay",
            Self::Pairs(_) => "a(ss)",
            Self::Rates(_) => "a(st)",
        }
    }
}

/// Messages are far from four gibibytes.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A method call; `target` is destination, object and interface.
pub(super) fn call(serial: u32, target: [&str; 3], method: &str, signature: &str, body: Body) -> Vec<u8> {
    let [destination, object, interface] = target;
    let mut message = Body(vec![b'l', 1, 0, 1]);
    message.put_u32(length(body.0.len()));
    message.put_u32(serial);
    let mut fields = vec![(1, "o", object), (2, "s", interface), (3, "s", method), (6, "s", destination)];
    if !signature.is_empty() {
        fields.push((8, "g", signature));
    }
    message.put_array(8, &fields, |message, (code, kind, value)| {
        message.align(8);
        message.0.push(*code);
        message.put_signature(kind);
        if *kind == "g" { message.put_signature(value) } else { message.put_text(value) }
    });
    message.align(8);
    message.0.extend(body.0);
    message.0
}

/// Lengths of the fields and of the body, from a message's first sixteen bytes.
pub(super) fn split(head: &[u8; 16]) -> anyhow::Result<(usize, usize)> {
    anyhow::ensure!(head[0] == b'l', "a message in another byte order than this machine's");
    let number = |at: usize| u32_at(head, at).and_then(|number| usize::try_from(number).ok()).unwrap_or_default();
    Ok((number(12), number(4)))
}

impl Message {
    /// From its first sixteen bytes, its fields without their length, and its body.
    pub(super) fn parse(head: &[u8; 16], fields: &[u8], body: &[u8]) -> anyhow::Result<Self> {
        let kind = match head[1] {
            1 => Kind::Call,
            2 => Kind::Answer,
            3 => Kind::Error,
            4 => Kind::Signal,
            other => anyhow::bail!("a message of kind {other}"),
        };
        let text = String::new;
        let mut message = Self { kind, answers: 0, error: text(), member: text(), signature: text(), body: body.to_owned() };
        let mut reader = Reader { bytes: fields, at: 0 };
        while reader.at < fields.len() {
            message.read_field(&mut reader).ok_or_else(|| anyhow::anyhow!("a message with fields that end too early"))?;
        }
        Ok(message)
    }

    fn read_field(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        reader.align(8);
        let code = reader.byte()?;
        let kind = reader.signature()?;
        let (text, number) = match kind.as_str() {
            "s" | "o" => (reader.text()?, 0),
            "g" => (reader.signature()?, 0),
            "u" => (String::new(), reader.u32()?),
            _unknown => return None,
        };
        match code {
            3 => self.member = text,
            4 => self.error = text,
            5 => self.answers = number,
            8 => self.signature = text,
            _of_no_interest => {}
        }
        Some(())
    }

    /// The texts of a body of numbers, texts and paths, in order.
    pub(crate) fn texts(&self) -> Vec<String> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        let mut texts = Vec::new();
        for kind in self.signature.chars() {
            match kind {
                's' | 'o' => texts.extend(reader.text()),
                'u' | 'b' | 'i' => drop(reader.u32()),
                _unknown => break,
            }
        }
        texts
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn byte(&mut self) -> Option<u8> {
        self.at += 1;
        self.bytes.get(self.at - 1).copied()
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        self.at += 4;
        u32_at(self.bytes, self.at - 4)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        self.take(length)
    }

    /// So many bytes and the NUL behind them.
    fn take(&mut self, length: usize) -> Option<String> {
        let text = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length + 1;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_bytes_of_the_specification() {
        let bytes = call(1, ["d", "/o", "i"], "m", "s", Body::default().text("x"));
        let expected: &[u8] = b"l\x01\x00\x01\x06\x00\x00\x00\x01\x00\x00\x00\x47\x00\x00\x00\
            \x01\x01o\x00\x02\x00\x00\x00/o\x00\x00\x00\x00\x00\x00\
            \x02\x01s\x00\x01\x00\x00\x00i\x00\x00\x00\x00\x00\x00\x00\
            \x03\x01s\x00\x01\x00\x00\x00m\x00\x00\x00\x00\x00\x00\x00\
            \x06\x01s\x00\x01\x00\x00\x00d\x00\x00\x00\x00\x00\x00\x00\
            \x08\x01g\x00\x01s\x00\x00\
            \x01\x00\x00\x00x\x00";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_is_sent_can_be_read() {
        let bytes = call(7, ["d", "/o", "i"], "method", "us", Body(vec![5, 0, 0, 0]).text("text"));
        let head: [u8; 16] = bytes[..16].try_into().unwrap();
        let (fields, body) = split(&head).unwrap();
        assert_eq!(bytes.len(), 16 + fields.next_multiple_of(8) + body);
        let message = Message::parse(&head, &bytes[16..16 + fields], &bytes[bytes.len() - body..]).unwrap();
        assert_eq!((message.kind, message.member.as_str(), message.texts()), (Kind::Call, "method", vec!["text".to_owned()]));
    }

    #[test]
    fn a_message_that_ends_too_early_is_refused() {
        let head = *b"l\x02\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x05\x00\x00\x00";
        assert!(Message::parse(&head, b"\x05\x01u\x00\x01", b"").is_err());
    }

    #[test]
    fn arrays_of_structures_are_aligned_and_counted_without_their_padding() {
        let mut body = Body::default();
        body.put(&Value::Rates(vec![("/d".to_owned(), 5)]));
        assert_eq!(
            body.0,
            b"\x10\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00/d\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00".to_vec()[..].to_vec()
        );
    }
}
