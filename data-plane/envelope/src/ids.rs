//! Identifiers: 16 random bytes, never names, since a rename must not orphan data.

use crate::error::Error;
use crate::kdf;
use std::fmt;
use std::str::FromStr;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// A fresh one.
            ///
            /// # Errors
            /// [`Error::Random`] when the operating system gives no randomness.
            pub fn random() -> Result<Self, Error> {
                kdf::random().map(Self)
            }

            /// The identifier with these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// From exactly 32 lower-case hex digits, so that one identifier has one spelling.
            fn from_str(text: &str) -> Result<Self, Error> {
                crate::text::lower_hex(text).map(Self).ok_or(Error::Id)
            }
        }
    };
}

id!(
    /// The tenant that a bucket belongs to.
    TenantId
);
id!(
    /// The logical bucket, whatever its name is at the moment.
    BucketId
);
id!(
    /// An intermediate key.
    IkId
);
id!(
    /// An object as written once: an overwrite has another one.
    ObjectId
);
id!(
    /// The gateway (one control plane and its nodes); it marks the uploads that a sweep may touch.
    GatewayId
);
