//! A bucket's CORS configuration.

use super::reader::{malformed, read};
use crate::s3::cors::{Cors, Rule};
use crate::s3::error::S3Error;

/// The largest configuration, in bytes: S3's own limit.
pub const MAX_BYTES: usize = 64 * 1024;
/// The most rules: S3's own limit.
const MAX_RULES: usize = 100;

/// Reads a `CORSConfiguration`.
///
/// # Errors
/// MalformedXML.
pub fn parse_cors(body: &[u8]) -> Result<Cors, S3Error> {
    let mut rules = Vec::new();
    let mut rule = Rule::default();
    read(body, MAX_BYTES, "CORSConfiguration", |path, text| {
        let text = text.trim();
        match path {
            ["CORSRule", "AllowedOrigin"] => rule.origins.push(text.to_owned()),
            ["CORSRule", "AllowedMethod"] => rule.methods.push(text.to_owned()),
            ["CORSRule", "AllowedHeader"] => rule.headers.push(text.to_ascii_lowercase()),
            ["CORSRule", "ExposeHeader"] => rule.exposed.push(text.to_owned()),
            ["CORSRule", "MaxAgeSeconds"] => {
                let seconds: i64 = text.parse().map_err(|_| malformed())?;
                // S3 takes less than nothing too: it is not told.
                rule.max_age = u32::try_from(seconds).ok();
            }
            ["CORSRule"] if rules.len() == MAX_RULES => return Err(malformed()),
            ["CORSRule"] => rules.push(std::mem::take(&mut rule)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(Cors { rules })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::parse_cors;

    #[test]
    fn rules_are_read_in_order() {
        let rule = |origin: &str| {
            format!(
                "<CORSRule><ID>x</ID><AllowedOrigin>{origin}</AllowedOrigin><AllowedMethod>GET</AllowedMethod>\
                 <AllowedHeader>X-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>7</MaxAgeSeconds></CORSRule>"
            )
        };
        let document = |rules: &str| format!("<CORSConfiguration>{rules}</CORSConfiguration>");
        let cors = parse_cors(document(&[rule("a"), rule("b")].concat()).as_bytes()).unwrap();
        assert_eq!(cors.rules.len(), 2);
        assert_eq!((cors.rules[1].origins[0].as_str(), cors.rules[1].headers[0].as_str()), ("b", "x-*"));
        assert_eq!((cors.rules[0].exposed[0].as_str(), cors.rules[0].max_age), ("ETag", Some(7)));
        assert!(parse_cors(document(&rule("a").repeat(101)).as_bytes()).is_err());
        let negative = parse_cors(document(&rule("a").replace('7', "-7")).as_bytes()).unwrap();
        assert_eq!(negative.rules[0].max_age, None);
        assert!(parse_cors(document(&rule("a").replace('7', "x")).as_bytes()).is_err());
        assert!(parse_cors(b"<Other/>").is_err());
    }
}
