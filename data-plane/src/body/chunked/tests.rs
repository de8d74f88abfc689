#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{ChunkedDecoder, Trailers};
use crate::auth::StreamSeed;
use crate::auth::testing::{DATE, ID, REGION, check, key_bytes, mac, parts, sign_request};
use crate::s3::error::{Code, S3Error};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{any, proptest};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Pushes `body` in pieces of the given sizes (the last repeats) and ends it.
fn decode(
    mut decoder: ChunkedDecoder,
    body: &[u8],
    pieces: &[usize],
) -> Result<(Vec<u8>, Trailers), S3Error> {
    let mut body = Bytes::copy_from_slice(body);
    let mut out = Vec::new();
    let mut sizes = pieces.iter().copied();
    let last = pieces.last().copied().unwrap_or(usize::MAX).max(1);
    while !body.is_empty() {
        let size = sizes.next().unwrap_or(last).min(body.len());
        decoder.push(body.split_to(size), &mut out)?;
    }
    let trailers = decoder.finish()?;
    Ok((out.concat(), trailers))
}

/// AWS's example of a streamed upload: 65 KiB of `a`, with its three chunk signatures.
fn example(trailer: bool) -> (Arc<StreamSeed>, Vec<u8>) {
    let (payload, extra, seed, chunks) = if trailer {
        (
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            ("x-amz-trailer", "x-amz-checksum-crc32c"),
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
            [
                "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
                "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
                "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
            ],
        )
    } else {
        (
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            ("content-length", "66824"),
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
            [
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
                "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
                "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
            ],
        )
    };
    let mut headers = vec![
        ("content-encoding", "aws-chunked"),
        ("host", "s3.amazonaws.com"),
        ("x-amz-content-sha256", payload),
        ("x-amz-date", DATE),
        ("x-amz-decoded-content-length", "66560"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        extra,
    ];
    headers.sort_unstable();
    let signed: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={ID}/20130524/us-east-1/s3/aws4_request,SignedHeaders={},Signature={seed}",
        signed.join(";")
    );
    headers.push(("authorization", &authorization));
    let request = parts("PUT", "/examplebucket/chunkObject.txt", &headers);
    let seed = check(&request).unwrap().stream_seed().unwrap();
    let mut body = Vec::new();
    for (size, signature) in [65536usize, 1024, 0].into_iter().zip(chunks) {
        body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        body.resize(body.len() + size, b'a');
        if size > 0 {
            body.extend_from_slice(b"\r\n");
        }
    }
    if trailer {
        body.extend_from_slice(
            b"x-amz-checksum-crc32c:sOO8/Q==\r\n\
              x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n",
        );
    }
    body.extend_from_slice(b"\r\n");
    (seed, body)
}

fn example_decoder(seed: &Arc<StreamSeed>, trailer: bool) -> ChunkedDecoder {
    let declared = trailer.then(|| vec!["x-amz-checksum-crc32c".to_owned()]);
    ChunkedDecoder::signed(seed.clone(), 66560, declared)
}

#[test]
fn aws_published_chunk_signatures() {
    for trailer in [false, true] {
        let (seed, body) = example(trailer);
        if !trailer {
            assert_eq!(body.len(), 66824);
        }
        let (data, trailers) = decode(example_decoder(&seed, trailer), &body, &[]).unwrap();
        assert_eq!(data, vec![b'a'; 66560]);
        assert_eq!(trailers.get("x-amz-checksum-crc32c"), trailer.then_some("sOO8/Q=="));
    }
}

/// Case 3: framing that splits across reads, at every place.
#[test]
fn case_3_framing_split_anywhere() {
    let (seed, body) = example(true);
    for pieces in [vec![1], vec![2], vec![3], vec![7, 65536], vec![85, 1], vec![65621, 1]] {
        assert!(decode(example_decoder(&seed, true), &body, &pieces).is_ok(), "{pieces:?}");
    }
}

