//! `sealgate dev` as a process: what it prints, what it asks of the system, and a directory that lost a part. And what every command
//! says of a command line that cannot be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sealgate");

/// A running `sealgate dev`.
struct Dev {
    child: Child,
    /// What it printed with `--json`.
    ready: Value,
}

impl Dev {
    fn start(data: &Path) -> Self {
        Self::begun(Command::new(PROGRAM), data)
    }

    fn begun(mut command: Command, data: &Path) -> Self {
        command.args(["--json", "dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data"]);
        let mut child =
            command.arg(data).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|_| {
            let mut said = String::new();
            child.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
            panic!("no JSON: {line:?}, {said}")
        });
        Self { child, ready }
    }

    /// SIGTERM; what it wrote to stderr, a JSON document a line.
    fn end(mut self) -> Vec<Value> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut said = String::new();
        self.child.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success(), "{said}");
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{said}"))).collect()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(data: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).env_clear().args(arguments).arg("--data").arg(data).output().unwrap()
}

/// The one document on stderr of a command that failed; nothing is on stdout.
fn failure(output: &Output) -> Value {
    let (out, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(out, "", "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}"));
    assert_eq!(output.status.code().map(Value::from), Some(told["exit"].clone()), "{told}");
    told
}

#[test]
fn with_json_a_command_line_that_cannot_be_is_told_in_json() {
    for line in [
        &["--json"][..],
        &["--json", "put"],
        &["put", "file", "s3://bucket/key", "--no-such-option", "--json"],
        &["--json", "presign", "--expires", "soon", "s3://bucket/key"],
        &["admin", "--json"],
        &["dev", "--json", "--tls-key", "key"],
        &["--json", "no-such-command"],
    ] {
        let told = failure(&Command::new(PROGRAM).env_clear().args(line).output().unwrap());
        assert_eq!((&told["error"], &told["exit"]), (&"usage".into(), &2.into()), "{line:?}: {told}");
        let message = told["message"].as_str().unwrap();
        assert!(!message.is_empty() && !message.starts_with("error:"), "{line:?}: {told}");
        assert!(told["help"].as_str().unwrap().contains("--help"), "{line:?}: {told}");
    }
    let people = Command::new(PROGRAM).env_clear().arg("put").output().unwrap();
    assert_eq!(people.status.code(), Some(2));
    assert!(String::from_utf8(people.stderr).unwrap().contains("Usage: sealgate put"));
    for asked in ["--help", "--version"] {
        let output = Command::new(PROGRAM).env_clear().args(["--json", asked]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty(), "{asked}");
    }
}

#[test]
fn a_dev_tells_scripts_where_everything_is_and_why_it_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let dev = Dev::start(&data);
    for file in ["credentials", "config", "ciphertext", "recovery_card", "admin_token"] {
        assert!(Path::new(dev.ready[file].as_str().unwrap()).exists(), "{file}: {}", dev.ready);
    }
    for url in ["endpoint", "admin", "health", "ready", "metrics"] {
        assert!(dev.ready[url].as_str().unwrap().starts_with("http://127.0.0.1:"), "{url}: {}", dev.ready);
    }
    let second = failure(&run(&data, &["--json", "dev", "--listen", "127.0.0.1:0"]));
    assert_eq!(second["error"], "failure");
    assert!(second["message"].as_str().unwrap().contains("another `sealgate dev` runs over"), "{second}");
    let said = dev.end();
    assert!(said.iter().any(|line| line["draining"] == true), "{said:?}");

    let beyond =
        failure(&run(&data, &["--json", "dev", "--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0"]));
    assert_eq!((&beyond["error"], &beyond["exit"]), (&"usage".into(), &2.into()), "{beyond}");
    assert!(beyond["help"].as_str().unwrap().contains("--tls-certificate"), "{beyond}");
}

#[test]
fn a_dev_raises_its_limit_of_open_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("prlimit");
    command.args(["--nofile=200:1500", PROGRAM]);
    let dev = Dev::begun(command, &dir.path().join("data"));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", dev.child.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("1500"), "{line}");
}

#[test]
fn a_dev_whose_control_plane_is_gone_makes_new_credentials_and_keeps_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let made = |name: &str| String::from_utf8(run(&data, &["mb", name]).stderr).unwrap();
    let read = |name: &str| std::fs::read_to_string(data.join(name)).unwrap();
    let dev = Dev::start(&data);
    let text = made("s3://first");
    assert!(text.contains("keep the card below"), "{text}");
    let (credentials, card) = (read("credentials"), read("recovery"));
    assert!(card.contains("first"), "{card}");
    dev.end();

    // Nothing is lost: nothing is made.
    let dev = Dev::start(&data);
    assert_eq!(read("credentials"), credentials);
    let said = dev.end();
    assert!(!said.iter().any(|line| line.to_string().contains("credential")), "{said:?}");

    std::fs::remove_dir_all(data.join("control-plane")).unwrap();
    let dev = Dev::start(&data);
    assert_ne!(read("credentials"), credentials);
    assert_eq!((read("credentials.before-1"), read("recovery.before-1")), (credentials, card));
    let listed = run(&data, &["ls"]);
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    assert!(run(&data, &["mb", "s3://second"]).status.success());
    let said = dev.end();
    assert!(said.iter().any(|line| line.to_string().contains("does not know the credential")), "{said:?}");
}

#[test]
fn whoever_makes_a_bucket_as_an_operator_is_shown_its_recovery_card() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let dev = Dev::start(&data);
    let output = run(&data, &["mb", "s3://first"]);
    let card = String::from_utf8(output.stdout).unwrap();
    let card = card.strip_prefix("made s3://first\n").unwrap_or_else(|| panic!("{card}"));
    let card: sealgate_envelope::RecoveryCard = card.parse().unwrap();
    assert_eq!((card.buckets().len(), card.buckets()[0].name.as_str(), card.keks().len()), (1, "first", 1));

    let output = run(&data, &["--json", "mb", "s3://second"]);
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    let card: sealgate_envelope::RecoveryCard = made["recovery_card"].as_str().unwrap().parse().unwrap();
    assert_eq!((made["bucket"].as_str(), card.buckets()[0].name.as_str()), (Some("second"), "second"));
    assert_eq!(output.stderr, b"");

    // A client who knows nothing of the control plane makes buckets all the same, and so does one who cannot reach it.
    let client = || {
        let mut command = Command::new(PROGRAM);
        command.env_clear().env("AWS_SHARED_CREDENTIALS_FILE", data.join("credentials"));
        command.env("AWS_CONFIG_FILE", data.join("config"));
        command
    };
    let output = client().args(["mb", "s3://third"]).output().unwrap();
    assert_eq!((output.stdout, output.stderr), (b"made s3://third\n".to_vec(), Vec::new()));
    let away = [
        "--admin-url",
        "http://127.0.0.1:1",
        "--admin-token-file",
        dev.ready["admin_token"].as_str().unwrap(),
    ];
    let output = client().args(["mb", "s3://fourth"]).args(away).output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"made s3://fourth\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("recovery card is not shown"), "it says so");
}
