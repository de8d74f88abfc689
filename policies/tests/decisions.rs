//! Tables of decisions: each row is a case with its answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;
use sealgate_policies::{
    Action, Denied, Encryption, EncryptionRule, Grant, InvalidBucketName, InvalidKey, Subject, Target,
    authorize, check_bucket_name, check_key, encryption,
};

const OURS: [u8; 16] = [1; 16];
const THEIRS: [u8; 16] = [2; 16];

fn rule(prefix: &str, plain: bool) -> EncryptionRule {
    EncryptionRule { prefix: prefix.to_owned(), plain }
}

fn grant(bucket: &str, read: bool, write: bool, admin: bool) -> Grant {
    Grant { bucket: bucket.to_owned(), read, write, admin, configure: false }
}

#[test]
fn the_longest_prefix_wins_and_the_default_is_encrypted() {
    let rules = [rule("public/", true), rule("public/secret/", false), rule("public/secret/not/", true)];
    let table = [
        ("a", Encryption::Encrypted),
        ("public", Encryption::Encrypted),
        ("public/", Encryption::Plain),
        ("public/a", Encryption::Plain),
        ("public/secret/a", Encryption::Encrypted),
        ("public/secret/not/a", Encryption::Plain),
        ("Public/a", Encryption::Encrypted),
    ];
    for (key, expected) in table {
        assert_eq!(encryption(&rules, key), expected, "{key}");
        let reversed: Vec<_> = rules.iter().rev().cloned().collect();
        assert_eq!(encryption(&reversed, key), expected, "{key}, rules reversed");
    }
    assert_eq!(encryption(&[], "any"), Encryption::Encrypted);
    assert_eq!(encryption(&[rule("", true)], "any"), Encryption::Plain);
    assert_eq!(
        encryption(&[rule("a", true), rule("a", false)], "a"),
        Encryption::Encrypted,
        "a tie encrypts"
    );
    assert_eq!(
        encryption(&[rule("a", false), rule("a", true)], "a"),
        Encryption::Encrypted,
        "a tie encrypts"
    );
}

#[test]
fn access_follows_grants_tenant_and_expiry() {
    let all = [grant("*", true, true, true)];
    let configures = [Grant { configure: true, ..grant("logs", false, false, false) }];
    let one = [grant("logs", true, false, false)];
    let split = [grant("logs", true, false, false), grant("logs", false, true, false)];
    type Case<'a> = (&'a [Grant], [u8; 16], &'a str, Action, u64, Result<(), Denied>);
    let table: [Case<'_>; 13] = [
        (&all, OURS, "logs", Action::Admin, 0, Ok(())),
        (&all, OURS, "logs", Action::Configure, 0, Err(Denied::NotThisAction)),
        (&configures, OURS, "logs", Action::Configure, 0, Ok(())),
        (&configures, OURS, "logs", Action::Admin, 0, Err(Denied::NotThisAction)),
        (&all, THEIRS, "logs", Action::Read, 0, Err(Denied::OtherTenant)),
        (&one, OURS, "logs", Action::Read, 0, Ok(())),
        (&one, OURS, "logs", Action::Write, 0, Err(Denied::NotThisAction)),
        (&one, OURS, "log", Action::Read, 0, Err(Denied::NoGrant)),
        (&one, THEIRS, "logs", Action::Read, 0, Err(Denied::OtherTenant)),
        (&split, OURS, "logs", Action::Write, 0, Ok(())),
        (&[], OURS, "logs", Action::Read, 0, Err(Denied::NoGrant)),
        (&all, OURS, "logs", Action::Read, 101, Ok(())),
        (&all, OURS, "logs", Action::Read, 100, Err(Denied::Expired)),
    ];
    for (grants, tenant, bucket, action, not_after, expected) in table {
        let subject = Subject { tenant: OURS, grants, not_after };
        let decision = authorize(subject, Target { bucket, tenant }, action, 100);
        match (&decision, expected) {
            (Ok(allowed), Ok(())) => assert_eq!((allowed.bucket(), allowed.action()), (bucket, action)),
            (Err(denied), Err(expected)) => assert_eq!(*denied, expected),
            _ => panic!("{bucket} {action:?}: {decision:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn bucket_names_follow_s3() {
    let good =
        ["abc", "a-b", "a.b.c", "123", "my-bucket.2026", &"x".repeat(63), "1.2.3", "1.2.3.4.5", "a--b"];
    for name in good {
        assert_eq!(check_bucket_name(name), Ok(()), "{name}");
    }
    let long = "x".repeat(64);
    let bad = [
        ("ab", InvalidBucketName::Length),
        ("", InvalidBucketName::Length),
        (long.as_str(), InvalidBucketName::Length),
        ("Abc", InvalidBucketName::Character),
        ("a_b", InvalidBucketName::Character),
        ("a/b", InvalidBucketName::Character),
        ("../", InvalidBucketName::Character),
        ("äbc", InvalidBucketName::Character),
        ("...", InvalidBucketName::Edge),
        ("-abc", InvalidBucketName::Edge),
        ("abc-", InvalidBucketName::Edge),
        ("a..b", InvalidBucketName::Edge),
        (".abc", InvalidBucketName::Edge),
        ("a.-b", InvalidBucketName::Edge),
        ("192.168.5.4", InvalidBucketName::IpAddress),
        ("999.168.5.4", InvalidBucketName::IpAddress),
        ("xn--abc", InvalidBucketName::Reserved),
        ("abc-s3alias", InvalidBucketName::Reserved),
    ];
    for (name, expected) in bad {
        assert_eq!(check_bucket_name(name), Err(expected), "{name}");
    }
}

#[test]
fn keys_are_1_to_1024_bytes() {
    assert_eq!(check_key(""), Err(InvalidKey::Empty));
    assert_eq!(check_key("a"), Ok(()));
    assert_eq!(check_key(&"ä".repeat(512)), Ok(()));
    assert_eq!(check_key(&"ä".repeat(513)), Err(InvalidKey::TooLong));
}

proptest! {
    #[test]
    fn a_plain_answer_always_has_a_plain_rule_that_matches(
        rules in proptest::collection::vec(("[ab/]{0,4}", any::<bool>()), 0..6),
        key in "[ab/]{0,6}",
    ) {
        let rules: Vec<_> = rules.into_iter().map(|(prefix, plain)| EncryptionRule { prefix, plain }).collect();
        let matching = rules.iter().filter(|r| key.starts_with(&r.prefix));
        let longest = matching.clone().map(|r| r.prefix.len()).max();
        let expected_plain = longest.is_some_and(|len| {
            matching.filter(|r| r.prefix.len() == len).all(|r| r.plain)
        });
        prop_assert_eq!(encryption(&rules, &key) == Encryption::Plain, expected_plain);
    }
}
