//! A backend's S3 server, as far as reading goes: HEAD, GET with If-Match and a range, and a listing. It checks no
//! signature: that is the data plane's own test.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use crate::world::Stored;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Objects by key, in any bucket.
pub struct Server {
    pub endpoint: String,
}

impl Server {
    /// Serves until the test's process ends.
    pub fn start(objects: BTreeMap<String, Stored>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let objects = Arc::new(objects);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, objects) = (stream.unwrap(), objects.clone());
                std::thread::spawn(move || answer(stream, &objects));
            }
        });
        Self { endpoint }
    }
}

fn answer(mut stream: TcpStream, objects: &BTreeMap<String, Stored>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let headers: BTreeMap<String, String> = lines
        .map(Result::unwrap)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_once(": ").map(|(n, v)| (n.to_lowercase(), v.to_owned())).unwrap())
        .collect();
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let key = path.splitn(3, '/').nth(2).map(|key| percent_decode_str(key).decode_utf8().unwrap());
    let (status, extra, body) = match key.filter(|key| !key.is_empty()) {
        None => ("200 OK", String::new(), listing(objects, query).into_bytes()),
        Some(key) => object(objects, &key, &headers),
    };
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{extra}\r\n", body.len());
    let _ = stream.write_all(head.as_bytes());
    if method != "HEAD" {
        let _ = stream.write_all(&body);
    }
}

fn object(
    objects: &BTreeMap<String, Stored>,
    key: &str,
    headers: &BTreeMap<String, String>,
) -> (&'static str, String, Vec<u8>) {
    assert!(headers["authorization"].contains("Credential=backend-id/"), "with the backend's credentials");
    let Some(stored) = objects.get(key) else { return ("404 Not Found", String::new(), Vec::new()) };
    let etag = format!("\"{:x}\"", key.len());
    assert!(headers.get("if-match").is_none_or(|wanted| *wanted == etag), "of the object that was looked at");
    let mut extra = format!("etag: {etag}\r\nlast-modified: Mon, 23 Nov 2026 01:00:00 GMT\r\n");
    for (name, value) in &stored.metadata {
        extra.push_str(&format!("x-amz-meta-{name}: {value}\r\n"));
    }
    let Some(range) = headers.get("range") else { return ("200 OK", extra, stored.body.clone()) };
    let from: usize = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
    let size = stored.body.len();
    extra.push_str(&format!("content-range: bytes {from}-{}/{size}\r\n", size - 1));
    ("206 Partial Content", extra, stored.body[from..].to_vec())
}

fn listing(objects: &BTreeMap<String, Stored>, query: &str) -> String {
    let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
    let prefix = percent_decode_str(prefix).decode_utf8().unwrap();
    let mut out =
        String::from("<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>");
    for (key, stored) in objects.iter().filter(|(key, _)| key.starts_with(&*prefix)) {
        out.push_str(&format!(
            "<Contents><Key>{}</Key><Size>{}</Size><ETag>\"{:x}\"</ETag><LastModified>2026-11-23T01:00:00.000Z\
             </LastModified><StorageClass>STANDARD</StorageClass></Contents>",
            utf8_percent_encode(key, NON_ALPHANUMERIC),
            stored.body.len(),
            key.len()
        ));
    }
    out + "</ListBucketResult>"
}
