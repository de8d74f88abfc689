//! The control plane's durable state: a trait with sled and memory engines.
