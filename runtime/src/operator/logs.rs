//! `logs`: what a container wrote, of this life or the one before, and what it is writing.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use hshim_health::record::Stdio;
use hshim_health::status::{ContainerState, ContainerStatus, WaitingReason};
use jiff::Timestamp;

use super::cli::LogsArgs;
use super::log_files::{self, Part, Piece, Stream};
use super::pod_view::PodView;
use super::watch::Watch;
use super::{one_pod, screen};
use crate::cli::Globals;

/// What is gathered before it is written.
const PORTION: usize = 64 << 10;

/// Performs `logs`.
pub(crate) fn logs(args: &LogsArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    let (reference, pod) = one_pod(&args.pod, args.namespace.as_deref(), globals)?;
    let (container, is_choice) = pod.default_container(args.container.as_deref())?;
    if is_choice {
        screen::remark(&format!("Defaulted container {container:?} out of: {}", pod.container_names()));
    }
    let stdio = pod.launch(&container).map(|launch| &launch.stdio);
    let Some(Stdio::CriLog { directory }) = stdio else {
        anyhow::bail!("{reference} has no log: its output goes where the caller of create or run sent it")
    };
    let directory = directory.clone();
    let mut presenter = Presenter::new(args);
    let run = choose_run(args, &pod, &container, &directory)?;
    let part = run.map(|run| print_run(&directory, run, args.tail, &mut presenter)).transpose()?.flatten();
    presenter.flush()?;
    if args.follow {
        Following { directory, container, run, part, presenter }.follow(&pod)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Which life; none when there is none yet and it is waited for.
fn choose_run(args: &LogsArgs, pod: &PodView, container: &str, directory: &Path) -> anyhow::Result<Option<u32>> {
    let runs = log_files::runs(directory).with_context(|| format!("read {}", directory.display()))?;
    let status = pod.container(container);
    if args.previous {
        let run = previous_run(&runs, status);
        let missing = || format!("previous terminated container {container:?} in pod {:?} not found", pod.name());
        return run.map(Some).with_context(missing);
    }
    if runs.is_empty() && !args.follow {
        let reason = match status.map(|status| &status.state) {
            Some(ContainerState::Waiting { reason, .. }) => *reason,
            Some(ContainerState::Running { .. } | ContainerState::Terminated(_)) | None => WaitingReason::ContainerCreating,
        };
        anyhow::bail!("container {container:?} in pod {:?} is waiting to start: {reason:?}", pod.name());
    }
    Ok(runs.last().copied())
}

/// The last life that has ended, apart from one that has ended for good: that is the present one.
fn previous_run(runs: &[u32], status: Option<&ContainerStatus<Timestamp>>) -> Option<u32> {
    let newest = runs.last().copied()?;
    let waits_after_newest = status.is_some_and(|status| {
        let creating = WaitingReason::ContainerCreating;
        matches!(&status.state, ContainerState::Waiting { reason, .. } if *reason != creating)
            && status.last_termination.is_some()
    });
    if waits_after_newest { Some(newest) } else { runs.iter().rev().nth(1).copied() }
}

/// Prints what there is of a life; the answer is its newest file, to be read on.
fn print_run(directory: &Path, run: u32, tail: i64, presenter: &mut Presenter) -> anyhow::Result<Option<Part>> {
    let read = || format!("read {}", directory.join(format!("{run}.log")).display());
    let mut parts = log_files::parts(directory, run).with_context(read)?;
    let mut last = usize::try_from(tail).ok().map(Tail::new);
    for part in &mut parts {
        while let Some(piece) = part.next_piece().with_context(read)? {
            match &mut last {
                Some(last) if presenter.is_wanted(&piece) => last.push(piece),
                Some(_) => {}
                None => presenter.present(&piece)?,
            }
        }
    }
    for piece in last.into_iter().flat_map(|last| last.pieces) {
        presenter.present(&piece)?;
    }
    Ok(parts.pop())
}

/// The last so many lines.
struct Tail {
    most: usize,
    /// Line ends among the pieces.
    ends: usize,
    pieces: VecDeque<Piece>,
}

impl Tail {
    fn new(most: usize) -> Self {
        Self { most, ends: 0, pieces: VecDeque::new() }
    }

    fn push(&mut self, piece: Piece) {
        self.ends += usize::from(piece.is_last);
        self.pieces.push_back(piece);
        while self.ends > self.most {
            let Some(piece) = self.pieces.pop_front() else { return };
            self.ends -= usize::from(piece.is_last);
        }
        if self.most == 0 {
            self.pieces.clear();
        }
    }
}

/// Pieces become the lines that the container wrote.
struct Presenter {
    since: Option<Timestamp>,
    timestamps: bool,
    /// A line of this stream has begun and not ended.
    open: [bool; 2],
    text: Vec<u8>,
}

impl Presenter {
    fn new(args: &LogsArgs) -> Self {
        let since = args.since.map(|since| before(Timestamp::now(), since));
        Self { since, timestamps: args.timestamps, open: [false; 2], text: Vec::new() }
    }

    fn is_wanted(&self, piece: &Piece) -> bool {
        self.since.is_none_or(|since| piece.is_since(since))
    }

    fn present(&mut self, piece: &Piece) -> anyhow::Result<()> {
        if !self.is_wanted(piece) {
            return Ok(());
        }
        let [stdout, stderr] = &mut self.open;
        let open = if piece.stream == Stream::Stdout { stdout } else { stderr };
        if self.timestamps && !*open {
            self.text.extend_from_slice(piece.time.as_bytes());
            self.text.push(b' ');
        }
        self.text.extend_from_slice(&piece.text);
        if piece.is_last {
            self.text.push(b'\n');
        }
        *open = !piece.is_last;
        if self.text.len() >= PORTION { self.flush() } else { Ok(()) }
    }

    /// The life has ended: a line that it did not finish is not continued by the next one.
    fn end_life(&mut self) {
        if self.open.contains(&true) {
            self.text.push(b'\n');
        }
        self.open = [false; 2];
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        screen::put(&std::mem::take(&mut self.text))
    }
}

fn before(now: Timestamp, since: Duration) -> Timestamp {
    let since = jiff::SignedDuration::try_from(since).unwrap_or(jiff::SignedDuration::MAX);
    now.checked_sub(since).unwrap_or(Timestamp::MIN)
}

/// A log that is read while it is written, from life to life.
struct Following {
    directory: PathBuf,
    container: String,
    run: Option<u32>,
    part: Option<Part>,
    presenter: Presenter,
}

/// How things stand after everything that was there has been printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outlook {
    /// There will be more.
    Open,
    /// The container has ended for good, or is gone.
    Ended,
    /// Nobody writes the log any more.
    Unsupervised,
}

impl Following {
    fn follow(mut self, pod: &PodView) -> anyhow::Result<()> {
        let watch = Watch::new()?;
        loop {
            watch.directory(&pod.dir.0)?;
            watch.directory(&self.directory)?;
            // Looked at first: what was written before that is in the log by then.
            let now = PodView::read(pod.dir.clone())?;
            let outlook = outlook(now.as_ref(), &self.container, &pod.supervision.plan.uid);
            self.read_on().with_context(|| format!("read the log in {}", self.directory.display()))?;
            self.presenter.flush()?;
            match outlook {
                Outlook::Ended => return Ok(()),
                Outlook::Unsupervised => {
                    screen::remark(&format!("pod {} is unsupervised: nobody writes its log any more", pod.name()));
                    return Ok(());
                }
                Outlook::Open => watch.wait(now.iter().filter_map(|pod| pod.shim.as_ref()))?,
            }
        }
    }

    /// Prints all that is there now.
    fn read_on(&mut self) -> anyhow::Result<()> {
        loop {
            if let Some(part) = &mut self.part {
                while let Some(piece) = part.next_piece()? {
                    self.presenter.present(&piece)?;
                }
            }
            if !self.turn_over()? {
                return Ok(());
            }
        }
    }

    /// Goes on to the next file of this life, or of the next life. False when there is none.
    fn turn_over(&mut self) -> anyhow::Result<bool> {
        if let (Some(run), Some(part)) = (self.run, &self.part)
            && let Some(next) = log_files::part_after(&self.directory, run, part)?
        {
            self.part = Some(next);
            return Ok(true);
        }
        let runs = log_files::runs(&self.directory)?;
        let Some(next) = runs.into_iter().find(|run| self.run.is_none_or(|known| *run > known)) else { return Ok(false) };
        let mut parts = log_files::parts(&self.directory, next)?;
        if parts.is_empty() {
            return Ok(false);
        }
        self.presenter.end_life();
        self.run = Some(next);
        self.part = Some(parts.swap_remove(0));
        Ok(true)
    }
}

fn outlook(pod: Option<&PodView>, container: &str, uid: &str) -> Outlook {
    let Some(pod) = pod.filter(|pod| pod.supervision.plan.uid == uid) else { return Outlook::Ended };
    let state = pod.container(container).map(|status| &status.state);
    match state {
        Some(ContainerState::Terminated(_)) => Outlook::Ended,
        Some(ContainerState::Running { .. } | ContainerState::Waiting { .. }) if pod.is_supervised() => Outlook::Open,
        None if pod.is_supervised() => Outlook::Open,
        Some(_) | None => Outlook::Unsupervised,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str, is_last: bool, stream: Stream) -> Piece {
        Piece { time: "2026-11-28T10:00:00.5Z".to_owned(), stream, is_last, text: text.as_bytes().to_vec() }
    }

    fn presenter(timestamps: bool) -> Presenter {
        Presenter { since: None, timestamps, open: [false; 2], text: Vec::new() }
    }

    fn shown(presenter: &Presenter) -> String {
        String::from_utf8(presenter.text.clone()).unwrap()
    }

    #[test]
    fn pieces_become_lines_with_one_time_each() {
        let mut presenter = presenter(true);
        for (text, is_last) in [("a", false), ("b", true), ("c", true)] {
            presenter.present(&piece(text, is_last, Stream::Stdout)).unwrap();
        }
        assert_eq!(shown(&presenter), "2026-11-28T10:00:00.5Z ab\n2026-11-28T10:00:00.5Z c\n");
    }

    #[test]
    fn an_unfinished_line_ends_with_its_life() {
        let mut presenter = presenter(false);
        presenter.present(&piece("half", false, Stream::Stderr)).unwrap();
        presenter.end_life();
        presenter.present(&piece("next", true, Stream::Stderr)).unwrap();
        assert_eq!(shown(&presenter), "half\nnext\n");
    }

    #[test]
    fn the_tail_is_counted_in_lines_and_may_be_none() {
        for (most, expected) in [(0, ""), (1, "c"), (2, "a1a2,c"), (9, "a1a2,c")] {
            let mut tail = Tail::new(most);
            for (text, is_last) in [("a1", false), ("a2", true), ("c", true)] {
                tail.push(piece(text, is_last, Stream::Stdout));
            }
            let mut texts = String::new();
            for piece in &tail.pieces {
                texts.push_str(str::from_utf8(&piece.text).unwrap());
                texts.push_str(if piece.is_last { "," } else { "" });
            }
            assert_eq!(texts.trim_end_matches(','), expected, "{most}");
        }
    }

    #[test]
    fn old_lines_are_left_out_when_asked() {
        let mut presenter = presenter(false);
        presenter.since = Some("2026-11-28T10:00:01Z".parse().unwrap());
        presenter.present(&piece("old", true, Stream::Stdout)).unwrap();
        assert_eq!(shown(&presenter), "");
        assert!(before(Timestamp::now(), Duration::MAX) == Timestamp::MIN);
    }
}
