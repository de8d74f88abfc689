//! What the servers make of bodies that are altered on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use sealgate_data_plane::backend::s3::{Checksum, S3Backend};
use sealgate_data_plane::backend::{Backend as _, BackendError, PutOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::support::{Setup, bytes, upload};

/// A byte that stands in no head and no frame.
const MARK: u8 = 7;

/// Forwards connections, and alters the first mark of each on its way to the server.
async fn altering_proxy(server: String, altered: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn_local(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, altered) = (TcpStream::connect(&server).await.unwrap(), altered.clone());
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::task::spawn_local(async move {
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
            });
            tokio::task::spawn_local(async move {
                let (mut buffer, mut done) = (vec![0; 65_536], false);
                while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
                    if let Some(found) =
                        buffer[..count].iter().position(|byte| *byte == MARK).filter(|_| !done)
                    {
                        buffer[found] = MARK + 1;
                        done = true;
                        altered.fetch_add(1, Ordering::Relaxed);
                    }
                    if to_server.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

pub async fn a_byte_flipped_on_the_way_is_refused(setup: &Setup) {
    let (config, server) = setup.wire.clone().unwrap();
    for checksum in [Checksum::Crc64Nvme, Checksum::Crc32] {
        for length in [1_000, 2_000_000] {
            let old = bytes(10, 1);
            setup.put("k", &old).await;
            let altered = Arc::new(AtomicUsize::new(0));
            let mut config =
                config.clone().through("127.0.0.1", altering_proxy(server.clone(), altered.clone()).await);
            config.checksum = Some(checksum);
            let backend = S3Backend::new(config).unwrap();
            let body = Bytes::from(vec![MARK; length]);
            let outcome = backend.put(&setup.bucket, "k", PutOptions::default(), upload(&body)).await;
            assert_eq!(altered.load(Ordering::Relaxed), 1);
            match outcome {
                Err(BackendError::S3 { status: 400..500, .. }) => {}
                other => panic!("{checksum:?}, {length} bytes: {other:?}"),
            }
            assert_eq!(setup.get("k").await, old, "{checksum:?}, {length} bytes");
        }
    }
}
