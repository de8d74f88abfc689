//! The parts of a signature that a client states: credential scope, signed headers, signature and time.

use crate::s3::timestamp::parse_day;

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
    pub(super) fn parse(text: &'a str) -> Result<Credential<'a>, &'static str> {
        let mut pieces = text.rsplitn(5, '/');
        let (Some(terminal), Some(service), Some(region), Some(date), Some(access_key_id)) =
            (pieces.next(), pieces.next(), pieces.next(), pieces.next(), pieces.next())
        else {
            return Err(
                "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"",
            );
        };
        if terminal != "aws4_request" {
            return Err("incorrect terminal, the Credential must end in \"aws4_request\"");
        }
        if service != "s3" {
            return Err("incorrect service, this endpoint belongs to \"s3\"");
        }
        if parse_day(date).is_none() {
            return Err("incorrect date format in the Credential, expecting YYYYMMDD");
        }
        let plain = |text: &str, limit: usize| {
            !text.is_empty() && text.len() <= limit && text.bytes().all(|b| b.is_ascii_graphic())
        };
        if !plain(region, MAX_REGION) || !plain(access_key_id, MAX_ID) {
            return Err("the access key id or the region is empty or too long");
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
    pub(super) fn parse(text: &'a str) -> Result<Fields<'a>, &'static str> {
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for piece in text.split(',').map(str::trim).filter(|piece| !piece.is_empty()) {
            let (name, value) = piece.split_once('=').ok_or("a component has no value")?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err("a component is not known"),
            };
            if slot.replace(value).is_some() {
                return Err("a component is given twice");
            }
        }
        Ok(Fields {
            credential: credential.ok_or("it requires Credential")?,
            signed_headers: signed_headers.ok_or("it requires SignedHeaders")?,
            signature: signature.ok_or("it requires Signature")?,
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
