//! A small hub: lists, redirects, etags, ranges and refusals as the Hugging Face hub gives them, on two local ports, of which
//! the second is the other host that large files come from. Threads of it end with the test.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest, Sha256};

/// The one token that opens a gated repository.
pub const TOKEN: &str = "hf_good";

/// What a path answers instead of what it should.
#[derive(Clone)]
pub enum Fault {
    /// A status with further header lines and an empty body.
    Status(u16, &'static str),
    /// The connection ends after this many bytes of the file, wherever the answer began.
    CutAt(usize),
    /// Other bytes of the same number.
    Damaged,
    /// Ranges are ignored: 200 and the whole file.
    Whole,
    /// The same, and the connection ends after this many bytes.
    WholeCutAt(usize),
}

#[derive(Clone)]
struct Repo {
    commit: String,
    files: Vec<(String, Vec<u8>)>,
    gated: bool,
}

#[derive(Default)]
struct State {
    repos: HashMap<String, Repo>,
    /// How often a fault of a path is still to be given.
    faults: HashMap<String, (Fault, usize)>,
    log: Vec<Request>,
    hosts: [String; 2],
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
    /// Whether it came to the host of large files.
    pub at_storage: bool,
}

#[derive(Clone)]
pub struct Server(Arc<Mutex<State>>);

impl Server {
    pub fn start() -> Self {
        Self::over("http", Ok)
    }

    /// The same over https, with a certificate that only the tests' own authority (`tls/ca.pem`) signed.
    pub fn start_tls() -> Self {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/hub.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/hub.key")).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let config = Arc::new(config);
        Self::over("https", move |stream| {
            let connection = ServerConnection::new(config.clone()).map_err(std::io::Error::other)?;
            Ok(StreamOwned::new(connection, stream))
        })
    }

    fn over<S: Read + Write + Send + 'static>(
        scheme: &str,
        wrap: impl Fn(TcpStream) -> std::io::Result<S> + Clone + Send + 'static,
    ) -> Self {
        let server = Self(Arc::default());
        for host in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            server.0.lock().unwrap().hosts[host] = format!("{scheme}://{}", listener.local_addr().unwrap());
            let (of, wrap) = (server.clone(), wrap.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (of, stream) = (of.clone(), wrap(stream));
                    // A client that goes away is no trouble of the server's.
                    std::thread::spawn(move || drop(stream.and_then(|stream| of.answer(stream, host == 1))));
                }
            });
        }
        server
    }

    pub fn endpoint(&self) -> String {
        self.0.lock().unwrap().hosts[0].clone()
    }

    /// A repository at a revision, `models/owner/name@main`, as it is from now on.
    pub fn put(&self, repo: &str, commit: &str, files: &[(&str, &[u8])]) {
        let files = files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect();
        let repo_ = Repo { commit: commit.into(), files, gated: false };
        self.0.lock().unwrap().repos.insert(repo.into(), repo_);
    }

    pub fn gate(&self, repo: &str) {
        self.0.lock().unwrap().repos.get_mut(repo).unwrap().gated = true;
    }

    /// The next `times` requests whose path ends so (at the host of large files where it has the file) go wrong.
    pub fn fault(&self, path: &str, fault: Fault, times: usize) {
        self.0.lock().unwrap().faults.insert(path.into(), (fault, times));
    }

    pub fn heal(&self) {
        self.0.lock().unwrap().faults.clear();
    }

    /// The requests since the last call.
    pub fn log(&self) -> Vec<Request> {
        std::mem::take(&mut self.0.lock().unwrap().log)
    }

    fn answer(&self, mut stream: impl Read + Write, at_storage: bool) -> std::io::Result<()> {
        let mut lines = BufReader::new(&mut stream).lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let mut words = first.split(' ').map(String::from);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut request = Request { method, path, range: None, token: None, at_storage };
        for line in lines.by_ref() {
            let line = line?;
            match line.split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("range") => request.range = Some(value.into()),
                Some((name, value)) if name.eq_ignore_ascii_case("authorization") => request.token = Some(value.into()),
                Some(_) => {}
                None => break,
            }
        }
        let reply = self.reply(&request);
        self.0.lock().unwrap().log.push(request.clone());
        let length = reply.body.len();
        write!(stream, "HTTP/1.1 {} -\r\nConnection: close\r\n{}", reply.status, reply.head)?;
        if !reply.head.contains("Content-Length") {
            write!(stream, "Content-Length: {length}\r\n")?;
        }
        write!(stream, "\r\n")?;
        if request.method != "HEAD" {
            stream.write_all(&reply.body[..reply.cut.unwrap_or(length).min(length)])?;
        }
        stream.flush()
    }

    fn reply(&self, request: &Request) -> Reply {
        let mut state = self.0.lock().unwrap();
        let fault = state.fault(request);
        if let Some(Fault::Status(status, head)) = fault {
            return Reply::new(status, head.to_string());
        }
        if request.at_storage {
            return storage(&state, request, fault);
        }
        let path = request.path.trim_start_matches('/');
        if let Some((repo, revision)) = path.strip_prefix("api/").and_then(|p| p.split_once("/revision/")) {
            let name = format!("{repo}@{}", revision.replace("%2F", "/"));
            let Some(found) = state.repos.get(&name) else {
                let known = state.repos.keys().any(|k| k.starts_with(&format!("{repo}@")));
                return match (known, &request.token) {
                    (true, _) => Reply::new(404, "X-Error-Code: RevisionNotFound\r\n".into()),
                    (false, Some(_)) => Reply::new(404, "X-Error-Code: RepoNotFound\r\n".into()),
                    // As the hub does: who is not logged in is not told what there is.
                    (false, None) => Reply::new(401, "X-Error-Code: RepoNotFound\r\n".into()),
                };
            };
            let files: Vec<_> = found.files.iter().map(|(name, _)| serde_json::json!({"rfilename": name})).collect();
            let body = serde_json::json!({"sha": found.commit, "gated": found.gated, "siblings": files});
            return Reply { body: body.to_string().into_bytes(), ..Reply::new(200, String::new()) };
        }
        // Small files come from the hub itself, behind a redirect.
        let (path, direct) = match path.strip_prefix("api/resolve-cache/") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let Some((page, rest)) = path.split_once("/resolve/") else { return Reply::new(404, String::new()) };
        let Some((commit, file)) = rest.split_once('/') else { return Reply::new(404, String::new()) };
        let kind = if page.starts_with("datasets/") { "" } else { "models/" };
        let prefix = format!("{kind}{page}@");
        let Some(repo) = state.repos.iter().find(|(k, r)| k.starts_with(&prefix) && r.commit == commit).map(|(_, r)| r)
        else {
            return Reply::new(404, "X-Error-Code: RevisionNotFound\r\n".into());
        };
        if repo.gated && request.token.as_deref() != Some(&format!("Bearer {TOKEN}")) {
            let status = if request.token.is_some() { 403 } else { 401 };
            return Reply::new(status, "X-Error-Code: GatedRepo\r\n".into());
        }
        let Some((_, bytes)) = repo.files.iter().find(|(name, _)| name == file) else {
            return Reply::new(404, "X-Error-Code: EntryNotFound\r\n".into());
        };
        let (sha, large) = (sha256(bytes), file.ends_with(".safetensors") || file.ends_with(".parquet"));
        if large {
            let to = format!("{}/{sha}/{file}", state.hosts[1]);
            let size = bytes.len();
            return Reply::new(
                302,
                format!(
                    "Location: {to}\r\nETag: \"other\"\r\nX-Linked-ETag: \"{sha}\"\r\nX-Linked-Size: {size}\r\nX-Repo-Commit: {commit}\r\n"
                ),
            );
        }
        if !direct {
            return Reply::new(307, format!("Location: /api/resolve-cache/{path}\r\nX-Repo-Commit: {commit}\r\n"));
        }
        let head = format!("ETag: W/\"{}\"\r\n", &sha[..40]);
        content(bytes, request, head, fault)
    }
}

