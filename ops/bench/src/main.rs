//! `sealgate-bench sink | load | compare`: see `ops/bench/run` for how they are put together.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use clap::{Args, Parser, Subcommand};
use sealgate_bench::compare::{self, Contender};
use sealgate_bench::load::{self, Operation, Target, Work};
use sealgate_bench::sign::Signer;
use sealgate_bench::sink;
use tokio::task::LocalSet;

// The client and the sink share a core with each other: what they waste, they take from the measurement's pace.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures what a gateway costs.
#[derive(Parser)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// A backend in memory that speaks enough S3.
    Sink {
        /// Where to listen; loopback only, since nothing is authenticated.
        #[arg(long, default_value = "127.0.0.1:9100")]
        listen: SocketAddr,
    },
    /// One kind of request, many times.
    Load {
        /// `host:port` of the S3 endpoint.
        #[arg(long)]
        endpoint: String,
        /// A bucket; made if it is not there.
        #[arg(long, default_value = "bench")]
        bucket: String,
        /// What to do.
        #[arg(long, value_enum)]
        operation: Operation,
        /// Bytes of an object.
        #[arg(long, default_value_t = 64 << 20)]
        size: u64,
        /// Clients at the same time.
        #[arg(long, default_value_t = 1)]
        concurrency: usize,
        /// Requests in all.
        #[arg(long, default_value_t = 16)]
        requests: usize,
        #[command(flatten)]
        identity: Identity,
    },
    /// CPU-seconds of several proxies, in turns; the first is the baseline.
    Compare {
        /// `name,host:port,pid,bucket`, at least twice.
        #[arg(long = "target", required = true)]
        targets: Vec<String>,
        /// Rounds that count.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Measure 1 KiB objects too.
        #[arg(long)]
        small: bool,
        /// Where raw results go, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Fail when a ratio for 64 MiB bodies is above this.
        #[arg(long)]
        limit: Option<f64>,
        /// Access key of the first target, where it is another than the others'.
        #[arg(long, env = "BENCH_BASELINE_ACCESS_KEY")]
        baseline_access_key: Option<String>,
        /// Its secret key.
        #[arg(long, env = "BENCH_BASELINE_SECRET_KEY", hide_env_values = true)]
        baseline_secret_key: Option<String>,
        #[command(flatten)]
        identity: Identity,
    },
}

/// Who signs. Without a key pair the sink's clients sign with one that nobody checks.
#[derive(Args, Clone)]
struct Identity {
    /// Access key.
    #[arg(long, env = "AWS_ACCESS_KEY_ID", default_value = "none")]
    access_key: String,
    /// Secret key; better given by the environment than on the command line.
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true, default_value = "none")]
    secret_key: String,
    /// Region of the signature.
    #[arg(long, env = "AWS_REGION", default_value = "eu-central-1")]
    region: String,
}

impl Identity {
    fn target(&self, authority: &str, bucket: &str) -> Rc<Target> {
        let signer = Signer::new(self.access_key.clone(), self.secret_key.clone(), self.region.clone());
        Rc::new(Target { authority: authority.to_owned(), bucket: bucket.to_owned(), signer })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let command = Command::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run(command.action))
}

async fn run(action: Action) -> Result<(), Box<dyn Error>> {
    match action {
        Action::Sink { listen } => {
            if !listen.ip().is_loopback() {
                return Err("the sink listens on loopback only".into());
            }
            sink::serve(listen).await?;
        }
        Action::Load { endpoint, bucket, operation, size, concurrency, requests, identity } => {
            let target = identity.target(&endpoint, &bucket);
            load::prepare(target.clone(), &[size]).await?;
            let outcome = load::run(target, Work { operation, size, concurrency, requests }).await?;
            println!("{}", serde_json::to_string_pretty(&outcome)?);
        }
        Action::Compare {
            targets,
            rounds,
            small,
            json,
            limit,
            baseline_access_key,
            baseline_secret_key,
            identity,
        } => {
            let baseline = Identity {
                access_key: baseline_access_key.unwrap_or_else(|| identity.access_key.clone()),
                secret_key: baseline_secret_key.unwrap_or_else(|| identity.secret_key.clone()),
                ..identity.clone()
            };
            let identities = std::iter::once(&baseline).chain(std::iter::repeat(&identity));
            let contenders = targets
                .iter()
                .zip(identities)
                .map(|(text, identity)| contender(text, identity))
                .collect::<Result<Vec<_>, _>>()?;
            let report = compare::run(&contenders, &compare::works(small), rounds, |sample| {
                eprintln!("{}", sample.line());
            })
            .await?;
            println!("{}", report.table());
            if let Some(path) = json {
                std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
            }
            let worst = report.worst_ratio();
            if limit.is_some_and(|limit| worst > limit) {
                return Err(format!("worst ratio ×{worst:.2} is above the limit").into());
            }
        }
    }
    Ok(())
}

fn contender(text: &str, identity: &Identity) -> Result<Contender, Box<dyn Error>> {
    let parts: Vec<&str> = text.split(',').collect();
    let [name, authority, pid, bucket] = parts[..] else {
        return Err(format!("{text:?} is not name,host:port,pid,bucket").into());
    };
    Ok(Contender { name: name.to_owned(), pid: pid.parse()?, target: identity.target(authority, bucket) })
}
