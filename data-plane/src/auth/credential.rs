//! The parts of a signature that a client states: credential scope, signed headers, signature and time.

use crate::s3::timestamp::parse_day;
use std::borrow::Cow;

/// `<access key id>/<yyyymmdd>/<region>/s3/aws4_request`
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Credential<'a> {
    pub access_key_id: &'a str,
    pub date: &'a str,
    pub region: &'a str,
}

/// The longest access key id and region that are looked up, in bytes.
const MAX_ID: usize = 128;
const MAX_REGION: usize = 64;

impl<'a> Credential<'a> {
    /// Reads a credential; the error says what is wrong, in S3's words.
    pub(super) fn parse(text: &'a str) -> Result<Credential<'a>, Cow<'static, str>> {
        // Our access key ids have no slash.
        let pieces: Vec<&str> = text.splitn(6, '/').collect();
        let [access_key_id, date, region, service, terminal] = pieces.as_slice() else {
            return Err(Cow::Borrowed(
                "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
            ));
        };
        if *terminal != "aws4_request" {
            return Err(
                format!("incorrect terminal \"{terminal}\". This endpoint uses \"aws4_request\".").into()
            );
        }
        if *service != "s3" {
            return Err(format!("incorrect service \"{service}\". This endpoint belongs to \"s3\".").into());
        }
        if parse_day(date).is_none() {
            return Err(format!(
                "incorrect date format \"{date}\". This date in the credential must be in the format \"yyyyMMdd\"."
            )
            .into());
        }
        let (access_key_id, date, region) = (*access_key_id, *date, *region);
        let plain = |text: &str, limit: usize| {
            !text.is_empty() && text.len() <= limit && text.bytes().all(|b| b.is_ascii_graphic())
        };
        if !plain(region, MAX_REGION) || !plain(access_key_id, MAX_ID) {
            return Err(Cow::Borrowed("the access key id or the region is empty or too long."));
        }
        Ok(Credential { access_key_id, date, region })
    }

    /// The scope: what stands in the string to sign.
    pub(super) fn scope(&self) -> String {
        format!("{}/{}/s3/aws4_request", self.date, self.region)
    }
}

/// The three fields of an Authorization header after its algorithm.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    pub credential: &'a str,
    pub signed_headers: &'a str,
    pub signature: &'a str,
}

impl<'a> Fields<'a> {
    /// Reads `Credential=…, SignedHeaders=…, Signature=…`, in any order, each once, with or without spaces.
    pub(super) fn parse(text: &'a str) -> Result<Fields<'a>, Cow<'static, str>> {
        let pieces = || text.split(',').map(str::trim).filter(|piece| !piece.is_empty());
        if pieces().count() != 3 {
            return Err(Cow::Borrowed(
                "the authorization header requires three components: Credential, SignedHeaders, and Signature.",
            ));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for piece in pieces() {
            let (name, value) = piece
                .split_once('=')
                .ok_or_else(|| format!("the authorization component \"{piece}\" is malformed."))?;
            match name {
                "Credential" => credential = Some(value),
                "SignedHeaders" => signed_headers = Some(value),
                "Signature" => signature = Some(value),
                // Of three, one that is not known or that comes twice is one that is missing.
                _ => {}
            }
        }
        Ok(Fields {
            credential: credential.ok_or("missing Credential.")?,
            signed_headers: signed_headers.ok_or("missing SignedHeaders.")?,
            signature: signature.ok_or("missing Signature.")?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{Credential, Fields};
    use proptest::prelude::proptest;

    #[test]
    fn a_credential_has_five_pieces() {
        let credential = Credential::parse("AKID/20130524/us-east-1/s3/aws4_request").unwrap();
        assert_eq!(credential, Credential { access_key_id: "AKID", date: "20130524", region: "us-east-1" });
        assert_eq!(credential.scope(), "20130524/us-east-1/s3/aws4_request");
        for bad in [
            "",
            "20130524/us-east-1/s3/aws4_request",
            "/20130524/us-east-1/s3/aws4_request",
            "AKID/20131524/us-east-1/s3/aws4_request",
            "AKID/20130524//s3/aws4_request",
            "AKID/20130524/us-east-1/sts/aws4_request",
            "AKID/20130524/us-east-1/s3/aws4",
            "AKID/20130524/us-east-1/s3/aws4_request/more",
        ] {
            assert!(Credential::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_with_and_without_spaces() {
        for text in
            ["Credential=a,SignedHeaders=b,Signature=c", " Signature=c,  Credential=a, SignedHeaders=b"]
        {
            assert_eq!(
                Fields::parse(text).unwrap(),
                Fields { credential: "a", signed_headers: "b", signature: "c" }
            );
        }
        assert!(Fields::parse("Credential=a,SignedHeaders=b").is_err());
        assert!(Fields::parse("Credential=a,Credential=a,SignedHeaders=b,Signature=c").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text: String) {
            let _ = (Credential::parse(&text).is_ok(), Fields::parse(&text).is_ok());
        }
    }
}
