//! Taking a body in: plain or aws-chunked, kept or dropped, its length and checksum checked.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use super::aws_chunked::Deframer;

const CRC64NVME: &str = "x-amz-checksum-crc64nvme";

/// A body that was taken in wholly.
#[derive(Debug)]
pub struct Taken {
    /// Bytes after the framing was taken off.
    pub size: u64,
    /// The bytes, if they were to be kept.
    pub body: Option<Bytes>,
}

/// Reads a body to its end; `keep` says for a size whether its bytes are wanted.
///
/// # Errors
/// S3's error code for a body that is cut short, badly framed, or does not match its length or trailer checksum.
pub async fn take(
    headers: &HeaderMap,
    mut body: Incoming,
    keep: impl Fn(u64) -> bool,
) -> Result<Taken, &'static str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
    let framed = text("x-amz-content-sha256").is_some_and(|value| value.starts_with("STREAMING-"));
    let declared = number(if framed { "x-amz-decoded-content-length" } else { "content-length" });
    // A client without a body may leave the length out.
    let declared = declared.or_else(|| body.is_end_stream().then_some(0)).ok_or("MissingContentLength")?;

    let mut kept = keep(declared)
        .then(|| usize::try_from(declared).map(BytesMut::with_capacity))
        .transpose()
        .map_err(|_| "EntityTooLarge")?;
    let mut crc = framed.then(|| Digest::new(CrcAlgorithm::Crc64Nvme));
    let mut size = 0;
    let mut deframer = framed.then(Deframer::default);
    let mut data = |bytes: Bytes| {
        size += bytes.len() as u64;
        if let Some(crc) = &mut crc {
            crc.update(&bytes);
        }
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(&bytes);
        }
    };
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(|_| "IncompleteBody")?.into_data() else { continue };
        match &mut deframer {
            Some(deframer) => deframer.feed(bytes, &mut data).map_err(|_| "IncompleteBody")?,
            None => data(bytes),
        }
    }
    if size != declared {
        return Err("IncompleteBody");
    }
    if let (Some(deframer), Some(crc)) = (deframer, crc) {
        let trailers = deframer.finish().ok_or("IncompleteBody")?;
        let sum = STANDARD.encode(crc.finalize().to_be_bytes());
        let promised = text("x-amz-trailer").is_some_and(|value| value.contains(CRC64NVME));
        match trailers.iter().find(|(name, _)| name == CRC64NVME) {
            Some((_, value)) if *value != sum => return Err("BadDigest"),
            None if promised => return Err("MalformedTrailerError"),
            _ => {}
        }
    }
    Ok(Taken { size, body: kept.map(BytesMut::freeze) })
}
