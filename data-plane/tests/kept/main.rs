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
    boto3 = "boto3",
}

fn replay(client: &str) {
    let recording = recording::Recording::read(&recordings().join(format!("{client}.jsonl")));
    for session in &recording.sessions {
        println!("{} {} over {}", recording.client, recording.version, session.scheme);
        replay::play(session);
    }
}

#[test]
fn every_recording_is_played() {
    let files = std::fs::read_dir(recordings()).unwrap().map(|entry| entry.unwrap().path());
    let found: BTreeSet<String> =
        files.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(found, CLIENTS.iter().map(|name| (*name).to_owned()).collect());
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
