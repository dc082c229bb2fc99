//! The relay of an emulated link: rates, delays, order, ends, and how it fails.
//!
//! What is timed is timed on a machine that others use too: a measurement that misses is taken again, twice at most, and
//! no two are taken at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use splitbench::live::address::Address;
use splitbench::live::link::{self, LinkProfile};
use splitbench::live::listener::Listener;
use splitbench::live::relay::{ConnectionEnd, ConnectionReport, Relay, RelaySettings, shape};
use splitbench::live::shaper::{LinkWay, Shaper};
use splitbench::live::stream::Stream;

/// One at a time.
fn quiet() -> MutexGuard<'static, ()> {
    static QUIET: Mutex<()> = Mutex::new(());
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether one of three tries gives no complaint.
fn one_of_three(measure: impl Fn() -> Result<(), String>) {
    let _quiet = quiet();
    let complaints: Vec<String> = (0..3).map_while(|_| measure().err()).collect();
    assert!(complaints.len() < 3, "{complaints:#?}");
}

fn profile(text: &str) -> LinkProfile {
    link::find(text).unwrap()
}

/// Two ends of a connection through a relay.
struct Pair {
    client: Stream,
    server: Stream,
    listener: Listener,
    relay: Relay,
}

fn pair(text: &str, seed: u64) -> Pair {
    let listener = Address::loopback().listen().unwrap();
    let relay = shape(listener.address(), &profile(text), seed).unwrap();
    let client = relay.address().connect().unwrap();
    let server = listener.accept().unwrap().unwrap();
    Pair { client, server, listener, relay }
}

/// Relays to `listener`; what is reported comes out of the receiver.
fn relay_to(listener: &Address, change: impl FnOnce(&mut RelaySettings)) -> (Relay, mpsc::Receiver<ConnectionReport>) {
    let mut settings =
        RelaySettings { profile: profile("1gbit/1gbit,1ms"), seed: 3, drop_after: None, drop_every: None };
    change(&mut settings);
    let (sender, receiver) = mpsc::channel();
    let report = move |report: &ConnectionReport| drop(sender.send(report.clone()));
    (Relay::start(Address::loopback().listen().unwrap(), listener.clone(), settings, report).unwrap(), receiver)
}

/// Reads so many bytes; the rate between the first arrival and the last, bit/s.
fn receive(mut from: &Stream, bytes: usize) -> f64 {
    let mut buffer = vec![0; 1 << 16];
    let first = from.read(&mut buffer).unwrap();
    let begin = Instant::now();
    let mut left = bytes - first;
    while left > 0 {
        let count = from.read(&mut buffer).unwrap();
        assert!(count > 0, "ended {left} bytes early");
        left -= count;
    }
    (bytes - first) as f64 * 8.0 / begin.elapsed().as_secs_f64()
}

fn send(mut to: &Stream, bytes: usize) {
    let chunk = vec![7; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(chunk.len());
        to.write_all(&chunk[..count]).unwrap();
        left -= count;
    }
}

