//! Key management: one trait, the local keyring behind it.
