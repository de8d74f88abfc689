//! Golden vectors: the format in files, for everyone who writes a reader, and for us, that no byte of it changes.
//!
//! `vectors/*.json` is made here, deterministically, from injected randomness (a unit test: no other build can inject any),
//! and `just vectors` writes it anew. The tests demand that what is made is what lies there, byte for byte, and that the
//! files read back as they say: what opens, opens to that, and what must not fails at the stage that it names. What the
//! deflate library compresses may change with the library: then vectors that it compressed are new, and old ones still open.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod copies;
mod make;
mod model;
mod objects;
pub(crate) mod random;
mod records;
mod refused;
mod verify;

use serde::{Serialize, de::DeserializeOwned};
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(format!("{name}.json"))
}

/// Holds what was made against the file (or writes it, when asked to), and gives what the file says.
fn golden<T: Serialize + DeserializeOwned>(name: &str, made: &T) -> T {
    let mut text = serde_json::to_string_pretty(made).unwrap();
    text.push('\n');
    if std::env::var_os("SEALGATE_WRITE_VECTORS").is_some() {
        std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        std::fs::write(path(name), &text).unwrap();
    }
    let found = std::fs::read_to_string(path(name)).unwrap();
    let differs = text.lines().zip(found.lines()).position(|(made, found)| made != found);
    assert!(
        text == found,
        "vectors/{name}.json differs from line {:?} on: `just vectors`, and say why",
        differs.map(|at| at + 1)
    );
    serde_json::from_str(&found).unwrap()
}

#[test]
fn objects_and_what_is_done_to_them() {
    let mut bodies = make::Bodies::default();
    let made = objects::all(&mut bodies);
    let refused = refused::all(&bodies, &made);
    let copies = copies::all(&made);
    let objects = made.into_values().map(|made| made.vector).collect();
    let set = golden("objects", &model::Objects { objects, refused });
    let bodies = verify::objects(&set);
    verify::copies(&golden("copies", &copies), &set, &bodies);
}

#[test]
fn uploads_and_notes() {
    verify::uploads(&golden("uploads", &records::uploads()));
}

#[test]
fn ik_records_and_cards() {
    verify::ik_records(&golden("ik-records", &records::ik_records()));
}

#[test]
fn hidden_names() {
    verify::names(&golden("names", &records::names()));
}

#[test]
fn sizes() {
    verify::sizes(&golden("sizes", &records::sizes()));
}

#[test]
fn etags() {
    verify::etags(&golden("etags", &records::etags()));
}

#[test]
fn derived_keys() {
    verify::derived(&golden("keys", &records::keys()));
}
