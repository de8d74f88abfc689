//! The data plane: S3 front end, pipeline, backends.
pub mod auth;
pub mod backend;
pub mod body;
pub mod s3;
