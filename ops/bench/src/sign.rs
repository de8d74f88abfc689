//! SigV4 in the header with `UNSIGNED-PAYLOAD`, for paths and queries that need no escaping: all that a load generator sends.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use http::request::Builder;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]");
const DATE_TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");
const PAYLOAD: &str = "UNSIGNED-PAYLOAD";
const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The clock gives no date that can be written.
    #[error("the date cannot be formatted: {0}")]
    Date(#[from] time::error::Format),
    /// A header came out with a byte that headers cannot have.
    #[error("not a header value: {0}")]
    Header(#[from] http::header::InvalidHeaderValue),
}

/// Who signs, and for which region. The secret is a test credential's, made for one run.
pub struct Signer {
    access_key: String,
    secret_key: String,
    region: String,
}

impl Signer {
    /// A signer of S3 requests.
    pub fn new(access_key: String, secret_key: String, region: String) -> Self {
        Self { access_key, secret_key, region }
    }

    /// Adds Host, date, payload hash and Authorization. `path` and `query` go into the canonical request as they are.
    ///
    /// # Errors
    /// When a date or a header cannot be made.
    pub fn sign(
        &self,
        request: Builder,
        method: &str,
        host: &str,
        path: &str,
        query: &str,
        now: OffsetDateTime,
    ) -> Result<Builder, SignError> {
        let (date, date_time) = (now.format(DATE)?, now.format(DATE_TIME)?);
        let scope = format!("{date}/{}/s3/aws4_request", self.region);
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{PAYLOAD}\nx-amz-date:{date_time}\n\n{SIGNED}\n{PAYLOAD}"
        );
        let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
        let to_sign = format!("AWS4-HMAC-SHA256\n{date_time}\n{scope}\n{digest}");
        let seed = format!("AWS4{}", self.secret_key).into_bytes();
        let key = [date.as_str(), &self.region, "s3", "aws4_request"]
            .into_iter()
            .fold(seed, |key, part| mac(&key, part.as_bytes()));
        let signature = hex::encode(mac(&key, to_sign.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={SIGNED}, Signature={signature}",
            self.access_key
        );
        Ok(request
            .header("host", HeaderValue::from_str(host)?)
            .header("x-amz-date", HeaderValue::from_str(&date_time)?)
            .header("x-amz-content-sha256", PAYLOAD)
            .header("authorization", HeaderValue::from_str(&authorization)?))
    }
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length: the error type exists for other MACs.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    /// "Deriving the signing key" of AWS's documentation: its example key and its result.
    #[test]
    fn the_signing_key_is_the_documented_one() {
        let seed = b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec();
        let key = ["20150830", "us-east-1", "iam", "aws4_request"]
            .into_iter()
            .fold(seed, |key, part| mac(&key, part.as_bytes()));
        assert_eq!(hex::encode(key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }
}
