//! Pure decisions, without I/O: encryption rules, access, limits.
