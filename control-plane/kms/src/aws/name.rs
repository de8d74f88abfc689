//! How KEKs of AWS are named: which names stand in a reference, and which of them an address can serve.
//!
//! A reference holds a key's id, or its whole ARN where the key may belong to another account. **An alias never stands in
//! one**: it can be pointed at another key by whoever may call `UpdateAlias`, and everything wrapped before would then be
//! asked of a key that cannot open it. So aliases are resolved once, when a tenant is created, and refused ever after.

use std::borrow::Cow;

use crate::{Cause, KmsError};

/// What an operator may name a KEK by when a tenant is created.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// A name of Sealgate's: the KEK is found by, or made with, the alias `alias/sealgate/<name>`.
    Ours(&'a str),
    /// A key that is there: its id, its ARN, an alias or an alias's ARN. It is never made.
    Existing {
        name: &'a str,
        /// The key's ARN becomes the reference, not its id: an ARN says that it may be another account's.
        by_arn: bool,
    },
}

/// Reads the name that a tenant's KEK is to have.
pub(super) fn wanted(name: &str) -> Result<Wanted<'_>, KmsError> {
    let refuse = |why: &str| Err(KmsError::NotFound(format!("{name:?}: {why}")));
    if name.len() > 512 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse("a KEK's name has at most 512 printable characters");
    }
    if name.starts_with("arn:") {
        return match Arn::parse(name) {
            Some(_) => Ok(Wanted::Existing { name, by_arn: true }),
            None => refuse("no ARN of a KMS key or alias, arn:aws:kms:<region>:<account>:key/<id>"),
        };
    }
    if is_alias(name) || is_key_id(name) {
        return Ok(Wanted::Existing { name, by_arn: false });
    }
    let valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    if name.is_empty() || name.len() > 128 || !name.bytes().all(valid) {
        return refuse("a KEK's name has 1 to 128 of a-z 0-9 - _, or is a key id, an ARN or alias/…");
    }
    Ok(Wanted::Ours(name))
}

/// The alias by which a KEK that Sealgate made is found again.
pub(super) fn alias_of(name: &str) -> String {
    format!("alias/sealgate/{name}")
}

/// The region that an ARN names.
pub(super) fn region_of(name: &str) -> Option<&str> {
    Arn::parse(name).map(|arn| arn.region)
}

/// What to call the key of a reference at an address.
///
/// # Errors
/// `NotFound` for what is no reference of this provider; `Unavailable(Elsewhere)` for a key that this address's region
/// cannot have: then another address has it, and nothing is asked here.
pub(super) fn key_at<'a>(
    kek: &'a str,
    provider: &str,
    home: &str,
    region: &str,
) -> Result<Cow<'a, str>, KmsError> {
    let missing = |why: &str| KmsError::NotFound(format!("{kek}{why}"));
    let name = kek
        .strip_prefix(provider)
        .and_then(|rest| rest.strip_prefix('/'))
        .ok_or_else(|| missing(": of another provider"))?;
    let elsewhere = |has: &str| {
        KmsError::Unavailable(
            Cause::Elsewhere,
            format!("{kek} lies in {has}; {region} has only multi-region keys"),
        )
    };
    if let Some(arn) = Arn::parse(name).filter(|arn| !is_alias(arn.resource)) {
        if arn.region == region {
            return Ok(Cow::Borrowed(name));
        }
        if !arn.is_multi_region() {
            return Err(elsewhere(arn.region));
        }
        return Ok(Cow::Owned(arn.in_region(region)));
    }
    if is_key_id(name) {
        return if region == home || is_multi_region(name) {
            Ok(Cow::Borrowed(name))
        } else {
            Err(elsewhere(home))
        };
    }
    Err(missing(": neither a key id nor a key's ARN (an alias may be pointed at another key, so it is none)"))
}

/// Whether a key id, or the ARN's, is a multi-region key's.
pub(super) fn is_multi_region(key: &str) -> bool {
    key.rsplit('/').next().is_some_and(|id| id.starts_with("mrk-"))
}

fn is_alias(name: &str) -> bool {
    name.strip_prefix("alias/").is_some_and(|rest| {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-');
        (1..=250).contains(&rest.len()) && rest.bytes().all(valid)
    })
}

