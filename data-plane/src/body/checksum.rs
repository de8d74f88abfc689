//! The ten checksum algorithms of S3 (AWS: "Checking object integrity"), their names in headers and XML, and their codes
//! in the object format.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::Digest as _;
use std::fmt;

macro_rules! algorithms {
    ($($name:ident $code:literal $text:literal $header:literal $element:literal $length:literal)*) => {
        /// A checksum algorithm. The discriminant is its code in the object format.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "the names are S3's own")]
        pub enum Algorithm { $($name = $code,)* }

        impl Algorithm {
            /// All of them, by code.
            pub const ALL: &'static [Algorithm] = &[$(Algorithm::$name,)*];

            /// S3's name, as in `x-amz-checksum-algorithm` and `ChecksumAlgorithm`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Algorithm::$name => $text,)* }
            }

            /// The header and trailer that carry a value.
            #[must_use]
            pub const fn header(self) -> &'static str {
                match self { $(Algorithm::$name => $header,)* }
            }

            /// The XML element that carries a value.
            #[must_use]
            pub const fn element(self) -> &'static str {
                match self { $(Algorithm::$name => $element,)* }
            }

            /// The length of a value in bytes.
            #[must_use]
            pub const fn length(self) -> usize {
                match self { $(Algorithm::$name => $length,)* }
            }
        }
    };
}

algorithms! {
    Crc32     1  "CRC32"     "x-amz-checksum-crc32"     "ChecksumCRC32"     4
    Crc32c    2  "CRC32C"    "x-amz-checksum-crc32c"    "ChecksumCRC32C"    4
    Crc64Nvme 3  "CRC64NVME" "x-amz-checksum-crc64nvme" "ChecksumCRC64NVME" 8
    Sha1      4  "SHA1"      "x-amz-checksum-sha1"      "ChecksumSHA1"      20
    Sha256    5  "SHA256"    "x-amz-checksum-sha256"    "ChecksumSHA256"    32
    Md5       6  "MD5"       "x-amz-checksum-md5"       "ChecksumMD5"       16
    Sha512    7  "SHA512"    "x-amz-checksum-sha512"    "ChecksumSHA512"    64
    XxHash64  8  "XXHASH64"  "x-amz-checksum-xxhash64"  "ChecksumXXHASH64"  8
    XxHash3   9  "XXHASH3"   "x-amz-checksum-xxhash3"   "ChecksumXXHASH3"   8
    XxHash128 10 "XXHASH128" "x-amz-checksum-xxhash128" "ChecksumXXHASH128" 16
}

impl Algorithm {
    /// The code in the object format, 1 to 10.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The algorithm of a code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Algorithm> {
        Algorithm::ALL.iter().copied().find(|algorithm| algorithm.code() == code)
    }

    /// The algorithm of S3's name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.iter().copied().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The algorithm of a header's or trailer's name, in any case.
    #[must_use]
    pub fn from_header(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.iter().copied().find(|algorithm| algorithm.header().eq_ignore_ascii_case(name))
    }

    /// Whether checksums of parts can be combined into that of the whole object (`FULL_OBJECT` of a multipart upload).
    #[must_use]
    pub fn combines(self) -> bool {
        self.crc().is_some()
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Algorithm::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Algorithm::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Algorithm::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            _ => None,
        }
    }
}

/// A checksum's value with its algorithm. Values are not secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    value: [u8; 64],
}

impl Checksum {
    /// A value of the algorithm's length; `None` for another length.
    #[must_use]
    pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Checksum> {
        if bytes.len() != algorithm.length() {
            return None;
        }
        let mut value = [0; 64];
        value[..bytes.len()].copy_from_slice(bytes);
        Some(Checksum { algorithm, value })
    }

    /// Reads the base64 of headers and XML; `None` when it is not canonical base64 of the algorithm's length.
    #[must_use]
    pub fn from_base64(algorithm: Algorithm, text: &str) -> Option<Checksum> {
        // The longest value is 64 bytes, 88 characters.
        if text.len() > 88 {
            return None;
        }
        Checksum::new(algorithm, &STANDARD.decode(text).ok()?)
    }

    /// The checksum of `data`.
    #[must_use]
    pub fn of(algorithm: Algorithm, data: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(data);
        hasher.finish()
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The value's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.value[..self.algorithm.length()]
    }

    /// The value as headers and XML carry it.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.bytes())
    }

    /// The checksum of two pieces of data one after the other, from their checksums and the length of the second in
    /// bytes. `None` for algorithms that do not combine, or two different ones.
    #[must_use]
    pub fn combine(&self, second: &Checksum, second_length: u64) -> Option<Checksum> {
        if self.algorithm != second.algorithm {
            return None;
        }
        let crc = self.algorithm.crc()?;
        let sum = crc_fast::checksum_combine(crc, self.number(), second.number(), second_length);
        Some(Checksum::of_number(self.algorithm, sum))
    }

    /// The composite checksum of parts: the algorithm over their values one after the other. S3 shows it as
    /// `<base64>-<number of parts>`. `None` when a part's algorithm is another.
    #[must_use]
    pub fn composite<'a>(
        algorithm: Algorithm,
        parts: impl IntoIterator<Item = &'a Checksum>,
    ) -> Option<Checksum> {
        let mut hasher = Hasher::new(algorithm);
        for part in parts {
            if part.algorithm != algorithm {
                return None;
            }
            hasher.update(part.bytes());
        }
        Some(hasher.finish())
    }

    fn number(&self) -> u64 {
        self.bytes().iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn of_number(algorithm: Algorithm, number: u64) -> Checksum {
        let mut value = [0; 64];
        let length = algorithm.length().min(8);
        value[..length].copy_from_slice(&number.to_be_bytes()[8 - length..]);
        Checksum { algorithm, value }
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.to_base64())
    }
}

