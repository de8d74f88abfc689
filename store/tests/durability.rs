//! An acknowledged transaction survives `kill -9`, and the directory belongs to one process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    env,
    io::{BufRead, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use sealgate_store::{Op, SledStore, Store};

const CHILD: &str = "SEALGATE_TEST_WRITER_DIRECTORY";

/// Not a test of its own: the child that the next test starts, writes forever and prints each acknowledgement.
#[test]
fn writer() {
    let Some(directory) = env::var_os(CHILD) else { return };
    let store = SledStore::open(&PathBuf::from(directory)).unwrap();
    let mut out = std::io::stdout().lock();
    for i in 0_u64.. {
        let ops = vec![
            Op::Put(format!("left/{i}"), i.to_be_bytes().to_vec()),
            Op::Put(format!("right/{i}"), vec![0; 900]),
        ];
        let revision = store.txn(&[], ops).unwrap();
        writeln!(out, "\nack {i} {revision}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut next = 0;
    for round in 1..=3_u64 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(CHILD, dir.path().join("store").join(round.to_string()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acks = lines.map_while(Result::ok).filter_map(|line| {
            let mut words = line.strip_prefix("ack ")?.split(' ').map(|word| word.parse::<u64>().unwrap());
            Some((words.next()?, words.next()?))
        });
        let mut acknowledged = Vec::new();
        for ack in acks {
            acknowledged.push(ack);
            // A different moment each round, and the pipe is read to its end: acks may still be in it.
            if acknowledged.len() as u64 == 20 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let store = SledStore::open(&dir.path().join("store").join(round.to_string())).unwrap();
        assert!(acknowledged.len() as u64 >= 20 * round);
        for (i, revision) in &acknowledged {
            let left = store.get(&format!("left/{i}")).unwrap().expect("acknowledged, then lost");
            let right = store.get(&format!("right/{i}")).unwrap().expect("half of a transaction was lost");
            assert_eq!((left.revision, right.revision), (*revision, *revision));
        }
        assert_eq!(store.scan("left/").unwrap().len(), store.scan("right/").unwrap().len(), "all or nothing");
        assert!(store.revision() >= acknowledged.last().unwrap().1);
        next += acknowledged.len();
    }
    assert!(next >= 120);
}

#[test]
fn reopening_keeps_revisions_and_raises_the_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let first = SledStore::open(&path).unwrap();
    assert_eq!(first.epoch(), 1);
    first.txn(&[], vec![Op::Put("a".to_owned(), vec![1])]).unwrap();
    assert!(SledStore::open(&path).is_err(), "a second process would be a second writer");
    drop(first);
    let second = SledStore::open(&path).unwrap();
    assert_eq!((second.epoch(), second.revision()), (2, 1));
    assert_eq!(second.txn(&[], vec![Op::Put("b".to_owned(), vec![1])]).unwrap(), 2);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(SledStore::open(dir.path()).unwrap());
    let db = sled::open(dir.path()).unwrap();
    db.insert(b"m/schema", &[2]).unwrap();
    db.flush().unwrap();
    drop(db);
    let refused = SledStore::open(dir.path()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("version 2"), "{refused}");
}
