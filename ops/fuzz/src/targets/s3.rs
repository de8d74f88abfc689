//! What clients send: signatures, framed bodies, XML, ranges.

use super::selected;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use sealgate_data_plane::auth::{Authenticated, HmacSha1, Lookup, SigV2Lookup, SigningKey, authenticate};
use sealgate_data_plane::body::{BodyPlan, ChunkedDecoder};
use sealgate_data_plane::s3::headers::{ByteRange, Conditions, ObjectHeaders, Satisfied};
use sealgate_data_plane::s3::xml::{parse_complete, parse_create_bucket, parse_delete};
use sealgate_data_plane::s3::{Query, S3Error, S3Request, route};
use sha2::Sha256;
use std::sync::LazyLock;
use zeroize::Zeroizing;

/// The credential of AWS's published examples, and their time.
const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const NOW: i64 = 1_369_353_600;
/// What the seeds' bodies hold: 300 bytes, in chunks of 128.
const DECODED: u64 = 300;

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

fn lookup(id: &str, date: &str, region: &str) -> Lookup {
    if id != ID {
        return Lookup::UnknownKey;
    }
    if region != "us-east-1" {
        return Lookup::WrongRegion("us-east-1".to_owned());
    }
    let day = mac(format!("AWS4{SECRET}").as_bytes(), date);
    let key = mac(&mac(&mac(&day, region), "s3"), "aws4_request");
    Lookup::Found(SigningKey::new(Zeroizing::new(key)))
}

/// The states of SECRET, as the control plane makes them.
fn lookup_v2(id: &str) -> SigV2Lookup {
    if id != ID {
        return SigV2Lookup::Refused;
    }
    let state = |words: [u32; 5]| {
        let mut bytes = Zeroizing::new([0; 20]);
        let places = bytes.as_chunks_mut::<4>().0.iter_mut();
        places.zip(words).for_each(|(place, word)| *place = word.to_be_bytes());
        bytes
    };
    let inner = state([0xe861_8815, 0xd60d_dc01, 0x8a2f_9dc7, 0x436b_5fed, 0xc3a5_fdb3]);
    let outer = state([0x0135_2d77, 0x5736_4774, 0xcfb9_3310, 0x7a6f_be08, 0x5afd_6bbb]);
    SigV2Lookup::Found(HmacSha1::new(inner, outer))
}

fn check(parts: &Parts) -> Result<(S3Request, Authenticated), S3Error> {
    let request = S3Request::parse(parts, &["s3.amazonaws.com".to_owned()])?;
    let authenticated = authenticate(parts, &request, NOW, lookup, lookup_v2)?;
    Ok((request, authenticated))
}

/// `METHOD target`, then a header a line: as a head that the HTTP layer let through.
fn head(data: &[u8]) -> Option<Parts> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = str::from_utf8(lines.next()?).ok()?;
    let (method, target) = first.split_once(' ')?;
    let mut request = http::Request::builder().method(method).uri(target).body(()).ok()?;
    for line in lines.filter(|line| !line.is_empty()).take(60) {
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = http::HeaderName::from_bytes(&line[..at]).ok()?;
        request.headers_mut().append(name, http::HeaderValue::from_bytes(&line[at + 1..]).ok()?);
    }
    Some(request.into_parts().0)
}

/// The signatures of the seeds: no other can be right without the secret.
static GIVEN: LazyLock<String> = LazyLock::new(|| std::env::var("SEALGATE_FUZZ_SIGNATURES").unwrap());

pub fn request(data: &[u8]) {
    let _ = str::from_utf8(data).map(Query::parse);
    let Some(parts) = head(data) else { return };
    let _ = Conditions::from_headers(&parts.headers);
    let _ = ObjectHeaders::from_headers(&parts.headers);
    if let Ok(request) = S3Request::parse(&parts, &["s3.amazonaws.com".to_owned()]) {
        let _ = route(&request, &parts.headers);
    }
    if let Ok((_, authenticated)) = check(&parts) {
        let said = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
        let said = said.unwrap_or_else(|| parts.uri.query().unwrap_or_default());
        assert!(
            GIVEN.split(',').any(|signature| said.contains(signature)),
            "a signature that nobody gave: {said}"
        );
        let _ = BodyPlan::from(&parts.headers, &authenticated, 1 << 40);
    }
}

