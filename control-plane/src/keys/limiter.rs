//! A token bucket a node: what a stolen node can fetch, and how fast, is bounded.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Nodes that are remembered; more than a fleet has.
const MAX_NODES: usize = 10_000;

/// See the module.
pub(crate) struct Limiter {
    rate: u64,
    burst: u64,
    nodes: Mutex<HashMap<String, (u64, u64)>>,
}

impl Limiter {
    /// `rate` keys a second, at most `burst` at once.
    pub(crate) fn new(rate: u64, burst: u64) -> Self {
        Self { rate, burst, nodes: Mutex::new(HashMap::new()) }
    }

    /// Takes one token of the node's; `false` when there is none at `now` (steady seconds: a wall clock that was
    /// ahead and is set right would give nothing for as long).
    pub(crate) fn take(&self, node: &str, now: u64) -> bool {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() >= MAX_NODES && !nodes.contains_key(node) {
            nodes.clear();
        }
        let (tokens, at) = nodes.entry(node.to_owned()).or_insert((self.burst, now));
        let refill = now.saturating_sub(*at).saturating_mul(self.rate);
        (*tokens, *at) = (tokens.saturating_add(refill).min(self.burst), now.max(*at));
        let allowed = *tokens > 0;
        *tokens = tokens.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::Limiter;

    #[test]
    fn a_burst_then_the_rate_for_each_node_alone() {
        let limiter = Limiter::new(2, 3);
        let taken = |node, now, times| (0..times).filter(|_| limiter.take(node, now)).count();
        assert_eq!(taken("a", 0, 10), 3);
        assert_eq!(taken("b", 0, 10), 3, "another node has its own tokens");
        assert_eq!(taken("a", 1, 10), 2);
        assert_eq!(taken("a", 100, 10), 3, "tokens do not pile up beyond the burst");
        assert_eq!(taken("a", 50, 10), 0, "a clock that goes back gives nothing");
    }
}
