//! How an S3 server is reached, and in what it differs from S3.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use http::Uri;

use crate::backend::{BackendError, Capabilities};

/// Where credentials come from. Asked for each request, so it must answer at once: whoever fetches and renews
/// credentials does so beside the requests.
pub trait CredentialsProvider: fmt::Debug + Send + Sync {
    /// The credentials to sign with now.
    ///
    /// # Errors
    /// `Unavailable` when there are none that are valid.
    fn current(&self) -> Result<Credentials, BackendError>;
}

/// Credentials that stay as they are. Their Debug text names no secret.
#[derive(Clone, Debug)]
pub struct StaticCredentials(Credentials);

impl StaticCredentials {
    /// An access key with its secret, and the session token that belongs to temporary ones.
    pub fn new(access_key: String, secret_key: String, session_token: Option<String>) -> Self {
        Self(Credentials::new(access_key, secret_key, session_token, None, "static"))
    }
}

impl CredentialsProvider for StaticCredentials {
    fn current(&self) -> Result<Credentials, BackendError> {
        Ok(self.0.clone())
    }
}

/// Which server it is: what it can do was found out by the conformance suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerKind {
    /// Amazon S3.
    Aws,
    /// MinIO.
    Minio,
    /// SeaweedFS.
    SeaweedFs,
    /// Versity S3 Gateway.
    VersityGw,
    /// Anything else: nothing beyond the oldest common ground is expected of it.
    Generic,
}

impl ServerKind {
    /// What the server can do.
    pub fn capabilities(self) -> Capabilities {
        const GIB: u64 = 1 << 30;
        let all = Capabilities {
            max_put: 5 * GIB,
            max_part: 5 * GIB,
            max_object: 5 * 1024 * GIB,
            max_part_number: 10_000,
            max_user_metadata: 2048,
            suffix_ranges: true,
            conditional_put: true,
            conditional_complete: true,
            conditional_delete: true,
            delete_after_a_look: false,
            pinned_copies: true,
            conditional_copy: true,
            conditional_delete_many: true,
            folds_keys: false,
            folds_backslashes: false,
            marker_metadata: true,
            part_etags_enforced: true,
            sorted_listings: true,
            upload_pages: true,
            names_owners: false,
        };
        match self {
            Self::Aws => Capabilities { max_object: 50 * 1024 * GIB, names_owners: true, ..all },
            // MinIO counts `x-amz-meta-` too: 22 bytes for the gateway's two headers.
            Self::Minio => Capabilities {
                conditional_delete: false,
                delete_after_a_look: true,
                conditional_copy: false,
                conditional_delete_many: false,
                folds_keys: true,
                max_user_metadata: 2026,
                ..all
            },
            // It walks its directories by their names: `a/b` comes before `a-b`. Pages of uploads do not join.
            Self::SeaweedFs => Capabilities {
                folds_keys: true,
                folds_backslashes: true,
                part_etags_enforced: false,
                marker_metadata: false,
                sorted_listings: false,
                upload_pages: false,
                ..all
            },
            // It refuses the upload id marker that it gave.
            Self::VersityGw => Capabilities {
                conditional_copy: false,
                conditional_delete_many: false,
                folds_keys: true,
                upload_pages: false,
                ..all
            },
            Self::Generic => Capabilities {
                conditional_put: false,
                conditional_complete: false,
                conditional_delete: false,
                pinned_copies: false,
                conditional_copy: false,
                conditional_delete_many: false,
                folds_keys: true,
                folds_backslashes: true,
                marker_metadata: false,
                part_etags_enforced: false,
                sorted_listings: false,
                upload_pages: false,
                ..all
            },
        }
    }

    /// The checksum that the server verifies uploads by.
    pub fn checksum(self) -> Checksum {
        match self {
            Self::Aws | Self::Minio | Self::SeaweedFs | Self::VersityGw => Checksum::Crc64Nvme,
            Self::Generic => Checksum::Crc32,
        }
    }

    /// Whether uploads are created with CRC64NVME as a full-object checksum. MinIO and versitygw then demand each part's
    /// checksum in CompleteMultipartUpload; without an algorithm they verify each part as well.
    pub(super) fn full_object_uploads(self, checksum: Checksum) -> bool {
        self == Self::Aws && checksum == Checksum::Crc64Nvme
    }

    /// Whether Complete of an upload that does not exist succeeds when there is an object of that name (versitygw): a
    /// ListParts before it finds out.
    pub(super) fn completes_unknown_uploads(self) -> bool {
        self == Self::VersityGw
    }

    /// Whether listings say `url` but leave markers, and all of a listing of uploads, as they are (SeaweedFS).
    pub(super) fn leaves_markers_plain(self) -> bool {
        self == Self::SeaweedFs
    }