/// `1234abcd-12ab-34cd-56ef-1234567890ab`, or `mrk-` and 32 hex digits (moto writes dashes between them).
fn is_key_id(name: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if let Some(rest) = name.strip_prefix("mrk-") {
        return (32..=36).contains(&rest.len()) && rest.split('-').all(hex);
    }
    let groups = name.split('-');
    groups.clone().map(str::len).eq([8, 4, 4, 4, 12]) && groups.clone().all(hex)
}

/// `arn:<partition>:kms:<region>:<account>:<key/… or alias/…>`.
struct Arn<'a> {
    partition: &'a str,
    region: &'a str,
    account: &'a str,
    resource: &'a str,
}

impl<'a> Arn<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let (arn, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
        let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        let word = |text: &str| {
            let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=64).contains(&text.len()) && text.bytes().all(valid)
        };
        let known = resource.strip_prefix("key/").map_or_else(|| is_alias(resource), is_key_id);
        (arn == "arn" && service == "kms" && word(partition) && word(region) && word(account) && known)
            .then_some(Self { partition, region, account, resource })
    }

    fn is_multi_region(&self) -> bool {
        is_multi_region(self.resource)
    }

    /// The related key of another region: all of a multi-region key have the same id.
    fn in_region(&self, region: &str) -> String {
        format!("arn:{}:kms:{region}:{}:{}", self.partition, self.account, self.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
    const MRK: &str = "mrk-1234abcd12ab34cd56ef1234567890ab";

    #[test]
    fn a_wanted_name_is_ours_or_a_key_that_is_there() {
        assert_eq!(wanted("tenant-1a_b").unwrap(), Wanted::Ours("tenant-1a_b"));
        for name in [ID, MRK, "alias/payroll"] {
            assert_eq!(wanted(name).unwrap(), Wanted::Existing { name, by_arn: false });
        }
        for rest in [&format!("key/{ID}"), "alias/payroll"] {
            let name = format!("arn:aws:kms:eu-central-1:111122223333:{rest}");
            assert_eq!(wanted(&name).unwrap(), Wanted::Existing { name: &name, by_arn: true });
        }
        let long = "a".repeat(129);
        for name in [
            "",
            "Tenant",
            "a b",
            "a/b",
            "alias/",
            "arn:aws:s3:::b",
            "arn:aws:kms:x:1:key/y",
            "mrk-1\n",
            &long,
        ] {
            assert!(matches!(wanted(name), Err(KmsError::NotFound(_))), "{name:?}");
        }
    }

    #[test]
    fn a_reference_holds_a_key_never_an_alias() {
        let at = |name: &str, region: &str| {
            key_at(&format!("aws-eu/{name}"), "aws-eu", "eu-central-1", region).map(Cow::into_owned)
        };
        let arn = |region: &str, id: &str| format!("arn:aws:kms:{region}:111122223333:key/{id}");
        assert_eq!(at(ID, "eu-central-1").unwrap(), ID);
        assert_eq!(at(MRK, "eu-west-1").unwrap(), MRK);
        assert_eq!(at(&arn("eu-central-1", ID), "eu-central-1").unwrap(), arn("eu-central-1", ID));
        assert_eq!(at(&arn("eu-central-1", MRK), "eu-west-1").unwrap(), arn("eu-west-1", MRK));
        for (name, region) in [(ID.to_owned(), "eu-west-1"), (arn("eu-central-1", ID), "eu-west-1")] {
            assert!(matches!(at(&name, region), Err(KmsError::Unavailable(Cause::Elsewhere, _))), "{name}");
        }
        for alias in ["alias/payroll", "arn:aws:kms:eu-central-1:111122223333:alias/payroll", "tenant-1", ""]
        {
            assert!(matches!(at(alias, "eu-central-1"), Err(KmsError::NotFound(_))), "{alias}");
        }
        for foreign in ["aws-eux/", "aws-eu", "other/", "/"] {
            let kek = format!("{foreign}{ID}");
            assert!(matches!(key_at(&kek, "aws-eu", "r", "r"), Err(KmsError::NotFound(_))), "{kek}");
        }
    }
}
