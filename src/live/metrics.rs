//! What a server counts, as Prometheus reads it.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::listener::Listener;
use super::stream::Stream;

/// Counters and gauges; times in nanoseconds.
#[derive(Debug, Default)]
pub struct Metrics {
    pub connections: AtomicU64,
    pub refused: AtomicU64,
    pub sessions: AtomicU64,
    pub sessions_opened: AtomicU64,
    pub cache_bytes: AtomicU64,
    pub prompt_rows: AtomicU64,
    pub tokens: AtomicU64,
    pub steps: AtomicU64,
    pub received_bytes: AtomicU64,
    pub queue_ns: AtomicU64,
    pub decode_ns: AtomicU64,
    pub compute_ns: AtomicU64,
}

/// Adds to a counter.
pub fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Metrics {
    /// Prometheus' text format 0.0.4.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, kind: &str, help: &str, value: f64| {
            let name = format!("splitbench_{name}");
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        let whole = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let seconds = |counter: &AtomicU64| whole(counter) * 1e-9;
        line("connections_total", "counter", "Connections taken.", whole(&self.connections));
        line("refused_total", "counter", "ERROR frames sent.", whole(&self.refused));
        line("sessions", "gauge", "Open sessions.", whole(&self.sessions));
        line("sessions_opened_total", "counter", "Sessions opened.", whole(&self.sessions_opened));
        line("cache_reserved_bytes", "gauge", "Room that open sessions' caches have.", whole(&self.cache_bytes));
        line("prompt_rows_total", "counter", "Rows of prompts.", whole(&self.prompt_rows));
        line("tokens_total", "counter", "Tokens chosen.", whole(&self.tokens));
        line("steps_total", "counter", "Passes over the weights for single tokens.", whole(&self.steps));
        line("received_bytes_total", "counter", "Bytes of ACTIVATION and SCORE frames.", whole(&self.received_bytes));
        line("queue_seconds_total", "counter", "Time that rows waited.", seconds(&self.queue_ns));
        line("decode_seconds_total", "counter", "Time of decoding packets.", seconds(&self.decode_ns));
        line("compute_seconds_total", "counter", "Time of the server half.", seconds(&self.compute_ns));
        out
    }

    /// Answers every request with them until the listener is closed.
    pub fn serve(&self, listener: &Listener) -> Result<()> {
        while let Some(stream) = listener.accept()? {
            // One at a time, and each for a second at most: who asks is a scraper.
            let _ = self.answer(&stream);
        }
        Ok(())
    }

    fn answer(&self, mut stream: &Stream) -> Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        let mut request = [0; 1024];
        let got = stream.read(&mut request)?;
        let found = request[..got].starts_with(b"GET /metrics ") || request[..got].starts_with(b"GET / ");
        let (status, body) = if found { ("200 OK", self.text()) } else { ("404 Not Found", "/metrics\n".to_string()) };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes())?;
        Ok(())
    }
}
