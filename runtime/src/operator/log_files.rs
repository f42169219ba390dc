//! Reading the log files of a container: `RUN.log` of each life in the CRI format, with older parts `RUN.log.1`, `RUN.log.2` …
//! (written by the shim, output/log_file.rs there).

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Which of the two streams a piece is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of a log file: a line of output, or a piece of a long or unfinished one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// When the shim read it, as written.
    pub(crate) time: String,
    /// Of which stream.
    pub(crate) stream: Stream,
    /// The line of output ends here.
    pub(crate) is_last: bool,
    /// Without line break.
    pub(crate) text: Vec<u8>,
}

impl Piece {
    /// `TIME STREAM TAG TEXT`; none when it is something else.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.strip_suffix(b"\n").unwrap_or(line).splitn(4, |&byte| byte == b' ');
        let time = str::from_utf8(fields.next()?).ok()?.to_owned();
        let stream = match fields.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        // Further tags may follow after a colon.
        let is_last = fields.next()?.first()? == &b'F';
        let text = fields.next()?.to_owned();
        Some(Self { time, stream, is_last, text })
    }

    /// Whether it is not older than this. One whose time is not understood is not.
    pub(crate) fn is_since(&self, since: Timestamp) -> bool {
        self.time.parse::<Timestamp>().is_ok_and(|time| time >= since)
    }
}

/// One file of a life, read on where it ended.
#[derive(Debug)]
pub(crate) struct Part {
    file: BufReader<File>,
    inode: u64,
    /// A line that is not whole yet.
    begun: Vec<u8>,
}

impl Part {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self { file: BufReader::new(file), inode, begun: Vec::new() })
    }

    /// The next whole line; none when there is no more for now.
    pub(crate) fn next_piece(&mut self) -> io::Result<Option<Piece>> {
        loop {
            self.file.read_until(b'\n', &mut self.begun)?;
            if !self.begun.ends_with(b"\n") {
                return Ok(None);
            }
            let line = std::mem::take(&mut self.begun);
            // What is no log line was not written by the shim.
            if let Some(piece) = Piece::parse(&line) {
                return Ok(Some(piece));
            }
        }
    }
}

/// The numbers of the lives that have a log, in order.
pub(crate) fn runs(directory: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut runs: Vec<u32> = names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    runs.sort_unstable();
    Ok(runs)
}

/// All files of a life, the oldest first. A rotation meanwhile loses none and doubles none.
pub(crate) fn parts(directory: &Path, run: u32) -> io::Result<Vec<Part>> {
    let newest = directory.join(format!("{run}.log"));
    let mut parts: Vec<Part> = Vec::new();
    for number in 0.. {
        match Part::open(&part_of(&newest, number)) {
            Ok(part) if parts.iter().any(|known| known.inode == part.inode) => {}
            Ok(part) => parts.insert(0, part),
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(parts)
}

/// The file that was begun after this one was full; none while it is still being written.
pub(crate) fn part_after(directory: &Path, run: u32, part: &Part) -> io::Result<Option<Part>> {
    let mut parts = parts(directory, run)?;
    let next = match parts.iter().position(|known| known.inode == part.inode) {
        Some(position) => position + 1,
        // Removed by now: everything that is there came after it.
        None => 0,
    };
    Ok(if next < parts.len() { Some(parts.swap_remove(next)) } else { None })
}

fn part_of(newest: &Path, number: u32) -> PathBuf {
    match number {
        0 => newest.to_owned(),
        number => newest.with_extension(format!("log.{number}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("hshim-logs-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, texts: &[&str]) {
            let mut file = File::options().append(true).create(true).open(self.0.join(name)).unwrap();
            for text in texts {
                writeln!(file, "2026-11-28T10:00:00.000000000Z stdout F {text}").unwrap();
            }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn texts(part: &mut Part) -> Vec<String> {
        std::iter::from_fn(|| part.next_piece().unwrap()).map(|piece| String::from_utf8(piece.text).unwrap()).collect()
    }

    #[test]
    fn a_line_is_taken_apart_and_anything_else_is_none() {
        let piece = Piece::parse(b"2026-11-28T10:00:00.500000000Z stderr P two  words \n").unwrap();
        assert_eq!((piece.stream, piece.is_last, piece.text.as_slice()), (Stream::Stderr, false, b"two  words ".as_slice()));
        assert_eq!(Piece::parse(b"2026-11-28T10:00:00Z stdout F \n").unwrap().text, b"");
        for line in ["", "x", "2026-11-28T10:00:00Z stdin F x", "2026-11-28T10:00:00Z stdout F"] {
            assert_eq!(Piece::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn lives_are_numbered_and_their_parts_are_in_order() {
        let scratch = Scratch::new("parts");
        scratch.write("10.log", &["c"]);
        scratch.write("10.log.1", &["b"]);
        scratch.write("10.log.2", &["a"]);
        scratch.write("9.log", &["x"]);
        assert_eq!(runs(&scratch.0).unwrap(), [9, 10]);
        let all: Vec<String> = parts(&scratch.0, 10).unwrap().iter_mut().flat_map(texts).collect();
        assert_eq!(all, ["a", "b", "c"]);
        assert_eq!(runs(&scratch.0.join("nowhere")).unwrap(), [0; 0]);
    }

    #[test]
    fn a_reader_goes_on_where_it_was_and_over_rotations() {
        let scratch = Scratch::new("follow");
        scratch.write("0.log", &["a"]);
        let mut part = parts(&scratch.0, 0).unwrap().pop().unwrap();
        assert_eq!(texts(&mut part), ["a"]);
        let mut file = File::options().append(true).open(scratch.0.join("0.log")).unwrap();
        write!(file, "2026-11-28T10:00:00Z std").unwrap();
        assert_eq!(texts(&mut part), [""; 0], "half a line is left until it is whole");
        writeln!(file, "out F b").unwrap();
        assert!(part_after(&scratch.0, 0, &part).unwrap().is_none());
        fs::rename(scratch.0.join("0.log"), scratch.0.join("0.log.2")).unwrap();
        scratch.write("0.log.1", &["c"]);
        scratch.write("0.log", &["d"]);
        assert_eq!(texts(&mut part), ["b"]);
        let mut next = part_after(&scratch.0, 0, &part).unwrap().unwrap();
        assert_eq!(texts(&mut next), ["c"]);
        let mut last = part_after(&scratch.0, 0, &next).unwrap().unwrap();
        assert_eq!(texts(&mut last), ["d"]);
        assert!(part_after(&scratch.0, 0, &last).unwrap().is_none());
    }
}
