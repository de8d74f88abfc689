//! Headers that ask for server-side encryption (AWS: "Protecting data with encryption"). The gateway encrypts every object of
//! an encrypted prefix under its own keys, which is what SSE-S3 asks for. A KMS key that a client names, or a key that it
//! sends, would not be used: such requests are refused, malformed ones with S3's own errors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::body::checksum::{Algorithm, Checksum};
use crate::s3::error::{Code, S3Error};
use crate::s3::route::Operation;

/// Which encryption is asked for, or was done.
pub const ENCRYPTION: &str = "x-amz-server-side-encryption";
/// The key of `aws:kms`.
pub const KMS_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const KMS_CONTEXT: &str = "x-amz-server-side-encryption-context";
const OWN_ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";
const OWN_KEY: &str = "x-amz-server-side-encryption-customer-key";
const OWN_KEY_MD5: &str = "x-amz-server-side-encryption-customer-key-md5";

/// The value that asks for SSE-S3, and that answers it.
pub const SSE_S3: &str = "AES256";

/// Checks what a request asks for. `secure` says whether this node's listener has TLS: S3 takes no customer's key in clear.
///
/// # Errors
/// NotImplemented for SSE-KMS and SSE-C; InvalidArgument and InvalidEncryptionAlgorithmError for what S3 refuses itself;
/// InvalidRequest for a customer's key on a read, since no object has one.
pub fn check(operation: &Operation, headers: &HeaderMap, secure: bool) -> Result<(), S3Error> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"));
    let reads =
        matches!(operation, Operation::GetObject | Operation::HeadObject | Operation::GetObjectAttributes);
    let own = [OWN_ALGORITHM, OWN_KEY, OWN_KEY_MD5].iter().any(|name| headers.contains_key(*name));
    match (text(ENCRYPTION), own) {
        (None, false) => {
            if let Some(name) = [KMS_KEY, KMS_CONTEXT].iter().find(|name| headers.contains_key(**name)) {
                let why = "It needs the header x-amz-server-side-encryption with the value aws:kms.";
                return Err(S3Error::invalid_argument(*name, "", why));
            }
            Ok(())
        }
        (Some(_), false) if reads => Err(S3Error::invalid_argument(
            ENCRYPTION,
            "",
            "x-amz-server-side-encryption header is not supported for this operation.",
        )),
        (Some(_), true) => Err(S3Error::invalid_argument(
            ENCRYPTION,
            "",
            "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
        )),
        (Some(SSE_S3), false) => {
            if let Some(name) = [KMS_KEY, KMS_CONTEXT].iter().find(|name| headers.contains_key(**name)) {
                return Err(S3Error::invalid_argument(*name, "", "It cannot be used with AES256."));
            }
            Ok(())
        }
        (Some("aws:kms" | "aws:kms:dsse"), false) => Err(S3Error::with(
            Code::NotImplemented,
            "Sealgate does not implement SSE-KMS: a request cannot name a key, since all keys are wrapped under the one of the \
             gateway's operator. Every object is encrypted without asking: leave the header out, or use AES256.",
        )),
        (Some(other), false) => Err(S3Error::invalid_argument(
            ENCRYPTION,
            other,
            "The encryption method specified is not supported",
        )),
        (None, true) if !secure && own_is_whole(headers) => Err(S3Error::with(
            Code::InvalidRequest,
            "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection. \
             (Sealgate does not implement SSE-C over one either: every object is encrypted without asking.)",
        )),
        (None, true) => Err(own_key(text(OWN_ALGORITHM), text(OWN_KEY), text(OWN_KEY_MD5), reads)),
    }
}

/// What of a checked request goes to the storage with a plain object, which nobody but the storage can encrypt.
#[must_use]
pub fn of_storage(headers: &HeaderMap) -> HeaderMap {
    let asked = headers.get(ENCRYPTION).map(|value| (HeaderName::from_static(ENCRYPTION), value.clone()));
    asked.into_iter().collect()
}

/// Whether all three headers of a customer's key are there.
fn own_is_whole(headers: &HeaderMap) -> bool {
    [OWN_ALGORITHM, OWN_KEY, OWN_KEY_MD5].iter().all(|name| headers.contains_key(*name))
}

