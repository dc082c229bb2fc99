//! Where a server is: TCP, or a Unix domain socket on the same machine.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::fs::FileTypeExt;
#[cfg(unix)]
use std::os::unix::net::{SocketAddr as UnixSocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};

use super::listener::Listener;
use super::stream::Stream;

/// How long [`Address::connect`] waits for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// `HOST:PORT` or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP; port 0 listens on a free one.
    Tcp {
        /// A name or an address, IPv6 without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix domain socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        const FORMS: &str = "an address is HOST:PORT, such as 127.0.0.1:7070 or [::1]:7070, or unix:PATH";
        if let Some(path) = text.strip_prefix("unix:") {
            ensure!(!path.is_empty(), "address {text:?} has no path; {FORMS}");
            ensure!(!path.contains('\0'), "address {text:?} has a zero byte in its path; {FORMS}");
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let (host, port) = text.rsplit_once(':').with_context(|| format!("address {text:?} has no port; {FORMS}"))?;
        let port = port
            .parse()
            .ok()
            .filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))
            .with_context(|| format!("address {text:?} has port {port:?}: expected 0 to 65535; {FORMS}"))?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(inner)) if inner.parse::<Ipv6Addr>().is_ok() => inner,
            Some(_) => bail!("address {text:?}: what stands in brackets is no IPv6 address; {FORMS}"),
            None => host,
        };
        ensure!(!host.is_empty(), "address {text:?} has no host; {FORMS}");
        ensure!(
            !host.contains(':') || text.starts_with('['),
            "address {text:?} has more than one colon: an IPv6 address stands in brackets; {FORMS}"
        );
        ensure!(
            !host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/'),
            "address {text:?} has a host that no machine can have; {FORMS}"
        );
        Ok(Self::Tcp { host: host.to_string(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp { host: address.ip().to_string(), port: address.port() }
    }
}

impl Address {
    /// A free port that only this machine reaches.
    pub fn loopback() -> Self {
        Self::Tcp { host: Ipv4Addr::LOCALHOST.to_string(), port: 0 }
    }

    /// Connects, within 10 s.
    pub fn connect(&self) -> Result<Stream> {
        self.connect_within(CONNECT_TIMEOUT)
    }

    /// Connects, within `timeout` for each address that the host's name has.
    pub fn connect_within(&self, timeout: Duration) -> Result<Stream> {
        let stream = match self {
            Self::Tcp { host, port } => connect_tcp(host, *port, timeout).map(Stream::Tcp),
            Self::Unix(path) => connect_unix(path),
        };
        stream.with_context(|| format!("connecting to {self}"))
    }

    /// Listens. A socket that an ended process left at the path is replaced.
    pub fn listen(&self) -> Result<Listener> {
        Listener::bind(self).with_context(|| format!("listening on {self}"))
    }
}

/// The addresses of a host.
pub(super) fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| Error::new(error).context(format!("host {host:?} is not known here: check its spelling")))?
        .collect();
    ensure!(!addresses.is_empty(), "host {host:?} has no address");
    Ok(addresses)
}

fn connect_tcp(host: &str, port: u16, timeout: Duration) -> Result<TcpStream> {
    ensure!(port != 0, "port 0 is for listening only: give the port that the other side printed");
    let mut failure = anyhow!("host {host:?} has no address");
    // As std's `connect` does without a time limit: the first address that answers.
    for address in resolve(host, port)? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true).context("switching Nagle's algorithm off")?;
                return Ok(stream);
            }
            Err(error) => failure = explain_connect(error, timeout),
        }
    }
    Err(failure)
}

/// A failed connection, and what to do next.
fn explain_connect(error: io::Error, timeout: Duration) -> Error {
    let advice = match error.kind() {
        ErrorKind::ConnectionRefused => {
            "nothing listens there: start the other side first, or check the address".to_string()
        }
        ErrorKind::TimedOut => {
            format!("no answer in {:.0} s: check the address and the firewall between", timeout.as_secs_f64())
        }
        ErrorKind::NotFound => "no such socket: start the other side first, or check the path".to_string(),
        ErrorKind::PermissionDenied => "this user may not connect there".to_string(),
        _ => "no connection".to_string(),
    };
    Error::new(error).context(advice)
}

#[cfg(unix)]
pub(super) fn check_length(path: &Path) -> Result<()> {
    // std refuses what does not fit into `sun_path`: 107 bytes on Linux, 103 on macOS.
    UnixSocketAddr::from_pathname(path).map(drop).map_err(|error| {
        let bytes = path.as_os_str().len();
        Error::new(error).context(format!(
            "a path of {bytes} bytes: a socket's path has at most about 100, so give a shorter one or a relative one"
        ))
    })
}

#[cfg(unix)]
fn connect_unix(path: &Path) -> Result<Stream> {
    check_length(path)?;
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Stream::Unix(stream)),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused && !is_socket(path) => {
            Err(Error::new(error).context("what is there is no socket: check the path"))
        }
        Err(error) => Err(explain_connect(error, CONNECT_TIMEOUT)),
    }
}

#[cfg(unix)]
pub(super) fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|data| data.file_type().is_socket())
}

#[cfg(not(unix))]
pub(super) const NO_UNIX: &str = "this system has no Unix domain sockets here: give HOST:PORT";

