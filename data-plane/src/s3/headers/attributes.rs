//! What GetObjectAttributes is asked for: `x-amz-object-attributes`, and the page of the part table.

use crate::s3::error::{Code, S3Error};
use http::HeaderMap;

/// The most parts on a page, and how many there are without being asked.
const MAX_PARTS: u32 = 1_000;

/// The attributes asked for, and which parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `ETag`
    pub etag: bool,
    /// `Checksum`
    pub checksum: bool,
    /// `ObjectParts`
    pub parts: bool,
    /// `StorageClass`
    pub storage_class: bool,
    /// `ObjectSize`
    pub size: bool,
    /// Parts after this number.
    pub part_marker: u16,
    /// At most so many parts, 0 to 1,000.
    pub max_parts: u32,
}

impl Attributes {
    /// Reads the headers.
    ///
    /// # Errors
    /// InvalidRequest when no attribute is named, InvalidArgument for one that S3 does not have or a bad number.
    pub fn from_headers(headers: &HeaderMap) -> Result<Attributes, S3Error> {
        let mut asked = Attributes {
            part_marker: u16::try_from(number(headers, "x-amz-part-number-marker", 0)?).unwrap_or(u16::MAX),
            max_parts: number(headers, "x-amz-max-parts", MAX_PARTS)?.min(MAX_PARTS),
            ..Attributes::default()
        };
        let mut named = false;
        for value in headers.get_all("x-amz-object-attributes") {
            let text = value.to_str().unwrap_or("\u{fffd}");
            for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                let attribute = match name {
                    "ETag" => &mut asked.etag,
                    "Checksum" => &mut asked.checksum,
                    "ObjectParts" => &mut asked.parts,
                    "StorageClass" => &mut asked.storage_class,
                    "ObjectSize" => &mut asked.size,
                    other => {
                        return Err(S3Error::invalid_argument(
                            "x-amz-object-attributes",
                            other,
                            "Invalid attribute name specified.",
                        ));
                    }
                };
                *attribute = true;
                named = true;
            }
        }
        if named {
            return Ok(asked);
        }
        Err(S3Error::with(
            Code::InvalidRequest,
            "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
        ))
    }
}

fn number(headers: &HeaderMap, name: &'static str, default: u32) -> Result<u32, S3Error> {
    let Some(value) = headers.get(name) else { return Ok(default) };
    let text = value.to_str().unwrap_or("\u{fffd}").trim();
    // S3 counts in 32 bits with a sign.
    text.parse::<i32>().ok().and_then(|number| u32::try_from(number).ok()).ok_or_else(|| {
        S3Error::invalid_argument(
            name,
            text,
            format!("Provided {name} not an integer or within integer range"),
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::Attributes;
    use crate::s3::error::{Code, S3Error};

    fn of(pairs: &[(&'static str, &'static str)]) -> Result<Attributes, S3Error> {
        let mut headers = http::HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        Attributes::from_headers(&headers)
    }

    #[test]
    fn attributes_come_as_one_list_or_as_several() {
        let name = "x-amz-object-attributes";
        let one = of(&[(name, "ETag, ObjectSize,")]).unwrap();
        assert_eq!(one, of(&[(name, "ETag"), (name, "ObjectSize")]).unwrap());
        assert!(one.etag && one.size && !one.checksum && !one.parts && !one.storage_class);
        assert_eq!((one.part_marker, one.max_parts), (0, 1000));
    }

    #[test]
    fn what_s3_does_not_have_is_refused() {
        let name = "x-amz-object-attributes";
        assert_eq!(of(&[]).unwrap_err().code(), Code::InvalidRequest);
        assert_eq!(of(&[(name, " , ")]).unwrap_err().code(), Code::InvalidRequest);
        assert_eq!(of(&[(name, "ETag,Owner")]).unwrap_err().code(), Code::InvalidArgument);
        for bad in ["-1", "x", "", "4294967296"] {
            assert_eq!(
                of(&[(name, "ETag"), ("x-amz-max-parts", bad)]).unwrap_err().code(),
                Code::InvalidArgument
            );
        }
        let page = [(name, "ObjectParts"), ("x-amz-max-parts", "5000"), ("x-amz-part-number-marker", "7")];
        let page = of(&page).unwrap();
        assert_eq!((page.part_marker, page.max_parts), (7, 1000));
    }
}