impl State {
    fn fault(&mut self, request: &Request) -> Option<Fault> {
        if request.method == "HEAD" {
            return None;
        }
        let large = request.path.ends_with(".safetensors") || request.path.ends_with(".parquet");
        if large && !request.at_storage {
            return None;
        }
        let (_, (fault, times)) = self.faults.iter_mut().find(|(path, _)| request.path.ends_with(path.as_str()))?;
        *times = times.checked_sub(1)?;
        Some(fault.clone())
    }
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
    cut: Option<usize>,
}

impl Reply {
    fn new(status: u16, head: String) -> Self {
        Self { status, head, body: Vec::new(), cut: None }
    }
}

/// The host of large files: whatever any repository has under that SHA-256.
fn storage(state: &State, request: &Request, fault: Option<Fault>) -> Reply {
    let sha = request.path.split('/').nth(1).unwrap_or_default();
    let mut files = state.repos.values().flat_map(|r| &r.files);
    match files.find(|(_, bytes)| sha256(bytes) == sha) {
        Some((_, bytes)) => content(bytes, request, "ETag: \"of-storage\"\r\n".into(), fault),
        None => Reply::new(403, String::new()),
    }
}

fn content(bytes: &[u8], request: &Request, head: String, fault: Option<Fault>) -> Reply {
    let from =
        request.range.as_deref().and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let from = from.filter(|_| !matches!(fault, Some(Fault::Whole | Fault::WholeCutAt(_))));
    let start = from.unwrap_or(0);
    if start > 0 && start >= bytes.len() {
        return Reply::new(416, format!("Content-Range: bytes */{}\r\n", bytes.len()));
    }
    let mut reply = match from {
        None => Reply::new(200, head),
        Some(_) => {
            let range = format!("Content-Range: bytes {start}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            Reply::new(206, head + &range)
        }
    };
    reply.body = bytes[start..].to_vec();
    match fault {
        Some(Fault::CutAt(end) | Fault::WholeCutAt(end)) => reply.cut = Some(end.saturating_sub(start)),
        Some(Fault::Damaged) => reply.body.iter_mut().for_each(|b| *b ^= 1),
        _ => {}
    }
    reply
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
