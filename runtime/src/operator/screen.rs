//! Standard output of the operator's verbs: what a closed pipe means, colours, and text that others wrote.

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal, Write};

use anyhow::Context;

/// Nobody reads any more: no error, but the end of a verb that would go on.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
pub(crate) struct ReaderGone;

/// Writes to standard output at once.
pub(crate) fn put(text: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        done => done.context("write to standard output"),
    }
}

/// Says something beside the output. A closed standard error is nobody's concern.
pub(crate) fn remark(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// How a word is to be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Like all others.
    #[default]
    Plain,
    /// Somebody should look.
    Alarming,
}

/// Whether colours are wanted: only on a terminal, and not if NO_COLOR (no-color.org) says otherwise.
pub(crate) fn has_colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    !refused && !dumb && io::stdout().is_terminal()
}

/// A word in its tone.
pub(crate) fn toned(word: &str, tone: Tone, colours: bool) -> Cow<'_, str> {
    match tone {
        Tone::Alarming if colours && !word.is_empty() => Cow::Owned(format!("\u{1b}[31m{word}\u{1b}[0m")),
        Tone::Plain | Tone::Alarming => Cow::Borrowed(word),
    }
}

/// Text that a container may have written, made harmless for a terminal: control characters are shown as `^X`.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    for letter in text.chars() {
        match u32::from(letter) {
            code @ 0..0x20 if is_harmful(letter) => {
                shown.push('^');
                shown.extend(char::from_u32(code + 0x40));
            }
            0x7f => shown.push_str("^?"),
            0x80..0xa0 => shown.push('\u{fffd}'),
            _ => shown.push(letter),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_container_wrote_cannot_command_the_terminal() {
        assert_eq!(harmless("plain\ttext\n"), "plain\ttext\n");
        assert_eq!(harmless("\u{1b}[2Jgone\r\u{7f}\u{9b}é"), "^[[2Jgone^M^?\u{fffd}é");
    }

    #[test]
    fn colours_are_put_around_words_only_when_wanted() {
        assert_eq!(toned("Error", Tone::Alarming, false), "Error");
        assert_eq!(toned("Error", Tone::Alarming, true), "\u{1b}[31mError\u{1b}[0m");
        assert_eq!(toned("Running", Tone::Plain, true), "Running");
    }
}