fn within(what: &str, got: f64, expected: f64, tolerance: f64) -> Result<(), String> {
    println!("{what}: {got:.4}, expected {expected:.4} within {tolerance}");
    match (got - expected).abs() <= tolerance {
        true => Ok(()),
        false => Err(format!("{what}: {got}, expected {expected} within {tolerance}")),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn rates_are_kept_within_2_percent_both_ways_at_once() {
    for (link, down_bytes, up_bytes) in [
        ("80mbit/20mbit,5ms", 4_000_000, 1_500_000),
        ("12mbit/300mbit,0ms", 750_000, 15_000_000),
        ("8mbit/2mbit,30ms,4ms", 600_000, 150_000),
    ] {
        one_of_three(|| {
            let Pair { client, server, relay: _relay, .. } = pair(link, 1);
            let (down, up) = thread::scope(|scope| {
                scope.spawn(|| send(&server, down_bytes));
                scope.spawn(|| send(&client, up_bytes));
                let up = scope.spawn(|| receive(&server, up_bytes));
                (receive(&client, down_bytes), up.join().unwrap())
            });
            let expected = profile(link);
            let [down_rate, up_rate] = [expected.down_bits_per_s, expected.up_bits_per_s].map(|rate| rate as f64);
            within(&format!("{link}: down"), down / down_rate, 1.0, 0.02)?;
            within(&format!("{link}: up"), up / up_rate, 1.0, 0.02)
        });
    }
}

/// Small messages there and back, one after another: one-way delays up and down, ms.
fn pings(link: &str, seed: u64, count: usize) -> (Vec<f64>, Vec<f64>) {
    let Pair { mut client, mut server, relay: _relay, .. } = pair(link, seed);
    let answering = thread::spawn(move || {
        let mut times = Vec::new();
        let mut message = [0; 64];
        for _ in 0..count {
            server.read_exact(&mut message).unwrap();
            times.push(Instant::now());
            server.write_all(&message).unwrap();
        }
        (times, server)
    });
    let mut times = Vec::new();
    let mut message = [0; 64];
    for _ in 0..count {
        let sent = Instant::now();
        client.write_all(&message).unwrap();
        client.read_exact(&mut message).unwrap();
        times.push((sent, Instant::now()));
    }
    let (arrivals, _server) = answering.join().unwrap();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let up = times.iter().zip(&arrivals).map(|((sent, _), arrival)| ms(*arrival - *sent)).collect();
    let down = times.iter().zip(&arrivals).map(|((_, back), arrival)| ms(*back - *arrival)).collect();
    (up, down)
}

#[test]
fn delays_are_kept_within_a_millisecond() {
    for (delay, count) in [(0.0, 50), (10.0, 40), (40.0, 10)] {
        one_of_three(|| {
            let (up, down) = pings(&format!("100mbit/100mbit,{delay}ms"), 0, count);
            let round: Vec<f64> = up.iter().zip(&down).map(|(up, down)| up + down).collect();
            // 64 bytes at 100 Mbit/s take 5 us.
            within("up, ms", median(up), delay + 0.005, 1.0)?;
            within("down, ms", median(down), delay + 0.005, 1.0)?;
            within("round trip, ms", median(round), 2.0 * delay + 0.01, 1.0)
        });
    }
}

#[test]
fn jitter_is_that_of_the_seed() {
    one_of_three(|| {
        let link = "100mbit/100mbit,10ms,5ms";
        let measured = pings(link, 5, 40);
        for (way, delays) in [(LinkWay::Up, measured.0), (LinkWay::Down, measured.1)] {
            let mut shaper = Shaper::new(&profile(link), way, 5);
            // Far enough apart that none waits for another.
            let expected =
                (1..=40).map(|nth| (shaper.send(nth * 1_000_000_000, 64) - nth * 1_000_000_000) as f64 / 1e6);
            let expected: Vec<f64> = expected.collect();
            let differences = delays.iter().zip(&expected).map(|(got, expected)| got - expected).collect();
            within(&format!("{way:?}: measured - computed, ms"), median(differences), 0.0, 1.0)?;
            let spread = expected.iter().cloned().fold(0.0, f64::max) - expected.iter().cloned().fold(99.0, f64::min);
            assert!(spread > 8.0, "{spread}");
        }
        Ok(())
    });
}

#[test]
fn two_connections_share_a_link_evenly() {
    one_of_three(|| {
        let listener = Address::loopback().listen().unwrap();
        let relay = shape(listener.address(), &profile("20mbit/20mbit,2ms"), 0).unwrap();
        let clients = [(); 2].map(|()| relay.address().connect().unwrap());
        let servers = [(); 2].map(|()| listener.accept().unwrap().unwrap());
        let begin = Instant::now();
        let counts = thread::scope(|scope| {
            for mut client in &clients {
                // Until the other side is gone.
                scope.spawn(move || while client.write_all(&[1; 8192]).is_ok() {});
            }
            let counts = servers.each_ref().map(|server| {
                scope.spawn(move || {
                    let (mut server, mut buffer) = (server, vec![0; 1 << 16]);
                    let mut bytes = 0;
                    // Both are under way by then.
                    while begin.elapsed() < Duration::from_millis(100) {
                        bytes += server.read(&mut buffer).unwrap();
                    }
                    assert!(bytes > 0);
                    let from = Instant::now();
                    bytes = 0;
                    while begin.elapsed() < Duration::from_millis(800) {
                        bytes += server.read(&mut buffer).unwrap();
                    }
                    bytes as f64 * 8.0 / from.elapsed().as_secs_f64()
                })
            });
            let counts = counts.map(|count| count.join().unwrap());
            drop(relay);
            counts
        });
        within("share of the first", counts[0] / (counts[0] + counts[1]), 0.5, 0.02)?;
        within("sum of both", (counts[0] + counts[1]) / 20e6, 1.0, 0.03)
    });
}

/// Bytes that are not alike.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn bytes_arrive_whole_and_a_half_close_passes() {
    let folder = tempfile::tempdir().unwrap();
    let mut targets = vec![Address::loopback()];
    if cfg!(unix) {
        targets.push(Address::Unix(folder.path().join("s")));
    }
    for target in targets {
        let listener = target.listen().unwrap();
        let (relay, reports) = relay_to(listener.address(), |settings| {
            settings.profile = profile("500mbit/500mbit,3ms,2ms");
        });
        let data = noise(1_000_003);
        let client = relay.address().connect().unwrap();
        let server = listener.accept().unwrap().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                (&client).write_all(&data).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(|| {
                let mut got = Vec::new();
                (&server).read_to_end(&mut got).unwrap();
                assert!(got == data);
                // The other way is still open.
                (&server).write_all(&got[..777]).unwrap();
                server.shutdown(Shutdown::Write).unwrap();
            });
            let mut got = Vec::new();
            (&client).read_to_end(&mut got).unwrap();
            assert!(got == data[..777]);
        });
        let report = reports.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((report.number, report.up_bytes, report.down_bytes), (1, 1_000_003, 777));
        assert_eq!(report.end, ConnectionEnd::Closed);
    }
}

