//! Requests to the hub: redirects, the token, waiting where it asks to wait, and a sentence for every refusal.

use std::time::Duration;

use anyhow::Result;
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};

use super::failure::Failure;
use super::listing::{Repo, RepositoryListing, is_plain};
use super::proxy::Proxies;
use super::{certificates, place};

/// Waits between attempts that brought nothing; one more attempt than waits is made. The hub's Retry-After comes first.
const WAITS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Longest time the hub may ask to wait for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A redirect more is taken for a loop.
const REDIRECTS: usize = 8;

/// Largest list of files that is read, bytes.
const LARGEST_LISTING: u64 = 64 << 20;

/// Attempts since the last that brought something.
#[derive(Default)]
pub struct Patience {
    waits: usize,
}

impl Patience {
    /// Waits before another attempt; false where there have been enough.
    pub fn wait(&mut self, asked: Option<Duration>) -> bool {
        let Some(wait) = WAITS.get(self.waits) else { return false };
        std::thread::sleep(asked.unwrap_or(*wait).min(LONGEST_WAIT));
        self.waits += 1;
        true
    }

    /// Attempts made without success.
    pub fn times(&self) -> u32 {
        self.waits as u32 + 1
    }
}

/// What the hub says of a file before it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Name of its content: the SHA-256 of a large file, the git object of a small one.
    pub etag: String,
    /// Size, bytes.
    pub size: u64,
}

impl Meta {
    /// The SHA-256 of the content, where the hub gives one.
    pub fn sha256(&self) -> Option<&str> {
        Some(self.etag.as_str()).filter(|e| e.len() == 64 && e.bytes().all(|b| b.is_ascii_hexdigit()))
    }
}

/// Speaks to one hub.
pub struct Client {
    agent: Agent,
    proxies: Proxies,
    endpoint: String,
    token: Option<String>,
}

