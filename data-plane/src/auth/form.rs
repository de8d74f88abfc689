//! The signature of a form: it is over the policy, which is the string to sign as it is (AWS: "Authenticating requests in
//! browser-based uploads using POST"). Version 4 here, Version 2 in [`sigv2`]. Method, path and headers are not signed; the policy says which fields may come,
//! and whoever asks here holds it against the form before anything is stored.

use super::check::{ALGORITHM, MAX_SKEW, compare, found_key, in_bytes, no_token};
use super::credential::Credential;
use super::{Authenticated, Lookup, Payload, SigV2Lookup, SignatureVersion, sigv2};
use crate::s3::error::{Code, S3Error};
use crate::s3::form::{Fields, missing};
use crate::s3::timestamp::parse_basic;

/// Signing keys live for a week, and so does what they sign.
const MAX_AGE: i64 = 604_800;

/// Checks a form's signature. `now` is in Unix seconds; `lookup` and `lookup_v2` as in [`super::authenticate`].
///
/// # Errors
/// AccessDenied for a form without policy and signature, InvalidArgument for a field that is missing or malformed,
/// InvalidRequest for Signature Version 2 where nobody allowed it, InvalidAccessKeyId, SignatureDoesNotMatch.
pub fn authenticate_form(
    fields: &Fields,
    now: i64,
    lookup: impl FnMut(&str, &str, &str) -> Lookup,
    lookup_v2: impl FnOnce(&str) -> SigV2Lookup,
) -> Result<Authenticated, S3Error> {
    let policy = match fields.get("policy") {
        Some(policy) => policy,
        None if signed(fields) => return Err(missing("policy")),
        None => return Err(S3Error::new(Code::AccessDenied)),
    };
    if let Some(id) = v2_signer(fields) {
        let signature = fields.get("signature").ok_or_else(|| missing("Signature"))?;
        no_token(fields.get("x-amz-security-token"))?;
        return sigv2::of_form(id, signature, policy, lookup_v2);
    }
    let need = |name: &'static str| fields.get(name).ok_or_else(|| missing(name));
    let algorithm = need("x-amz-algorithm")?;
    if algorithm != ALGORITHM {
        let why = "Only AWS4-HMAC-SHA256 is supported";
        return Err(S3Error::invalid_argument("X-Amz-Algorithm", algorithm, why));
    }
    let credential_text = need("x-amz-credential")?;
    let (timestamp, signature) = (need("x-amz-date")?, need("x-amz-signature")?);
    let credential = Credential::parse(credential_text)
        .map_err(|why| S3Error::invalid_argument("x-amz-credential", credential_text, why))?;
    no_token(fields.get("x-amz-security-token"))?;
    let at = parse_basic(timestamp)
        .ok_or_else(|| wrong_date(timestamp, "X-Amz-Date must be formated via ISO8601 Long format"))?;
    if timestamp.get(..8) != Some(credential.date) {
        return Err(wrong_date(timestamp, "Invalid credential date. Date is not the same as X-Amz-Date."));
    }
    if at > now.saturating_add(MAX_SKEW) {
        return Err(S3Error::with(Code::AccessDenied, "Request is not valid yet."));
    }
    if now > at.saturating_add(MAX_AGE) {
        return Err(S3Error::with(Code::AccessDenied, "Request has expired."));
    }
    let key = found_key(&credential, false, lookup).map_err(|error| match error.code() {
        // Of forms S3 says so as of any field that is wrong.
        Code::AuthorizationHeaderMalformed => {
            let why =
                error.message().trim_start_matches("The authorization header is malformed; ").to_owned();
            S3Error::invalid_argument("x-amz-credential", credential_text, why)
        }
        _ => error,
    })?;
    compare(&key, policy.as_bytes(), signature).ok_or_else(|| {
        S3Error::new(Code::SignatureDoesNotMatch)
            .field("AWSAccessKeyId", credential.access_key_id)
            .field("StringToSign", policy)
            .field("StringToSignBytes", in_bytes(policy))
            .field("SignatureProvided", signature)
    })?;
    Ok(Authenticated {
        access_key_id: credential.access_key_id.to_owned(),
        version: SignatureVersion::V4,
        region: Some(credential.region.to_owned()),
        payload: Payload::Unsigned,
        presigned: false,
        seed: None,
    })
}

/// Who claims to have signed a form with Version 2.
#[must_use]
pub fn v2_signer(fields: &Fields) -> Option<&str> {
    fields.get("awsaccesskeyid").filter(|_| fields.get("x-amz-algorithm").is_none())
}

fn signed(fields: &Fields) -> bool {
    ["x-amz-signature", "x-amz-credential", "signature", "awsaccesskeyid"]
        .iter()
        .any(|name| fields.get(name).is_some())
}

