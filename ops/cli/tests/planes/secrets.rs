//! What a node that is stolen can tell: its memory, read from outside while it serves.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::time::SystemTime;

use aws_sigv4::sign::v4::generate_signing_key;

use super::process::Plane;
use super::s3::REGION;
use super::world::{World, identity, until};

/// Bytes read at a time; pieces overlap by more than any needle is long.
const PIECE: usize = 1 << 20;
const OVERLAP: usize = 64;

/// How often each needle lies in the writable memory of a process.
fn count(process: u32, needles: &[&[u8]]) -> Vec<usize> {
    let mut counts = vec![0; needles.len()];
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    for line in fs::read_to_string(format!("/proc/{process}/maps")).unwrap().lines() {
        let mut columns = line.split_whitespace();
        let (range, rights) = (columns.next().unwrap(), columns.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let (mut at, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut piece = vec![0; PIECE];
        while at < to {
            let wanted = usize::try_from(to - at).unwrap_or(PIECE).min(PIECE);
            // A mapping may have gone since it was listed.
            let Ok(got) = memory.read_at(&mut piece[..wanted], at) else { break };
            for (count, needle) in counts.iter_mut().zip(needles) {
                *count += piece[..got].windows(needle.len()).filter(|window| window == needle).count();
            }
            if got < wanted || wanted < PIECE {
                break;
            }
            at += (PIECE - OVERLAP) as u64;
        }
    }
    counts
}

#[actix_rt::test]
async fn a_nodes_memory_has_signing_keys_and_no_client_secret() {
    let world = World::new();
    let control = world.control_process().await;
    let client = control.tenant("tests").await;
    let endpoint = format!("https://{}", control.plane.address);
    let file = world.node_file("one", &endpoint, &identity(&control.issue("one").await));
    let node = Plane::node(&file).await;
    let client = client.at(node.address);
    until("a config", async || client.send("GET", "/", "").await.status == 200).await;
    client.put("/bucket", "").await.ok();
    client.put("/bucket/object", "text").await.ok();
    assert_eq!(client.get("/bucket/object").await.ok().body, "text");

    let today = generate_signing_key(&client.secret_key, SystemTime::now(), REGION, "s3");
    let needles: [&[u8]; 3] = [client.secret_key.as_bytes(), today.as_ref(), client.access_key.as_bytes()];
    let counts = count(node.id(), &needles);
    assert!(counts[1] > 0 && counts[2] > 0, "the search does not find what is there: {counts:?}");
    assert_eq!(counts[0], 0, "the client's secret is in the node's memory");
}