/// Case 3: every signature counts, the last chunk's and the trailers' too.
#[test]
fn case_3_every_signature_is_checked() {
    for trailer in [false, true] {
        let (seed, body) = example(trailer);
        let text = String::from_utf8(body.clone()).unwrap();
        let signatures: Vec<usize> = text.match_indices("signature").map(|(at, _)| at + 10).collect();
        assert_eq!(signatures.len(), if trailer { 4 } else { 3 });
        for at in signatures {
            let mut bad = body.clone();
            bad[at] = if bad[at] == b'0' { b'1' } else { b'0' };
            let error = decode(example_decoder(&seed, trailer), &bad, &[]).unwrap_err();
            assert_eq!(error.code(), Code::SignatureDoesNotMatch, "at {at}");
        }
        let mut bad = body.clone();
        bad[1000] = b'b';
        assert_eq!(
            decode(example_decoder(&seed, trailer), &bad, &[]).unwrap_err().code(),
            Code::SignatureDoesNotMatch
        );
    }
    let (seed, body) = example(true);
    let text = String::from_utf8(body).unwrap().replace("sOO8/Q==", "sOO8/A==");
    let error = decode(example_decoder(&seed, true), text.as_bytes(), &[]).unwrap_err();
    assert_eq!(error.code(), Code::SignatureDoesNotMatch);
}

#[test]
fn a_body_cut_anywhere_does_not_finish() {
    let (seed, body) = example(true);
    for at in [0, 1, 86, 87, 5000, 65623, 65625, body.len() - 100, body.len() - 2, body.len() - 1] {
        let error = decode(example_decoder(&seed, true), &body[..at], &[]).unwrap_err();
        assert_eq!(error.code(), Code::IncompleteBody, "cut at {at}");
    }
    let mut more = body;
    more.push(b'x');
    assert_eq!(decode(example_decoder(&seed, true), &more, &[]).unwrap_err().code(), Code::IncompleteBody);
}

/// AWS's page writes a trailer as "name:value LF" CRLF, and minio-go sends what the page writes.
#[test]
fn a_trailer_may_end_as_in_the_example_of_aws() {
    let (seed, body) = example(true);
    let body = String::from_utf8(body).unwrap();
    let bare = body.replace("sOO8/Q==\r\n", "sOO8/Q==\n\r\n");
    for pieces in [vec![], vec![1], vec![66840, 1]] {
        let (_, trailers) = decode(example_decoder(&seed, true), bare.as_bytes(), &pieces).unwrap();
        assert_eq!(trailers.get("x-amz-checksum-crc32c"), Some("sOO8/Q=="));
    }
    // An empty line after a CRLF is the end, as it was, and so is a second one anywhere.
    for bad in ["sOO8/Q==\r\n\r\n", "sOO8/Q==\n\r\n\r\n"] {
        let body = body.replace("sOO8/Q==\r\n", bad);
        let error = decode(example_decoder(&seed, true), body.as_bytes(), &[]).unwrap_err();
        assert_eq!(error.code(), Code::MalformedTrailerError, "{bad:?}");
    }
    let trailer = "0\r\nx-amz-checksum-crc32:AAAAAA==";
    for end in ["\n\r\n\r\n", "\n\r\n"] {
        assert!(unsigned(&format!("{trailer}{end}"), 0).is_ok(), "{end:?}");
    }
    for end in ["\n\r\n\r", "\n\r\n\r\n\r\n", "\n\r\nx", "\r\n\r\n\r\n"] {
        let error = unsigned(&format!("{trailer}{end}"), 0).unwrap_err();
        assert_eq!(error.code(), Code::IncompleteBody, "{end:?}");
    }
}

/// A line of its framing ends with CRLF, and the signature follows the trailers that were declared.
#[test]
fn framing_that_is_cut_up_is_an_incomplete_body() {
    let error = unsigned("3\nabc\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", 3).unwrap_err();
    assert_eq!(error.code(), Code::IncompleteBody);
    let (seed, body) = example(true);
    let body = String::from_utf8(body).unwrap();
    for (good, bad) in [
        ("sOO8/Q==\r\nx-amz", "sOO8/Q==\rbcdx-amz"),
        ("x-amz-trailer-signature", "x-ainvalidailer-signature"),
        ("x-amz-trailer-signature:", "x-amz-trailer-signature:0"),
    ] {
        assert!(body.contains(good));
        let body = body.replace(good, bad);
        let error = decode(example_decoder(&seed, true), body.as_bytes(), &[]).unwrap_err();
        assert_eq!(error.code(), Code::IncompleteBody, "{bad:?}");
    }
    // One that nobody declared is no sign of that.
    let undeclared = ChunkedDecoder::signed(seed.clone(), 66_560, Some(Vec::new()));
    assert_eq!(decode(undeclared, body.as_bytes(), &[]).unwrap_err().code(), Code::MalformedTrailerError);
}

