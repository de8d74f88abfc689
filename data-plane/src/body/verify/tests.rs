#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{BodyVerifier, Verified};
use crate::auth::testing::{check, sign_request};
use crate::body::checksum::{Algorithm, Checksum};
use crate::body::plan::{BodyPlan, object_checksum};
use crate::s3::error::{Code, S3Error};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{any, prop, proptest};

const TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const LIMIT: u64 = 5 << 30;

fn plan(headers: &[(&str, &str)], payload: &str) -> Result<BodyPlan, S3Error> {
    let request = sign_request("PUT", "/bucket/k", headers, payload, None);
    BodyPlan::from(&request.headers, &check(&request).unwrap(), LIMIT)
}

fn refused(headers: &[(&str, &str)], payload: &str) -> Code {
    plan(headers, payload).err().expect("the plan must be refused").code()
}

fn run(plan: BodyPlan, body: &[u8]) -> Result<(Vec<u8>, Verified), S3Error> {
    let mut verifier = BodyVerifier::new(plan);
    let mut out = Vec::new();
    for piece in body.chunks(7) {
        verifier.push(Bytes::copy_from_slice(piece), &mut out)?;
    }
    Ok((out.concat(), verifier.finish()?))
}

fn code(result: Result<(Vec<u8>, Verified), S3Error>) -> Code {
    result.expect_err("the body must be refused").code()
}

#[test]
fn a_signed_hash_is_compared() {
    let hash = hex::encode(Checksum::of(Algorithm::Sha256, b"hello").bytes());
    let make = || plan(&[("content-length", "5")], &hash).unwrap();
    let (data, verified) = run(make(), b"hello").unwrap();
    assert_eq!((data.as_slice(), verified.length(), verified.checksum()), (b"hello".as_slice(), 5, None));
    let error = run(make(), b"hellO").unwrap_err();
    assert_eq!(error.code(), Code::XAmzContentSHA256Mismatch);
    assert_eq!(error.get("ClientComputedContentSHA256"), Some(hash.as_str()));
}

#[test]
fn every_checksum_header_is_compared() {
    for &algorithm in Algorithm::ALL {
        let sum = Checksum::of(algorithm, b"hello");
        let text = sum.to_base64();
        let make =
            || plan(&[("content-length", "5"), (algorithm.header(), &text)], "UNSIGNED-PAYLOAD").unwrap();
        assert_eq!(make().known_checksum(), Some(&sum));
        assert_eq!(run(make(), b"hello").unwrap().1.checksum(), Some(&sum), "{algorithm:?}");
        assert_eq!(code(run(make(), b"hellp")), Code::BadDigest, "{algorithm:?}");
    }
    let md5 = Checksum::of(Algorithm::Md5, b"hello").to_base64();
    let make = || plan(&[("content-length", "5"), ("content-md5", &md5)], "UNSIGNED-PAYLOAD").unwrap();
    assert_eq!(run(make(), b"hello").unwrap().1.md5().unwrap().to_base64(), md5);
    assert_eq!(code(run(make(), b"jello")), Code::BadDigest);
}

/// Cases 5 and 7: trailers of every algorithm, CRC64NVME's too.
#[test]
fn case_5_and_7_every_checksum_trailer_is_compared() {
    for &algorithm in Algorithm::ALL {
        let sum = Checksum::of(algorithm, b"hello");
        let headers = [
            ("x-amz-decoded-content-length", "5"),
            ("x-amz-trailer", algorithm.header()),
            ("x-amz-sdk-checksum-algorithm", algorithm.name()),
        ];
        let body =
            |data: &str| format!("5\r\n{data}\r\n0\r\n{}:{}\r\n\r\n", algorithm.header(), sum.to_base64());
        let (data, verified) = run(plan(&headers, TRAILER).unwrap(), body("hello").as_bytes()).unwrap();
        assert_eq!(
            (data.as_slice(), verified.checksum()),
            (b"hello".as_slice(), Some(&sum)),
            "{algorithm:?}"
        );
        assert_eq!(code(run(plan(&headers, TRAILER).unwrap(), body("hellp").as_bytes())), Code::BadDigest);
        let broken = body("hello").replace(&sum.to_base64(), "xx");
        assert_eq!(code(run(plan(&headers, TRAILER).unwrap(), broken.as_bytes())), Code::InvalidRequest);
    }
}

/// Case 12: a body without any length is refused, one with a decoded length only is not.
#[test]
fn case_12_lengths() {
    assert_eq!(refused(&[], "UNSIGNED-PAYLOAD"), Code::MissingContentLength);
    assert_eq!(refused(&[("content-length", "40")], TRAILER), Code::MissingContentLength);
    assert_eq!(plan(&[("x-amz-decoded-content-length", "5")], TRAILER).unwrap().length(), 5);
    assert_eq!(plan(&[("x-amz-decoded-content-length", "5")], "UNSIGNED-PAYLOAD").unwrap().length(), 5);
    for bad in ["-1", "+5", "0x5", "5 5"] {
        assert_eq!(
            refused(&[("x-amz-decoded-content-length", bad)], TRAILER),
            Code::MissingContentLength,
            "{bad}"
        );
    }
    for large in ["5368709121", "99999999999999999999999"] {
        assert_eq!(refused(&[("content-length", large)], "UNSIGNED-PAYLOAD"), Code::EntityTooLarge);
    }
    let make = || plan(&[("content-length", "5")], "UNSIGNED-PAYLOAD").unwrap();
    assert_eq!(code(run(make(), b"hell")), Code::IncompleteBody);
    assert_eq!(code(run(make(), b"hello!")), Code::IncompleteBody);
    assert!(run(plan(&[("content-length", "0")], "UNSIGNED-PAYLOAD").unwrap(), b"").is_ok());
}

