//! What the front end itself says of a request: its line in the access log.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, Once};
use std::time::Duration;

/// The line is written when an answer's last byte has gone out, a moment before or after it is read.
const PATIENCE: Duration = Duration::from_secs(30);

static LINES: Mutex<Option<HashMap<String, Line>>> = Mutex::new(None);
static WRITTEN: Condvar = Condvar::new();
static STARTED: Once = Once::new();

/// Who was found to have sent a request, and what it was taken for.
#[derive(Clone, Debug)]
pub struct Line {
    /// The access key, `-` for none.
    pub requester: String,
    /// The gateway's name of the operation.
    pub operation: String,
}

/// Gathers lines from now on; `shown` prints them too.
pub fn gather(shown: bool) {
    STARTED.call_once(|| {
        let filter = tracing_subscriber::EnvFilter::new("off,access=info");
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).without_time();
        log.with_writer(move || Writer { shown }).init();
    });
}

/// The line of a request, by the id that its answer bears.
pub fn of(request_id: &str) -> Line {
    let lines = LINES.lock().unwrap();
    let missing = |lines: &mut Option<HashMap<String, Line>>| {
        !lines.as_ref().is_some_and(|lines| lines.contains_key(request_id))
    };
    let (lines, waited) = WRITTEN.wait_timeout_while(lines, PATIENCE, missing).unwrap();
    assert!(!waited.timed_out(), "the access log has no line for {request_id}");
    lines.as_ref().unwrap()[request_id].clone()
}

struct Writer {
    shown: bool,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        if let Some((_, line)) = text.split_once("access: ") {
            // Owner, bucket, time in two, address, requester, request id …, and the operation at the end.
            let fields: Vec<&str> = line.trim_end().split(' ').collect();
            let (requester, operation) = (fields[5].to_owned(), fields[fields.len() - 1].to_owned());
            if self.shown {
                println!("request {} {operation}", fields[6]);
            }
            let mut lines = LINES.lock().unwrap();
            lines.get_or_insert_default().insert(fields[6].to_owned(), Line { requester, operation });
            WRITTEN.notify_all();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