impl Client {
    /// A client of the hub that the environment describes.
    pub fn from_env() -> Result<Self> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(format!("splitbench/{}", env!("CARGO_PKG_VERSION")))
            // Sizes and ranges count the bytes of the file, not of a compressed answer.
            .accept_encoding("identity")
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .tls_config(TlsConfig::builder().root_certs(certificates::roots()?).build())
            // Each request names its own.
            .proxy(None)
            .build();
        Ok(Self {
            agent: Agent::new_with_config(config),
            proxies: Proxies::from_env()?,
            endpoint: place::endpoint()?,
            token: place::token()?,
        })
    }

    /// The files of a repository.
    pub fn list(&self, repo: &Repo) -> Result<RepositoryListing, Failure> {
        let what = repo.shown();
        let url = format!("{}{}", self.endpoint, repo.api_path());
        let mut reply = self.send(repo, &what, &url, RequestPurpose::Whole)?;
        let body = reply.body_mut().with_config().limit(LARGEST_LISTING).read_to_vec().map_err(|e| {
            Failure::Unreachable { what: what.clone(), url: self.endpoint.clone(), reason: e.to_string() }
        })?;
        RepositoryListing::parse(&body).map_err(|problem| Failure::NotAHub {
            what,
            problem,
            endpoint: self.endpoint.clone(),
        })
    }

    /// Name and size of a file's content.
    pub fn meta(&self, repo: &Repo, commit: &str, file: &str) -> Result<Meta, Failure> {
        let what = named(repo, file);
        let url = format!("{}{}", self.endpoint, repo.file_path(commit, file));
        let reply = self.send(repo, &what, &url, RequestPurpose::Meta)?;
        let header = |linked: &str, plain: &str| text(reply.headers(), linked).or_else(|| text(reply.headers(), plain));
        let etag = header("x-linked-etag", "etag").map(|e| e.trim_start_matches("W/").trim_matches('"').to_string());
        let size = header("x-linked-size", "content-length").and_then(|s| s.parse().ok());
        match (etag.filter(|e| is_plain(e)), size) {
            (Some(etag), Some(size)) => Ok(Meta { etag, size }),
            _ => Err(Failure::NotAHub {
                what,
                problem: "the answer has no etag and size".to_string(),
                endpoint: self.endpoint.clone(),
            }),
        }
    }

    /// The content of a file from byte `from` on; the answer's status is 200 (from the start all the same), 206 or 416.
    pub fn content(&self, repo: &Repo, commit: &str, file: &str, from: u64) -> Result<Response<Body>, Failure> {
        let url = format!("{}{}", self.endpoint, repo.file_path(commit, file));
        self.send(repo, &named(repo, file), &url, RequestPurpose::From(from))
    }

    fn send(&self, repo: &Repo, what: &str, url: &str, ask: RequestPurpose) -> Result<Response<Body>, Failure> {
        let mut patience = Patience::default();
        loop {
            let (failure, asked) = match self.follow(what, url, ask) {
                Ok(reply) => match self.judge(repo, what, ask, patience.times(), &reply) {
                    None => return Ok(reply),
                    Some(failure @ (Failure::TooMany { .. } | Failure::Status { status: 500.., .. })) => {
                        let seconds = text(reply.headers(), "retry-after").and_then(|s| s.parse().ok());
                        (failure, seconds.map(Duration::from_secs))
                    }
                    Some(failure) => return Err(failure),
                },
                Err(failure @ Failure::Unreachable { .. }) => (failure, None),
                Err(failure) => return Err(failure),
            };
            if let Some(wait) = asked.filter(|wait| !wait.is_zero()) {
                tell!("{what}: the hub asks to wait {} s", wait.min(LONGEST_WAIT).as_secs());
            }
            if !patience.wait(asked) {
                return Err(failure);
            }
        }
    }

    /// Follows redirects. Those to another host end a question for meta data, which only the hub answers, and are asked
    /// without the token.
    fn follow(&self, what: &str, url: &str, ask: RequestPurpose) -> Result<Response<Body>, Failure> {
        let mut url = url.to_string();
        for _ in 0..=REDIRECTS {
            let own = origin(&url) == origin(&self.endpoint);
            let proxy = self.proxies.to(&url);
            let request = if ask == RequestPurpose::Meta { self.agent.head(&url) } else { self.agent.get(&url) };
            let mut request = request.config().proxy(proxy.cloned()).build();
            if let Some(token) = self.token.as_ref().filter(|_| own) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if let RequestPurpose::From(from @ 1..) = ask {
                request = request.header("range", format!("bytes={from}-"));
            }
            let reply = request.call().map_err(|e| Failure::connection(what, origin(&url), proxy, &e))?;
            let next = match reply.status().is_redirection() {
                true => text(reply.headers(), "location").and_then(|to| absolute(&url, to)),
                false => None,
            };
            match next {
                Some(next) if ask != RequestPurpose::Meta || origin(&next) == origin(&self.endpoint) => url = next,
                _ => return Ok(reply),
            }
        }
        Err(Failure::NotAHub {
            what: what.to_string(),
            problem: format!("it redirects more than {REDIRECTS} times"),
            endpoint: self.endpoint.clone(),
        })
    }

    /// What is wrong with an answer, if anything.
    fn judge(
        &self,
        repo: &Repo,
        what: &str,
        ask: RequestPurpose,
        times: u32,
        reply: &Response<Body>,
    ) -> Option<Failure> {
        let status = reply.status();
        let redirected = ask == RequestPurpose::Meta && status.is_redirection();
        let ranged = matches!(ask, RequestPurpose::From(1..)) && matches!(status.as_u16(), 206 | 416);
        if status == StatusCode::OK || redirected || ranged {
            return None;
        }
        let (what, code) = (what.to_string(), text(reply.headers(), "x-error-code").unwrap_or_default());
        let (endpoint, token, status) = (self.endpoint.clone(), self.token.is_some(), status.as_u16());
        Some(match (status, code) {
            (401 | 403, "GatedRepo") => {
                let page = format!("{endpoint}/{}", repo.page());
                Failure::Gated { repo: repo.id.clone(), status, page, token }
            }
            (404, _) => Failure::NotFound { what },
            (401 | 403, _) => Failure::Refused { what, status, token },
            (429, _) => Failure::TooMany { endpoint, times },
            _ => Failure::Status { what, endpoint, status },
        })
    }
}

/// What a request is after.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RequestPurpose {
    Meta,
    Whole,
    From(u64),
}

/// A file as messages call it.
pub fn named(repo: &Repo, file: &str) -> String {
    format!("{file} of {}", repo.shown())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find(['/', '?', '#']).map_or(url, |end| &url[..host + end])
}

/// Where a redirect leads; `None` where it is no address.
fn absolute(from: &str, to: &str) -> Option<String> {
    if to.starts_with("http://") || to.starts_with("https://") {
        Some(to.to_string())
    } else if let Some(host) = to.strip_prefix("//") {
        Some(format!("{}//{host}", &from[..from.find("//")?]))
    } else if to.starts_with('/') {
        Some(format!("{}{to}", origin(from)))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_say() {
        let from = "https://hub.example:8/a/b?c";
        assert_eq!(origin(from), "https://hub.example:8");
        assert_eq!(origin("http://host"), "http://host");
        assert_eq!(absolute(from, "/x/y").as_deref(), Some("https://hub.example:8/x/y"));
        assert_eq!(absolute(from, "//other/x").as_deref(), Some("https://other/x"));
        assert_eq!(absolute(from, "http://other/x").as_deref(), Some("http://other/x"));
        assert_eq!(absolute(from, "x"), None);
        assert_ne!(origin("https://hub.example.evil/a"), origin("https://hub.example/a"), "the token stays home");
    }

    #[test]
    fn only_a_sha256_is_taken_for_one() {
        let meta = |etag: &str| Meta { etag: etag.into(), size: 1 };
        assert!(meta(&"0f".repeat(32)).sha256().is_some());
        assert!(meta(&"0f".repeat(20)).sha256().is_none());
    }
}
