//! A set of tags, as storages and clients write it.

use super::reader::read;
use crate::s3::error::S3Error;

/// Fifty tags of a bucket, each character of a name or value a reference.
const MAX_BYTES: usize = 1 << 20;

/// Names and values of a `Tagging` document.
///
/// # Errors
/// MalformedXML.
pub fn parse_tags(document: &[u8]) -> Result<Vec<(String, String)>, S3Error> {
    let mut tags = Vec::new();
    let mut tag = (String::new(), String::new());
    read(document, MAX_BYTES, "Tagging", |path, text| {
        match path {
            ["TagSet", "Tag", "Key"] => tag.0 = text.to_owned(),
            ["TagSet", "Tag", "Value"] => tag.1 = text.to_owned(),
            ["TagSet", "Tag"] => tags.push(std::mem::take(&mut tag)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(tags)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::parse_tags;

    #[test]
    fn tags_in_their_order() {
        let document = b"<Tagging xmlns=\"x\"><TagSet><Tag><Key>a &amp; b</Key><Value/></Tag>\
            <Tag><Value>2</Value><Key>c</Key></Tag></TagSet></Tagging>";
        let wanted = [("a & b".to_owned(), String::new()), ("c".to_owned(), "2".to_owned())];
        assert_eq!(parse_tags(document).unwrap(), wanted);
        assert!(parse_tags(b"<Tagging><TagSet>").is_err());
        assert_eq!(parse_tags(b"<Tagging><TagSet/></Tagging>").unwrap(), []);
    }
}