#[test]
fn a_side_that_goes_takes_the_other_with_it() {
    // Whoever goes, what was on its way arrives before the end.
    let Pair { mut client, mut server, relay, listener } = pair("100mbit/100mbit,5ms", 0);
    server.write_all(b"last words").unwrap();
    drop(server);
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"last words");
    // A server that is gone breaks the connection of who goes on writing.
    let until = Instant::now() + Duration::from_secs(10);
    while client.write_all(&[0; 1000]).is_ok() {
        assert!(Instant::now() < until, "writing to nobody goes on");
        thread::sleep(Duration::from_millis(1));
    }
    drop(client);
    let client = relay.address().connect().unwrap();
    let mut server = listener.accept().unwrap().unwrap();
    drop(client);
    assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
    // The relay's end is the end of its connections.
    let mut client = relay.address().connect().unwrap();
    let mut server = listener.accept().unwrap().unwrap();
    let address = relay.address().clone();
    drop(relay);
    assert!(matches!(client.read(&mut [0; 8]), Ok(0) | Err(_)));
    assert!(matches!(server.read(&mut [0; 8]), Ok(0) | Err(_)));
    assert!(address.connect().is_err());
}

#[test]
fn a_connection_is_dropped_after_so_many_bytes() {
    let listener = Address::loopback().listen().unwrap();
    let (relay, reports) = relay_to(listener.address(), |settings| settings.drop_after = Some(100_000));
    for _ in 0..2 {
        let mut client = relay.address().connect().unwrap();
        let mut server = listener.accept().unwrap().unwrap();
        // Both ways are counted.
        server.write_all(&[1; 30_000]).unwrap();
        client.read_exact(&mut [0; 30_000]).unwrap();
        let sending = thread::spawn(move || while client.write_all(&[2; 4096]).is_ok() {});
        let mut got = Vec::new();
        let _ = server.read_to_end(&mut got);
        assert_eq!(got.len(), 70_000);
        sending.join().unwrap();
        let report = reports.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((report.up_bytes, report.down_bytes, report.end), (70_000, 30_000, ConnectionEnd::Dropped));
    }
}

