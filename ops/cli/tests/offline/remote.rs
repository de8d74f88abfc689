//! The same objects on an S3 server, fetched with the backend's own credentials.

use std::collections::BTreeMap;

use sealgate_envelope::hidden;

use crate::server::Server;
use crate::world::{EMPTY, MARKER, PARTS, SINGLE, SIZES, Stored, World, plaintext};

fn objects(world: &World) -> BTreeMap<String, Stored> {
    let record = Stored { body: world.record.to_bytes().unwrap(), metadata: BTreeMap::new() };
    let marker = Stored { body: Vec::new(), ..world.single(MARKER, &[]) };
    let objects = [
        (hidden::ik_record_name(&world.record).unwrap(), record),
        (SINGLE.to_owned(), world.single(SINGLE, &plaintext(200_000))),
        (PARTS.to_owned(), world.multipart(PARTS, &SIZES)),
        (EMPTY.to_owned(), world.single(EMPTY, &[])),
        (MARKER.to_owned(), marker),
    ];
    objects.into_iter().collect()
}

#[test]
fn objects_come_back_from_a_server() {
    let world = World::new();
    let server = Server::start(objects(&world));
    for (key, len) in [(SINGLE, 200_000), (PARTS, SIZES.iter().sum()), (EMPTY, 0), (MARKER, 0)] {
        let url = format!("s3://backend-bucket/{key}");
        let (run, written) = world.decrypt(&["--endpoint-url", &server.endpoint, &url]);
        run.succeeded();
        assert!(written.unwrap() == plaintext(len), "{key}");
    }
    let (run, _) = world.decrypt(&["--endpoint-url", &server.endpoint, "s3://backend-bucket/nothing"]);
    run.failed(3, "s3://backend-bucket/nothing");
}

#[test]
fn a_server_s_bucket_is_verified() {
    let world = World::new();
    let mut objects = objects(&world);
    let verify = |objects| {
        let server = Server::start(objects);
        world.run(&[
            "verify",
            "--json",
            "--data",
            ".",
            "--endpoint-url",
            &server.endpoint,
            "s3://backend-bucket",
        ])
    };
    let mut damaged = world.multipart("damaged", &SIZES);
    damaged.body[9 << 20] ^= 1;
    objects.insert("damaged".to_owned(), damaged);
    verify(objects).failed(4, "1 of 5 objects");
    let run = verify(self::objects(&world));
    run.succeeded();
    assert_eq!(run.stdout_json()["objects"], 4);
}

#[test]
fn a_server_that_is_not_there() {
    let world = World::new();
    let (run, _) = world.decrypt(&["--endpoint-url", "http://127.0.0.1:1", "s3://bucket/key"]);
    run.failed(6, "http://127.0.0.1:1");
}
