#![allow(dead_code, reason = "each test binary uses some of these")]
//! A server that gives one prepared answer a request, and tells what it was asked.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

#[derive(Clone, Debug)]
pub struct Request {
    /// Request line and headers.
    pub head: String,
    pub body: String,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    closed: AtomicUsize,
    ended: AtomicBool,
}

pub struct Scripted {
    pub address: SocketAddr,
    seen: Arc<Seen>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.seen.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// An answer of KMS.
pub fn answer(status: u16, body: &str) -> String {
    let kind = "application/x-amz-json-1.1";
    let id = "x-amzn-requestid: 11111111-2222-3333-4444-555555555555";
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Scripted\r\ncontent-type: {kind}\r\n{id}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// An error of KMS.
pub fn refusal(code: &str, message: &str) -> String {
    answer(400, &serde_json::json!({"__type": code, "message": message}).to_string())
}

impl Scripted {
    /// Answers in this order, the last one for ever.
    pub fn start(answers: Vec<String>) -> Self {
        Self::serve(answers, false, Duration::ZERO)
    }

    /// Closes each connection after one answer, without having said that it would.
    pub fn closing_after_each(answers: Vec<String>) -> Self {
        Self::serve(answers, true, Duration::ZERO)
    }

    /// Takes so long for each answer.
    pub fn slow(answers: Vec<String>, delay: Duration) -> Self {
        Self::serve(answers, false, delay)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Connections that this side closed.
    pub fn closed(&self) -> usize {
        self.seen.closed.load(Ordering::SeqCst)
    }

    fn serve(answers: Vec<String>, closing: bool, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (shared, answers) = (Arc::clone(&seen), Arc::new(answers));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, answers) = (Arc::clone(&shared), Arc::clone(&answers));
                thread::spawn(move || {
                    connection(stream.unwrap(), &seen, &answers, closing, delay);
                    seen.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen }
    }
}

fn connection(stream: TcpStream, seen: &Seen, answers: &[String], closing: bool, delay: Duration) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(request) = read(&mut reader) {
        let at = {
            let mut requests = seen.requests.lock().unwrap();
            requests.push(request);
            requests.len() - 1
        };
        let answer = &answers[at.min(answers.len() - 1)];
        thread::sleep(delay);
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
        let whole = answer
            .split_once("\r\n\r\n")
            .is_some_and(|(head, body)| head.contains(&format!("content-length: {}", body.len())));
        if closing || !whole {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head += &line;
    }
    let lower = head.to_lowercase();
    let length = lower
        .split("content-length: ")
        .nth(1)
        .map_or(Some(0), |rest| rest.split("\r\n").next()?.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { head, body: String::from_utf8(body).ok()? })
}
