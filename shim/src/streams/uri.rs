//! Where output goes, as containerd writes it: a path, `fifo://`, `file://` or `binary://`.

use std::io;
use std::path::PathBuf;

/// Where output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Nowhere.
    Nothing,
    /// Into a FIFO that somebody reads.
    Fifo(String),
    /// Both streams at the end of one file.
    File(PathBuf),
    /// Into a program.
    Program(Program),
}

/// A program that logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// Absolute.
    pub(super) path: PathBuf,
    /// The keys and values of the URI's query, one after the other.
    pub(super) args: Vec<String>,
}

impl Target {
    /// Reads what a client wrote as `stdout`.
    pub(super) fn parse(text: &str) -> io::Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(if text.is_empty() { Self::Nothing } else { Self::Fifo(text.to_owned()) });
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        match scheme {
            "fifo" => Ok(Self::Fifo(path.to_owned())),
            "file" => Ok(Self::File(absolute(text, path)?)),
            "binary" | "binary-v2" => {
                let pairs = query.split('&').filter(|pair| !pair.is_empty());
                let args = pairs.flat_map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    [key, value].map(|word| decode(&word.replace('+', " "))).into_iter().filter(|word| !word.is_empty())
                });
                Ok(Self::Program(Program { args: args.collect(), path: absolute(text, path)? }))
            }
            _ => Err(io::Error::other(format!("{text}: unknown scheme {scheme}; known are fifo, file and binary"))),
        }
    }
}

fn absolute(text: &str, path: &str) -> io::Result<PathBuf> {
    let path = PathBuf::from(decode(path));
    if path.is_absolute() { Ok(path) } else { Err(io::Error::other(format!("{text}: the path must be absolute"))) }
}

/// `%20` and its like.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escape = after.split_at_checked(2).filter(|_| byte == b'%');
        let decoded = escape.and_then(|(digits, _)| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(decoded.unwrap_or(byte));
        rest = match (decoded, escape) {
            (Some(_), Some((_, after_escape))) => after_escape,
            _ => after,
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_has_its_target() {
        let program = |path: &str, args: &[&str]| {
            Target::Program(Program { path: path.into(), args: args.iter().map(|&arg| arg.to_owned()).collect() })
        };
        for (text, target) in [
            ("", Target::Nothing),
            ("/run/f", Target::Fifo("/run/f".into())),
            ("fifo:///run/f", Target::Fifo("/run/f".into())),
            ("file:///var/log/a%20b", Target::File("/var/log/a b".into())),
            ("binary:///bin/log?id=a+b&level=x%26y&flag", program("/bin/log", &["id", "a b", "level", "x&y", "flag"])),
            ("binary-v2:///bin/log", program("/bin/log", &[])),
        ] {
            assert_eq!(Target::parse(text).unwrap(), target, "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (text, message) in
            [("http://x", "unknown scheme http"), ("file://x", "must be absolute"), ("binary://", "must be absolute")]
        {
            let error = Target::parse(text).unwrap_err().to_string();
            assert!(error.contains(message) && error.contains(text), "{error}");
        }
    }
}
