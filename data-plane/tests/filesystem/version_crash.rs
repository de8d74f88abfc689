//! Processes that die while versions come and go: what was acknowledged is there, what was in flight happened or did not, and
//! nothing else lies around.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{Backend as _, Conditions, VersionListOptions};

use super::support::{BUCKET, bodies, fresh, pending, put, run};
use super::versions::{all, get_version, listed, older, set_versioning};

/// What a round does, to one of three keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Put,
    Delete,
    /// The version at this place, the newest first, modulo how many there are.
    DeleteVersion(usize),
}

fn deed(round: usize) -> (&'static str, bool, Deed) {
    let deed = match round % 7 {
        2 => Deed::Delete,
        4 => Deed::DeleteVersion(0),
        6 => Deed::DeleteVersion(round / 7),
        _ => Deed::Put,
    };
    (["a", "d/b", "d/c"][round % 3], (round / 15).is_multiple_of(2), deed)
}

/// A key's versions, the newest first: whether it is the null version, and the round that wrote it (none: a marker).
type Versions = Vec<(bool, Option<usize>)>;

fn happened(mut versions: Versions, round: usize) -> Versions {
    let (_, enabled, deed) = deed(round);
    match deed {
        Deed::DeleteVersion(_) if versions.is_empty() => {}
        Deed::DeleteVersion(at) => drop(versions.remove(at % versions.len())),
        Deed::Put | Deed::Delete => {
            if !enabled {
                versions.retain(|(null, _)| !null);
            }
            versions.insert(0, (!enabled, (deed == Deed::Put).then_some(round)));
        }
    }
    versions
}

/// The child of the next test.
#[test]
#[ignore = "run by kill_9_leaves_the_old_versions_or_the_new_ones as a process of its own"]
fn child_that_makes_versions_until_it_is_killed() {
    let Ok(root) = std::env::var("SEALGATE_TEST_CRASH_ROOT") else { return };
    let start: usize = std::env::var("SEALGATE_TEST_CRASH_ROUND").unwrap().parse().unwrap();
    let backend = FsBackend::open(root.into()).unwrap();
    run(async {
        for round in start.. {
            let (key, enabled, deed) = deed(round);
            set_versioning(&backend, if enabled { "Enabled" } else { "Suspended" }).await;
            match deed {
                Deed::Put => drop(put(&backend, key, round.to_string()).await),
                Deed::Delete => drop(backend.delete(BUCKET, key, None, Conditions::default()).await.unwrap()),
                Deed::DeleteVersion(at) => {
                    let options = VersionListOptions { prefix: key.to_owned(), ..all(1000) };
                    let versions = listed(&backend, options).await;
                    if !versions.is_empty() {
                        let id = &versions[at % versions.len()].version_id;
                        backend.delete(BUCKET, key, Some(id), Conditions::default()).await.unwrap();
                    }
                }
            }
            let mut out = std::io::stdout().lock();
            writeln!(out, "ack {round}").unwrap();
            out.flush().unwrap();
        }
    });
}

#[test]
fn kill_9_leaves_the_old_versions_or_the_new_ones() {
    let (_directory, root, _backend) = fresh();
    let mut expected = std::collections::BTreeMap::<&str, Versions>::new();
    let mut round = 0;
    for lines in [1, 3, 8, 2, 13, 5, 21, 4, 9, 16] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "filesystem::version_crash::child_that_makes_versions_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env("SEALGATE_TEST_CRASH_ROOT", &root)
            .env("SEALGATE_TEST_CRASH_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        while acknowledged < lines {
            acknowledged += usize::from(out.next().unwrap().unwrap().contains("ack "));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said between the last line read and its death counts, too.
        acknowledged += out.map_while(Result::ok).filter(|line| line.starts_with("ack ")).count();
        for done in round..round + acknowledged {
            let versions = expected.entry(deed(done).0).or_default();
            *versions = happened(std::mem::take(versions), done);
        }
        round += acknowledged;
        let in_flight = deed(round).0;
        let backend = FsBackend::open(root.clone()).unwrap();
        run(async {
            let (mut stored, mut history) = (0, 0);
            for key in ["a", "d/b", "d/c"] {
                let options = VersionListOptions { prefix: key.to_owned(), ..all(1000) };
                let mut found = Versions::new();
                for entry in listed(&backend, options).await {
                    let written = match entry.delete_marker {
                        true => None,
                        false => {
                            let body = get_version(&backend, key, &entry.version_id).await.unwrap();
                            Some(String::from_utf8(body.to_vec()).unwrap().parse().unwrap())
                        }
                    };
                    stored += usize::from(written.is_some());
                    history += usize::from(!entry.is_latest);
                    found.push((entry.version_id == "null", written));
                }
                let before = expected.entry(key).or_default();
                if key == in_flight && found == happened(before.clone(), round) {
                    before.clone_from(&found);
                    round += 1;
                }
                assert_eq!(found, *before, "{key}, {in_flight} in flight, round {round}");
            }
            assert_eq!(
                (bodies(&root), older(&root), pending(&root)),
                (stored, history, 0),
                "nothing lies around"
            );
        });
    }
}
