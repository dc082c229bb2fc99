//! Which certificates are trusted, and which proxies are asked.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;

/// Where nothing listens: a proxy that must not be asked.
const DEAD: &str = "http://user:secret@127.0.0.1:1";

/// A proxy that takes every name for this machine.
struct Tunnel {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = log.clone();
                std::thread::spawn(move || drop(tunnel(stream, &log)));
            }
        });
        Self { address, asked }
    }

    /// Hosts and ports asked for since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn tunnel(mut client: TcpStream, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    lines.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).for_each(drop);
    let target = first.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    log.lock().unwrap().push(target.to_string());
    let port = target.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(1);
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        to.shutdown(std::net::Shutdown::Write)
    });
    std::io::copy(&mut server, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}

fn authority() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/prepare/tls/ca.pem").display().to_string()
}

/// A hub over https and one over http, each with a model.
fn hubs() -> [Here; 2] {
    [Here::with_hub(Server::start_tls()).with("SSL_CERT_FILE", &authority()), Here::new()].map(|here| {
        put_model(&here.hub, QWEN, "c0");
        here
    })
}

#[test]
fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
    let secure = || {
        let here = Here::with_hub(Server::start_tls());
        put_model(&here.hub, QWEN, "c0");
        here
    };
    let here = secure();
    here.fails(&PREPARE, &["is not trusted", "UnknownIssuer", "set SSL_CERT_FILE"]);
    here.with("SSL_CERT_FILE", &authority()).works(&PREPARE);
    let folder = tempfile::tempdir().unwrap();
    fs::copy(authority(), folder.path().join("0a1b2c3d.0")).unwrap();
    fs::write(folder.path().join("README"), "no certificate").unwrap();
    let folder = folder.path().display().to_string();
    secure().with("SSL_CERT_DIR", &folder).works(&PREPARE);
    secure().with("SSL_CERT_DIR", &format!("/no/such/folder:{folder}")).works(&PREPARE);
    secure().with("SSL_CERT_FILE", "").with("SSL_CERT_DIR", &folder).works(&PREPARE);
    for (name, value) in [
        ("SSL_CERT_FILE", "/no/such/file.pem"),
        ("SSL_CERT_DIR", "/no/such/folder"),
        ("SSL_CERT_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
    ] {
        secure().with(name, value).fails(&PREPARE, &["no certificate can be read from", name, "PEM"]);
    }
    let both = secure().with("SSL_CERT_FILE", "/no/such/file.pem").with("SSL_CERT_DIR", &folder);
    both.fails(&PREPARE, &["/no/such/file.pem"]);
}

#[test]
fn a_proxy_is_for_the_scheme_that_it_is_named_after() {
    for (https, names) in
        [(true, &["http_proxy", "HTTP_PROXY"][..]), (false, &["https_proxy", "HTTPS_PROXY", "HTTP_PROXY"])]
    {
        for name in names {
            let [secure, plain] = hubs();
            let here = if https { secure } else { plain };
            here.with(name, DEAD).works(&PREPARE);
        }
    }
    for (https, names) in [
        (true, &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"][..]),
        (false, &["http_proxy", "all_proxy", "ALL_PROXY"]),
    ] {
        for name in names {
            let (proxy, [secure, plain]) = (Tunnel::start(), hubs());
            let here = if https { secure } else { plain };
            let host = here.hub.endpoint().rsplit('/').next().unwrap().to_string();
            here.with(name, &proxy.address).works(&PREPARE);
            assert!(proxy.asked().contains(&host), "{name}");
        }
    }
    // What is named after the scheme comes first, and small letters before capitals; nothing is no name.
    let (proxy, [secure, _]) = (Tunnel::start(), hubs());
    let here = secure.with("https_proxy", &proxy.address).with("HTTPS_PROXY", DEAD).with("ALL_PROXY", DEAD);
    here.works(&PREPARE);
    let (proxy, [secure, _]) = (Tunnel::start(), hubs());
    secure.with("https_proxy", "").with("HTTPS_PROXY", &proxy.address).works(&PREPARE);
    assert!(!proxy.asked().is_empty());
}

#[test]
fn hosts_of_no_proxy_are_reached_without() {
    for list in ["127.0.0.1", "example.com, 127.0.0.1 ", "example.com 127.0.0.1", "127.0.0.0/8", "*"] {
        for name in ["no_proxy", "NO_PROXY"] {
            let [_, plain] = hubs();
            plain.with("http_proxy", DEAD).with(name, list).works(&PREPARE);
        }
    }
    // A port excepts itself: large files lie behind another.
    let (proxy, [_, plain]) = (Tunnel::start(), hubs());
    let host = plain.hub.endpoint().rsplit('/').next().unwrap().to_string();
    plain.with("http_proxy", &proxy.address).with("no_proxy", &host).works(&PREPARE);
    let asked = proxy.asked();
    assert!(!asked.is_empty() && !asked.contains(&host), "{asked:?}");
}

#[test]
fn a_proxy_that_fails_is_named_without_its_password() {
    let [_, plain] = hubs();
    let said = plain.with("http_proxy", DEAD).fails(&PREPARE, &["cannot reach", "through the proxy 127.0.0.1:1"]);
    assert!(!said.contains("secret"), "{said}");
    let [_, plain] = hubs();
    let said = plain.with("https_proxy", "http://user:secret@").fails(&PREPARE, &["https_proxy is not the address"]);
    assert!(!said.contains("secret"), "{said}");
}
