//! The messages: a line of JSON, then as many bytes as it says.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// Bytes a program's header line may have, its end included.
const LONGEST_LINE: usize = 4096;

/// What a header line of a request says beside `bytes`.
#[derive(Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(super) enum ProgramRequest {
    /// A `.npy` matrix follows.
    Encode { tokens: usize, hidden: usize, ratio: f64, accounting: String, budget: usize },
    /// The payload follows.
    Decode { tokens: usize, hidden: usize },
}

impl ProgramRequest {
    /// The whole message.
    pub fn with(&self, body: &[u8]) -> Result<Vec<u8>> {
        #[derive(Serialize)]
        struct Line<'a> {
            #[serde(flatten)]
            request: &'a ProgramRequest,
            bytes: usize,
        }
        let mut message = serde_json::to_vec(&Line { request: self, bytes: body.len() })?;
        message.push(b'\n');
        message.extend_from_slice(body);
        Ok(message)
    }
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct ProgramAnswer {
    /// Numbers kept; an encoder says it.
    pub elements: Option<u64>,
    /// Why the program cannot do it; no bytes follow.
    pub error: Option<String>,
    /// The bytes.
    pub body: Vec<u8>,
}

/// The header line of an answer. Keys that we do not know are the program's own business.
#[derive(Deserialize)]
struct Line {
    bytes: Option<usize>,
    elements: Option<u64>,
    error: Option<String>,
}

/// An answer on its way.
pub(super) struct IncomingAnswer {
    /// Bytes the body may have.
    most: usize,
    line: Vec<u8>,
    header: Option<Line>,
    body: Vec<u8>,
}

impl IncomingAnswer {
    pub fn new(most: usize) -> Self {
        Self { most, line: Vec::new(), header: None, body: Vec::new() }
    }

    /// Takes bytes as they come; fails as soon as they cannot become an answer.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        if self.header.is_none() {
            let end = bytes.iter().position(|&b| b == b'\n');
            let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            self.line.extend_from_slice(line);
            // Before the line is whole: what a program prints beside its answers need not end in one.
            ensure!(
                self.line.first().is_none_or(|&b| b == b'{') && self.line.len() <= LONGEST_LINE,
                "its answer begins with {}, not with a header line such as {{\"bytes\": 12}}; nothing but answers may go to \
                 its standard output, messages belong on standard error",
                excerpt(&self.line)
            );
            if end.is_none() {
                return Ok(());
            }
            self.header = Some(self.read_line()?);
            bytes = rest;
        }
        self.body.extend_from_slice(bytes);
        let (came, expected) = (self.body.len(), self.expected().unwrap_or(0));
        ensure!(came <= expected, "its header line says {expected} bytes, but more came: {}", excerpt(&self.line));
        Ok(())
    }

    fn read_line(&self) -> Result<Line> {
        let header: Line = serde_json::from_slice(&self.line)
            .with_context(|| format!("its header line {} is not the JSON expected", excerpt(&self.line)))?;
        match (header.bytes, &header.error) {
            (None, None) => bail!("its header line {} has neither \"bytes\" nor \"error\"", excerpt(&self.line)),
            (Some(1..), Some(_)) => bail!("its header line {}: no bytes follow an error", excerpt(&self.line)),
            (Some(bytes), _) if bytes > self.most => {
                bail!("its header line says {bytes} bytes; for this matrix {} are the most", self.most)
            }
            _ => Ok(header),
        }
    }

    /// Bytes of the body, once the header line is there.
    fn expected(&self) -> Option<usize> {
        self.header.as_ref().map(|header| header.bytes.unwrap_or(0))
    }

    pub fn is_whole(&self) -> bool {
        self.expected() == Some(self.body.len())
    }

    /// How much of it is there, in words.
    pub fn progress(&self) -> String {
        match self.expected() {
            Some(expected) => format!("{} of {expected} bytes came after the header line", self.body.len()),
            None if self.line.is_empty() => "nothing came".to_string(),
            None => format!("only {} came, no whole line", excerpt(&self.line)),
        }
    }

    /// The answer; `None` where it is not whole.
    pub fn finish(self) -> Option<ProgramAnswer> {
        let whole = self.is_whole();
        let Self { header, body, .. } = self;
        header.filter(|_| whole).map(|Line { elements, error, .. }| ProgramAnswer { elements, error, body })
    }
}

/// The beginning of some bytes for an error, quoted.
fn excerpt(bytes: &[u8]) -> String {
    const MOST: usize = 80;
    let dots = if bytes.len() > MOST { "..." } else { "" };
    format!("{:?}{dots}", String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_a_line_and_bytes() {
        let encode =
            ProgramRequest::Encode { tokens: 2, hidden: 3, ratio: 1.5, accounting: "wire".to_string(), budget: 4 }
                .with(b"abc");
        let text = "{\"op\":\"encode\",\"tokens\":2,\"hidden\":3,\"ratio\":1.5,\"accounting\":\"wire\",\"budget\":4,\"bytes\":3}\nabc";
        assert_eq!(String::from_utf8(encode.unwrap()).unwrap(), text);
        let decode = ProgramRequest::Decode { tokens: 2, hidden: 3 }.with(b"").unwrap();
        assert_eq!(decode, b"{\"op\":\"decode\",\"tokens\":2,\"hidden\":3,\"bytes\":0}\n");
    }

    fn read(chunks: &[&[u8]]) -> Result<ProgramAnswer> {
        let mut incoming = IncomingAnswer::new(10);
        chunks.iter().try_for_each(|chunk| incoming.push(chunk))?;
        let progress = incoming.progress();
        incoming.finish().context(progress)
    }

    #[test]
    fn answers_come_in_any_pieces() {
        let message = b"{\"elements\": 7, \"own\": [1], \"bytes\": 4}\nab\n{";
        for cut in 0..message.len() {
            let answer = read(&[&message[..cut], &message[cut..]]).unwrap();
            assert_eq!((answer.elements, answer.error, answer.body.as_slice()), (Some(7), None, &b"ab\n{"[..]));
        }
        let refusal = read(&[b"{\"error\": \"too wide\"}\n"]).unwrap();
        assert_eq!((refusal.error.as_deref(), refusal.body.len()), (Some("too wide"), 0));
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let long = [b"{".as_slice(), &[b' '; LONGEST_LINE]].concat();
        for (message, part) in [
            (&b"hello"[..], "begins with \"hello\""),
            (b"\n{\"bytes\": 0}\n", "begins with \"\\n\""),
            (&long, "begins with \"{ "),
            (b"{\"bytes\": }\n", "not the JSON expected"),
            (b"{\"bytes\": 1.5}\n", "not the JSON expected"),
            (b"{\"bytes\": -1}\n", "not the JSON expected"),
            (b"{\xff}\n", "not the JSON expected"),
            (b"{\"byte\": 1}\n", "neither"),
            (b"{\"bytes\": 11}\n", "10 are the most"),
            (b"{\"bytes\": 99999999999999999999}\n", "not the JSON expected"),
            (b"{\"bytes\": 2, \"error\": \"no\"}\nab", "no bytes follow an error"),
            (b"{\"bytes\": 1}\nab", "more came"),
            (b"{\"bytes\": 3}\nab", "2 of 3 bytes came"),
            (b"{\"bytes\"", "no whole line"),
            (b"", "nothing came"),
        ] {
            let error = format!("{:#}", read(&[message]).unwrap_err());
            assert!(error.contains(part), "{}: {error}", excerpt(message));
        }
    }
}
