//! What takes connections at an address.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[cfg(unix)]
use anyhow::ensure;
use anyhow::{Context, Error, Result, bail};

#[cfg(not(unix))]
use super::address::NO_UNIX;
use super::address::{Address, resolve};
#[cfg(unix)]
use super::address::{check_length, is_socket};
use super::stream::Stream;

/// The file of a listening socket, removed with it.
#[cfg(unix)]
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever removed the file and listens there now keeps theirs.
        if self.path.symlink_metadata().is_ok_and(|data| (data.dev(), data.ino()) == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[derive(Debug)]
enum ListenerKind {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix {
        listener: UnixListener,
        /// Held only for its drop.
        _file: SocketFile,
    },
}

/// Takes connections at an [`Address`].
#[derive(Debug)]
pub struct Listener {
    kind: ListenerKind,
    address: Address,
    closed: Arc<AtomicBool>,
}

impl Listener {
    /// Listens at an address. A socket that an ended process left at the path is replaced.
    pub(super) fn bind(asked: &Address) -> Result<Self> {
        let kind = match asked {
            Address::Tcp { host, port } => listen_tcp(host, *port).map(ListenerKind::Tcp),
            Address::Unix(path) => listen_unix(path),
        }?;
        let address = match &kind {
            // What was asked for may be port 0, or a name.
            ListenerKind::Tcp(listener) => listener.local_addr().context("asking for the port")?.into(),
            #[cfg(unix)]
            ListenerKind::Unix { .. } => asked.clone(),
        };
        Ok(Self { kind, address, closed: Arc::default() })
    }

    /// Where it listens, with the real port where 0 was asked for.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for the next connection; none once a [`ListenerCloser`] has closed it.
    pub fn accept(&self) -> Result<Option<Stream>> {
        loop {
            if self.closed.load(Ordering::SeqCst) {
                return Ok(None);
            }
            let stream = match &self.kind {
                ListenerKind::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
                #[cfg(unix)]
                ListenerKind::Unix { listener, .. } => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
            };
            match stream {
                Ok(_) if self.closed.load(Ordering::SeqCst) => return Ok(None),
                // A client that has gone again already is no failure of ours.
                Ok(stream) => match stream.set_nodelay() {
                    Ok(()) => return Ok(Some(stream)),
                    Err(_) => continue,
                },
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("waiting for a connection on {}", self.address));
                }
            }
        }
    }

    /// Something that ends [`Listener::accept`] from another thread.
    pub fn closer(&self) -> ListenerCloser {
        ListenerCloser { address: self.address.clone(), closed: self.closed.clone() }
    }
}

/// Ends the waiting of a [`Listener`].
#[derive(Debug, Clone)]
pub struct ListenerCloser {
    address: Address,
    closed: Arc<AtomicBool>,
}

impl ListenerCloser {
    /// Makes `accept` return none, now and from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        // A connection wakes a thread that waits in `accept`; no other way does on all systems.
        let mut address = self.address.clone();
        if let Address::Tcp { host, .. } = &mut address {
            match host.parse() {
                Ok(IpAddr::V4(ip)) if ip.is_unspecified() => *host = Ipv4Addr::LOCALHOST.to_string(),
                Ok(IpAddr::V6(ip)) if ip.is_unspecified() => *host = Ipv6Addr::LOCALHOST.to_string(),
                _ => {}
            }
        }
        let _ = address.connect_within(Duration::from_secs(1));
    }
}

fn listen_tcp(host: &str, port: u16) -> Result<TcpListener> {
    let addresses = resolve(host, port)?;
    TcpListener::bind(&addresses[..]).map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::AddrInUse => "another process listens there: end it, or give another port, or 0 for a free one",
            ErrorKind::AddrNotAvailable => "this machine does not have that address: 127.0.0.1 is itself, 0.0.0.0 all",
            ErrorKind::PermissionDenied => "this user may not take that port: give one above 1023",
            _ => "the address cannot be taken",
        };
        Error::new(error).context(advice)
    })
}

#[cfg(unix)]
fn listen_unix(path: &Path) -> Result<ListenerKind> {
    check_length(path)?;
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            ensure!(is_socket(path), "something that is no socket has that path: remove it, or give another path");
            // A listener that is there meets this as a client that goes again at once.
            match UnixStream::connect(path) {
                // A socket without a listener is what a process leaves that was killed.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).context("removing the socket that an ended process left")?;
                    UnixListener::bind(path)
                }
                _ => bail!("another process listens there: end it, or give another path"),
            }
        }
        other => other,
    };
    let listener = listener.map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::NotFound => "its folder does not exist: make it first",
            ErrorKind::PermissionDenied => "this user may not write into its folder",
            _ => "no socket can be made there",
        };
        Error::new(error).context(advice)
    })?;
    let data = path.symlink_metadata().context("looking at the socket")?;
    let _file = SocketFile { path: path.to_path_buf(), identity: (data.dev(), data.ino()) };
    Ok(ListenerKind::Unix { listener, _file })
}

#[cfg(not(unix))]
fn listen_unix(_: &Path) -> Result<ListenerKind> {
    bail!(NO_UNIX)
}
