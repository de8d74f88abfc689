//! The checksums that CompleteMultipartUpload tells, held against those that the parts came with: the object's in a header,
//! the parts' in the list. Nothing is read again for them, so what no note can prove is refused: taken unchecked, it would
//! look like a promise that was kept.

use sealgate_envelope::upload_record::ChecksumType;
use sealgate_envelope::{ChecksumCode, Note, PartEntry};

use super::create::type_name;
use super::notes::{algorithm, from_format};
use crate::body::checksum::Checksum;
use crate::body::plan::object_checksum;
use crate::body::upload::{self, told_type};
use crate::gate::Admitted;
use crate::s3::error::{Code, S3Error};
use crate::s3::xml::CompletedPart;

/// What an upload was created with.
pub type Created = Option<(ChecksumCode, ChecksumType)>;

/// The object's checksum as the request tells it.
#[derive(Clone, Copy)]
pub struct Told(Option<Checksum>);

impl Told {
    /// Reads the headers of Complete, and holds them against what the upload was created with.
    ///
    /// # Errors
    /// InvalidRequest for another type or algorithm than the upload's, and for one that cannot be computed; BadDigest for
    /// another number of parts than are listed.
    pub fn from(admitted: &Admitted, created: Created, parts: usize) -> Result<Told, S3Error> {
        // As with S3, where an upload without an algorithm has a CRC64NVME of the whole.
        let kind = created.map_or(ChecksumType::FullObject, |(_, kind)| kind);
        let told = told_type(&admitted.headers)?.map(|told| match told {
            upload::ChecksumType::FullObject => ChecksumType::FullObject,
            upload::ChecksumType::Composite => ChecksumType::Composite,
        });
        if told.is_some_and(|told| told != kind) {
            return Err(invalid(format!(
                "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
                type_name(kind)
            )));
        }
        let Some(sent) = object_checksum(&admitted.headers)? else { return Ok(Told(None)) };
        match created {
            Some((code, _)) if algorithm(code) != sent.algorithm() => {
                return Err(invalid(format!(
                    "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                    algorithm(code).name().to_ascii_lowercase(),
                    sent.algorithm().name().to_ascii_lowercase()
                )));
            }
            None if !sent.algorithm().combines() => return Err(not_comparable(&sent)),
            _ => {}
        }
        let text = admitted.header(sent.algorithm().header()).unwrap_or_default();
        match text.trim().split_once('-') {
            Some((_, count)) if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(invalid(format!("Value for {} header is invalid.", sent.algorithm().header())))
            }
            Some((_, count)) if kind == ChecksumType::FullObject || count.parse() != Ok(parts) => {
                Err(bad_digest(&sent))
            }
            _ => Ok(Told(Some(sent))),
        }
    }

    /// Whether an object with this checksum, or none, is what the request tells.
    #[must_use]
    pub fn is(&self, made: Option<&Checksum>) -> bool {
        self.0.is_none_or(|told| made == Some(&told))
    }

    /// The object's checksum from its parts', and whether it is a composite; none where the upload was created without and
    /// the request tells none.
    ///
    /// # Errors
    /// BadDigest; InvalidRequest where a part has no such checksum.
    pub fn object(
        &self,
        created: Created,
        entries: &[PartEntry],
    ) -> Result<Option<(Checksum, bool)>, S3Error> {
        let (wanted, kind) = match (created, &self.0) {
            (Some((code, kind)), _) => (algorithm(code), kind),
            (None, Some(told)) => (told.algorithm(), ChecksumType::FullObject),
            (None, None) => return Ok(None),
        };
        let missing = || match &self.0 {
            Some(told) if created.is_none() => not_comparable(told),
            _ => invalid("A part of this upload has no checksum.".to_owned()),
        };
        let parts: Vec<Checksum> = entries
            .iter()
            .map(|entry| {
                let checksum = entry.checksum.as_ref().and_then(from_format);
                checksum.filter(|checksum| checksum.algorithm() == wanted).ok_or_else(missing)
            })
            .collect::<Result<_, _>>()?;
        let made = match kind {
            ChecksumType::Composite => Checksum::composite(wanted, &parts),
            ChecksumType::FullObject => {
                let mut sizes = entries.iter().map(|entry| entry.size);
                let mut parts = parts.into_iter();
                sizes.next();
                parts.next().and_then(|first| {
                    parts.zip(sizes).try_fold(first, |whole, (part, size)| whole.combine(&part, size))
                })
            }
        };
        let made = made.ok_or_else(missing)?;
        match self.is(Some(&made)) {
            true => Ok(Some((made, kind == ChecksumType::Composite))),
            false => Err(bad_digest(&made)),
        }
    }
}

/// Holds a part's checksum in the list against those that it came with: whether it is one of them.
///
/// # Errors
/// BadDigest where it came with none of that algorithm.
pub fn is_the_parts(part: &CompletedPart, note: &Note) -> Result<bool, S3Error> {
    let Some(sent) = &part.checksum else { return Ok(true) };
    let mut known = note.checksums.iter().filter_map(from_format);
    match known.find(|known| known.algorithm() == sent.algorithm()) {
        Some(known) => Ok(known == *sent),
        None => Err(S3Error::with(
            Code::BadDigest,
            format!(
                "The {} you specified for part {} did not match what we received.",
                sent.algorithm().name().to_ascii_lowercase(),
                part.number
            ),
        )),
    }
}

fn not_comparable(told: &Checksum) -> S3Error {
    invalid(format!(
        "The {} of the whole object cannot be compared, since the upload was created without x-amz-checksum-algorithm, and \
         not all of its parts were sent with a checksum that combines to it (CRC32, CRC32C, CRC64NVME). Create the upload \
         with the algorithm, or complete it without {}.",
        told.algorithm().name(),
        told.algorithm().header()
    ))
}

fn bad_digest(checksum: &Checksum) -> S3Error {
    let name = checksum.algorithm().name();
    S3Error::with(Code::BadDigest, format!("The {name} you specified did not match the calculated checksum."))
}

fn invalid(text: String) -> S3Error {
    S3Error::with(Code::InvalidRequest, text)
}
