//! The settings of a bucket that are few words, and what this storage answers where there is nothing to set: everything
//! belongs to the bucket's owner, nothing is public, everything is one storage class in one place.

use http::{HeaderMap, HeaderValue};

use super::documents::{self, Document};
use super::space::Bucket;
use super::{lock, xml};
use crate::backend::BackendError;
use crate::s3::error::{Code, S3Error};
use crate::s3::xml::reader;

/// The owner of everything, as this storage calls it. The gateway shows its tenant instead.
pub(crate) const OWNER: &str = "filesystem";
/// Canned ACLs that grant nobody else anything.
const OWNERS_OWN: [&str; 3] = ["private", "bucket-owner-full-control", "bucket-owner-read"];
/// Those that do.
const OTHERS_TOO: [&str; 5] =
    ["public-read", "public-read-write", "authenticated-read", "aws-exec-read", "log-delivery-write"];
const OWNERSHIPS: [&str; 3] = ["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"];
const PERMISSIONS: [&str; 5] = ["FULL_CONTROL", "WRITE", "WRITE_ACP", "READ", "READ_ACP"];
const FLAGS: [&str; 4] =
    ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];

/// What an ACL that grants others anything is answered.
pub(crate) fn no_acls() -> BackendError {
    BackendError::s3(400, "AccessControlListNotSupported", "The bucket does not allow ACLs.")
}

/// Takes a canned ACL that says no more than what is so anyway.
pub(crate) fn check_canned(acl: &HeaderValue) -> Result<(), BackendError> {
    match acl.to_str().unwrap_or_default() {
        own if OWNERS_OWN.contains(&own) => Ok(()),
        open if OTHERS_TOO.contains(&open) => Err(no_acls()),
        other => Err(BackendError::s3(400, "InvalidArgument", format!("There is no canned ACL {other}"))),
    }
}

/// The same of a bucket that is to be made with one: S3 has another code for it.
fn with_bucket(refused: BackendError) -> BackendError {
    if !refused.is("AccessControlListNotSupported") {
        return refused;
    }
    xml::refused(S3Error::new(Code::InvalidBucketAclWithObjectOwnership))
}

fn nothing(code: &str, text: &str) -> BackendError {
    BackendError::s3(404, code, text)
}

/// PutBucketVersioning. What once had versions keeps them; what has locks keeps making them.
pub(crate) fn put_versioning(bucket: &Bucket, body: &[u8]) -> Result<(), BackendError> {
    let (mut status, mut second_factor) = (None, false);
    xml::parse(body, "VersioningConfiguration", |path, text| {
        match path {
            ["Status"] if matches!(text, "Enabled" | "Suspended") => status = Some(text.to_owned()),
            ["Status"] => return Err(reader::malformed()),
            ["MfaDelete"] => second_factor |= text == "Enabled",
            _ => {}
        }
        Ok(())
    })?;
    if second_factor {
        return Err(BackendError::Unsupported("MFA delete on this storage"));
    }
    let status = status.ok_or_else(|| {
        BackendError::s3(
            400,
            "IllegalVersioningConfigurationException",
            "The Versioning element must be specified",
        )
    })?;
    let documents = documents::lock(bucket)?;
    if status == "Suspended" && documents::read(bucket, Document::ObjectLock)?.is_some() {
        return Err(BackendError::s3(
            409,
            "InvalidBucketState",
            "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
        ));
    }
    documents.write(Document::Versioning, &status)
}

/// GetBucketVersioning.
pub(crate) fn get_versioning(bucket: &Bucket) -> Result<String, BackendError> {
    let mut document = xml::Document::document("VersioningConfiguration");
    document.option("Status", documents::read(bucket, Document::Versioning)?.as_deref());
    Ok(document.finish())
}

/// PutBucketOwnershipControls. Whatever it says, nobody else can own an object here, and ACLs stay refused.
pub(crate) fn put_ownership(bucket: &Bucket, body: &[u8]) -> Result<(), BackendError> {
    let mut ownership = Vec::new();
    xml::parse(body, "OwnershipControls", |path, text| {
        match path {
            ["Rule", "ObjectOwnership"] if OWNERSHIPS.contains(&text) => ownership.push(text.to_owned()),
            ["Rule", "ObjectOwnership"] => return Err(reader::malformed()),
            _ => {}
        }
        Ok(())
    })?;
    let [ownership] = ownership.as_slice() else { return Err(xml::malformed()) };
    set_ownership(bucket, ownership)
}

fn set_ownership(bucket: &Bucket, value: &str) -> Result<(), BackendError> {
    documents::lock(bucket)?.write(Document::Ownership, &ownership(value))
}

/// What the headers of CreateBucket ask for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    locks: bool,
    ownership: Option<String>,
}

