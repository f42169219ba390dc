//! `completion`: a script for a shell, in the words that a user types.

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::verbs::print;

/// Begins the inner names of verbs that both worlds have ([`crate::grammar`]).
const INNER: &str = "pod-";

/// Prints it.
pub(crate) fn completion(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut as_typed(&Cli::command()), "hshim", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Verbs without the inner ones; a verb of both worlds has the flags of both.
fn as_typed(whole: &Command) -> Command {
    let mut typed = Command::new("hshim")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args(whole.get_arguments());
    for verb in whole.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let inner = whole.find_subcommand(format!("{INNER}{}", verb.get_name()));
        let further = inner.into_iter().flat_map(Command::get_arguments).filter_map(|arg| added(arg, verb));
        let further: Vec<Arg> = further.collect();
        typed = typed.subcommand(verb.clone().args(further));
    }
    typed
}

/// A flag that the verb does not have yet.
fn added(arg: &Arg, verb: &Command) -> Option<Arg> {
    let is_known = |known: &Arg| known.get_id() == arg.get_id() || known.get_long() == arg.get_long();
    if arg.is_positional() || verb.get_arguments().any(is_known) {
        return None;
    }
    // Anew: what it conflicts with is not there. clap wants names that last; this process does not.
    let plain =
        Arg::new(arg.get_id().clone()).action(arg.get_action().clone()).long(arg.get_long()?.to_owned().leak() as &'static str);
    Some(arg.get_help().map_or_else(|| plain.clone(), |help| plain.clone().help(help.clone())))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_script_has_the_verbs_and_flags_that_are_typed_in_every_shell() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut as_typed(&Cli::command()), "hshim", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["apply", "image", "grace-period", "keep"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
            for word in ["pod-delete", "enter-identity"] {
                assert!(!script.contains(word), "{shell}: {word}");
            }
        }
    }
}
