//! What commands print: text for people, or JSON for scripts. Results go to stdout, everything else to stderr.

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};

/// How a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// JSON or text.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether JSON was asked for.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// A line of the result, on stdout.
    pub fn line(self, text: &str, value: &Value) -> Outcome<()> {
        let mut out = io::stdout().lock();
        let written = if self.json { writeln!(out, "{value}") } else { writeln!(out, "{text}") };
        written.map_err(|error| Failure::io(&"stdout", &error))
    }

    /// A result of several fields, on stdout.
    pub fn fields(self, value: &Value) -> Outcome<()> {
        let mut text = String::new();
        render(&mut text, value, 0);
        self.line(text.trim_end(), value)
    }

    /// What became of the data when stdout is taken by the data itself: on stderr.
    pub fn note(self, text: &str, value: &Value) {
        if self.json {
            eprintln!("{value}");
        } else {
            eprintln!("{text}");
        }
    }

    /// Prints a failure and gives the exit code.
    pub fn finish(self, result: Outcome<()>) -> ExitCode {
        let Err(failure) = result else { return ExitCode::SUCCESS };
        let exit = failure.exit();
        if self.json {
            let (message, help) = (failure.what(), failure.advice());
            eprintln!(
                "{}",
                json!({"error": exit.word(), "exit": exit as u8, "message": message, "help": help})
            );
        } else {
            eprintln!("sealgate: {}", printable(&failure.to_string()));
        }
        ExitCode::from(exit as u8)
    }
}

/// Text without what a terminal would act on: keys and answers are others' words.
pub fn printable(text: &str) -> String {
    let safe = |c: char| c == '\n' || !c.is_control();
    if text.chars().all(safe) {
        return text.to_owned();
    }
    text.chars().map(|c| if safe(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

/// A key on a line of its own: line ends are escaped too.
pub fn one_line(text: &str) -> String {
    printable(text).replace('\n', "\\n")
}

fn render(out: &mut String, value: &Value, depth: usize) {
    let Value::Object(fields) = value else {
        out.push_str(&format!("{:indent$}{}\n", "", scalar(value), indent = depth * 2));
        return;
    };
    for (name, value) in fields {
        let indent = depth * 2;
        match value {
            Value::Null => {}
            Value::Object(inner) if inner.is_empty() => {}
            Value::Object(_) => {
                out.push_str(&format!("{:indent$}{name}:\n", ""));
                render(out, value, depth + 1);
            }
            Value::Array(items) if items.is_empty() => {}
            Value::Array(items) => {
                out.push_str(&format!("{:indent$}{name}:\n", ""));
                for item in items {
                    render(out, item, depth + 1);
                }
            }
            _ => out.push_str(&format!("{:indent$}{name}: {}\n", "", scalar(value))),
        }
    }
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), one_line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn a_key_cannot_drive_the_terminal() {
        assert_eq!(one_line("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable("plain ä"), "plain ä");
    }

    #[test]
    fn fields_become_lines() {
        let mut text = String::new();
        render(&mut text, &json!({"a": 1, "b": {"c": "x"}, "d": ["y"], "e": null}), 0);
        assert_eq!(text, "a: 1\nb:\n  c: x\nd:\n  y\n");
    }
}
