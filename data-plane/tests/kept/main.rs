//! Kept requests: what real clients really send, recorded once (docs/howto/record-a-client.md), is played to the real front
//! end over a socket. Who breaks a client sees that client's test fail, without having it installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sealgate_data_plane::clock::SystemClock;

mod head;
mod http;
mod log;
mod owner;
mod recording;
mod replay;
mod rig;
mod sigv4;

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

macro_rules! clients {
    ($($test:ident = $file:literal),+ $(,)?) => {
        const CLIENTS: &[&str] = &[$($file),+];
        $(
            #[test]
            fn $test() {
                replay($file);
            }
        )+
    };
}

clients! {
    aws_cli_v1 = "aws-cli-v1",
    aws_cli_v2 = "aws-cli-v2-debian13",
    aws_sdk_go_v1 = "aws-sdk-go-v1",
    aws_sdk_go_v2 = "aws-sdk-go-v2",
    aws_sdk_java_v2 = "aws-sdk-java-v2-sync",
    aws_sdk_java_v2_crt = "aws-sdk-java-v2-crt",
    aws_sdk_java_v2_netty = "aws-sdk-java-v2-netty",
    aws_sdk_js_v3 = "aws-sdk-js-v3",
    aws_sdk_ruby = "aws-sdk-ruby",
    aws_sdk_rust = "aws-sdk-rust",
    boto3 = "boto3",
    duckdb = "duckdb",
    hadoop_s3a = "hadoop-s3a",
    litestream = "litestream",
    mc = "mc",
    minio_go = "minio-go",
    minio_java = "minio-java",
    minio_js = "minio-js",
    minio_py = "minio-py",
    obstore = "obstore",
    pyarrow = "pyarrow",
    rclone = "rclone",
    restic = "restic-debian13",
    s3cmd = "s3cmd",
    s3fs = "s3fs",
    s5cmd = "s5cmd",
}

/// What a reviewer can read, and a checkout can bear.
const MOST_BYTES: u64 = 100 << 10;
const MOST_BYTES_IN_ALL: u64 = 2 << 20;

fn replay(client: &str) {
    let recording = recording::Recording::read(&recordings().join(format!("{client}.jsonl")));
    for session in &recording.sessions {
        println!("{} {} over {}", recording.client, recording.version, session.scheme);
        replay::play(session);
    }
}

#[test]
fn every_recording_is_played_and_small() {
    let (mut found, mut in_all) = (BTreeSet::new(), 0);
    for entry in std::fs::read_dir(recordings()).unwrap() {
        let path = entry.unwrap().path();
        let length = path.metadata().unwrap().len();
        assert!(length <= MOST_BYTES, "{} has {length} bytes: record fewer scenarios", path.display());
        in_all += length;
        found.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
    }
    assert_eq!(found, CLIENTS.iter().map(|name| (*name).to_owned()).collect());
    assert!(in_all <= MOST_BYTES_IN_ALL, "{in_all} bytes");
}

/// What clients are recorded against: the same front end, until standard input ends.
#[test]
#[ignore = "a server: ops/compat/clients/record.py starts it"]
fn serve() {
    log::gather(true);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let days: Vec<String> = [now - 86_400, now, now + 86_400].map(owner::day).to_vec();
    let rig = rig::Rig::start(SystemClock::shared(), &days);
    owner::turn_on_versions(&rig, now);
    println!("listening {}", rig.address);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
