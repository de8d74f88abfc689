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
mod sigv2;
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
    aws_cli_v2_debian12 = "aws-cli-v2-debian12",
    aws_sdk_go_v1 = "aws-sdk-go-v1",
    aws_sdk_go_v2 = "aws-sdk-go-v2",
    aws_sdk_java_v2 = "aws-sdk-java-v2-sync",
    aws_sdk_java_v2_crt = "aws-sdk-java-v2-crt",
    aws_sdk_java_v2_netty = "aws-sdk-java-v2-netty",
    aws_sdk_java_v2_transfer_manager = "aws-sdk-java-v2-transfer-manager",
    aws_sdk_js_v2 = "aws-sdk-js-v2",
    aws_sdk_js_v3 = "aws-sdk-js-v3",
    aws_sdk_ruby = "aws-sdk-ruby",
    aws_sdk_rust = "aws-sdk-rust",
    boto3 = "boto3",
    deltalake = "deltalake",
    docker_registry = "docker-registry",
    duckdb = "duckdb",
    duplicity = "duplicity",
    hadoop_s3a = "hadoop-s3a",
    libs3 = "libs3",
    litestream = "litestream",
    mc = "mc",
    minio_go = "minio-go",
    minio_java = "minio-java",
    minio_js = "minio-js",
    minio_py = "minio-py",
    obstore = "obstore",
    opendal = "opendal",
    pgbackrest = "pgbackrest",
    polars = "polars",
    pyarrow = "pyarrow",
    pyiceberg = "pyiceberg",
    rclone = "rclone",
    rclone_tree = "rclone-tree",
    restic = "restic-debian13",
    restic_debian12 = "restic-debian12",
    s3cmd = "s3cmd",
    s3cmd_sigv2 = "s3cmd-sigv2",
    s3fs = "s3fs",
    s3fs_fuse = "s3fs-fuse",
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

/// A client that the gateway is tried with is one that the fast tests know: whoever adds its driver records it.
#[test]
fn every_client_with_a_driver_has_a_recording() {
    let drivers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/compat/clients/drivers");
    let clients = std::fs::read_dir(drivers).unwrap().map(|entry| entry.unwrap().path());
    let names = clients
        .filter(|path| path.join("client.toml").exists())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    let missing: BTreeSet<String> =
        names.filter(|name| !recordings().join(format!("{name}.jsonl")).exists()).collect();
    assert!(missing.is_empty(), "without a recording (docs/howto/record-a-client.md): {missing:?}");
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
