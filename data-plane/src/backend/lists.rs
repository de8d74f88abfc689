//! What listings ask for and answer.

use std::time::SystemTime;

/// Where a listing goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListFrom {
    /// From the first key.
    Start,
    /// V1: after this key or common prefix (a marker that is a common prefix skips all keys under it).
    Marker(String),
    /// V2: after this key.
    StartAfter(String),
    /// V2: the backend's own opaque token.
    Token(String),
}

/// A page of a listing.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// Only keys with this prefix.
    pub prefix: String,
    /// Rolls keys up into common prefixes.
    pub delimiter: Option<String>,
    /// Where to begin.
    pub from: ListFrom,
    /// 1 to 1,000 keys and common prefixes.
    pub max_keys: u32,
}

/// A stored object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// The key, decoded.
    pub key: String,
    /// Stored size.
    pub size: u64,
    /// ETag without quotes.
    pub etag: String,
    /// Last modification.
    pub last_modified: SystemTime,
    /// Storage class as the backend names it.
    pub storage_class: String,
}

/// A page of a listing, in the byte order of UTF-8 keys.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// Objects.
    pub entries: Vec<ListEntry>,
    /// Common prefixes.
    pub common_prefixes: Vec<String>,
    /// Where the next page begins, when there is one: `Marker` for [`ListFrom::Start`] and [`ListFrom::Marker`] under
    /// V1, `Token` under V2 (see [`Backend::list_v1`] and [`Backend::list_v2`]).
    pub next: Option<String>,
}

/// An uploaded part, as the backend lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartEntry {
    /// 1 to 10,000
    pub number: u16,
    /// ETag without quotes.
    pub etag: String,
    /// Stored size.
    pub size: u64,
    /// When it was uploaded.
    pub last_modified: SystemTime,
}

/// A page of ListParts.
#[derive(Clone, Debug, Default)]
pub struct PartPage {
    /// Parts, ascending.
    pub parts: Vec<PartEntry>,
    /// The part number after which the next page begins.
    pub next: Option<u16>,
    /// The storage class of the object that they become, where the backend tells it.
    pub storage_class: Option<String>,
}

/// An upload in progress, as the backend lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadEntry {
    /// The key, decoded.
    pub key: String,
    /// The backend's upload id.
    pub upload_id: String,
    /// When it was created.
    pub initiated: SystemTime,
    /// Storage class as the backend names it.
    pub storage_class: String,
}

/// A page of ListMultipartUploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadListOptions {
    /// Only keys with this prefix.
    pub prefix: String,
    /// Rolls keys up into common prefixes.
    pub delimiter: Option<String>,
    /// After this key …
    pub key_marker: String,
    /// … and this upload id.
    pub upload_id_marker: String,
    /// 1 to 1,000
    pub max_uploads: u32,
}

/// A page of ListMultipartUploads.
#[derive(Clone, Debug, Default)]
pub struct UploadPage {
    /// Uploads, by key, then by age.
    pub uploads: Vec<UploadEntry>,
    /// Common prefixes.
    pub common_prefixes: Vec<String>,
    /// Key marker and upload id marker of the next page.
    pub next: Option<(String, String)>,
}

/// A page of ListObjectVersions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionListOptions {
    /// Only keys with this prefix.
    pub prefix: String,
    /// Rolls keys up into common prefixes.
    pub delimiter: Option<String>,
    /// After this key …
    pub key_marker: String,
    /// … and this version of it; empty: after all of its versions.
    pub version_id_marker: String,
    /// 1 to 1,000 versions, delete markers and common prefixes.
    pub max_keys: u32,
}

/// A version or a delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionEntry {
    /// The object as in any listing. Of a delete marker only key and time mean anything.
    pub object: ListEntry,
    /// `null` where it was written without versioning.
    pub version_id: String,
    /// Whether it is the current one.
    pub is_latest: bool,
    /// Whether it is a delete marker.
    pub delete_marker: bool,
}

/// A page of ListObjectVersions.
#[derive(Clone, Debug, Default)]
pub struct VersionPage {
    /// By key, the newest version first.
    pub entries: Vec<VersionEntry>,
    /// Common prefixes.
    pub common_prefixes: Vec<String>,
    /// Key marker and version id marker of the next page.
    pub next: Option<(String, String)>,
}
