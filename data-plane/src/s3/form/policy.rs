//! The policy of a form (AWS: "POST Policy", "Creating a POST policy"): a signed document that says until when, and with
//! which fields, its holder may upload. Every field must be named in it; what it does not name is not allowed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Fields;
use crate::s3::error::{Code, S3Error};
use crate::s3::timestamp::parse_iso;

/// The most conditions of a policy.
const MAX_CONDITIONS: usize = 256;

/// A parsed policy. That its signature is right is for the caller to know.
#[derive(Debug, PartialEq, Eq)]
pub struct Policy {
    /// Unix seconds.
    expiration: i64,
    conditions: Vec<Condition>,
}

/// Names are in lower case, without `$`.
#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Equal(String, String),
    StartsWith(String, String),
    Length(u64, u64),
}

impl Policy {
    /// Reads the field `policy`: JSON in base64.
    ///
    /// # Errors
    /// InvalidPolicyDocument, which says what is wrong.
    pub fn parse(encoded: &str) -> Result<Policy, S3Error> {
        let compact: String = encoded.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let json = STANDARD.decode(compact).map_err(|_| invalid("invalid Base64 encoding."))?;
        if json.is_empty() {
            return Err(invalid("Expecting '{' but found End-of-Input"));
        }
        let document: Value = serde_json::from_slice(&json).map_err(|_| invalid("Invalid JSON."))?;
        let Value::Object(members) = document else { return Err(invalid("Invalid JSON.")) };
        if let Some(name) = members.keys().find(|name| !matches!(name.as_str(), "expiration" | "conditions"))
        {
            return Err(invalid(&format!("Unexpected: '{}'", name.chars().take(64).collect::<String>())));
        }
        let expiration = match members.get("expiration") {
            Some(Value::String(text)) => {
                let told: String = text.chars().take(64).collect();
                parse_iso(text).ok_or_else(|| invalid(&format!("Invalid 'expiration' value: '{told}'")))?
            }
            Some(_) => return Err(invalid("Invalid JSON.")),
            None => return Err(invalid("Policy missing expiration.")),
        };
        let listed = match members.get("conditions") {
            Some(Value::Array(listed)) if listed.len() <= MAX_CONDITIONS => listed,
            Some(Value::Array(_)) => return Err(invalid("it has too many conditions")),
            Some(_) => return Err(invalid("Invalid 'conditions' value: must be a List.")),
            None => return Err(invalid("Policy missing conditions.")),
        };
        let conditions = listed.iter().map(condition).collect::<Result<_, _>>()?;
        Ok(Policy { expiration, conditions })
    }

    /// Until when it holds, in Unix seconds.
    #[must_use]
    pub fn expiration(&self) -> i64 {
        self.expiration
    }

    /// Holds the policy against a form: `fields` as sent, the key with its file name filled in. `now` is in Unix seconds.
    ///
    /// # Errors
    /// AccessDenied with the condition that does not hold, or the fields that no condition names.
    pub fn check(&self, bucket: &str, key: &str, fields: &Fields, now: i64) -> Result<(), S3Error> {
        if now >= self.expiration {
            return Err(denied("Policy expired."));
        }
        let value = |name: &str| match name {
            "bucket" => bucket,
            "key" => key,
            other => fields.get(other).unwrap_or_default(),
        };
        for condition in &self.conditions {
            let (operator, name, wanted, holds) = match condition {
                Condition::Equal(name, wanted) => ("eq", name, wanted, value(name) == wanted),
                Condition::StartsWith(name, wanted) => {
                    ("starts-with", name, wanted, starts_with(name, value(name), wanted))
                }
                Condition::Length(..) => continue,
            };
            if !holds {
                let shown = format!("[\"{operator}\", \"${name}\", \"{wanted}\"]");
                return Err(denied(&format!("Policy Condition failed: {shown}")));
            }
        }
        let named = |field: &str| {
            self.conditions.iter().any(|condition| match condition {
                Condition::Equal(name, _) | Condition::StartsWith(name, _) => name == field,
                Condition::Length(..) => false,
            })
        };
        let extra: Vec<&str> = fields
            .iter()
            .map(|(name, _)| name)
            .filter(|name| *name != "bucket" && !exempt(name))
            .chain(["bucket"])
            .filter(|name| !named(name))
            .collect();
        if extra.is_empty() {
            Ok(())
        } else {
            Err(denied(&format!("Extra input fields: {}", extra.join(", "))))
        }
    }

