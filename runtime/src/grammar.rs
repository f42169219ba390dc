//! One grammar for two worlds: which meaning of a shared verb is wanted.
//!
//! `exec`, `delete` and `events` exist in the OCI runtime and for the operator. A first operand that contains `/` (`pod/NAME`)
//! selects the operator's meaning, any other the OCI meaning; `delete pods NAME` is the operator's too, because runc's takes one
//! operand. Without an operand it is the operator's when that stands alone (`events -w`, `delete --filename F`). The verb is then replaced by its operator name, so that clap sees two different verbs.

use std::ffi::OsString;

use clap::ArgAction;

/// A verb of both worlds and the name of its operator meaning.
struct SharedVerb {
    verb: &'static str,
    operator: &'static str,
}

const SHARED: [SharedVerb; 3] = [
    SharedVerb { verb: "exec", operator: "pod-exec" },
    SharedVerb { verb: "delete", operator: "pod-delete" },
    SharedVerb { verb: "events", operator: "pod-events" },
];

/// Which world a command line belongs to; decides the exit code of a wrong usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum World {
    /// runc's meaning, runc's exit codes.
    Oci,
    /// kubectl's meaning.
    Operator,
}

/// A command line with its verb settled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// For clap.
    pub(crate) args: Vec<OsString>,
    /// Of the verb.
    pub(crate) world: World,
}

/// Settles the verb of `args` (with the program's name first) by the flags of the whole command line.
pub(crate) fn resolve(mut args: Vec<OsString>, cli: &clap::Command) -> Resolved {
    let Some(verb_at) = first_operand(&args, 1, &[cli]) else {
        return Resolved { args, world: World::Oci };
    };
    let verb = args.get(verb_at).and_then(|verb| verb.to_str()).unwrap_or_default().to_owned();
    if let Some(shared) = SHARED.iter().find(|shared| shared.verb == verb) {
        let meanings: Vec<&clap::Command> =
            cli.get_subcommands().filter(|c| c.get_name() == shared.verb || c.get_name() == shared.operator).collect();
        let has = |name: &str| meanings.iter().any(|meaning| meaning.get_name() == name);
        let operator = match first_operand(&args, verb_at + 1, &meanings) {
            Some(at) => {
                args.get(at).is_some_and(|operand| operand.to_string_lossy().contains('/')) || names_pods(&args, at, &verb)
            }
            None => !asks_for_help(&args, verb_at) || !has(shared.verb),
        };
        if operator && has(shared.operator) {
            if let Some(slot) = args.get_mut(verb_at) {
                *slot = shared.operator.into();
            }
            return Resolved { args, world: World::Operator };
        }
        return Resolved { args, world: World::Oci };
    }
    let world = if crate::cli::is_oci_verb(&verb) { World::Oci } else { World::Operator };
    Resolved { args, world }
}

/// A text about the command line, with the verbs as the user types them.
pub(crate) fn as_typed(text: &str) -> String {
    SHARED.iter().fold(text.to_owned(), |text, shared| {
        text.replace(&format!("hshim {}", shared.operator), &format!("hshim {}", shared.verb))
    })
}

/// `delete pods NAME`.
fn names_pods(args: &[OsString], operand: usize, verb: &str) -> bool {
    let word = args.get(operand).and_then(|word| word.to_str()).unwrap_or_default();
    let is_followed = args.get(operand + 1).is_some_and(|next| !next.to_string_lossy().starts_with('-'));
    verb == "delete" && crate::operator::pod_name::is_resource(word) && is_followed
}

fn asks_for_help(args: &[OsString], verb_at: usize) -> bool {
    args.iter().skip(verb_at + 1).any(|arg| arg == "-h" || arg == "--help")
}

/// Index of the first argument from `start` on that is neither a flag nor the value of one, by the flags of `commands`.
fn first_operand(args: &[OsString], start: usize, commands: &[&clap::Command]) -> Option<usize> {
    let mut at = start;
    while let Some(arg) = args.get(at) {
        let text = arg.to_string_lossy();
        match text.strip_prefix("--") {
            Some("") => return args.get(at + 1).map(|_operand| at + 1),
            Some(long) => at += if !long.contains('=') && takes_value(commands, |a| a.get_long() == Some(long)) { 2 } else { 1 },
            None => match text.strip_prefix('-') {
                Some(cluster) if !cluster.is_empty() => at += if value_follows(commands, cluster) { 2 } else { 1 },
                Some(_) | None => return Some(at),
            },
        }
    }
    None
}

/// Whether a cluster of short flags (`-it`, `-u0`, `-u`) ends with one whose value is the next argument.
fn value_follows(commands: &[&clap::Command], cluster: &str) -> bool {
    let position = cluster.chars().position(|short| takes_value(commands, |a| a.get_short() == Some(short)));
    position.is_some_and(|position| position + 1 == cluster.chars().count())
}

fn takes_value(commands: &[&clap::Command], is_meant: impl Fn(&clap::Arg) -> bool) -> bool {
    let takes = |arg: &clap::Arg| is_meant(arg) && matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    commands.iter().flat_map(|command| command.get_arguments()).any(takes)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn resolved(line: &str) -> Resolved {
        resolve(line.split_whitespace().map(OsString::from).collect(), &Cli::command())
    }

    #[test]
    fn a_container_id_selects_the_meaning_of_the_runtime() {
        for line in [
            "hshim exec --cwd /tmp c1 ls /",
            "hshim --root /run/x delete -f c1",
            "hshim exec -u 0:0 c1 pod/x",
            "hshim exec -- c1 a/b",
        ] {
            let resolved = resolved(line);
            assert_eq!(resolved.world, World::Oci, "{line}");
            assert_eq!(resolved.args, line.split_whitespace().collect::<Vec<_>>(), "{line}");
        }
    }

    #[test]
    fn a_slash_or_the_word_pods_selects_the_meaning_of_the_operator() {
        for line in [
            "hshim delete pod/x",
            "hshim delete --grace-period 3 pod/x pod/y",
            "hshim delete pods x",
            "hshim delete po x y --wait=false",
            "hshim delete --filename f",
            "hshim delete",
        ] {
            let resolved = resolved(line);
            assert_eq!(resolved.world, World::Operator, "{line}");
            assert!(resolved.args.contains(&"pod-delete".into()), "{line}");
        }
        for line in ["hshim delete pods", "hshim delete -f pod", "hshim delete --help"] {
            assert_eq!(resolved(line).world, World::Oci, "{line}");
        }
    }

    #[test]
    fn verbs_of_one_world_belong_to_it() {
        assert_eq!(resolved("hshim --log f --log-format json create -b /x c1").world, World::Oci);
        assert_eq!(resolved("hshim get pods").world, World::Operator);
    }

    #[test]
    fn the_flags_of_the_verb_are_known_by_their_values() {
        let cli = Cli::command();
        let exec: Vec<&clap::Command> = cli.get_subcommands().filter(|c| c.get_name() == "exec").collect();
        let args: Vec<OsString> = ["-te", "A=b/c", "--cwd", "/x", "--env=D=/", "-u", "0", "pod/x"].map(Into::into).into();
        assert_eq!(first_operand(&args, 0, &exec), Some(7));
    }
}
