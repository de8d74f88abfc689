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

/// Elements whose whole text is the name of a bucket, or its ARN.
const BUCKETS: &[&str] = &["Bucket", "BucketName", "TargetBucket"];

/// Replaces a bucket's name where a document names a bucket: as the text of [`BUCKETS`] in XML, and behind `arn:aws:s3:::`,
/// whatever the partition, there and in a policy. The same letters in a prefix, a key, an id or a namespace are something
/// else, and so is a longer name, or one with a wildcard in it.
#[must_use]
pub fn rename_bucket(document: &str, from: &str, to: &str) -> String {
    if from == to || from.is_empty() {
        return document.to_owned();
    }
    match document.trim_start_matches('\u{feff}').trim_start().starts_with('<') {
        true => rename_in_xml(document, from, to),
        false => rename_in_arns(document, from, to),
    }
}

fn rename_in_xml(document: &str, from: &str, to: &str) -> String {
    let mut out = String::with_capacity(document.len());
    let mut rest = document;
    // Up to the end of a tag, and the text behind it.
    while let Some((tag, behind)) = rest.split_once('>') {
        let name = tag.rsplit('<').next().unwrap_or_default();
        let name = name.split_ascii_whitespace().next().unwrap_or_default();
        let name = name.rsplit_once(':').map_or(name, |(_, local)| local);
        let (text, next) = behind.split_at(behind.find('<').unwrap_or(behind.len()));
        out.push_str(tag);
        out.push('>');
        match (BUCKETS.contains(&name), name.ends_with("Arn") || name.ends_with("ARN")) {
            (true, _) if text.trim() == from => out.push_str(&text.replace(from, to)),
            (true, _) | (_, true) => out.push_str(&rename_in_arns(text, from, to)),
            (false, false) => out.push_str(text),
        }
        rest = next;
    }
    out.push_str(rest);
    out
}

/// The bucket of `arn:<partition>:s3:::bucket` and `arn:<partition>:s3:::bucket/key`.
fn rename_in_arns(text: &str, from: &str, to: &str) -> String {
    const S3: &str = ":s3:::";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(S3) {
        let (before, found) = rest.split_at(at);
        let partition = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '*' | '?');
        let arn = before.trim_end_matches(partition).ends_with("arn:") && before.ends_with(partition);
        out.push_str(before);
        out.push_str(S3);
        rest = &found[S3.len()..];
        if let Some(after) = rest.strip_prefix(from).filter(|_| arn) {
            // JSON's strings end in a quotation mark, and may have a backslash before a slash.
            let ends = after.is_empty()
                || after.starts_with(|c: char| matches!(c, '/' | '\\' | '"') || c.is_whitespace());
            out.push_str(if ends { to } else { from });
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Replaces a bucket's name in a sentence, wherever it stands alone: not as a part of a longer name.
#[must_use]
pub fn rename_in_words(text: &str, from: &str, to: &str) -> String {
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

    use super::{check_restore, owner, rename_bucket, rename_in_words, replace_text};
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
    fn a_bucket_is_renamed_where_a_document_names_it() {
        let logging = |bucket: &str, prefix: &str| {
            format!(
                "<?xml version=\"1.0\"?><BucketLoggingStatus xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LoggingEnabled>\
                 <TargetBucket>{bucket}</TargetBucket><TargetPrefix>{prefix}</TargetPrefix></LoggingEnabled></BucketLoggingStatus>"
            )
        };
        let replication = |bucket: &str, prefix: &str| {
            format!(
                "<r:ReplicationConfiguration xmlns:r=\"x\"><r:Role>arn:aws:iam::1:role/{prefix}</r:Role><r:Rule><r:ID>{prefix}</r:ID>\
                 <r:Prefix>{prefix}</r:Prefix><r:Destination><r:Bucket>\n arn:aws-cn:s3:::{bucket}\n</r:Bucket></r:Destination></r:Rule>\
                 </r:ReplicationConfiguration>"
            )
        };
        for name in ["data", "doc", "aws", "xml", "xmlns", "amazonaws.com", "role", "s3", "arn", "bucket"] {
            for document in [logging, replication] {
                let (here, there) = (document(name, name), document("own-name", name));
                assert_eq!(rename_bucket(&here, name, "own-name"), there);
                assert_eq!(rename_bucket(&there, "own-name", name), here, "and back");
            }
            let mentioned = logging("other", &format!("{name}/"));
            assert_eq!(rename_bucket(&mentioned, name, "own-name"), mentioned);
        }
        let longer = logging("data-2", "data").replace("data-2", "arn:aws:s3:::data-2");
        assert_eq!(rename_bucket(&longer, "data", "own-data"), longer);
        let spaced = logging(" data ", "");
        assert_eq!(rename_bucket(&spaced, "data", "own-data"), logging(" own-data ", ""));
    }

    #[test]
    fn a_policy_keeps_its_prefixes() {
        let policy = |bucket: &str| {
            format!(
                "{{\"Id\":\"data\",\"Statement\":[{{\"Sid\":\"data\",\"Principal\":{{\"AWS\":\"arn:aws:iam::1:user/data\"}},\"Resource\":[\
                 \"arn:aws:s3:::{bucket}\",\"arn:aws:s3:::{bucket}/data/*\",\"arn:aws:s3:::{bucket}/*\",\"arn:*:s3:::{bucket}\\/data\",\
                 \"arn:aws:s3:::data-2/*\",\"arn:aws:s3:::data*\",\"arn:aws:s3:::dat?\",\"arn:aws:s3:::data.x/data\",\"barn:s3:::data\"],\
                 \"Condition\":{{\"StringLike\":{{\"s3:prefix\":[\"data\",\"data/*\"],\"aws:SourceArn\":\"arn:aws-us-gov:s3:::{bucket}\"}}}}}}]}}"
            )
        };
        assert_eq!(rename_bucket(&policy("data"), "data", "own-data"), policy("own-data"));
        assert_eq!(rename_bucket(&policy("own-data"), "own-data", "data"), policy("data"));
        let of_aws = "{\"Resource\":\"arn:aws:s3:::aws/aws/*\",\"AWS\":\"arn:aws:iam::1:root\"}";
        let there = of_aws.replace(":::aws", ":::own");
        assert_eq!(rename_bucket(of_aws, "aws", "own"), there);
        assert_eq!(rename_bucket(&there, "own", "aws"), of_aws);
    }

    #[test]
    fn names_are_replaced_in_words_where_they_stand_alone() {
        for (text, expected) in [
            ("arn:aws:s3:::own-data/*", "arn:aws:s3:::data/*"),
            ("\"own-data\"", "\"data\""),
            ("no own-data. It", "no data. It"),
            ("own-data", "data"),
            ("own-data2 my-own-data own-data.x own-data-x", "own-data2 my-own-data own-data.x own-data-x"),
            ("own-data,own-data", "data,data"),
            ("own-dataown-data", "own-dataown-data"),
        ] {
            assert_eq!(rename_in_words(text, "own-data", "data"), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(body: Vec<u8>, text in "\\PC{0,40}") {
            let _ = owner(&body);
            let _ = check_restore(&body);
            for document in [text.clone(), format!("<{text}"), format!("arn:aws:s3:::{text}")] {
                let _ = rename_bucket(&document, "a", "bc");
                let _ = rename_in_words(&document, "a", "bc");
            }
        }
    }
}