#[test]
fn a_connection_is_dropped_at_a_random_time() {
    let listener = Address::loopback().listen().unwrap();
    let every = Duration::from_millis(40);
    let (relay, reports) = relay_to(listener.address(), |settings| settings.drop_every = Some(every));
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut client = relay.address().connect().unwrap();
        let _server = listener.accept().unwrap().unwrap();
        // Nothing is sent: only the relay ends it.
        assert!(matches!(client.read(&mut [0; 8]), Ok(0) | Err(_)));
        let report = reports.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(report.end, ConnectionEnd::Dropped);
        open.push(report.open);
    }
    assert!(open.iter().any(|time| *time != open[0]));
}

#[test]
fn a_receiver_that_does_not_read_stops_the_sender() {
    let Pair { client, server, relay: _relay, .. } = pair("1gbit/1gbit,10ms", 0);
    client.set_write_timeout(Some(Duration::from_millis(700))).unwrap();
    let mut sent = 0;
    // 1 Gbit/s for 60 ms and 50 ms are 14 MB; each of the four sockets may keep some megabytes more.
    while let Ok(count) = (&client).write(&[0; 1 << 16]) {
        sent += count;
        assert!(sent < 80_000_000, "nothing bounds what the relay keeps");
    }
    assert!(sent > 5_000_000, "{sent}: less than the link needs");
    drop(server);
}

// The program.

fn splitbench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_splitbench"));
    command.args(arguments).env("SPLITBENCH_PROGRESS_SECONDS", "3600");
    command
}

/// A relay that runs as a program, ended with the test.
struct RunningLink {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    first: String,
}

impl RunningLink {
    fn start(arguments: &[&str]) -> Self {
        let mut command = splitbench(&[&["link"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        Self { child, lines, first: first.trim_end().into() }
    }

    fn address(&self) -> Address {
        self.first.strip_prefix("listening on ").unwrap().parse().unwrap()
    }

    /// Ends it as Slurm and `kill` do; exit code and standard error.
    #[cfg(unix)]
    fn end(mut self) -> (Option<i32>, String) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for RunningLink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(unix)]
#[test]
fn the_program_relays_tells_and_ends_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay");
    let listener = Address::loopback().listen().unwrap();
    let to = listener.address().to_string();
    let listen = format!("unix:{}", path.display());
    let running = RunningLink::start(&["--listen", &listen, "--to", &to, "--link", "fibre", "--seed", "9"]);
    assert_eq!(running.first, format!("listening on {listen}"));
    let mut client = running.address().connect().unwrap();
    let mut server = listener.accept().unwrap().unwrap();
    client.write_all(b"to the server").unwrap();
    server.read_exact(&mut [0; 13]).unwrap();
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    drop(client);
    // One that is open at the end.
    let _client = running.address().connect().unwrap();
    let _server = listener.accept().unwrap().unwrap();
    thread::sleep(Duration::from_millis(50));
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("connection 1 from a local client: 13 bytes up, 0 bytes down, closed after"), "{said}");
    assert!(said.contains("connection 2") && said.contains("ended with the relay"), "{said}");
    assert!(!path.exists());

    let running = RunningLink::start(&["--to", &to, "--link", "leo", "--json"]);
    let first: serde_json::Value = serde_json::from_str(&running.first).unwrap();
    assert_eq!((first["link"]["delay_ms"].as_f64(), first["to"].as_str()), (Some(22.5), Some(to.as_str())));
    first["listening"].as_str().unwrap().parse::<Address>().unwrap().connect().unwrap();
    assert_eq!(running.end().0, Some(0));
}

#[cfg(unix)]
#[test]
fn an_unreachable_target_closes_the_client_and_is_told() {
    let address = Address::loopback().listen().unwrap().address().to_string();
    let running = RunningLink::start(&["--to", &address, "--link", "dsl"]);
    let mut client = running.address().connect().unwrap();
    assert!(matches!(client.read(&mut [0; 8]), Ok(0) | Err(_)));
    let (code, said) = running.end();
    assert_eq!(code, Some(0));
    assert!(said.contains("closed at once") && said.contains("nothing listens there"), "{said}");
}

/// Waiting costs nothing, whatever is open.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_relay_uses_no_processor() {
    let listener = Address::loopback().listen().unwrap();
    let running = RunningLink::start(&["--to", &listener.address().to_string(), "--link", "20mbit/5mbit,40ms"]);
    let _open: Vec<_> = (0..4)
        .map(|_| {
            let mut client = running.address().connect().unwrap();
            let mut server = listener.accept().unwrap().unwrap();
            client.write_all(b"x").unwrap();
            server.read_exact(&mut [0]).unwrap();
            (client, server)
        })
        .collect();
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.child.id())).unwrap();
        // Behind the name in brackets: utime and stime are fields 14 and 15 of the whole line.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    thread::sleep(Duration::from_millis(500));
    let used = ticks() - before;
    assert!(used <= 2, "{used} of 50 hundredths of a second");
}