fn wrong_date(value: &str, why: &'static str) -> S3Error {
    S3Error::invalid_argument("X-Amz-Date", value, why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::authenticate_form;
    use crate::auth::testing::{DATE, ID, SECRET, hmac_sha1, key_bytes, lookup, lookup_v2, mac, now};
    use crate::s3::error::Code;
    use crate::s3::form::{Fields, FormReader};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    const POLICY: &str = "eyJleHBpcmF0aW9uIjoiIn0=";

    fn form(pairs: &[(&str, &str)]) -> Fields {
        let mut body = String::new();
        for (name, value) in pairs {
            body.push_str(&format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n"));
        }
        body.push_str("--b\r\nContent-Disposition: form-data; name=file\r\n\r\n");
        FormReader::new("b").push(body.as_bytes()).unwrap().unwrap().fields
    }

    fn signature() -> String {
        hex::encode(mac(&key_bytes("20130524", "us-east-1"), POLICY.as_bytes()))
    }

    fn code_of(change: (&str, Option<&str>), now: i64) -> Result<(), Code> {
        let (credential, signature) = (format!("{ID}/20130524/us-east-1/s3/aws4_request"), signature());
        let good = [
            ("policy", POLICY),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", &credential),
            ("x-amz-date", DATE),
            ("x-amz-signature", &signature),
        ];
        let mut pairs: Vec<(&str, &str)> = good.into_iter().filter(|(name, _)| *name != change.0).collect();
        pairs.extend(change.1.map(|value| (change.0, value)));
        authenticate_form(&form(&pairs), now, lookup, lookup_v2).map(drop).map_err(|error| error.code())
    }

    #[test]
    fn the_signature_is_over_the_policy() {
        assert_eq!(code_of(("", None), now()), Ok(()));
        let other = "eyJleHBpcmF0aW9uIjoiIn0K";
        assert_eq!(code_of(("policy", Some(other)), now()), Err(Code::SignatureDoesNotMatch));
        let flipped = signature().replace(['0', '1'], "2");
        assert_eq!(code_of(("x-amz-signature", Some(&flipped)), now()), Err(Code::SignatureDoesNotMatch));
        let unknown = "AKIDUNKNOWN/20130524/us-east-1/s3/aws4_request";
        assert_eq!(code_of(("x-amz-credential", Some(unknown)), now()), Err(Code::InvalidAccessKeyId));
    }

    #[test]
    fn each_field_is_needed() {
        for field in ["policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"] {
            assert_eq!(code_of((field, None), now()), Err(Code::InvalidArgument), "{field}");
        }
        assert_eq!(code_of(("x-amz-date", Some("20130525T000000Z")), now()), Err(Code::InvalidArgument));
        assert_eq!(code_of(("x-amz-security-token", Some("t")), now()), Err(Code::InvalidToken));
        let error =
            |pairs: &[(&str, &str)]| authenticate_form(&form(pairs), now(), lookup, lookup_v2).err().unwrap();
        assert_eq!(error(&[("key", "k")]).code(), Code::AccessDenied);
    }

    #[test]
    fn version_2_signs_the_policy_for_who_may() {
        let signature = STANDARD.encode(*hmac_sha1(SECRET.as_bytes()).sign(POLICY.as_bytes()));
        let check = |changed: &[(&str, &str)]| {
            let mut pairs = vec![("policy", POLICY), ("AWSAccessKeyId", ID), ("signature", &signature)];
            pairs.retain(|(name, _)| changed.iter().all(|(other, _)| other != name));
            pairs.extend(changed);
            authenticate_form(&form(&pairs), now(), lookup, lookup_v2)
        };
        let authenticated = check(&[]).unwrap();
        assert_eq!(
            (authenticated.access_key_id(), authenticated.version()),
            (ID, crate::auth::SignatureVersion::V2)
        );
        for (changed, code) in [
            (("policy", "eyJleHBpcmF0aW9uIjoiIn0K"), Code::SignatureDoesNotMatch),
            (("signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="), Code::SignatureDoesNotMatch),
            (("signature", "x"), Code::SignatureDoesNotMatch),
            (("AWSAccessKeyId", "AKIDPLAIN"), Code::InvalidRequest),
            (("AWSAccessKeyId", "AKIDENDED"), Code::InvalidAccessKeyId),
            (("x-amz-security-token", "t"), Code::InvalidToken),
        ] {
            assert_eq!(check(&[changed]).err().unwrap().code(), code, "{changed:?}");
        }
        let unsigned = form(&[("policy", POLICY), ("AWSAccessKeyId", ID)]);
        let error = authenticate_form(&unsigned, now(), lookup, lookup_v2).err().unwrap();
        assert_eq!(error.code(), Code::InvalidArgument);
    }

    #[test]
    fn a_form_lives_for_a_week_at_most() {
        assert_eq!(code_of(("", None), now() + 604_800), Ok(()));
        assert_eq!(code_of(("", None), now() + 604_801), Err(Code::AccessDenied));
        assert_eq!(code_of(("", None), now() - 901), Err(Code::AccessDenied));
    }
}