#[cfg(not(unix))]
fn connect_unix(_: &Path) -> Result<Stream> {
    bail!(NO_UNIX)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    #[cfg(unix)]
    use std::os::unix::net::UnixListener;

    use super::*;

    fn parse(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn error(text: &str) -> String {
        format!("{:#}", text.parse::<Address>().unwrap_err())
    }

    #[test]
    fn an_address_is_read_and_shown() {
        for text in ["127.0.0.1:7070", "[::1]:0", "gpu-3.cluster:65535", "unix:/run/split.sock", "unix:a b"] {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(parse("[::1]:7"), Address::Tcp { host: "::1".into(), port: 7 });
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, expected) in [
            ("", "no port"),
            ("7070", "no port"),
            ("localhost", "no port"),
            (":7070", "no host"),
            ("a:", "expected 0 to 65535"),
            ("a:65536", "expected 0 to 65535"),
            ("a:+7", "expected 0 to 65535"),
            ("::1:7070", "brackets"),
            ("[::1:7070", "brackets"),
            ("[x]:7070", "no IPv6"),
            ("http://a:80", "colon"),
            ("a/b:80", "no machine"),
            ("a b:80", "no machine"),
            ("unix:", "no path"),
        ] {
            let said = error(text);
            assert!(said.contains(expected) && said.contains("HOST:PORT"), "{text:?}: {said}");
        }
    }

    /// Sends a word there and back, half-closes and looks for the end.
    fn echo(listener: Listener) {
        let client = listener.address().connect().unwrap();
        let server = listener.accept().unwrap().unwrap();
        let mut other = server.try_clone().unwrap();
        (&client).write_all(b"word").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        other.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"word");
        (&server).write_all(b"back").unwrap();
        drop((server, other));
        got.clear();
        (&client).read_to_end(&mut got).unwrap();
        assert_eq!(got, b"back");
    }

    #[test]
    fn tcp_gives_the_real_port_and_needs_no_nagle() {
        let listener = Address::loopback().listen().unwrap();
        let Address::Tcp { port, .. } = *listener.address() else { panic!("no TCP") };
        assert_ne!(port, 0);
        let Stream::Tcp(client) = listener.address().connect().unwrap() else { panic!("no TCP") };
        let Some(Stream::Tcp(server)) = listener.accept().unwrap() else { panic!("no TCP") };
        assert!(client.nodelay().unwrap() && server.nodelay().unwrap());
        echo(listener);
    }

    #[test]
    fn a_taken_or_silent_port_says_so() {
        let listener = Address::loopback().listen().unwrap();
        let address = listener.address().clone();
        let said = format!("{:#}", address.listen().unwrap_err());
        assert!(said.contains("another process listens there") && said.contains(&address.to_string()), "{said}");
        drop(listener);
        let said = format!("{:#}", address.connect().unwrap_err());
        assert!(said.contains("nothing listens there"), "{said}");
        let said = format!("{:#}", Address::loopback().connect().unwrap_err());
        assert!(said.contains("port 0"), "{said}");
        let said = format!("{:#}", parse("no-such-host.invalid:7").connect().unwrap_err());
        assert!(said.contains("not known"), "{said}");
        let said = format!("{:#}", parse("203.0.113.7:0").listen().unwrap_err());
        assert!(said.contains("does not have that address"), "{said}");
    }

    #[test]
    fn closing_wakes_who_waits() {
        let folder = tempfile::tempdir().unwrap();
        let mut addresses = vec![Address::loopback(), parse("0.0.0.0:0")];
        if cfg!(unix) {
            addresses.push(Address::Unix(folder.path().join("s")));
        }
        for address in addresses {
            let listener = address.listen().unwrap();
            let closer = listener.closer();
            let waiting = std::thread::spawn(move || listener.accept().unwrap().is_none());
            closer.close();
            assert!(waiting.join().unwrap(), "{address}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_file_comes_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let address = Address::Unix(path.clone());
        assert!(format!("{:#}", address.connect().unwrap_err()).contains("no such socket"));
        let listener = address.listen().unwrap();
        echo(listener);
        let listener = address.listen();
        assert!(format!("{:#}", address.listen().unwrap_err()).contains("another process listens there"));
        drop(listener);
        assert!(!path.exists(), "the file goes with its listener");

        // std's listener leaves its file, as a killed process does.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert!(format!("{:#}", address.connect().unwrap_err()).contains("nothing listens there"));
        let first = address.listen().unwrap();
        // Another one at its path now: that file stays.
        std::fs::remove_file(&path).unwrap();
        let second = address.listen().unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);

        std::fs::write(&path, "text").unwrap();
        assert!(format!("{:#}", address.listen().unwrap_err()).contains("no socket has that path"));
        assert!(format!("{:#}", address.connect().unwrap_err()).contains("is no socket"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_cannot_be_a_socket_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let long = Address::Unix(folder.path().join("x".repeat(200)));
        for failed in [long.listen().map(drop), long.connect().map(drop)] {
            assert!(format!("{:#}", failed.unwrap_err()).contains("shorter"));
        }
        let nowhere = Address::Unix(folder.path().join("no/s"));
        assert!(format!("{:#}", nowhere.listen().unwrap_err()).contains("make it first"));
    }
}