fn fails(arguments: &[&str], code: i32, expected: &[&str]) {
    let output: Output = splitbench(arguments).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    for part in expected {
        assert!(said.contains(part), "{arguments:?} does not say {part:?}: {said}");
    }
}

#[test]
fn wrong_usage_says_what_to_do() {
    let listener = Address::loopback().listen().unwrap();
    let taken = listener.address().to_string();
    for (arguments, code, expected) in [
        (vec!["--to", "a:1", "--link", "nonsense"], 2, vec!["nonsense", "5g, dsl, fibre, home-cable, leo"]),
        (vec!["--to", "a:1", "--link", "20mbit,40ms"], 2, vec!["DOWN/UP,DELAY", "presets: 5g"]),
        (vec!["--to", "a:1", "--link", "no.toml"], 2, vec!["reading link no.toml"]),
        (vec!["--to", "a", "--link", "dsl"], 2, vec!["no port", "unix:PATH"]),
        (vec!["--to", "a:1"], 2, vec!["--link"]),
        (vec!["--to", "a:1", "--link", "dsl", "--drop-every", "0s"], 2, vec!["no connection would live"]),
        (vec!["--to", "a:1", "--link", "dsl", "--drop-every", "5"], 2, vec!["no known unit"]),
        (vec!["--to", "a:1", "--link", "dsl", "--drop-after", "0"], 2, vec!["--drop-after"]),
        (vec!["--listen", &taken, "--to", "a:1", "--link", "dsl"], 1, vec![&taken, "another process listens there"]),
        (vec!["--listen", "unix:/no/such/s", "--to", "a:1", "--link", "dsl"], 1, vec!["make it first"]),
    ] {
        fails(&[&["link"], &arguments[..]].concat(), code, &expected);
    }
}

#[test]
fn presets_are_listed_with_their_sources() {
    let output = splitbench(&["list", "links", "--json"]).output().unwrap();
    let links: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(links.len(), 5);
    for link in &links {
        assert!(link["down_bits_per_s"].as_u64().unwrap() > 1_000_000, "{link}");
        assert!(link["delay_ms"].as_f64().unwrap() > 0.0 && link["basis"]["down"].is_string(), "{link}");
    }
    let output = splitbench(&["list", "links"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("home-cable") && text.contains("239 Mbit/s down") && text.contains("measured: "), "{text}");
}

// The kernel's own shaping, where this process may have it.

/// Set for a copy of this test that runs in a network namespace: `receive` or `send`, and the address.
const HELPER: &str = "SPLITBENCH_TEST_LINK_HELPER";
const HELPER_BYTES: usize = 3_000_000;

/// Does something only where [`HELPER`] is set.
#[test]
fn helper_in_a_namespace() {
    let Ok(task) = std::env::var(HELPER) else { return };
    let (task, address) = task.split_once(' ').unwrap();
    let address: Address = address.parse().unwrap();
    if task == "receive" {
        let listener = address.listen().unwrap();
        println!("ready");
        let stream = listener.accept().unwrap().unwrap();
        println!("rate {}", receive(&stream, HELPER_BYTES));
    } else {
        let stream = address.connect().unwrap();
        send(&stream, HELPER_BYTES);
        // Until it has all arrived.
        let _ = (&stream).read(&mut [0; 1]);
    }
}

/// Two network namespaces, removed with all that is in them.
struct Namespaces([String; 2]);

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
        }
    }
}

