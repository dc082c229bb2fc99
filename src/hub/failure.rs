//! What can go wrong between here and the hub: a sentence each, with what to do.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use ureq::Proxy;

/// Why a file could not be had.
#[derive(Debug, Error)]
pub enum Failure {
    /// 401 or 403 of a gated repository.
    #[error("{repo} is gated and the hub answered {status}: {}", gate(page, *token))]
    Gated {
        /// Repository.
        repo: String,
        /// HTTP status.
        status: u16,
        /// Page where its licence is accepted.
        page: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// 401 or 403 of a repository that is not gated.
    #[error("the hub refused {what} with {status}: {}", refusal(*token))]
    Refused {
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
        /// Whether a token was sent.
        token: bool,
    },
    /// 404: no such repository, revision or file.
    #[error(
        "the hub has no {what}: it was moved, renamed or deleted, or it is private and HF_TOKEN is not its owner's"
    )]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// 429 until patience ended.
    #[error(
        "{endpoint} answered 429 (too many requests) {times} times: wait some minutes, or set HF_TOKEN, which raises the \
         limit, and prepare again; it goes on where it stopped"
    )]
    TooMany {
        /// Address of the hub.
        endpoint: String,
        /// Requests made.
        times: u32,
    },
    /// Another status that no file comes with.
    #[error(
        "{what}: {endpoint} answered {status}: the hub is in trouble, or HF_ENDPOINT is not a hub; try again later"
    )]
    Status {
        /// What was asked for.
        what: String,
        /// Address of the hub.
        endpoint: String,
        /// HTTP status.
        status: u16,
    },
    /// No answer at all.
    #[error("{what}: cannot reach {url} ({reason}): is there a network, and is HF_ENDPOINT right?")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// Address that was tried.
        url: String,
        /// What the connection said.
        reason: String,
    },
    /// A certificate that no trusted authority signed, or that is not this host's.
    #[error(
        "{what}: {url} is not trusted ({reason}): set SSL_CERT_FILE to a PEM file with the certificate of the authority that \
         signed its own, as that of a company's proxy; is HF_ENDPOINT right?"
    )]
    Untrusted {
        /// What was asked for.
        what: String,
        /// Address that was tried.
        url: String,
        /// What is wrong with its certificate.
        reason: String,
    },
    /// An answer that no hub gives.
    #[error("{what}: {problem}; is HF_ENDPOINT ({endpoint}) a Hugging Face hub?")]
    NotAHub {
        /// What was asked for.
        what: String,
        /// What is wrong with the answer.
        problem: String,
        /// Address of the hub.
        endpoint: String,
    },
    /// The connection ended early until patience ended.
    #[error(
        "{what} was cut off at {got} of {size} bytes, {times} times without a byte more ({reason}): what came is kept, and \
         the same command goes on from there"
    )]
    CutOff {
        /// File.
        what: String,
        /// Bytes here.
        got: u64,
        /// Bytes expected.
        size: u64,
        /// Attempts without progress.
        times: u32,
        /// What the connection said.
        reason: String,
    },
    /// The bytes are not those the hub announced.
    #[error(
        "{what} changed upstream or was damaged on its way: expected {expected}, found {found}; it was deleted here, prepare again"
    )]
    Changed {
        /// File.
        what: String,
        /// Size or SHA-256 announced.
        expected: String,
        /// Size or SHA-256 that came.
        found: String,
    },
    /// No space left.
    #[error(
        "the disk of {} is full: {what} needs {missing} more bytes; free them, or name a folder on another disk (--dir, or \
         HF_HOME); what came is kept, and the same command goes on from there",
        folder.display()
    )]
    DiskFull {
        /// File.
        what: String,
        /// Where it goes.
        folder: PathBuf,
        /// Bytes not written yet.
        missing: u64,
    },
    /// Any other trouble with the disk.
    #[error("cannot {doing} {} ({source}): is it writable? --dir or HF_HOME name another folder", path.display())]
    Disk {
        /// What was being done, as in "write".
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set and the file is not in the cache.
    #[error("{what} is not in {}, and HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids to fetch it: unset it where there is a network, or copy the cache here", cache.display())]
    Offline {
        /// What was asked for.
        what: String,
        /// The cache.
        cache: PathBuf,
    },
}

impl Failure {
    /// A request that got no answer.
    pub fn connection(what: &str, url: &str, proxy: Option<&Proxy>, error: &ureq::Error) -> Self {
        let (what, url) = (what.to_string(), url.to_string());
        let mut reason = error.to_string();
        if let Some(proxy) = proxy {
            // Without its user and password.
            reason += &format!(", through the proxy {}:{}", proxy.host(), proxy.port());
        }
        // The text of rustls' error, which is an error of reading here.
        match reason.contains("invalid peer certificate") {
            true => Self::Untrusted { what, url, reason },
            false => Self::Unreachable { what, url, reason },
        }
    }

    /// A failed write of which `missing` bytes were still to come.
    pub fn write(what: &str, path: &Path, missing: u64, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull { what: what.to_string(), folder: path.parent().unwrap_or(path).to_path_buf(), missing }
            }
            _ => Self::disk("write", path, source),
        }
    }

    /// A failed step that writes no content.
    pub fn disk(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Disk { doing, path: path.to_path_buf(), source }
    }
}

fn gate(page: &str, token: bool) -> String {
    match token {
        true => format!(
            "the account of this token has no access; accept the licence at {page}, wait until it is granted, and prepare again"
        ),
        false => format!("accept its licence at {page}, set HF_TOKEN to a token of that account, and prepare again"),
    }
}

fn refusal(token: bool) -> &'static str {
    match token {
        true => {
            "HF_TOKEN (or the file HF_TOKEN_PATH or `token` in HF_HOME) is mistyped, expired or may not read this; set a valid one, or unset it for what is public"
        }
        false => {
            "there is no such repository, or it is private; for a private one set HF_TOKEN to a token that may read it"
        }
    }
}