    /// Holds `content-length-range` against the file's plaintext length in bytes.
    ///
    /// # Errors
    /// EntityTooSmall or EntityTooLarge.
    pub fn check_length(&self, length: u64) -> Result<(), S3Error> {
        for condition in &self.conditions {
            let Condition::Length(least, most) = condition else { continue };
            if length > *most {
                return Err(S3Error::entity_too_large(length, *most));
            }
            if length < *least {
                return Err(S3Error::new(Code::EntityTooSmall)
                    .field("ProposedSize", length.to_string())
                    .field("MinSizeAllowed", least.to_string()));
            }
        }
        Ok(())
    }
}

/// Fields that need no condition: the signature and what it covers, and those that are to be ignored.
fn exempt(name: &str) -> bool {
    matches!(name, "policy" | "x-amz-signature" | "signature" | "awsaccesskeyid" | "file")
        || name.starts_with("x-ignore-")
}

/// Each of several content types must begin so.
fn starts_with(name: &str, value: &str, wanted: &str) -> bool {
    if name == "content-type" {
        return value.split(',').all(|one| one.trim_start().starts_with(wanted));
    }
    value.starts_with(wanted)
}

fn condition(value: &Value) -> Result<Condition, S3Error> {
    let simple =
        || invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.");
    match value {
        Value::Object(members) => {
            let mut members = members.iter();
            match (members.next(), members.next()) {
                (Some((name, Value::String(text))), None) => {
                    Ok(Condition::Equal(name.to_ascii_lowercase(), text.clone()))
                }
                (Some(_), None) => Err(invalid("Invalid Simple-Condition: value must be a string.")),
                _ => Err(simple()),
            }
        }
        Value::Array(items) => match items.as_slice() {
            [Value::String(operator), least, most]
                if operator.eq_ignore_ascii_case("content-length-range") =>
            {
                match (whole(least), whole(most)) {
                    (Some(least), Some(most)) if least <= most => Ok(Condition::Length(least, most)),
                    (Some(_), Some(_)) => Err(invalid("Invalid content-length-range")),
                    _ => Err(invalid("Invalid JSON.")),
                }
            }
            [Value::String(operator), Value::String(field), Value::String(text)] => {
                let name = field
                    .strip_prefix('$')
                    .filter(|name| !name.is_empty())
                    .ok_or_else(|| invalid("Invalid Condition: a field's name begins with '$'."))?
                    .to_ascii_lowercase();
                match operator.to_ascii_lowercase().as_str() {
                    "eq" => Ok(Condition::Equal(name, text.clone())),
                    "starts-with" => Ok(Condition::StartsWith(name, text.clone())),
                    _ => {
                        let told: String = operator.chars().take(64).collect();
                        Err(invalid(&format!("Invalid Condition: unknown operation '{told}'.")))
                    }
                }
            }
            [] => Err(invalid("Invalid Condition: missing operation identifier.")),
            [Value::String(_), _, _] => Err(invalid("Invalid JSON.")),
            [Value::String(operator), ..] => {
                let told: String = operator.chars().take(64).collect();
                Err(invalid(&format!("Invalid {told}: wrong number of arguments.")))
            }
            _ => Err(invalid("Invalid JSON.")),
        },
        _ => Err(invalid("Invalid condition test: must be a List or Object.")),
    }
}

/// A whole number, also as text.
fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

fn invalid(why: &str) -> S3Error {
    S3Error::with(Code::InvalidPolicyDocument, format!("Invalid Policy: {why}"))
}

