//! Objects to and from an S3 server.

pub mod get;
pub mod list;
pub mod presign;
pub mod put;
pub mod upload;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::connection::{Client, ConnectionArguments, Settings};
use crate::failure::Outcome;

/// Where the server is.
#[derive(Args, Clone, Debug)]
pub struct ServerArguments {
    /// The directory of a `sealgate dev`: takes endpoint, region and credentials from there
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl ServerArguments {
    fn settings(&self) -> Outcome<Settings> {
        Settings::find(&self.connection, self.data.as_deref())
    }

    /// The directory of a `sealgate dev`, where one was named.
    #[must_use]
    pub fn data(&self) -> Option<&Path> {
        self.data.as_deref()
    }

    /// A client for the server.
    ///
    /// # Errors
    /// As [`Settings::find`].
    pub fn client(&self) -> Outcome<Client> {
        Client::new(&self.settings()?)
    }
}