fn unsigned(body: &str, decoded: u64) -> Result<(Vec<u8>, Trailers), S3Error> {
    decode(ChunkedDecoder::unsigned(decoded, vec!["x-amz-checksum-crc32".to_owned()]), body.as_bytes(), &[3])
}

/// Cases 1 and 6: neither framing nor trailers are part of the object.
#[test]
fn case_1_and_6_framing_and_trailers_are_not_stored() {
    let (data, trailers) =
        unsigned("3\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", 5).unwrap();
    assert_eq!(data, b"abcde");
    assert_eq!(trailers.get("x-amz-checksum-crc32"), Some("AAAAAA=="));
    let (data, _) = unsigned("0\r\nX-Amz-Checksum-CRC32: AAAAAA== \n\r\n", 0).unwrap();
    assert_eq!(data, b"");
}

/// minio-go's bytes (mc `cp --checksum`): a trailer ends with LF CRLF, and the empty line comes after that. Nothing else may.
#[test]
fn a_trailer_may_end_with_lf_crlf() {
    let body = "1\r\nR\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\n\r\n\r\n";
    let (data, trailers) = unsigned(body, 1).unwrap();
    assert_eq!((data.as_slice(), trailers.get("x-amz-checksum-crc32")), (b"R".as_slice(), Some("AAAAAA==")));
    for more in ["\n", "\r", "\r\n", "x", "0\r\n\r\n"] {
        let error = unsigned(&format!("{body}{more}"), 1).unwrap_err();
        assert_eq!(error.code(), Code::IncompleteBody, "{more:?}");
    }
    for cut in [1, 3] {
        let error = unsigned(&body[..body.len() - cut], 1).unwrap_err();
        assert_eq!(error.code(), Code::IncompleteBody, "without the last {cut}");
    }
    let error = unsigned("1\r\nR\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n\r\n", 1).unwrap_err();
    assert_eq!(error.code(), Code::IncompleteBody, "a second empty line");
}

/// The same with signed trailers: minio-go puts CRLF between LF and the signature.
#[test]
fn a_signed_trailer_may_end_with_lf_crlf() {
    let (seed, body) = example(true);
    let text = b"x-amz-checksum-crc32c:sOO8/Q==\r\n";
    let at = body.windows(text.len()).position(|window| window == text).unwrap() + text.len() - 2;
    let sent = [&body[..at], b"\n\r\n", &body[at + 2..]].concat();
    let (data, trailers) = decode(example_decoder(&seed, true), &sent, &[7]).unwrap();
    assert_eq!((data.len(), trailers.get("x-amz-checksum-crc32c")), (66_560, Some("sOO8/Q==")));
    // One line end is a trailer's; two are an end without the signature.
    let twice = [&body[..at], b"\n\r\n\r\n", &body[at + 2..]].concat();
    assert_eq!(
        decode(example_decoder(&seed, true), &twice, &[7]).unwrap_err().code(),
        Code::MalformedTrailerError
    );
}

/// Case 4: a wrong decoded length is IncompleteBody, a malformed trailer a 400.
#[test]
fn case_4_lengths_and_trailers() {
    let good = "x-amz-checksum-crc32:AAAAAA==\r\n\r\n";
    for decoded in [2, 4, 1 << 40] {
        let error = unsigned(&format!("3\r\nabc\r\n0\r\n{good}"), decoded).unwrap_err();
        assert_eq!(error.code(), Code::IncompleteBody, "{decoded}");
    }
    for bad in [
        "\r\n",
        "x-amz-checksum-crc32\r\n\r\n",
        "x-amz-checksum-crc32c:AAAAAA==\r\n\r\n",
        "x-amz-checksum-crc32:AAAAAA==\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        "x-amz-checksum-crc32:\u{fffd}\u{1}\r\nx:y\r\n\r\n",
        &format!("x-amz-checksum-crc32:{}\r\n\r\n", "A".repeat(2000)),
    ] {
        let error = unsigned(&format!("3\r\nabc\r\n0\r\n{bad}"), 3).unwrap_err();
        assert_eq!(error.code(), Code::MalformedTrailerError, "{bad}");
    }
}

