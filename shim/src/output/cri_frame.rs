//! The CRI log format: `2026-11-24T13:00:00.123456789Z stdout F text`, one line for each line of output.
//!
//! A line of the output that is longer than [`LONGEST_LINE`] is cut into partial lines (`P`) and a last full one (`F`), as
//! containerd does it. Output without a final line break ends, at the end of a life, as a partial line.

use std::io::Write;

use jiff::Timestamp;

/// The longest text of one line, in bytes (containerd's `max_container_log_line_size`).
pub(super) const LONGEST_LINE: usize = 16 << 10;

/// Of which stream a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// Cuts one stream into lines.
#[derive(Debug)]
pub(super) struct Framer {
    stream: Stream,
    line: Vec<u8>,
    framed: Vec<u8>,
}

impl Framer {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, line: Vec::new(), framed: Vec::new() }
    }

    /// Takes output; the answer is the log lines that it completed.
    pub(super) fn push(&mut self, output: &[u8], now: Timestamp) -> &[u8] {
        self.framed.clear();
        for piece in output.split_inclusive(|&byte| byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    self.extend(end, now);
                    self.frame(b'F', now);
                }
                None => self.extend(piece, now),
            }
        }
        // What a burst needed is not kept while the container is silent.
        if self.line.is_empty() {
            self.line.shrink_to(256);
        }
        self.framed.shrink_to(LONGEST_LINE);
        &self.framed
    }

    /// There will be no more: what is left of an unfinished line.
    pub(super) fn finish(&mut self, now: Timestamp) -> &[u8] {
        self.framed.clear();
        if !self.line.is_empty() {
            self.frame(b'P', now);
        }
        &self.framed
    }

    fn extend(&mut self, mut text: &[u8], now: Timestamp) {
        while self.line.len() + text.len() > LONGEST_LINE {
            let (fits, rest) = text.split_at(LONGEST_LINE.saturating_sub(self.line.len()).min(text.len()));
            self.line.extend_from_slice(fits);
            self.frame(b'P', now);
            text = rest;
        }
        self.line.extend_from_slice(text);
    }

    fn frame(&mut self, tag: u8, now: Timestamp) {
        let stream = match self.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        // Writing to a Vec cannot fail.
        drop(write!(self.framed, "{now:.9} {stream} {} ", char::from(tag)));
        self.framed.append(&mut self.line);
        self.framed.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(framed: &[u8]) -> String {
        String::from_utf8(framed.to_vec()).unwrap()
    }

    #[test]
    fn a_line_carries_time_stream_and_tag() {
        let now: Timestamp = "2026-11-24T13:00:00.5Z".parse().unwrap();
        let mut framer = Framer::new(Stream::Stderr);
        assert_eq!(
            text(framer.push(b"a\n\nb", now)),
            concat!("2026-11-24T13:00:00.500000000Z stderr F a\n", "2026-11-24T13:00:00.500000000Z stderr F \n",)
        );
        assert_eq!(text(framer.push(b"c\n", now)), "2026-11-24T13:00:00.500000000Z stderr F bc\n");
        assert_eq!(text(framer.finish(now)), "");
    }

    #[test]
    fn a_long_line_is_cut_and_an_unfinished_one_ends_partial() {
        let now = Timestamp::UNIX_EPOCH;
        let mut framer = Framer::new(Stream::Stdout);
        let mut framed = text(framer.push(&[b'x'; LONGEST_LINE], now));
        assert_eq!(framed, "", "a line of exactly the longest length is not cut");
        framed += &text(framer.push(&[b'y'; LONGEST_LINE + 1], now));
        framed += &text(framer.push(b"z\nrest", now));
        framed += &text(framer.finish(now));
        let parts: Vec<(&str, usize)> = framed.lines().map(|line| (&line[38..39], line[40..].len())).collect();
        assert_eq!(parts, [("P", LONGEST_LINE), ("P", LONGEST_LINE), ("F", 2), ("P", 4)]);
    }
}
