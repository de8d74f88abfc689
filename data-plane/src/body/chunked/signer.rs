//! Chunk signatures: each covers the one before it, from the request's own on, so that no chunk can be changed, dropped,
//! repeated or moved.

use crate::auth::StreamSeed;
use crate::s3::error::{Code, S3Error};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// SHA-256 of nothing: the place of chunk headers in the string to sign.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The chain of signatures of one body.
pub(super) struct ChunkSigner {
    seed: Arc<StreamSeed>,
    previous: String,
    claimed: [u8; 32],
    claimed_text: String,
    hash: Sha256,
}

impl ChunkSigner {
    pub(super) fn new(seed: Arc<StreamSeed>) -> ChunkSigner {
        let previous = seed.signature.clone();
        ChunkSigner { seed, previous, claimed: [0; 32], claimed_text: String::new(), hash: Sha256::new() }
    }

    /// Starts a chunk with the signature that its header claims.
    pub(super) fn start(&mut self, claimed: [u8; 32], text: &str) {
        self.claimed = claimed;
        self.claimed_text.clear();
        self.claimed_text.push_str(text);
    }

    /// Takes data of the chunk.
    pub(super) fn update(&mut self, data: &[u8]) {
        self.hash.update(data);
    }

    /// Ends the chunk: compares its signature, which the next one then builds upon.
    pub(super) fn end(&mut self) -> Result<(), S3Error> {
        let digest = hex::encode(self.hash.finalize_reset());
        let to_sign = self.string_to_sign("AWS4-HMAC-SHA256-PAYLOAD", &[EMPTY, &digest]);
        if !bool::from(self.seed.key.sign(to_sign.as_bytes()).ct_eq(&self.claimed)) {
            return Err(mismatch("chunk", to_sign, &self.claimed_text));
        }
        std::mem::swap(&mut self.previous, &mut self.claimed_text);
        Ok(())
    }

    /// Compares the signature of the trailers, given their canonical form.
    pub(super) fn check_trailers(
        &self,
        canonical: &[u8],
        claimed: [u8; 32],
        text: &str,
    ) -> Result<(), S3Error> {
        let digest = hex::encode(Sha256::digest(canonical));
        let to_sign = self.string_to_sign("AWS4-HMAC-SHA256-TRAILER", &[&digest]);
        if !bool::from(self.seed.key.sign(to_sign.as_bytes()).ct_eq(&claimed)) {
            return Err(mismatch("trailer", to_sign, text));
        }
        Ok(())
    }

    fn string_to_sign(&self, kind: &str, hashes: &[&str]) -> String {
        let StreamSeed { timestamp, scope, .. } = &*self.seed;
        format!("{kind}\n{timestamp}\n{scope}\n{}\n{}", self.previous, hashes.join("\n"))
    }
}

fn mismatch(what: &str, to_sign: String, given: &str) -> S3Error {
    S3Error::with(
        Code::SignatureDoesNotMatch,
        format!("The {what} signature we calculated does not match the signature you provided."),
    )
    .field("StringToSign", to_sign)
    .field("SignatureProvided", given)
}
