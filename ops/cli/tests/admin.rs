//! `sealgate admin kms` against an admin API that says what a test wants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};

/// Runs the command against an API that gives this answer; gives the request's first line too.
fn run(answer: &str, json: bool) -> (Output, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    );
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            request.extend(byte);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap().lines().next().unwrap().to_owned()
    });
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealgate"));
    command
        .args(["admin", "kms", "--admin-url", &format!("http://{address}"), "--admin-token-file"])
        .arg(&token);
    if json {
        command.arg("--json");
    }
    (command.output().unwrap(), server.join().unwrap())
}

const WELL: &str = r##"{"providers":[{"provider":"local","healthy":true,"addresses":[{"address":"#1","preferred":true,
    "standby":false,"breakers":[],"last_success_seconds":1}],"in_flight":0,"waiting":0,"keys_in_memory":2,
    "keks_unproved":[],"examined":{"by":"ready","error":null}}]}"##;

#[test]
fn healthy_providers_are_shown_and_it_ends_with_0() {
    let (output, request) = run(WELL, false);
    assert_eq!((output.status.code(), request.as_str()), (Some(0), "GET /v1/kms HTTP/1.1"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("local     healthy  #1       preferred  closed"), "{text}");
    assert!(output.stderr.is_empty());
}

#[test]
fn one_that_is_not_makes_it_end_with_6_and_is_shown_all_the_same() {
    let ill = WELL.replace(r#""healthy":true"#, r#""healthy":false"#);
    let (output, _) = run(&ill, false);
    assert_eq!(output.status.code(), Some(6));
    assert!(String::from_utf8(output.stdout).unwrap().contains("degraded"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("a KMS is not healthy: local"));

    let (output, _) = run(&ill, true);
    assert_eq!(output.status.code(), Some(6));
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["providers"][0]["provider"], "local");
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&error["error"], &error["exit"]), (&"unavailable".into(), &6.into()));
}
