//! The load generator: a number of clients, each with a connection of its own, that take requests from one queue.

mod client;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::sign::Signer;
use client::Client;

/// What a client does over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// PutObject; keys are used in turn, so that the number of objects stays small.
    Put,
    /// GetObject of keys that [`prepare`] stored.
    Get,
}

/// One measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Work {
    /// What is done.
    pub operation: Operation,
    /// Bytes of each object, up to the largest single PUT.
    pub size: u64,
    /// Clients at the same time, at least 1.
    pub concurrency: usize,
    /// Requests in all.
    pub requests: usize,
}

/// Where requests go and who signs them.
pub struct Target {
    /// `host:port`, plain HTTP.
    pub authority: String,
    /// A bucket that exists there.
    pub bucket: String,
    /// Signs each request.
    pub signer: Signer,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Wall time of the whole, in seconds.
    pub seconds: f64,
    /// Requests per second of wall time.
    pub requests_per_second: f64,
    /// 10⁶ bytes of body per second of wall time.
    pub megabytes_per_second: f64,
    /// Median and 99th percentile of a whole request, in milliseconds.
    pub latency_ms: [f64; 2],
    /// The same of the time to the response's head.
    pub first_byte_ms: [f64; 2],
}

/// Why a measurement has no result.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The connection, or HTTP upon it.
    #[error("transport: {0}")]
    Transport(String),
    /// An answer other than 200, with the start of its body.
    #[error("{method} {path} answered {status}: {text}")]
    Refused {
        /// The request's method.
        method: &'static str,
        /// The request's path.
        path: String,
        /// The answer's status.
        status: u16,
        /// The start of its body.
        text: String,
    },
    /// A body that is not what was stored.
    #[error("{path} came back different or with {got} instead of {expected} bytes")]
    Body {
        /// The request's path.
        path: String,
        /// Bytes received.
        got: u64,
        /// Bytes stored.
        expected: u64,
    },
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] crate::sign::SignError),
}

/// Objects that are read in turn, per size: few, since a backend in memory has to hold them.
const KEPT: usize = 4;
/// Objects that are written in turn.
const WRITTEN: usize = 64;

/// Makes the bucket and the objects that [`Operation::Get`] reads, and checks that they come back as they were.
///
/// # Errors
/// The first failure ends it.
pub async fn prepare(target: Rc<Target>, sizes: &[u64]) -> Result<(), LoadError> {
    let mut client = Client::connect(target).await?;
    client.create_bucket().await?;
    for &size in sizes {
        for n in 0..KEPT {
            let key = kept_key(size, n);
            client.put(&key, size).await?;
            client.get(&key, size, true).await?;
        }
    }
    Ok(())
}

/// Runs one measurement. Needs a `LocalSet` on a current-thread runtime.
///
/// # Errors
/// The first failure of any client ends it: a mean over failures means nothing.
pub async fn run(target: Rc<Target>, work: Work) -> Result<Outcome, LoadError> {
    let next = Rc::new(Cell::new(0));
    let mut clients = Vec::new();
    for _ in 0..work.concurrency.max(1) {
        clients.push(Client::connect(target.clone()).await?);
    }
    let begin = Instant::now();
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::task::spawn_local(drive(client, work, next.clone())))
        .collect();
    let mut times = Vec::with_capacity(work.requests);
    for task in tasks {
        times.extend(task.await.map_err(|error| LoadError::Transport(error.to_string()))??);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let bytes = work.size as f64 * times.len() as f64;
    Ok(Outcome {
        seconds,
        requests_per_second: times.len() as f64 / seconds,
        megabytes_per_second: bytes / 1e6 / seconds,
        latency_ms: percentiles(times.iter().map(|t| t.whole)),
        first_byte_ms: percentiles(times.iter().map(|t| t.head)),
    })
}

/// How long one request took.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    head: Duration,
    whole: Duration,
}

async fn drive(mut client: Client, work: Work, next: Rc<Cell<usize>>) -> Result<Vec<Times>, LoadError> {
    let mut times = Vec::new();
    loop {
        let n = next.get();
        if n >= work.requests {
            return Ok(times);
        }
        next.set(n + 1);
        times.push(match work.operation {
            Operation::Put => client.put(&format!("w/{}/{}", work.size, n % WRITTEN), work.size).await?,
            Operation::Get => client.get(&kept_key(work.size, n % KEPT), work.size, false).await?,
        });
    }
}

fn kept_key(size: u64, n: usize) -> String {
    format!("keep/{size}/{n}")
}

fn percentiles(times: impl Iterator<Item = Duration>) -> [f64; 2] {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    [50, 99].map(|percent| {
        let rank = (times.len() * percent).div_ceil(100).max(1) - 1;
        times.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let times = (1..=100).map(Duration::from_millis);
        assert_eq!(percentiles(times), [50.0, 99.0]);
        assert_eq!(percentiles(std::iter::once(Duration::from_millis(7))), [7.0, 7.0]);
    }

    /// The whole loop against the sink: what is stored comes back, and is checked to.
    #[tokio::test(flavor = "local")]
    async fn the_sink_gives_back_what_it_got() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        tokio::task::spawn_local(crate::sink::serve(free));
        tokio::task::yield_now().await;
        let signer = Signer::new("a".to_owned(), "s".to_owned(), "eu-central-1".to_owned());
        let target = Rc::new(Target { authority: free.to_string(), bucket: "b".to_owned(), signer });
        prepare(target.clone(), &[0, 1024, 3 << 20]).await.unwrap();
        for operation in [Operation::Put, Operation::Get] {
            let work = Work { operation, size: 3 << 20, concurrency: 2, requests: 5 };
            let outcome = run(target.clone(), work).await.unwrap();
            assert!(outcome.latency_ms[0] > 0.0);
        }
    }
}
