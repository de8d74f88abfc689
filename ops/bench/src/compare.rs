//! Drives two or more proxies in turns and reads what CPU time each of them used.

use std::rc::Rc;

use crate::cpu;
use crate::load::{self, LoadError, Operation, Target, Work};
use crate::report::{Report, Sample};

const MIB: u64 = 1 << 20;

/// A process that is measured, and how to reach it.
pub struct Contender {
    /// For the table.
    pub name: String,
    /// The process whose CPU time counts.
    pub pid: u32,
    /// Where its clients connect.
    pub target: Rc<Target>,
}

/// Why a comparison has no result.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A load failed.
    #[error("{0}: {1}")]
    Load(String, LoadError),
    /// A process could not be read: it has probably ended.
    #[error("process of {0}: {1}")]
    Process(String, std::io::Error),
}

/// What is measured: 64 MiB bodies at 1 and 8 at once, and with `small` 1 KiB bodies at 16 at once.
pub fn works(small: bool) -> Vec<Work> {
    let mut works = Vec::new();
    for operation in [Operation::Put, Operation::Get] {
        for (concurrency, requests) in [(1, 16), (8, 32)] {
            works.push(Work { operation, size: 64 * MIB, concurrency, requests });
        }
    }
    if small {
        for operation in [Operation::Put, Operation::Get] {
            works.push(Work { operation, size: 1024, concurrency: 16, requests: 20_000 });
        }
    }
    works
}

/// Runs all works `rounds` times; within a round each work goes to each contender before the next work, and who is
/// first changes with the round. One more round before these warms everything up and is not counted. Each counted sample
/// is given to `progress` at once, so that an interrupted run is not lost.
///
/// # Errors
/// The first failed request or vanished process ends it.
pub async fn run(
    contenders: &[Contender],
    works: &[Work],
    rounds: usize,
    mut progress: impl FnMut(&Sample),
) -> Result<Report, CompareError> {
    let mut sizes: Vec<u64> = works.iter().map(|work| work.size).collect();
    sizes.dedup();
    for contender in contenders {
        let prepared = load::prepare(contender.target.clone(), &sizes).await;
        prepared.map_err(|error| CompareError::Load(contender.name.clone(), error))?;
    }
    let mut samples = Vec::new();
    for turn in 0..=rounds {
        for work in works {
            for n in 0..contenders.len() {
                let contender = &contenders[(n + turn) % contenders.len()];
                let sample = measure(contender, *work, turn.saturating_sub(1)).await?;
                if turn > 0 {
                    progress(&sample);
                    samples.push(sample);
                }
            }
        }
    }
    let rss = |contender: &Contender| {
        cpu::peak_rss_mib(contender.pid).map_err(|error| CompareError::Process(contender.name.clone(), error))
    };
    Ok(Report {
        machine: cpu::machine(),
        targets: contenders.iter().map(|contender| contender.name.clone()).collect(),
        peak_rss_mib: contenders.iter().map(rss).collect::<Result<_, _>>()?,
        samples,
    })
}

async fn measure(contender: &Contender, work: Work, round: usize) -> Result<Sample, CompareError> {
    let used =
        || cpu::used(contender.pid).map_err(|error| CompareError::Process(contender.name.clone(), error));
    let before = used()?;
    let outcome = load::run(contender.target.clone(), work)
        .await
        .map_err(|error| CompareError::Load(contender.name.clone(), error))?;
    let after = used()?;
    let (user, system_seconds) = (after.user - before.user, after.system - before.system);
    let cpu_seconds = user + system_seconds;
    Ok(Sample { target: contender.name.clone(), round, work, cpu_seconds, system_seconds, outcome })
}