    /// Whether DeleteBucket removes a bucket that still holds objects (SeaweedFS, unless it is started with
    /// `-s3.allowDeleteBucketNotEmpty=false`).
    pub(super) fn deletes_full_buckets(self) -> bool {
        self == Self::SeaweedFs
    }
}

/// What uploads are protected by on their way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// CRC-64/NVME: S3's own default since 2025.
    Crc64Nvme,
    /// CRC-32: every server that knows checksums at all.
    Crc32,
    /// None. **A server may then keep a truncated body**: only for those that refuse the others.
    None,
}

/// Configuration of an S3 backend. Made by [`S3Config::new`], then adjusted.
#[derive(Clone, Debug)]
pub struct S3Config {
    pub(super) https: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Region that requests are signed for.
    pub region: String,
    /// `https://host/bucket/key` and not `https://bucket.host/key`. On by default.
    pub path_style: bool,
    /// Where credentials come from.
    pub credentials: Arc<dyn CredentialsProvider>,
    /// Which server it is.
    pub server: ServerKind,
    /// The account that owns every bucket: each request that names one says so, and the server refuses it for another account's.
    pub bucket_owner: Option<String>,
    /// Take the server for one whose largest PUT is no more than this, in bytes: to try what is beyond without 5 GiB. No config
    /// file says so.
    pub largest_put: Option<u64>,
    /// Another checksum than the server's own.
    pub checksum: Option<Checksum>,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Until a connection stands, TLS included. 3 s.
    pub connect_timeout: Duration,
    /// Until the answer begins, after the request's last byte. 30 s.
    pub answer_timeout: Duration,
    /// The same for CompleteMultipartUpload, which may have to copy. 10 min.
    pub complete_timeout: Duration,
    /// Without a byte moving in a body that the server is to send or take. 30 s.
    pub idle_timeout: Duration,
    /// How long a connection is kept for the next request. 20 s.
    pub keep_alive: Duration,
    /// How many are kept, per worker. 64.
    pub max_idle: usize,
}

impl S3Config {
    /// From an endpoint such as `http://127.0.0.1:9000` or `https://s3.eu-central-1.amazonaws.com`.
    ///
    /// # Errors
    /// `Protocol`, with a text for the operator, when the endpoint is not such a URL.
    pub fn new(
        endpoint: &str,
        region: &str,
        credentials: Arc<dyn CredentialsProvider>,
    ) -> Result<Self, BackendError> {
        let invalid = |why: &str| BackendError::Protocol(format!("endpoint {endpoint:?}: {why}"));
        let uri: Uri = endpoint.parse().map_err(|_| invalid("not a URL"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(invalid("must begin with http:// or https://")),
        };
        if uri.path().len() > 1 || uri.query().is_some() {
            return Err(invalid("must have no path"));
        }
        let authority = uri.authority().ok_or_else(|| invalid("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("must not contain credentials"));
        }
        Ok(Self {
            https,
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(if https { 443 } else { 80 }),
            region: region.to_owned(),
            path_style: true,
            credentials,
            server: ServerKind::Generic,
            bucket_owner: None,
            largest_put: None,
            checksum: None,
            ca_pem: None,
            connect_timeout: Duration::from_secs(3),
            answer_timeout: Duration::from_secs(30),
            complete_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(20),
            max_idle: 64,
        })
    }

    /// The same configuration for another host and port, over plain HTTP: for a proxy in between.
    pub fn through(mut self, host: &str, port: u16) -> Self {
        (self.https, self.host, self.port) = (false, host.to_owned(), port);
        self
    }

    pub(super) fn used_checksum(&self) -> Checksum {
        self.checksum.unwrap_or_else(|| self.server.checksum())
    }

    /// Host and port as they stand in the Host header.
    pub(super) fn authority(&self) -> String {
        let default = if self.https { 443 } else { 80 };
        if self.port == default { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn config(endpoint: &str) -> Result<S3Config, BackendError> {
        let credentials = StaticCredentials::new("AKID".into(), "very-secret".into(), Some("token".into()));
        S3Config::new(endpoint, "eu-central-1", Arc::new(credentials))
    }

    #[test]
    fn endpoints() {
        assert_eq!(config("http://127.0.0.1:9000").unwrap().authority(), "127.0.0.1:9000");
        assert_eq!(config("https://s3.example.com").unwrap().authority(), "s3.example.com");
        assert_eq!(config("https://s3.example.com:443/").unwrap().authority(), "s3.example.com");
        for bad in ["", "s3.example.com", "ftp://x", "http://a:b@c", "http://x/path", "http://x?q"] {
            assert!(config(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_text_tells_no_secret() {
        let text = format!("{:?}", config("http://x").unwrap());
        assert!(!text.contains("very-secret") && !text.contains("token\""), "{text}");
    }
}