impl Wanted {
    /// Reads the headers; one that cannot be honoured is refused.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, BackendError> {
        let mut wanted = Self::default();
        for (name, raw) in headers {
            let value = raw.to_str().unwrap_or_default();
            match name.as_str() {
                "x-amz-bucket-object-lock-enabled" if value.eq_ignore_ascii_case("true") => {
                    wanted.locks = true
                }
                "x-amz-bucket-object-lock-enabled" if value.eq_ignore_ascii_case("false") => {}
                "x-amz-object-ownership" if OWNERSHIPS.contains(&value) => {
                    wanted.ownership = Some(value.to_owned());
                }
                "x-amz-object-ownership" | "x-amz-bucket-object-lock-enabled" => {
                    return Err(BackendError::s3(
                        400,
                        "InvalidArgument",
                        format!("Invalid {name} header: {value}"),
                    ));
                }
                "x-amz-acl" => check_canned(raw).map_err(with_bucket)?,
                name if name.starts_with("x-amz-grant-") => return Err(with_bucket(no_acls())),
                _ => return Err(BackendError::Unsupported("CreateBucket with one of the request's headers")),
            }
        }
        Ok(wanted)
    }

    /// Sets up a bucket that nobody sees yet.
    pub(crate) fn apply(&self, bucket: &Bucket) -> Result<(), BackendError> {
        if self.locks {
            lock::enable(bucket)?;
        }
        self.ownership.as_deref().map_or(Ok(()), |ownership| set_ownership(bucket, ownership))
    }
}

/// GetBucketOwnershipControls.
pub(crate) fn get_ownership(bucket: &Bucket) -> Result<String, BackendError> {
    match documents::read(bucket, Document::Ownership)? {
        None => Ok(ownership("BucketOwnerEnforced")),
        Some(deleted) if deleted.is_empty() => {
            Err(nothing("OwnershipControlsNotFoundError", "The bucket ownership controls were not found."))
        }
        Some(kept) => Ok(kept),
    }
}

/// DeleteBucketOwnershipControls: from then on there are none, where at first there are S3's own.
pub(crate) fn delete_ownership(bucket: &Bucket) -> Result<(), BackendError> {
    documents::lock(bucket)?.write(Document::Ownership, "")
}

fn ownership(value: &str) -> String {
    let mut document = xml::Document::document("OwnershipControls");
    document.nest("Rule", |xml| xml.text("ObjectOwnership", value));
    document.finish()
}

/// PutPublicAccessBlock. Nothing here is public, so that every setting holds.
pub(crate) fn put_public_access(bucket: &Bucket, body: &[u8]) -> Result<(), BackendError> {
    let mut flags = [false; 4];
    xml::parse(body, "PublicAccessBlockConfiguration", |path, text| {
        if let [name] = path
            && let Some(at) = FLAGS.iter().position(|known| known == name)
        {
            flags[at] = match text.trim() {
                "true" | "TRUE" | "True" => true,
                "false" | "FALSE" | "False" => false,
                _ => return Err(reader::malformed()),
            };
        }
        Ok(())
    })?;
    let mut document = xml::Document::document("PublicAccessBlockConfiguration");
    FLAGS.iter().zip(flags).for_each(|(name, flag)| document.flag(name, flag));
    documents::lock(bucket)?.write(Document::PublicAccess, &document.finish())
}

/// GetPublicAccessBlock.
pub(crate) fn get_public_access(bucket: &Bucket) -> Result<String, BackendError> {
    documents::read(bucket, Document::PublicAccess)?.ok_or_else(|| {
        nothing("NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found")
    })
}

/// PutBucketEncryption: what is stored through the gateway is encrypted as it is, by keys of its own.
pub(crate) fn put_encryption(body: &[u8]) -> Result<(), BackendError> {
    let (mut algorithm, mut key) = (None, false);
    xml::parse(body, "ServerSideEncryptionConfiguration", |path, text| {
        match path {
            ["Rule", "ApplyServerSideEncryptionByDefault", "SSEAlgorithm"] => {
                algorithm = Some(text.to_owned())
            }
            ["Rule", "ApplyServerSideEncryptionByDefault", "KMSMasterKeyID"] => key = true,
            _ => {}
        }
        Ok(())
    })?;
    match algorithm.as_deref() {
        Some("AES256") if !key => Ok(()),
        Some("AES256") => Err(BackendError::s3(
            400,
            "InvalidArgument",
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse",
        )),
        Some("aws:kms" | "aws:kms:dsse") => {
            Err(BackendError::Unsupported("default encryption with KMS keys"))
        }
        _ => Err(xml::malformed()),
    }
}

/// GetBucketEncryption: S3's default, which cannot be switched off.
pub(crate) fn get_encryption() -> String {
    let mut document = xml::Document::document("ServerSideEncryptionConfiguration");
    document.nest("Rule", |xml| {
        xml.nest("ApplyServerSideEncryptionByDefault", |xml| xml.text("SSEAlgorithm", "AES256"));
        xml.flag("BucketKeyEnabled", false);
    });
    document.finish()
}

