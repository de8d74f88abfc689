//! The object format, version 1: synchronous, no I/O.
