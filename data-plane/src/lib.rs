//! The data plane: S3 front end, pipeline, backends.
pub mod backend;
