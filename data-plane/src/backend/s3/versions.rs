//! ListObjectVersions: versions and delete markers in the order in which the server gives them.

use http::Method;

use super::client::Client;
use super::listing::{Raw, must_be_below};
use super::request::Call;
use super::xml::{self, Node};
use crate::backend::{BackendError, VersionEntry, VersionListOptions, VersionPage};

pub(super) async fn list(
    client: &Client,
    bucket: &str,
    options: VersionListOptions,
) -> Result<VersionPage, BackendError> {
    let prefix = options.prefix.clone();
    let mut call = Call::new(Method::GET, bucket, "")
        .query("versions", "")
        .query("encoding-type", "url")
        .query("max-keys", options.max_keys.to_string());
    if let Some(delimiter) = options.delimiter {
        call = call.query("delimiter", delimiter);
    }
    for (name, value) in [
        ("prefix", options.prefix),
        ("key-marker", options.key_marker),
        ("version-id-marker", options.version_id_marker),
    ] {
        if !value.is_empty() {
            call = call.query(name, value);
        }
    }
    let (_, document) = client.call(&call).await?;
    let page = parse(&document, client.config.server.leaves_markers_plain())?;
    must_be_below(&prefix, page.entries.iter().map(|entry| &entry.object.key).chain(&page.common_prefixes))?;
    Ok(page)
}

pub(super) fn parse(document: &[u8], plain_markers: bool) -> Result<VersionPage, BackendError> {
    let mut page = VersionPage::default();
    let (mut encoded, mut truncated) = (false, false);
    let (mut key_marker, mut version_marker) = (None, String::new());
    let mut entry = Raw::default();
    let (mut version, mut latest) = (String::new(), false);
    xml::read_listing(document, |node| {
        match node {
            Node::Open("Version" | "DeleteMarker") => {
                (entry, version, latest) = (Raw::default(), String::new(), false);
            }
            Node::Close(name @ ("Version" | "DeleteMarker"), "ListVersionsResult", _) => {
                let delete_marker = name == "DeleteMarker";
                if delete_marker {
                    entry.size = "0".to_owned();
                }
                page.entries.push(VersionEntry {
                    object: std::mem::take(&mut entry).finish()?,
                    version_id: match std::mem::take(&mut version) {
                        empty if empty.is_empty() => "null".to_owned(),
                        version => version,
                    },
                    is_latest: latest,
                    delete_marker,
                });
            }
            Node::Close("Key", "Version" | "DeleteMarker", text) => entry.key = text,
            Node::Close("VersionId", "Version" | "DeleteMarker", text) => version = text,
            Node::Close("IsLatest", "Version" | "DeleteMarker", text) => latest = text == "true",
            Node::Close("Size", "Version", text) => entry.size = text,
            Node::Close("ETag", "Version", text) => entry.etag = text,
            Node::Close("LastModified", "Version" | "DeleteMarker", text) => entry.modified = text,
            Node::Close("StorageClass", "Version", text) => entry.class = text,
            Node::Close("Prefix", "CommonPrefixes", text) => page.common_prefixes.push(text),
            Node::Close("EncodingType", _, text) => encoded = text == "url",
            Node::Close("IsTruncated", _, text) => truncated = text == "true",
            Node::Close("NextKeyMarker", _, text) => key_marker = Some(text),
            Node::Close("NextVersionIdMarker", _, text) => version_marker = text,
            _ => {}
        }
        Ok(())
    })?;
    if encoded {
        let keys = page.entries.iter_mut().map(|entry| &mut entry.object.key);
        for key in keys.chain(&mut page.common_prefixes) {
            *key = xml::url_decode(key)?;
        }
        if let Some(marker) = key_marker.as_mut().filter(|_| !plain_markers) {
            *marker = xml::url_decode(marker)?;
        }
    }
    if truncated {
        let marker = key_marker.filter(|marker| !marker.is_empty());
        let marker = marker.ok_or_else(|| {
            BackendError::Protocol("a listing of versions breaks off without saying where".to_owned())
        })?;
        page.next = Some((marker, version_marker));
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::parse;

    const PAGE: &str = "<ListVersionsResult xmlns=\"x\"><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
        <NextKeyMarker>a%2Bb</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>\
        <DeleteMarker><Owner><ID>o</ID></Owner><Key>a%2Bb</Key><VersionId>v2</VersionId><IsLatest>true</IsLatest>\
        <LastModified>2026-01-01T00:00:00Z</LastModified></DeleteMarker>\
        <Version><Key>a%2Bb</Key><VersionId>v1</VersionId><IsLatest>false</IsLatest><ETag>&quot;e&quot;</ETag>\
        <Size>320</Size><LastModified>2026-01-01T00:00:00Z</LastModified><StorageClass>STANDARD</StorageClass></Version>\
        <Version><Key>n</Key><VersionId></VersionId><IsLatest>true</IsLatest><ETag>e</ETag><Size>1</Size>\
        <LastModified>2026-01-01T00:00:00Z</LastModified></Version>\
        <CommonPrefixes><Prefix>c%2F</Prefix></CommonPrefixes></ListVersionsResult>";

    #[test]
    fn versions_and_markers_keep_their_order() {
        let page = parse(PAGE.as_bytes(), false).unwrap();
        let seen: Vec<_> = page
            .entries
            .iter()
            .map(|entry| {
                (entry.object.key.as_str(), entry.version_id.as_str(), entry.delete_marker, entry.is_latest)
            })
            .collect();
        assert_eq!(
            seen,
            [("a+b", "v2", true, true), ("a+b", "v1", false, false), ("n", "null", false, true)]
        );
        assert_eq!((page.entries[1].object.size, page.entries[1].object.etag.as_str()), (320, "e"));
        assert_eq!(page.common_prefixes, ["c/"]);
        assert_eq!(page.next, Some(("a+b".to_owned(), "v1".to_owned())));
    }

    #[test]
    fn a_page_that_breaks_off_is_no_end() {
        let broken = PAGE.replace("<NextKeyMarker>a%2Bb</NextKeyMarker>", "");
        assert!(parse(broken.as_bytes(), false).is_err());
        let last = PAGE.replace("<IsTruncated>true", "<IsTruncated>false");
        assert_eq!(parse(last.as_bytes(), false).unwrap().next, None);
    }
}
