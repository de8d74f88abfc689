//! put, get, ls, mb and presign against a `sealgate dev`, and the offline tools on what it left.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// More than one PUT takes.
const LARGE: usize = (64 << 20) + 12_345;

struct Dev {
    dir: TempDir,
    child: Child,
}

impl Dev {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_sealgate"))
            .args(["dev", "--data", "data", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
        assert!(first.contains("ready"), "{first}");
        Self { dir, child }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealgate"));
        command.env_clear().current_dir(self.dir.path()).args(arguments).args(["--data", "data"]);
        command.output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let text = String::from_utf8(self.ok(&[&["--json"], arguments].concat())).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn fails(&self, arguments: &[&str], code: i32, saying: &str) {
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(saying), "{stderr}");
        assert!(stderr.contains("help:"), "what to do: {stderr}");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// One request to a URL of the form http://address/target.
fn http(method: &str, url: &str, body: &str) -> String {
    let rest = url.strip_prefix("http://").unwrap();
    let (address, target) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} /{target} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn objects_go_and_come_back_and_outlive_the_gateway() {
    let dev = Dev::start();
    std::fs::write(dev.path("large"), content(LARGE)).unwrap();
    std::fs::write(dev.path("small"), "hello").unwrap();
    dev.ok(&["mb", "s3://demo"]);
    let stored = dev.lines(&["put", "large", "s3://demo/a b/ä", "--content-type", "image/png"]);
    assert!(stored[0]["etag"].as_str().unwrap().ends_with("-5"), "five parts of 16 MiB: {stored:?}");
    dev.ok(&["put", "small", "s3://demo/dir/", "--metadata", "Colour=red"]);

    assert_eq!(dev.lines(&["ls"])[0]["bucket"], "demo");
    assert_eq!(
        dev.lines(&["ls", "s3://demo"]),
        [serde_json::json!({"prefix": "a b/"}), serde_json::json!({"prefix": "dir/"})]
    );
    let all = dev.lines(&["ls", "-r", "s3://demo"]);
    assert_eq!((all[0]["key"].as_str(), all[0]["size"].as_u64()), (Some("a b/ä"), Some(LARGE as u64)));
    assert_eq!(all[1]["key"], "dir/small");

    dev.ok(&["get", "s3://demo/a b/ä", "back"]);
    assert!(std::fs::read(dev.path("back")).unwrap() == content(LARGE));
    assert_eq!(dev.ok(&["get", "s3://demo/dir/small", "-"]), b"hello");

    let url = dev.lines(&["presign", "s3://demo/dir/small"])[0]["url"].as_str().unwrap().to_owned();
    let answer = http("GET", &url, "");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    assert!(answer.contains("x-amz-meta-colour: red"), "{answer}");
    assert!(http("PUT", &url, "other").starts_with("HTTP/1.1 403"), "for one method only");
    let url = dev.lines(&["presign", "s3://demo/up load", "--method", "PUT"])[0]["url"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(http("PUT", &url, "by url").starts_with("HTTP/1.1 200"));
    assert_eq!(dev.ok(&["get", "s3://demo/up load", "-"]), b"by url");

    dev.fails(&["get", "s3://demo/nothing", "x"], 3, "NoSuchKey");
    dev.fails(&["put", "small", "s3://nobody/x"], 3, "NoSuchBucket");
    dev.fails(&["get", "s3://demo", "x"], 2, "names a bucket");
    assert!(!dev.path("x").exists());

    let dir = dev.path("");
    let mut dev = dev;
    dev.child.kill().unwrap();
    dev.child.wait().unwrap();
    dev.fails(&["ls"], 6, "http://127.0.0.1");
    dev.ok(&["decrypt", "s3://demo/a b/ä", "-o", "offline"]);
    assert!(std::fs::read(dir.join("offline")).unwrap() == content(LARGE));
    let summary = dev.lines(&["verify"]);
    assert_eq!((summary[0]["objects"].as_u64(), summary[0]["failures"].as_u64()), (Some(3), Some(0)));
}

#[test]
fn damage_on_the_backend_is_an_integrity_failure_and_leaves_no_file() {
    let dev = Dev::start();
    std::fs::write(dev.path("file"), content(300_000)).unwrap();
    dev.ok(&["mb", "s3://demo"]);
    dev.ok(&["put", "file", "s3://demo/key"]);
    let mut pending = vec![dev.path("data/backend/buckets")];
    let mut bodies = Vec::new();
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.metadata().unwrap().len() > 300_000 {
                bodies.push(path);
            }
        }
    }
    let [body] = bodies.as_slice() else { panic!("one body: {bodies:?}") };
    let mut bytes = std::fs::read(body).unwrap();
    bytes[100] ^= 1;
    std::fs::write(body, &bytes).unwrap();
    dev.fails(&["get", "s3://demo/key", "out"], 4, "ObjectIntegrityError");
    bytes[100] ^= 1;
    bytes[200_000] ^= 1;
    std::fs::write(body, &bytes).unwrap();
    dev.fails(&["get", "s3://demo/key", "out"], 4, "ObjectIntegrityError");
    assert!(!dev.path("out").exists());
    dev.fails(&["verify"], 4, "1 of 1 objects");
}

#[test]
fn completions_and_usage() {
    let sealgate = || Command::new(env!("CARGO_BIN_EXE_sealgate"));
    for shell in ["bash", "zsh", "fish"] {
        let output = sealgate().args(["completions", shell]).output().unwrap();
        assert!(
            output.status.success() && String::from_utf8(output.stdout).unwrap().contains("presign"),
            "{shell}"
        );
    }
    for wrong in [&["put", "f", "http://x/y"][..], &["presign", "s3://b/k", "--expires", "604801"], &[]] {
        assert_eq!(sealgate().args(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
}

/// Soft and hard limit of a process's core files.
fn core_limits(process: &str) -> Vec<String> {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

/// The limits of a command that has asked a server something, and waits for the answer.
fn core_limits_of(arguments: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let data = dir.path().join("data");
    std::fs::create_dir_all(data.join("control-plane")).unwrap();
    let files = [
        ("config", format!("[default]\nregion = r\nendpoint_url = {url}\nsealgate_admin_url = {url}\n")),
        ("credentials", "[default]\naws_access_key_id = A\naws_secret_access_key = S\n".to_owned()),
        ("control-plane/admin-token", "0123456789abcdef0123456789abcdef".to_owned()),
    ];
    files.iter().for_each(|(name, text)| std::fs::write(data.join(name), text).unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealgate"));
    command.env_clear().current_dir(dir.path()).args(arguments).args(["--data", "data"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _asked = loop {
        if let Ok(asked) = listener.accept() {
            break asked;
        }
        assert!(child.try_wait().unwrap().is_none(), "{arguments:?} ended before it asked");
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let limits = core_limits(&child.id().to_string());
    child.kill().unwrap();
    child.wait().unwrap();
    limits
}

#[test]
fn no_command_leaves_a_core_file() {
    assert_ne!(core_limits("self"), ["0", "0"], "where core files are forbidden anyway nothing can be seen");
    for arguments in [
        &["put", "data/config", "s3://bucket/key"][..],
        &["get", "s3://bucket/key", "file"],
        &["ls", "s3://bucket"],
        &["export", "--decrypt", "s3://bucket", "out"],
        &["migrate", "--from", "s3://bucket", "--to", "s3://another"],
        &["bucket", "release", "bucket"],
        &["admin", "kms"],
    ] {
        assert_eq!(core_limits_of(arguments), ["0", "0"], "{arguments:?}");
    }
}
