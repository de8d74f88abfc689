//! Lifecycle rules. Nobody carries them out here, so only rules that are disabled are kept: any other would be a promise that is
//! not kept.

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, Time, UtcOffset};

use super::xml;
use crate::backend::BackendError;
use crate::s3::error::{Code, S3Error};
use crate::s3::xml::reader::malformed;

/// The most rules.
const MOST: usize = 1000;
/// Characters of a rule's ID.
const ID: usize = 255;

/// Checks `LifecycleConfiguration`, as it is kept.
pub(crate) fn checked(body: &[u8]) -> Result<String, BackendError> {
    let (mut ids, mut rules, mut enabled) = (Vec::new(), 0, false);
    let (mut status, mut acts) = (false, false);
    let mut id = String::new();
    xml::parse(body, "LifecycleConfiguration", |path, text| {
        match path {
            ["Rule", "ID"] => text.clone_into(&mut id),
            ["Rule", "Status"] => {
                status = true;
                enabled |= match text {
                    "Enabled" => true,
                    "Disabled" => false,
                    _ => return Err(malformed()),
                };
            }
            ["Rule", "Expiration", "Days"]
            | ["Rule", "NoncurrentVersionExpiration", "NoncurrentDays"]
            | ["Rule", "AbortIncompleteMultipartUpload", "DaysAfterInitiation"] => days(text)?,
            [.., "Date"] => date(text)?,
            [
                "Rule",
                "Expiration"
                | "Transition"
                | "NoncurrentVersionExpiration"
                | "NoncurrentVersionTransition"
                | "AbortIncompleteMultipartUpload",
            ] => acts = true,
            ["Rule"] => {
                if !std::mem::take(&mut status) || !std::mem::take(&mut acts) {
                    return Err(malformed());
                }
                rules += 1;
                ids.push(std::mem::take(&mut id));
            }
            _ => {}
        }
        Ok(())
    })?;
    if rules == 0 || rules > MOST {
        return Err(xml::malformed());
    }
    let invalid = |text: &str| Err(BackendError::s3(400, "InvalidArgument", text));
    ids.retain(|id| !id.is_empty());
    if ids.iter().any(|id| id.chars().count() > ID) {
        return invalid("ID length should not exceed allowed limit of 255");
    }
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return invalid("Rule ID must be unique. Found same ID for more than one rule");
    }
    if enabled {
        return Err(BackendError::Unsupported(
            "lifecycle rules on this storage: nobody would carry them out",
        ));
    }
    String::from_utf8(body.to_vec()).map_err(|_| xml::malformed())
}

fn days(text: &str) -> Result<(), S3Error> {
    match text.trim().parse::<i64>() {
        Ok(1..) => Ok(()),
        Ok(_) => Err(S3Error::with(Code::InvalidArgument, "Days of an action must be a positive integer")),
        Err(_) => Err(malformed()),
    }
}

fn date(text: &str) -> Result<(), S3Error> {
    match OffsetDateTime::parse(text.trim(), &Rfc3339) {
        Ok(at) if at.to_offset(UtcOffset::UTC).time() == Time::MIDNIGHT => Ok(()),
        Ok(_) => Err(S3Error::with(Code::InvalidArgument, "'Date' must be at midnight GMT")),
        Err(_) => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn rule(id: &str, status: &str, action: &str) -> String {
        format!(
            "<Rule><ID>{id}</ID><Filter><Prefix>a</Prefix></Filter><Status>{status}</Status>{action}</Rule>"
        )
    }

    fn of(rules: &str) -> Result<String, BackendError> {
        checked(format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>").as_bytes())
    }

    #[test]
    fn only_what_is_disabled_is_kept() {
        let days = "<Expiration><Days>1</Days></Expiration>";
        assert!(of(&rule("a", "Disabled", days)).is_ok());
        assert!(matches!(of(&rule("a", "Enabled", days)), Err(BackendError::Unsupported(_))));
        for (rules, code) in [
            (String::new(), "MalformedXML"),
            (rule("a", "enabled", days), "MalformedXML"),
            (rule("a", "Enabled", ""), "MalformedXML"),
            (rule("a", "Enabled", days).repeat(2), "InvalidArgument"),
            (rule("a", "Enabled", "<Expiration><Days>0</Days></Expiration>"), "InvalidArgument"),
            (
                rule("a", "Enabled", "<Expiration><Date>2099-01-01T12:30:00Z</Date></Expiration>"),
                "InvalidArgument",
            ),
            (rule("a", "Enabled", "<Expiration><Date>tomorrow</Date></Expiration>"), "MalformedXML"),
            (rule(&"a".repeat(256), "Enabled", days), "InvalidArgument"),
        ] {
            let refused = of(&rules);
            assert!(refused.as_ref().is_err_and(|error| error.is(code)), "{rules}: {refused:?}");
        }
    }
}