/// GetBucketAcl and GetObjectAcl: the owner's, and nobody else's.
pub(crate) fn get_acl() -> String {
    let xsi = "http://www.w3.org/2001/XMLSchema-instance";
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<AccessControlPolicy xmlns=\"{}\"><Owner><ID>{OWNER}</ID><DisplayName>{OWNER}</DisplayName></Owner>\
         <AccessControlList><Grant><Grantee xmlns:xsi=\"{xsi}\" xsi:type=\"CanonicalUser\"><ID>{OWNER}</ID><DisplayName>{OWNER}</DisplayName></Grantee>\
         <Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>",
        crate::s3::error::XMLNS
    )
}

/// PutBucketAcl and PutObjectAcl: what is so anyway is taken, whatever grants others anything is not.
pub(crate) fn put_acl(headers: &HeaderMap, body: &[u8]) -> Result<(), BackendError> {
    if headers.keys().any(|name| name.as_str().starts_with("x-amz-grant-")) {
        return Err(no_acls());
    }
    if let Some(canned) = headers.get("x-amz-acl") {
        return check_canned(canned);
    }
    let (mut grants, mut others, mut full) = (0, false, false);
    let (mut owned, mut broken) = (false, false);
    xml::parse(body, "AccessControlPolicy", |path, text| {
        match path {
            ["Owner", "ID"] => owned = !text.is_empty(),
            ["AccessControlList", "Grant", "Grantee", "ID"] => broken |= text.is_empty(),
            ["AccessControlList", "Grant", "Permission"] => broken |= !PERMISSIONS.contains(&text),
            _ => {}
        }
        match path {
            ["Owner", "ID"] => others |= text != OWNER,
            ["AccessControlList", "Grant"] => grants += 1,
            ["AccessControlList", "Grant", "Grantee", "ID"] => others |= text != OWNER,
            ["AccessControlList", "Grant", "Grantee", "URI" | "EmailAddress"] => others = true,
            ["AccessControlList", "Grant", "Permission"] => full = text == "FULL_CONTROL",
            _ => {}
        }
        Ok(())
    })?;
    if broken || !owned {
        return Err(BackendError::s3(
            400,
            "MalformedACLError",
            "The XML you provided was not well-formed or did not validate against our published schema.",
        ));
    }
    if grants == 1 && full && !others { Ok(()) } else { Err(no_acls()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn an_acl_that_grants_nobody_else_anything_is_taken() {
        assert!(put_acl(&HeaderMap::new(), get_acl().as_bytes()).is_ok());
        let canned = |name: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-amz-acl", name.parse().unwrap());
            put_acl(&headers, b"")
        };
        assert!(canned("private").is_ok());
        let code = "AccessControlListNotSupported";
        assert!(canned("public-read").is_err_and(|error| error.is(code)));
        assert!(canned("friends").is_err_and(|error| error.is("InvalidArgument")));
        let mut grant = HeaderMap::new();
        grant.insert("x-amz-grant-read", "id=1".parse().unwrap());
        assert!(put_acl(&grant, b"").is_err_and(|error| error.is(code)));
        for broken in [
            get_acl().replace("FULL_CONTROL", "ALL"),
            get_acl().replace("<Owner><ID>filesystem", "<Owner><ID>"),
            get_acl().replace(
                "<ID>filesystem</ID><DisplayName>filesystem</DisplayName></Grantee>",
                "<ID></ID></Grantee>",
            ),
        ] {
            let refused = put_acl(&HeaderMap::new(), broken.as_bytes());
            assert!(refused.is_err_and(|error| error.is("MalformedACLError")), "{broken}");
        }
        let all = "<Grantee><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission>";
        for wrong in [
            get_acl().replace("FULL_CONTROL", "READ"),
            get_acl().replace("<Owner><ID>filesystem", "<Owner><ID>somebody"),
            get_acl().replace("</Grant>", &format!("</Grant><Grant>{all}</Grant>")),
            get_acl().replace("<Permission>", &format!("{all}<Permission>")),
            get_acl().replace(
                "<ID>filesystem</ID><DisplayName>filesystem</DisplayName></Grantee>",
                "<ID>other</ID></Grantee>",
            ),
        ] {
            assert!(
                put_acl(&HeaderMap::new(), wrong.as_bytes()).is_err_and(|error| error.is(code)),
                "{wrong}"
            );
        }
    }

    #[test]
    fn encryption_says_what_is_so() {
        assert!(put_encryption(get_encryption().as_bytes()).is_ok());
        let kms = get_encryption().replace("AES256", "aws:kms");
        assert!(matches!(put_encryption(kms.as_bytes()), Err(BackendError::Unsupported(_))));
        let other = get_encryption().replace("AES256", "rot13");
        assert!(put_encryption(other.as_bytes()).is_err_and(|error| error.is("MalformedXML")));
    }
}