/// One running checksum.
pub struct Hasher {
    algorithm: Algorithm,
    state: State,
}

enum State {
    Crc(crc_fast::Digest),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Md5(md5::Md5),
    XxHash64(xxhash_rust::xxh64::Xxh64),
    /// XXH3 with 64 and 128 bits share their state. Boxed: it is half a kilobyte.
    XxHash3(Box<xxhash_rust::xxh3::Xxh3Default>),
}

impl Hasher {
    /// Starts a checksum.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Hasher {
        let state = match algorithm {
            Algorithm::Crc32 => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
            Algorithm::Crc32c => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            Algorithm::Crc64Nvme => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)),
            Algorithm::Sha1 => State::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
            Algorithm::Md5 => State::Md5(md5::Md5::new()),
            Algorithm::XxHash64 => State::XxHash64(xxhash_rust::xxh64::Xxh64::new(0)),
            Algorithm::XxHash3 | Algorithm::XxHash128 => {
                State::XxHash3(Box::new(xxhash_rust::xxh3::Xxh3Default::new()))
            }
        };
        Hasher { algorithm, state }
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Takes more data.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.state {
            State::Crc(state) => state.update(data),
            State::Sha1(state) => state.update(data),
            State::Sha256(state) => state.update(data),
            State::Sha512(state) => state.update(data),
            State::Md5(state) => state.update(data),
            State::XxHash64(state) => state.update(data),
            State::XxHash3(state) => state.update(data),
        }
    }

    /// The checksum of all data taken.
    #[must_use]
    pub fn finish(self) -> Checksum {
        let algorithm = self.algorithm;
        let mut value = [0; 64];
        let mut put = |bytes: &[u8]| value[..bytes.len()].copy_from_slice(bytes);
        match self.state {
            State::Crc(state) => return Checksum::of_number(algorithm, state.finalize()),
            State::Sha1(state) => put(&state.finalize()),
            State::Sha256(state) => put(&state.finalize()),
            State::Sha512(state) => put(&state.finalize()),
            State::Md5(state) => put(&state.finalize()),
            State::XxHash64(state) => put(&state.digest().to_be_bytes()),
            State::XxHash3(state) if algorithm == Algorithm::XxHash3 => put(&state.digest().to_be_bytes()),
            State::XxHash3(state) => put(&state.digest128().to_be_bytes()),
        }
        Checksum { algorithm, value }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{Algorithm, Checksum, Hasher};
    use proptest::prelude::proptest;

    /// The check values of the algorithms' own definitions, over "123456789".
    #[test]
    fn known_values() {
        for (algorithm, expected) in [
            (Algorithm::Crc32, "cbf43926"),
            (Algorithm::Crc32c, "e3069283"),
            (Algorithm::Crc64Nvme, "ae8b14860a799888"),
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (Algorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
            (Algorithm::Md5, "25f9e794323b453885f5181f1b624d0b"),
        ] {
            assert_eq!(hex::encode(Checksum::of(algorithm, b"123456789").bytes()), expected, "{algorithm:?}");
        }
        // Of the empty input, from xxHash's own test vectors.
        for (algorithm, expected) in [
            (Algorithm::XxHash64, "ef46db3751d8e999"),
            (Algorithm::XxHash3, "2d06800538d394c2"),
            (Algorithm::XxHash128, "99aa06d3014798d86001c324468d497f"),
        ] {
            assert_eq!(hex::encode(Checksum::of(algorithm, b"").bytes()), expected, "{algorithm:?}");
        }
    }

    #[test]
    fn names_codes_and_lengths_agree() {
        for (at, &algorithm) in Algorithm::ALL.iter().enumerate() {
            assert_eq!(usize::from(algorithm.code()), at + 1);
            assert_eq!(Algorithm::from_code(algorithm.code()), Some(algorithm));
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
            assert_eq!(Algorithm::from_header(algorithm.header()), Some(algorithm));
            let value = Checksum::of(algorithm, b"x");
            assert_eq!(Checksum::from_base64(algorithm, &value.to_base64()), Some(value));
            assert_eq!(value.to_base64().len(), algorithm.length().div_ceil(3) * 4);
        }
        assert_eq!(Algorithm::from_code(0), None);
        assert_eq!(Checksum::from_base64(Algorithm::Crc32, "AAAA"), None);
        assert_eq!(Checksum::from_base64(Algorithm::Crc32, "AAAAAB=="), None);
    }

    proptest! {
        #[test]
        fn parts_combine_to_the_whole(first: Vec<u8>, second: Vec<u8>) {
            let whole = [first.as_slice(), second.as_slice()].concat();
            for &algorithm in Algorithm::ALL {
                let combined = Checksum::of(algorithm, &first)
                    .combine(&Checksum::of(algorithm, &second), second.len() as u64);
                let expected = algorithm.combines().then(|| Checksum::of(algorithm, &whole));
                assert_eq!(combined, expected);
            }
        }

        #[test]
        fn any_split_gives_the_same(data: Vec<u8>, at: proptest::sample::Index) {
            let at = if data.is_empty() { 0 } else { at.index(data.len()) };
            for &algorithm in Algorithm::ALL {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(&data[..at]);
                hasher.update(&data[at..]);
                assert_eq!(hasher.finish(), Checksum::of(algorithm, &data));
            }
        }
    }
}
