//! What the gateway has to know of documents that it forwards.

use super::reader::read;
use crate::s3::error::{S3Error, escape_into};

/// The largest document that is forwarded, in either direction.
pub const MAX_BYTES: usize = 1 << 20;

/// Id and display name of the owner in an AccessControlPolicy.
///
/// # Errors
/// MalformedXML.
pub fn owner(document: &[u8]) -> Result<(String, String), S3Error> {
    let (mut id, mut display) = (String::new(), String::new());
    read(document, MAX_BYTES, "AccessControlPolicy", |path, text| {
        match path {
            ["Owner", "ID"] => text.clone_into(&mut id),
            ["Owner", "DisplayName"] => text.clone_into(&mut display),
            _ => {}
        }
        Ok(())
    })?;
    Ok((id, display))
}

/// Refuses a RestoreRequest that does more than restore: one that selects writes what it finds into a bucket that it names.
///
/// # Errors
/// MalformedXML, NotImplemented.
pub fn check_restore(document: &[u8]) -> Result<(), S3Error> {
    if document.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    read(document, MAX_BYTES, "RestoreRequest", |path, _| match path {
        ["Type" | "SelectParameters" | "OutputLocation", ..] => {
            Err(S3Error::not_implemented("RestoreObject that selects"))
        }
        _ => Ok(()),
    })
}

/// Replaces the whole text of elements, written as XML.
#[must_use]
pub fn replace_text(document: &str, from: &str, to: &str) -> String {
    let element = |text: &str| {
        let mut out = String::from(">");
        escape_into(&mut out, text);
        out.push('<');
        out
    };
    document.replace(&element(from), &element(to))
}

/// Replaces a bucket's name where it stands alone: not as a part of a longer name.
#[must_use]
pub fn rename_bucket(text: &str, from: &str, to: &str) -> String {
    if from == to || from.is_empty() {
        return text.to_owned();
    }
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, found) = rest.split_at(at);
        let after = &found[from.len()..];
        // A full stop after a name may end a sentence.
        let ends = !after.starts_with(inside)
            || after.strip_prefix('.').is_some_and(|after| !after.starts_with(inside));
        // What stands before may have been copied already.
        let begins = !before.chars().next_back().or_else(|| out.chars().next_back()).is_some_and(inside);
        out.push_str(before);
        out.push_str(if begins && ends { to } else { from });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{check_restore, owner, rename_bucket, replace_text};
    use crate::s3::error::Code;
    use proptest::prelude::proptest;

    #[test]
    fn owners_are_found_and_replaced_everywhere() {
        let document = "<AccessControlPolicy><Owner><ID>a&amp;b</ID><DisplayName>n</DisplayName></Owner>\
            <AccessControlList><Grant><Grantee><ID>a&amp;b</ID></Grantee><Permission>READ</Permission></Grant>\
            </AccessControlList></AccessControlPolicy>";
        assert_eq!(owner(document.as_bytes()).unwrap(), ("a&b".to_owned(), "n".to_owned()));
        let shown = replace_text(document, "a&b", "tenant");
        assert_eq!(shown.matches("<ID>tenant</ID>").count(), 2);
        assert_eq!(replace_text(&shown, "tenant", "a&b"), document);
    }

    #[test]
    fn a_restore_that_selects_is_refused() {
        for good in [
            "",
            "<RestoreRequest><Days>1</Days><GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters></RestoreRequest>",
        ] {
            check_restore(good.as_bytes()).unwrap();
        }
        for bad in
            ["<Type>SELECT</Type>", "<OutputLocation><S3><BucketName>b</BucketName></S3></OutputLocation>"]
        {
            let document = format!("<RestoreRequest>{bad}</RestoreRequest>");
            assert_eq!(check_restore(document.as_bytes()).unwrap_err().code(), Code::NotImplemented);
        }
        assert_eq!(check_restore(b"<x>").unwrap_err().code(), Code::MalformedXML);
    }

    #[test]
    fn names_are_replaced_where_they_stand_alone() {
        for (text, expected) in [
            ("arn:aws:s3:::own-data/*", "arn:aws:s3:::data/*"),
            ("\"own-data\"", "\"data\""),
            ("no own-data. It", "no data. It"),
            ("own-data", "data"),
            ("own-data2 my-own-data own-data.x own-data-x", "own-data2 my-own-data own-data.x own-data-x"),
            ("own-data,own-data", "data,data"),
            ("own-dataown-data", "own-dataown-data"),
        ] {
            assert_eq!(rename_bucket(text, "own-data", "data"), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(body: Vec<u8>, text in "\\PC{0,40}") {
            let _ = owner(&body);
            let _ = check_restore(&body);
            let _ = rename_bucket(&text, "a", "bc");
        }
    }
}