fn denied(why: &str) -> S3Error {
    S3Error::with(Code::AccessDenied, format!("Invalid according to Policy: {why}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{Fields, Policy};
    use crate::s3::error::{Code, S3Error};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    const UNTIL: &str = "2013-05-25T00:00:00.000Z";
    const NOW: i64 = 1_369_353_600;

    fn parse(json: &str) -> Result<Policy, S3Error> {
        Policy::parse(&STANDARD.encode(json))
    }

    fn with(conditions: &str) -> Result<Policy, S3Error> {
        parse(&format!("{{\"expiration\":\"{UNTIL}\",\"conditions\":[{conditions}]}}"))
    }

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.add((*name).to_owned(), (*value).to_owned()).unwrap();
        }
        fields
    }

    #[test]
    fn every_field_needs_a_condition_that_holds() {
        let policy = with(r#"{"bucket":"b"},["starts-with","$Key","user/"],{"X-AMZ-META-A":"1"}"#).unwrap();
        let check = |bucket: &str, key: &str, pairs: &[(&str, &str)]| {
            policy.check(bucket, key, &fields(pairs), NOW).map_err(|error| error.code())
        };
        let good = [("key", "user/x"), ("x-amz-meta-a", "1"), ("policy", "p"), ("x-ignore-b", "y")];
        assert_eq!(check("b", "user/x", &good), Ok(()));
        assert_eq!(check("other", "user/x", &good), Err(Code::AccessDenied));
        assert_eq!(check("b", "elsewhere", &good), Err(Code::AccessDenied));
        assert_eq!(check("b", "user/x", &good[..1]), Err(Code::AccessDenied));
        let more = [&good[..], &[("x-amz-meta-b", "")]].concat();
        let error = policy.check("b", "user/x", &fields(&more), NOW).unwrap_err();
        assert!(error.message().ends_with("Extra input fields: x-amz-meta-b"), "{error}");
        let bare = with(r#"["starts-with","$key",""]"#).unwrap();
        let error = bare.check("b", "k", &fields(&[("key", "k")]), NOW).unwrap_err();
        assert!(error.message().ends_with("Extra input fields: bucket"), "{error}");
    }

    #[test]
    fn a_policy_ends() {
        let policy = with(r#"{"bucket":"b"}"#).unwrap();
        let at = |now| policy.check("b", "k", &Fields::default(), now).map_err(|error| error.code());
        assert_eq!(at(NOW + 86_399), Ok(()));
        assert_eq!(at(NOW + 86_400), Err(Code::AccessDenied));
    }

    #[test]
    fn lengths_are_held_against_the_plaintext() {
        let policy = with(r#"["content-length-range", 5, "10"]"#).unwrap();
        let code = |length| policy.check_length(length).map_err(|error| error.code());
        assert_eq!((code(5), code(10)), (Ok(()), Ok(())));
        assert_eq!((code(4), code(11)), (Err(Code::EntityTooSmall), Err(Code::EntityTooLarge)));
    }

    #[test]
    fn each_of_several_content_types_must_begin_right() {
        let policy = with(r#"{"bucket":"b"},["starts-with","$Content-Type","image/"]"#).unwrap();
        let check = |kind| policy.check("b", "k", &fields(&[("content-type", kind)]), NOW).is_ok();
        assert!(check("image/png") && check("image/png, image/gif"));
        assert!(!check("image/png, text/html") && !check(""));
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for bad in [
            "[]",
            "{",
            r#"{"conditions":[]}"#,
            r#"{"EXPIRATION":"2013-05-25T00:00:00Z","conditions":[]}"#,
            r#"{"expiration":"2013-05-25T00:00:00Z","CONDITIONS":[]}"#,
            r#"{"expiration":"2013-05-25T00:00:00Z"}"#,
            r#"{"expiration":"25 May 2013","conditions":[]}"#,
            r#"{"expiration":1369440000,"conditions":[]}"#,
        ] {
            assert_eq!(parse(bad).unwrap_err().code(), Code::InvalidPolicyDocument, "{bad}");
        }
        for bad in [
            "{}",
            r#"{"a":"1","b":"2"}"#,
            r#"{"a":1}"#,
            r#"["content-length-range", 0]"#,
            r#"["content-length-range", -1, 0]"#,
            r#"["content-length-range", 2, 1]"#,
            r#"["content-length-range", 0, "+1"]"#,
            r#"["eq","key","x"]"#,
            r#"["matches","$key","x"]"#,
            "7",
        ] {
            assert_eq!(with(bad).unwrap_err().code(), Code::InvalidPolicyDocument, "{bad}");
        }
        assert_eq!(Policy::parse("*").unwrap_err().code(), Code::InvalidPolicyDocument);
    }
}
