//! OpenBao's transit engine as a KMS, against real servers that each test starts for itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "conformance/suite.rs"]
mod suite;

mod vault {
    mod cluster;
    mod documents;
    mod fake;
    mod far;
    mod faults;
    mod keys;
    mod logins;
    mod methods;
    mod server;
}