#[test]
fn broken_framing_is_a_400() {
    for bad in [
        "",
        "-1\r\n",
        "g\r\n",
        "\r\n",
        "+3\r\nabc\r\n",
        "3;x=y\r\nabc\r\n",
        "3\r\nabcd\r\n",
        "ffffffffffffffff1\r\n",
    ] {
        let error = unsigned(&format!("{bad}0\r\n\r\n"), 3).unwrap_err();
        assert!(error.status().is_client_error(), "{bad}");
    }
    assert_eq!(unsigned(&"1".repeat(200), 3).unwrap_err().code(), Code::IncompleteBody);
    assert_eq!(unsigned("ffffffffffffffff\r\nabc", 3).unwrap_err().code(), Code::IncompleteBody);
}

/// A signed body of these chunks, made with the formulas alone.
fn sign_chunks(chunks: &[Vec<u8>]) -> (Arc<StreamSeed>, Vec<u8>) {
    let request = sign_request(
        "PUT",
        "/bucket/k",
        &[("x-amz-decoded-content-length", "1")],
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        None,
    );
    let seed = check(&request).unwrap().stream_seed().unwrap();
    let key = key_bytes("20130524", REGION);
    let mut previous =
        request.headers["authorization"].to_str().unwrap().rsplit_once('=').unwrap().1.to_owned();
    let mut body = Vec::new();
    let empty = hex::encode(Sha256::digest(b""));
    for chunk in chunks.iter().map(Vec::as_slice).filter(|chunk| !chunk.is_empty()).chain([b"".as_slice()]) {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{DATE}\n20130524/{REGION}/s3/aws4_request\n{previous}\n{empty}\n{}",
            hex::encode(Sha256::digest(chunk))
        );
        previous = hex::encode(mac(&key, text.as_bytes()));
        body.extend_from_slice(format!("{:x};chunk-signature={previous}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    (seed, body)
}

proptest! {
    #[test]
    fn any_chunks_in_any_split(chunks in vec(vec(any::<u8>(), 0..40), 0..6), pieces in vec(1usize..60, 1..12)) {
        let data = chunks.concat();
        let (seed, body) = sign_chunks(&chunks);
        let decoder = ChunkedDecoder::signed(seed.clone(), data.len() as u64, None);
        assert_eq!(decode(decoder, &body, &pieces).unwrap().0, data);
        let short = ChunkedDecoder::signed(seed, data.len() as u64 + 1, None);
        assert_eq!(decode(short, &body, &pieces).unwrap_err().code(), Code::IncompleteBody);
    }

    /// No change of one byte passes, but that of a hexadecimal digit's case in a size.
    #[test]
    fn any_flip_is_found(chunks in vec(vec(any::<u8>(), 1..40), 1..4), at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let data = chunks.concat();
        let (seed, mut body) = sign_chunks(&chunks);
        let at = at.index(body.len());
        body[at] ^= 1 << bit;
        if let Ok((out, _)) = decode(ChunkedDecoder::signed(seed, data.len() as u64, None), &body, &[]) {
            assert!(bit == 5 && body[at].is_ascii_hexdigit());
            assert_eq!(out, data);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(body: Vec<u8>, decoded in 0u64..100, pieces in vec(1usize..10, 1..5)) {
        let _ = decode(ChunkedDecoder::unsigned(decoded, Vec::new()), &body, &pieces);
    }

    #[test]
    fn arbitrary_frames_never_panic(body in "([0-9a-f]{1,2}\r\n[a-z]{0,9}\r?\n?){0,5}(0\r\n)?(x-amz[ -~]{0,20}\r\n)?(\r\n)?", decoded in 0u64..30) {
        let _ = unsigned(&body, decoded);
    }
}
