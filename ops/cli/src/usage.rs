//! The command line, and what is wrong with it: in clap's words for people, as any other failure for scripts.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::failure::Failure;
use crate::output::Output;

/// The parsed command line, or how the process ends: help and version are done with 0.
///
/// # Errors
/// The exit code, when all is said.
pub fn parse<A: Parser>() -> Result<A, ExitCode> {
    A::try_parse().map_err(|error| {
        if error.use_stderr() && asks_for_json(env::args_os()) {
            return Output::new(true).finish(Err(failure(&error.render().to_string())));
        }
        // Nobody is left to be told when this fails.
        let _ = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
    })
}

/// Whether `--json` is among the options. A line that cannot be parsed cannot be asked for it.
fn asks_for_json(words: impl Iterator<Item = OsString>) -> bool {
    words.skip(1).take_while(|word| word != "--").any(|word| word == "--json")
}

/// clap's text: what is wrong, then what could be.
fn failure(text: &str) -> Failure {
    let text = text.trim();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    match text.split_once("\n\n") {
        Some((what, help)) => Failure::usage(what).hint(help),
        None => Failure::usage(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_asked_for_by_an_option_only() {
        let asks = |line: &str| asks_for_json(line.split(' ').map(OsString::from));
        assert!(asks("sealgate --json put") && asks("sealgate put --nonsense --json"));
        assert!(!asks("sealgate put -- --json") && !asks("--json put") && !asks("sealgate put --jsonx"));
    }

    #[test]
    fn what_is_wrong_stands_before_what_could_be() {
        let failure = failure("error: no such thing\n  <IT>\n\nUsage: sealgate <IT>\n\nFor more\n");
        assert_eq!(
            (failure.what(), failure.advice()),
            ("no such thing\n  <IT>", Some("Usage: sealgate <IT>\n\nFor more"))
        );
    }
}
