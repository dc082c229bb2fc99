//! One running process: a request in, an answer out, within a time.

use std::io::{self, ErrorKind, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::message::{IncomingAnswer, ProgramAnswer};
use super::processes;

/// What numerical libraries ask for their number of threads. Codecs run on one thread each, as many as there are cores at a
/// time; a process that had a thread a core would make that the square, and its times would be of another thing than the
/// others'. What the user has set stays.
const THREADS: [&str; 3] = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"];

/// How long a process may take to end by itself once its standard input has ended.
const GRACE: Duration = Duration::from_secs(1);

/// What a pipe holds on Linux, so that no read takes more.
const CHUNK: usize = 1 << 16;

/// A process and its pipes, none of which blocks.
pub(super) struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    errors: Option<ChildStderr>,
    said: Tail,
    chunk: Vec<u8>,
    /// Until when it may end by itself, once its input is closed.
    patience: Option<Instant>,
    ended: bool,
}

impl Program {
    /// Starts a program. Fails where it is not found or cannot be run.
    pub fn start(words: &[String]) -> Result<Self> {
        let (name, arguments) = words.split_first().context("the command is empty")?;
        let mut command = Command::new(name);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for variable in THREADS.into_iter().filter(|variable| std::env::var_os(variable).is_none()) {
            command.env(variable, "1");
        }
        let mut child = processes::start(&mut command).map_err(|error| {
            let why = match error.kind() {
                ErrorKind::NotFound => {
                    "not found; give a name on PATH, or a path such as ./codec.py (of a script, also \
                    the interpreter of its first line may be missing)"
                        .to_string()
                }
                ErrorKind::PermissionDenied => "not executable; `chmod +x` makes it so".to_string(),
                _ => error.to_string(),
            };
            anyhow!("cannot start {name:?}: {why}")
        })?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            // Cannot be: all three were asked for.
            let _ = processes::end(&mut child);
            bail!("cannot start {name:?}: it has no pipes");
        };
        let (said, chunk) = (Tail::default(), vec![0; CHUNK]);
        let non_blocking = [ioctl_fionbio(&input, true), ioctl_fionbio(&output, true), ioctl_fionbio(&errors, true)];
        let (input, errors) = (Some(input), Some(errors));
        let program = Self { child, input, output, errors, said, chunk, patience: None, ended: false };
        non_blocking.into_iter().collect::<Result<(), _>>().with_context(|| format!("starting {name:?}"))?;
        Ok(program)
    }

    /// Sends a request and waits for its answer, of at most `most` bytes after the header line. Where that fails, the process
    /// has been ended, and the error has the last lines of its standard error.
    pub fn ask(&mut self, request: &[u8], most: usize, timeout: Duration) -> Result<ProgramAnswer> {
        let mut answer = IncomingAnswer::new(most);
        let done = self.exchange(request, &mut answer, timeout);
        done.and_then(|()| answer.finish().context("its answer is not whole")).map_err(|error| {
            self.read_errors();
            self.end();
            match self.said.text() {
                Some(text) => anyhow!("{error:#}; its standard error ended: {text}"),
                None => error,
            }
        })
    }

    fn exchange(&mut self, request: &[u8], answer: &mut IncomingAnswer, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let mut unsent = request;
        let mut deaf = false;
        while !(unsent.is_empty() && answer.is_whole()) {
            if !self.wait(!unsent.is_empty(), deadline)? {
                bail!(
                    "it gave no answer within {} s ({}; it took {} of the request's {} bytes) and was killed; does it \
                     flush its standard output? timeout=SECONDS gives it more",
                    timeout.as_secs_f64(),
                    answer.progress(),
                    request.len() - unsent.len(),
                    request.len()
                );
            }
            self.read_errors();
            match self.output.read(&mut self.chunk) {
                Ok(0) => return Err(self.gone(answer)),
                Ok(count) => answer.push(&self.chunk[..count])?,
                Err(error) if is_for_later(&error) => {}
                Err(error) => return Err(error).context("reading its standard output"),
            }
            match self.input.as_mut().map_or(Ok(0), |input| input.write(unsent)) {
                Ok(count) => unsent = &unsent[count..],
                Err(error) if is_for_later(&error) => {}
                // What it has still to say, or how it ended, explains more than that.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => (deaf, unsent) = (true, &[]),
                Err(error) => return Err(error).context("writing to its standard input"),
            }
        }
        ensure!(!deaf, "it closed its standard input before it had read the whole request");
        Ok(())
    }

    /// Waits until something can be read or, where there is something to send, written. False where time is up.
    fn wait(&self, sending: bool, deadline: Instant) -> Result<bool> {
        let mut pipes = vec![PollFd::new(&self.output, PollFlags::IN)];
        pipes.extend(self.errors.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        pipes.extend(self.input.as_ref().filter(|_| sending).map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        match poll(&mut pipes, Some(&Timespec::try_from(left)?)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error).context("waiting for it"),
        }
    }

    /// The error where standard output ended.
    fn gone(&mut self, answer: &IncomingAnswer) -> anyhow::Error {
        // The process ends a moment after its pipes.
        let by_itself = self.has_exited(Instant::now() + GRACE);
        let progress = answer.progress();
        self.read_errors();
        match self.end() {
            Some(status) if by_itself => anyhow!("it ended ({status}) before it had answered: {progress}"),
            _ => anyhow!("it closed its standard output before it had answered: {progress}"),
        }
    }

    /// Takes what stands in standard error, so that the process is never held up by it.
    fn read_errors(&mut self) {
        // As much as a pipe holds: where there is always more, the rest is for next time.
        match self.errors.as_mut().map(|errors| errors.read(&mut self.chunk)) {
            Some(Ok(count @ 1..)) => self.said.push(&self.chunk[..count]),
            Some(Err(error)) if is_for_later(&error) => {}
            _ => self.errors = None,
        }
    }

    /// Whether the process ends by itself before a time. It is not waited for yet, and keeps its number.
    fn has_exited(&self, deadline: Instant) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(Pid::from_child(&self.child)), options) {
                Ok(Some(_)) => return true,
                _ if Instant::now() >= deadline => return false,
                _ => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Tells the process that no more requests come; from now on it has a while to end.
    pub fn close_input(&mut self) {
        self.input = None;
        self.patience.get_or_insert_with(|| Instant::now() + GRACE);
    }

    /// Kills the process where it has not ended. The status is there the first time only.
    fn end(&mut self) -> Option<ExitStatus> {
        let before = std::mem::replace(&mut self.ended, true);
        if before { None } else { processes::end(&mut self.child).ok() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.close_input();
        if let Some(patience) = self.patience.filter(|_| !self.ended) {
            self.has_exited(patience);
        }
        self.end();
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The end of what a program wrote to standard error.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    const MOST: usize = 1024;
    const LINES: usize = 5;

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.drain(..self.bytes.len().saturating_sub(Self::MOST));
    }

    /// Its last lines as one, without anything that a terminal would obey.
    fn text(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let mut lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.drain(..lines.len().saturating_sub(Self::LINES));
        let text: String = lines.join(" | ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_without_control_characters() {
        let mut tail = Tail::default();
        assert_eq!(tail.text(), None);
        tail.push(b"a\n\n  b\x1b[31m\r\nc");
        assert_eq!(tail.text().unwrap(), "a | b [31m | c");
        tail.push(&b"0123456789\n".repeat(1000));
        tail.push("\nlast \u{e9}".as_bytes());
        assert_eq!(tail.bytes.len(), Tail::MOST);
        assert_eq!(tail.text().unwrap(), "0123456789 | 0123456789 | 0123456789 | 0123456789 | last \u{e9}");
    }
}
