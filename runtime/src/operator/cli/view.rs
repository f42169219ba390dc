//! The flags of the verbs that look at pods and reach into them.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::operator::pod_reference::{PodReference, parse_namespace};

/// `get`.
#[derive(Args, Clone, Debug)]
pub(crate) struct GetArgs {
    /// pods, pod NAME ..., or pod/NAME ...
    #[arg(value_name = "pods|pod/NAME", required = true)]
    pub(crate) resources: Vec<String>,
    /// After that, show what changes.
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Form of the output.
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub(crate) output: Option<ObjectFormat>,
    /// Namespace of the pods.
    #[arg(short, long, value_name = "NAME", value_parser = parse_namespace)]
    pub(crate) namespace: Option<String>,
    /// The pods of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    /// No heading over a table.
    #[arg(long)]
    pub(crate) no_headers: bool,
}

/// `--output` of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObjectFormat {
    /// A table with more columns.
    Wide,
    /// One JSON document; with --watch one a line.
    Json,
    /// One YAML document; with --watch one after the other.
    Yaml,
    /// pod/NAME, one a line.
    Name,
}

/// A verb about one pod.
#[derive(Args, Clone, Debug)]
pub(crate) struct OnePodArgs {
    /// pod/NAME, pod NAME, or bundle/ID of a supervised bundle.
    #[arg(value_name = "pod/NAME", required = true)]
    pub(crate) pod: Vec<String>,
    /// Namespace of the pod.
    #[arg(short, long, value_name = "NAME", value_parser = parse_namespace)]
    pub(crate) namespace: Option<String>,
}

/// `logs`.
#[derive(Args, Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct LogsArgs {
    /// The pod.
    #[arg(value_name = "pod/NAME", required = true)]
    pub(crate) pod: Vec<String>,
    /// Container of the pod; the first if it is left out.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// After that, print what is being written, over restarts, until the container has ended for good.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Of the life before this one.
    #[arg(short, long, conflicts_with = "follow")]
    pub(crate) previous: bool,
    /// Only so many lines from the end; -1 is all.
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    pub(crate) tail: i64,
    /// Only lines that are not older than this: 10s, 5m, 3h.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) since: Option<Duration>,
    /// The time before each line.
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Namespace of the pod.
    #[arg(short, long, value_name = "NAME", value_parser = parse_namespace)]
    pub(crate) namespace: Option<String>,
}

/// `events`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EventsArgs {
    /// pod/NAME, or bundle/ID of a supervised bundle; the pods of the namespace if it is left out.
    #[arg(value_name = "pod/NAME")]
    pub(crate) pod: Option<PodReference>,
    /// After that, show what happens.
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Form of the output.
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub(crate) output: Option<EventFormat>,
    /// Namespace of the pods.
    #[arg(short, long, value_name = "NAME", value_parser = parse_namespace)]
    pub(crate) namespace: Option<String>,
    /// The pods of all namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "pod"])]
    pub(crate) all_namespaces: bool,
    /// No heading over the table.
    #[arg(long)]
    pub(crate) no_headers: bool,
}

/// `--output` of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventFormat {
    /// One JSON document; with --watch one a line.
    Json,
    /// One YAML document; with --watch one after the other.
    Yaml,
}

/// `exec pod/NAME`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PodExecArgs {
    /// The pod.
    #[arg(value_name = "pod/NAME")]
    pub(crate) pod: PodReference,
    /// Container of the pod; the first if it is left out.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Pass standard input on; without it the command's is empty.
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// Allocate a terminal.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Namespace of the pod.
    #[arg(short, long, value_name = "NAME", value_parser = parse_namespace)]
    pub(crate) namespace: Option<String>,
    /// The command with its arguments, after --.
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub(crate) command: Vec<String>,
}

/// `restart`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RestartArgs {
    /// pod/NAME, or bundle/ID of a supervised bundle.
    #[arg(value_name = "pod/NAME", required = true)]
    pub(crate) pod: Vec<String>,
    /// Container of the pod; all if it is left out.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Namespace of the pod.
    #[arg(short, long, value_name = "NAME", value_parser = parse_namespace)]
    pub(crate) namespace: Option<String>,
}

/// A duration as Go reads it: `90s`, `1h30m`, `1.5h`, `300ms`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a number and a unit, as in 10s, 5m or 1h30m".to_owned();
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        seconds += number.parse::<f64>().map_err(|_error| wrong())? * unit;
        rest = after;
    }
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if text.is_empty() || duration.is_zero() { Err(wrong()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, milliseconds) in [("10s", 10_000), ("1h30m", 5_400_000), ("1.5m", 90_000), ("300ms", 300)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "s", "5x", "-5s", "0s", "1.2.3s", "5 s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
