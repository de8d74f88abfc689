//! What `just bench` runs: a backend that costs little, a load generator, and the comparison that prints
//! CPU-seconds per GiB of the gateway beside those of a baseline proxy on the same path.
//!
//! CPU time, not wall time, is the measure: on a shared machine wall time says how busy the neighbours were.
//! Both proxies are driven in the same run, in turns, so that what disturbs one disturbs the other.

pub mod compare;
pub mod cpu;
pub mod load;
pub mod report;
pub mod sign;
pub mod sink;
