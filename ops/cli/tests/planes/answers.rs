//! What answers say beside the bytes: HEAD of a part of an object, and what is counted when an object is not genuine.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sealgate_data_plane::plane::DataPlane;

use super::s3::{Client, bytes};
use super::steering::{MIN_PART, upload_part};
use super::world::{World, identity, issue, tenant};

const OBJECT: &str = "/bucket/object";

async fn start(world: &World) -> (sealgate_control_plane::Handle, DataPlane, Client) {
    let control = world.control().await;
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let node = world.node(endpoint, identity(&issue(&control, "one").await)).await;
    let client = client.at(node.address());
    client.put("/bucket", "").await.ok();
    (control, node, client)
}

/// CRC32 of `123456789`: the check value of the algorithm's catalogue entry, in base64.
const NINE: (&str, &str) = ("123456789", "y/Q5Jg==");

#[actix_rt::test]
async fn a_checksum_is_of_the_bytes_that_are_answered() {
    let world = World::new();
    let (control, node, client) = start(&world).await;
    let sent = [("x-amz-checksum-crc32", NINE.1.to_owned())];
    client.send_with("PUT", OBJECT, &sent, NINE.0).await.ok();
    let multipart = client.create_upload("/bucket/parts").await;
    let etag = upload_part(&client, "/bucket/parts", &multipart, 1, &bytes(MIN_PART, 1)).await;
    client.complete("/bucket/parts", &multipart, &[etag]).await.ok();

    let mode = ("x-amz-checksum-mode", "ENABLED".to_owned());
    let whole = client.send_with("HEAD", OBJECT, std::slice::from_ref(&mode), "").await.ok();
    assert_eq!(whole.status, 200);
    assert_eq!(whole.headers["x-amz-checksum-crc32"], NINE.1);
    assert_eq!(whole.headers["x-amz-checksum-type"], "FULL_OBJECT");
    for method in ["HEAD", "GET"] {
        for (target, range, shown, length, checksum) in [
            (OBJECT, Some("bytes=2-4"), "bytes 2-4/9", "3", None),
            (OBJECT, Some("bytes=-4"), "bytes 5-8/9", "4", None),
            (OBJECT, Some("bytes=0-"), "bytes 0-8/9", "9", None),
            ("/bucket/object?partNumber=1", None, "bytes 0-8/9", "9", Some(NINE.1)),
            ("/bucket/parts", Some("bytes=0-9"), "bytes 0-9/5242880", "10", None),
            ("/bucket/parts?partNumber=1", None, "bytes 0-5242879/5242880", "5242880", None),
        ] {
            let mut headers = vec![mode.clone()];
            headers.extend(range.map(|range| ("range", range.to_owned())));
            let part = client.send_with(method, target, &headers, "").await.ok();
            let told = format!("{method} {target} {range:?}: {:?}", part.headers);
            assert_eq!(part.status, 206, "{told}");
            assert_eq!(part.headers["content-range"], shown, "{told}");
            assert_eq!(part.headers["content-length"], length, "{told}");
            // An object that was not uploaded in parts is its part 1. A checksum of more than the answer breaks clients.
            let found = part.headers.iter().find(|(name, _)| {
                name.as_str().starts_with("x-amz-checksum-")
                    && (checksum.is_none() || *name != "x-amz-checksum-type")
            });
            let found = found.map(|(_, value)| value.to_str().unwrap());
            assert_eq!(found, checksum, "{told}");
        }
    }
    let beyond = [mode, ("range", "bytes=9-".to_owned())];
    assert_eq!(client.send_with("HEAD", OBJECT, &beyond, "").await.status, 416);
    node.stop().await;
    control.stop().await;
}

fn integrity_failures(node: &DataPlane) -> u64 {
    let text = node.node().metrics.render();
    let name = "sealgate_node_integrity_failures_total ";
    text.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |count| count.parse().unwrap())
}

/// The one stored body.
fn stored(dir: &Path) -> Option<PathBuf> {
    fs::read_dir(dir).unwrap().flatten().find_map(|entry| {
        let path = entry.path();
        match path.is_dir() {
            true => stored(&path),
            // Records of keys and buckets are small.
            false => (entry.metadata().unwrap().len() > 100_000).then_some(path),
        }
    })
}

#[actix_rt::test]
async fn what_does_not_open_is_counted_once_wherever_it_is_found() {
    let world = World::new();
    let (control, node, client) = start(&world).await;
    let size = 4 << 20;
    client.put(OBJECT, bytes(size, 1)).await.ok();
    let file = stored(&world.backend().join("buckets/bucket/bodies")).unwrap();
    let genuine = fs::read(&file).unwrap();
    for (place, told) in [
        (100, "in the first chunk"),
        (genuine.len() / 2, "in the middle"),
        (genuine.len() - 1, "in the trailer"),
    ] {
        let mut damaged = genuine.clone();
        damaged[place] ^= 1;
        fs::write(&file, damaged).unwrap();
        let before = integrity_failures(&node);
        let answer = client.try_send("GET", OBJECT, Bytes::new()).await;
        match answer {
            Ok(refused) => assert_eq!((place, refused.status.as_u16()), (100, 422), "{told}"),
            // The status line was out: the download is broken off.
            Err(_) => assert_ne!(place, 100, "{told}"),
        }
        assert_eq!(integrity_failures(&node) - before, 1, "{told}");
    }
    fs::write(&file, genuine).unwrap();
    assert!(client.get(OBJECT).await.ok().body == bytes(size, 1));
    assert_eq!(integrity_failures(&node), 3);
    node.stop().await;
    control.stop().await;
}
