//! Digests of what is read, taken while it is read.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Hands on what it reads, and hashes and counts it.
#[derive(Debug)]
pub(crate) struct HashingReader<R> {
    inner: R,
    hash: Sha256,
    count: u64,
}

/// What a whole stream was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    /// `sha256:…`.
    pub(crate) digest: String,
    /// Bytes.
    pub(crate) size: u64,
}

impl<R: Read> HashingReader<R> {
    /// Around a reader that stands at its beginning.
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new(), count: 0 }
    }

    /// Reads to the end: a digest is of everything, not of what was of interest.
    pub(crate) fn finish(mut self) -> io::Result<Measured> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(Measured { digest: named(&self.hash.finalize()), size: self.count })
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        self.count += u64::try_from(read).unwrap_or_default();
        Ok(read)
    }
}

/// `sha256:…` of bytes.
pub(crate) fn of(bytes: &[u8]) -> String {
    named(&Sha256::digest(bytes))
}

fn named(digest: &[u8]) -> String {
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_of_everything_whatever_was_read() {
        let mut reader = HashingReader::new(&b"abc"[..]);
        let mut one = [0];
        reader.read_exact(&mut one).unwrap();
        let measured = reader.finish().unwrap();
        assert_eq!(measured, Measured { digest: of(b"abc"), size: 3 });
        assert_eq!(of(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
