//! ListObjects, version 1 and 2: enough of it for a gateway to look for its own records and for a benchmark of LIST.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::objects::Buckets;

/// The constant that stands for every date.
pub const ISO_DATE: &str = "2026-01-01T00:00:00.000Z";

/// S3's own limit of a page.
const PAGE: usize = 1000;

/// The XML of one page.
pub fn page(buckets: &Buckets, bucket: &str, query: &BTreeMap<String, String>) -> String {
    let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let after = ["continuation-token", "start-after", "marker"].map(text).into_iter().find(|v| !v.is_empty());
    let limit = query.get("max-keys").and_then(|v| v.parse().ok()).unwrap_or(PAGE).min(PAGE);
    let (prefix, delimiter) = (text("prefix"), text("delimiter"));

    let mut entries = String::new();
    let mut last = String::new();
    let mut group = None::<String>;
    let (mut count, mut more) = (0, false);
    for (key, object) in buckets.keys(bucket, prefix, after.unwrap_or_default()) {
        let rest = &key[prefix.len()..];
        let common = (!delimiter.is_empty())
            .then(|| rest.find(delimiter))
            .flatten()
            .map(|at| key[..prefix.len() + at + delimiter.len()].to_owned());
        if common.is_some() && common == group {
            last.clone_from(key);
            continue;
        }
        if count == limit {
            more = true;
            break;
        }
        count += 1;
        last.clone_from(key);
        // Writing to a String cannot fail.
        let _ = match &common {
            Some(common) => {
                write!(entries, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", escape(common))
            }
            None => write!(
                entries,
                "<Contents><Key>{}</Key><LastModified>{ISO_DATE}</LastModified><ETag>{}</ETag><Size>{}</Size>\
                 <StorageClass>STANDARD</StorageClass></Contents>",
                escape(key),
                escape(&object.etag),
                object.size
            ),
        };
        group = common;
    }
    let next = if more {
        let last = escape(&last);
        format!("<NextContinuationToken>{last}</NextContinuationToken><NextMarker>{last}</NextMarker>")
    } else {
        String::new()
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{}</Name><Prefix>{}</Prefix>\
         <KeyCount>{count}</KeyCount><MaxKeys>{limit}</MaxKeys><IsTruncated>{more}</IsTruncated>{next}{entries}\
         </ListBucketResult>",
        escape(bucket),
        escape(prefix),
    )
}

/// Text as XML content.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use http::HeaderMap;

    #[test]
    fn pages_continue_where_the_last_one_ended() {
        let mut buckets = Buckets::default();
        buckets.create("b");
        for key in ["a", "d/1", "d/2", "e"] {
            buckets.put("b", key, 1, None, HeaderMap::new());
        }
        let query = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let first = page(&buckets, "b", &query(&[("delimiter", "/"), ("max-keys", "2")]));
        assert!(first.contains("<Key>a</Key>") && first.contains("<Prefix>d/</Prefix>"), "{first}");
        assert!(first.contains("<NextContinuationToken>d/2</NextContinuationToken>"), "{first}");
        let second = page(&buckets, "b", &query(&[("delimiter", "/"), ("continuation-token", "d/2")]));
        assert!(second.contains("<Key>e</Key>") && !second.contains("d/"), "{second}");
    }
}