/// Why a customer's key is refused.
fn own_key(algorithm: Option<&str>, key: Option<&str>, md5: Option<&str>, reads: bool) -> S3Error {
    let wrong = |name: &'static str, why: &str| {
        S3Error::invalid_argument(
            name,
            "",
            format!(
                "Requests specifying Server Side Encryption with Customer provided keys must provide {why}."
            ),
        )
    };
    let Some(algorithm) = algorithm else { return wrong(OWN_ALGORITHM, "a valid encryption algorithm") };
    if algorithm != SSE_S3 {
        return S3Error::new(Code::InvalidEncryptionAlgorithmError);
    }
    let Some(key) = key else { return wrong(OWN_KEY, "an appropriate secret key") };
    let key = STANDARD.decode(key).ok().map(Zeroizing::new).filter(|key| key.len() == 32);
    let Some(key) = key else {
        let why = "The secret key was invalid for the specified algorithm.";
        return S3Error::invalid_argument(OWN_KEY, "", why);
    };
    let Some(md5) = md5 else { return wrong(OWN_KEY_MD5, "the client calculated MD5 of the secret key") };
    let found = Checksum::of(Algorithm::Md5, &key);
    let same = Checksum::from_base64(Algorithm::Md5, md5)
        .is_some_and(|told| bool::from(told.bytes().ct_eq(found.bytes())));
    if !same {
        let why = "The calculated MD5 hash of the key did not match the hash that was provided.";
        return S3Error::invalid_argument(OWN_KEY_MD5, "", why);
    }
    if reads {
        return S3Error::with(
            Code::InvalidRequest,
            "The encryption parameters are not applicable to this object.",
        );
    }
    S3Error::with(
        Code::NotImplemented,
        "Sealgate does not implement SSE-C: a key of your own would not be used. Every object is encrypted without asking: \
         leave the headers out, or encrypt before you send.",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{ENCRYPTION, KMS_KEY, OWN_ALGORITHM, OWN_KEY, OWN_KEY_MD5, check};
    use crate::s3::error::Code;
    use crate::s3::route::Operation;
    use http::{HeaderMap, HeaderValue};

    /// 32 bytes of `a`, and their MD5.
    const KEY: &str = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=";
    const MD5: &str = "Xsqb0+sHwAbNQ65I395/0w==";

    fn of(operation: &Operation, pairs: &[(&'static str, &str)]) -> Result<(), Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        check(operation, &headers, true).map_err(|error| error.code())
    }

    #[test]
    fn only_what_is_done_is_accepted() {
        let put = |pairs: &[_]| of(&Operation::PutObject, pairs);
        assert_eq!(put(&[]), Ok(()));
        assert_eq!(put(&[(ENCRYPTION, "AES256")]), Ok(()));
        assert_eq!(put(&[(ENCRYPTION, "aws:kms")]), Err(Code::NotImplemented));
        assert_eq!(put(&[(ENCRYPTION, "aws:kms"), (KMS_KEY, "k")]), Err(Code::NotImplemented));
        for bad in [
            &[(ENCRYPTION, "aes:kms")][..],
            &[(ENCRYPTION, "AES256"), (KMS_KEY, "k")],
            &[(KMS_KEY, "k")],
            &[(ENCRYPTION, "AES256"), (OWN_ALGORITHM, "AES256")],
        ] {
            assert_eq!(put(bad), Err(Code::InvalidArgument), "{bad:?}");
        }
        assert_eq!(of(&Operation::GetObject, &[(ENCRYPTION, "AES256")]), Err(Code::InvalidArgument));
    }

    #[test]
    fn a_key_of_ones_own_is_never_taken() {
        let whole = [(OWN_ALGORITHM, "AES256"), (OWN_KEY, KEY), (OWN_KEY_MD5, MD5)];
        assert_eq!(of(&Operation::PutObject, &whole), Err(Code::NotImplemented));
        assert_eq!(of(&Operation::HeadObject, &whole), Err(Code::InvalidRequest));
        let headers: HeaderMap = whole
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect();
        let in_clear = check(&Operation::PutObject, &headers, false).unwrap_err();
        assert_eq!(in_clear.code(), Code::InvalidRequest);
        for missing in 0..3 {
            let mut less = whole.to_vec();
            less.remove(missing);
            assert_eq!(of(&Operation::PutObject, &less), Err(Code::InvalidArgument), "{missing}");
        }
        let with = |at: usize, value| {
            let mut other = whole;
            other[at].1 = value;
            of(&Operation::PutObject, &other)
        };
        assert_eq!(with(0, "DES"), Err(Code::InvalidEncryptionAlgorithmError));
        assert_eq!(with(1, "YWFh"), Err(Code::InvalidArgument));
        assert_eq!(with(2, "1B2M2Y8AsgTpgAmY7PhCfg=="), Err(Code::InvalidArgument));
    }
}