/// CLIENTS.md: minio-go sends aws-chunked without Content-Encoding; the mode comes from x-amz-content-sha256 alone.
#[test]
fn content_encoding_decides_nothing() {
    let headers = [("content-length", "5"), ("content-encoding", "aws-chunked")];
    assert_eq!(run(plan(&headers, "UNSIGNED-PAYLOAD").unwrap(), b"hello").unwrap().0, b"hello");
    let headers = [("x-amz-decoded-content-length", "5")];
    assert_eq!(run(plan(&headers, TRAILER).unwrap(), b"5\r\nhello\r\n0\r\n\r\n").unwrap().0, b"hello");
}

#[test]
fn promises_that_cannot_be_read_are_refused() {
    let with = |name: &'static str, value: &'static str| {
        refused(&[("content-length", "5"), (name, value)], "UNSIGNED-PAYLOAD")
    };
    for bad in ["", "xx", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAA="] {
        assert_eq!(with("content-md5", bad), Code::InvalidDigest, "{bad}");
        assert_eq!(with("x-amz-checksum-sha256", bad), Code::InvalidRequest, "{bad}");
    }
    assert_eq!(with("x-amz-sdk-checksum-algorithm", "ROT13"), Code::InvalidRequest);
    assert_eq!(with("x-amz-sdk-checksum-algorithm", "CRC32"), Code::InvalidRequest);
    assert_eq!(with("x-amz-trailer", "x-amz-checksum-crc32"), Code::InvalidRequest);
    let two = [
        ("content-length", "5"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-checksum-crc32c", "AAAAAA=="),
    ];
    assert_eq!(refused(&two, "UNSIGNED-PAYLOAD"), Code::InvalidRequest);
    let both = [
        ("x-amz-decoded-content-length", "5"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ];
    assert_eq!(refused(&both, TRAILER), Code::InvalidRequest);
    let other = [("x-amz-decoded-content-length", "5"), ("x-amz-trailer", "content-type")];
    assert_eq!(refused(&other, TRAILER), Code::InvalidRequest);
    let mixed = [
        ("content-length", "5"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-sdk-checksum-algorithm", "SHA256"),
    ];
    assert_eq!(refused(&mixed, "UNSIGNED-PAYLOAD"), Code::InvalidRequest);
}

/// Ignored, it would be a promise that nobody kept.
#[test]
fn a_checksum_that_s3_does_not_have_is_refused() {
    for name in ["x-amz-checksum-crc16", "x-amz-checksum-"] {
        let headers = [("content-length", "5"), (name, "AAAA")];
        assert_eq!(refused(&headers, "UNSIGNED-PAYLOAD"), Code::InvalidRequest, "{name}");
    }
    for name in ["x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"] {
        assert!(plan(&[("content-length", "5"), (name, "x")], "UNSIGNED-PAYLOAD").is_ok(), "{name}");
    }
}

#[test]
fn a_checksum_is_computed_when_the_upload_needs_one() {
    let make = plan(&[("content-length", "5")], "UNSIGNED-PAYLOAD").unwrap().compute(Algorithm::Crc64Nvme);
    let verified = run(make, b"hello").unwrap().1;
    assert_eq!(verified.computed(), Some(&Checksum::of(Algorithm::Crc64Nvme, b"hello")));
    assert_eq!(verified.checksum(), None);
}

/// The checksum on Complete is the object's: it must not be compared with the XML, and not be lost.
#[test]
fn the_checksum_on_complete_is_not_the_documents() {
    let sum = Checksum::of(Algorithm::Crc64Nvme, b"the object");
    let text = sum.to_base64();
    let headers = [("content-length", "5"), ("x-amz-checksum-crc64nvme", text.as_str())];
    let request = sign_request("POST", "/bucket/k?uploadId=u", &headers, "UNSIGNED-PAYLOAD", None);
    let plan = BodyPlan::for_complete(&request.headers, &check(&request).unwrap(), 100).unwrap();
    assert!(run(plan, b"<xml>").is_ok());
    assert_eq!(object_checksum(&request.headers).unwrap(), Some(sum));
}

#[test]
fn a_failed_body_cannot_be_finished() {
    let mut verifier = BodyVerifier::new(plan(&[("x-amz-decoded-content-length", "5")], TRAILER).unwrap());
    let mut out = Vec::new();
    assert!(verifier.push(Bytes::from_static(b"zz\r\n"), &mut out).is_err());
    assert!(verifier.push(Bytes::from_static(b"5\r\nhello\r\n0\r\n\r\n"), &mut out).is_err());
    assert!(verifier.finish().is_err());
    assert!(out.is_empty());
}

proptest! {
    /// Whatever frames and splits, the data comes out and its trailer is compared.
    #[test]
    fn any_frames_in_any_split(frames in vec(vec(any::<u8>(), 1..50), 0..6), cut in any::<prop::sample::Index>()) {
        let data = frames.concat();
        let sum = Checksum::of(Algorithm::Crc32, &data);
        let length = data.len().to_string();
        let headers =
            [("x-amz-decoded-content-length", length.as_str()), ("x-amz-trailer", "x-amz-checksum-crc32")];
        let mut body = Vec::new();
        for frame in &frames {
            body.extend_from_slice(format!("{:X}\r\n", frame.len()).as_bytes());
            body.extend_from_slice(frame);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("0\r\nx-amz-checksum-crc32:{}\r\n\r\n", sum.to_base64()).as_bytes());
        let (out, verified) = run(plan(&headers, TRAILER).unwrap(), &body).unwrap();
        assert_eq!((out, verified.checksum()), (data, Some(&sum)));
        let cut = cut.index(body.len());
        assert_eq!(code(run(plan(&headers, TRAILER).unwrap(), &body[..cut])), Code::IncompleteBody);
    }
}