/// AWS's examples of streamed uploads, whose signatures the seeds' chunks continue.
static STREAMS: LazyLock<[Authenticated; 2]> = LazyLock::new(|| {
    let stream = |payload: &str, extra: (&str, &str), signature: &str| {
        let mut headers = vec![
            ("content-encoding", "aws-chunked"),
            ("host", "s3.amazonaws.com"),
            ("x-amz-content-sha256", payload),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-decoded-content-length", "66560"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            extra,
        ];
        headers.sort_unstable();
        let signed: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
        let scope = "20130524/us-east-1/s3/aws4_request";
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={ID}/{scope},SignedHeaders={},Signature={signature}",
            signed.join(";")
        );
        let mut text = "PUT /examplebucket/chunkObject.txt\n".to_owned();
        for (name, value) in headers.into_iter().chain([("authorization", &*authorization)]) {
            text.push_str(&format!("{name}:{value}\n"));
        }
        check(&head(text.as_bytes()).unwrap()).unwrap_or_else(|_| panic!("AWS's own example")).1
    };
    [
        stream(
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            ("content-length", "66824"),
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        ),
        stream(
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            ("x-amz-trailer", "x-amz-checksum-crc32c"),
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        ),
    ]
});

pub fn aws_chunked(data: &[u8]) {
    let (how, data) = selected(data);
    let (split, data) = selected(data);
    let declared = vec!["x-amz-checksum-crc32c".to_owned()];
    let signed = how % 3;
    let decoder = match signed {
        0 => ChunkedDecoder::unsigned(DECODED, declared),
        1 => ChunkedDecoder::signed(STREAMS[0].stream_seed().unwrap(), DECODED, None),
        _ => ChunkedDecoder::signed(STREAMS[1].stream_seed().unwrap(), DECODED, Some(declared)),
    };
    let whole = decode(decoder, data, data.len());
    let again = match signed {
        0 => ChunkedDecoder::unsigned(DECODED, vec!["x-amz-checksum-crc32c".to_owned()]),
        1 => ChunkedDecoder::signed(STREAMS[0].stream_seed().unwrap(), DECODED, None),
        _ => {
            let declared = vec!["x-amz-checksum-crc32c".to_owned()];
            ChunkedDecoder::signed(STREAMS[1].stream_seed().unwrap(), DECODED, Some(declared))
        }
    };
    assert_eq!(decode(again, data, usize::from(split).max(1)), whole, "it depends on how the bytes arrive");
    if let Some(body) = whole {
        assert_eq!(body.len() as u64, DECODED);
        let wanted: Vec<u8> = (0..DECODED).map(|at| at as u8).collect();
        assert!(signed == 0 || body == wanted, "chunks that nobody signed");
    }
}

/// The plaintext of a body that ended well.
fn decode(mut decoder: ChunkedDecoder, data: &[u8], piece: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for piece in data.chunks(piece.max(1)) {
        decoder.push(Bytes::copy_from_slice(piece), &mut out).ok()?;
    }
    decoder.finish().ok()?;
    Some(out.concat())
}

pub fn delete_objects(data: &[u8]) {
    if let Ok(request) = parse_delete(data) {
        assert!((1..=1000).contains(&request.objects.len()));
        assert!(request.objects.iter().all(|object| (1..=1024).contains(&object.key.len())));
    }
    let _ = parse_create_bucket(data);
}

pub fn complete_upload(data: &[u8]) {
    if let Ok(parts) = parse_complete(data) {
        assert!((1..=10_000).contains(&parts.len()));
        assert!(parts.iter().all(|part| (1..=10_000).contains(&part.number)));
        assert!(parts.windows(2).all(|pair| pair[0].number < pair[1].number));
    }
}

pub fn ranges(data: &[u8]) {
    let Some((size, text)) = data.split_first_chunk() else { return };
    let size = u64::from_be_bytes(*size);
    let Ok(text) = str::from_utf8(text) else { return };
    if let Some(range) = ByteRange::parse(text)
        && let Satisfied::Part(part) = range.apply(size)
    {
        assert!(part.start < part.end && part.end <= size);
    }
}
