//! One request over a connection of its own, and its answer, byte by byte.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::head::Head;

/// Far longer than any answer takes; what hangs is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// Its body, without framing.
    pub body: Vec<u8>,
    /// The request's body was asked for with `100 Continue`.
    pub continued: bool,
}

impl Answer {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The text of the first element of this name.
    pub fn element(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.body);
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0.to_owned())
    }

    /// Status and body, for whoever reads of a failure.
    pub fn shown(&self) -> String {
        format!("{} {}", self.status, String::from_utf8_lossy(&self.body[..self.body.len().min(2_000)]))
    }
}

/// Sends head and body, the body after a `100 Continue` where the head asks for one, and reads the answer.
pub fn exchange(address: SocketAddr, head: &Head, body: &[u8]) -> Answer {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    (&stream).write_all(&head.bytes()).unwrap();
    let waits = head.header("expect").is_some();
    if waits && !body.is_empty() {
        let (status, headers) = read_head(&mut reader);
        if status != 100 {
            return read_answer(&mut reader, head, status, headers, false);
        }
    }
    // Who answers before the end may close then: the answer says why.
    let _ = (&stream).write_all(body);
    let (status, headers) = read_head(&mut reader);
    read_answer(&mut reader, head, status, headers, waits && !body.is_empty())
}

fn read_answer(
    reader: &mut BufReader<TcpStream>,
    head: &Head,
    status: u16,
    headers: Vec<(String, String)>,
    continued: bool,
) -> Answer {
    let mut answer = Answer { status, headers, body: Vec::new(), continued };
    if head.method() == "HEAD" || matches!(status, 204 | 304) {
        return answer;
    }
    if answer.header("transfer-encoding").is_some() {
        loop {
            let line = read_line(reader);
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            let mut chunk = vec![0; length + 2];
            reader.read_exact(&mut chunk).unwrap();
            if length == 0 {
                return answer;
            }
            answer.body.extend_from_slice(&chunk[..length]);
        }
    }
    let length = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
    answer.body.resize(length, 0);
    reader.read_exact(&mut answer.body).unwrap();
    answer
}

fn read_head(reader: &mut BufReader<TcpStream>) -> (u16, Vec<(String, String)>) {
    let first = read_line(reader);
    let status = first.split(' ').nth(1).and_then(|text| text.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status line, but {first:?}"));
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader);
        let Some((name, value)) = line.split_once(':') else { return (status, headers) };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn read_line(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}
