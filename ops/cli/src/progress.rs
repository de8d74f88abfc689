//! A bar on stderr for transfers that take a while; none where stderr is no terminal.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

/// Below this many bytes a bar would only flicker.
const LEAST: u64 = 8 << 20;

/// A bar for so many bytes.
pub fn bar(bytes: u64) -> ProgressBar {
    if bytes < LEAST || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template(
        "{bar:30} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}",
    ) {
        bar.set_style(style);
    }
    bar
}