/// Runs a line; what it said where it failed.
fn line(text: &str) -> Result<(), String> {
    let words: Vec<&str> = text.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output().map_err(|error| format!("{text}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{text}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

impl Namespaces {
    /// Joined by a veth pair of 10.93.0.1 and 10.93.0.2; what the first sends is held to 20 Mbit/s.
    fn new() -> Result<Self, String> {
        let id = std::process::id();
        let own = Self([format!("sblink{id}a"), format!("sblink{id}b")]);
        let [a, b] = &own.0;
        line(&format!("ip netns add {a}"))?;
        line(&format!("ip netns add {b}"))?;
        line(&format!("ip link add veth0 netns {a} type veth peer name veth0 netns {b}"))?;
        for (name, host) in [(a, 1), (b, 2)] {
            line(&format!("ip -n {name} address add 10.93.0.{host}/24 dev veth0"))?;
            line(&format!("ip -n {name} link set veth0 up"))?;
        }
        line(&format!("tc -n {a} qdisc add dev veth0 root tbf rate 20mbit burst 3028 latency 100ms"))?;
        Ok(own)
    }

    fn helper(&self, nth: usize, task: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0[nth]]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "helper_in_a_namespace", "--nocapture"]).env(HELPER, task).stdout(Stdio::piped());
        command
    }

    /// Rate of a transfer from the first to the second, bit/s.
    fn rate(&self, port: u16) -> f64 {
        let address = format!("10.93.0.2:{port}");
        let mut receiver = self.helper(1, &format!("receive {address}")).spawn().unwrap();
        let mut said = BufReader::new(receiver.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(said.any(|line| line.ends_with("ready")));
        let sender = self.helper(0, &format!("send {address}")).output().unwrap();
        assert!(sender.status.success());
        let rate = said.find_map(|line| line.strip_prefix("rate ").map(|rate| rate.parse().unwrap())).unwrap();
        receiver.wait().unwrap();
        rate
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_s_token_bucket_gives_the_same_rate() {
    let namespaces = match Namespaces::new() {
        Ok(namespaces) => namespaces,
        Err(why) => {
            println!("skipped: network namespaces with tbf are not to be had here: {why}");
            return;
        }
    };
    let port = std::cell::Cell::new(5000);
    one_of_three(|| {
        port.set(port.get() + 1);
        // tbf counts Ethernet frames: 1448 bytes of data in 1514 (headers of Ethernet, IP and TCP with timestamps).
        let kernel = namespaces.rate(port.get()) * 1514.0 / 1448.0;
        let Pair { client, server, relay: _relay, .. } = pair("20mbit/20mbit,0ms", 0);
        let sending = thread::spawn(move || {
            send(&client, HELPER_BYTES);
            client
        });
        let relay = receive(&server, HELPER_BYTES);
        sending.join().unwrap();
        within("relay, Mbit/s, beside the kernel's", relay * 1e-6, kernel * 1e-6, 0.05 * kernel * 1e-6)
    });
}

/// Many relays, one after another and at once, in one process.
#[test]
fn relays_come_and_go() {
    let listener = Address::loopback().listen().unwrap();
    let relays: Vec<Relay> =
        (0..8).map(|seed| shape(listener.address(), &profile("1gbit/1gbit,0ms"), seed).unwrap()).collect();
    for relay in relays {
        let mut client = relay.address().connect().unwrap();
        let mut server = listener.accept().unwrap().unwrap();
        client.write_all(b"ping").unwrap();
        server.read_exact(&mut [0; 4]).unwrap();
    }
}
