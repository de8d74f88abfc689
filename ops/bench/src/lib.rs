//! Load generator and benchmark driver: what just bench runs.
