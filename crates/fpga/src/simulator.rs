//! The cores, simulated cycle by cycle by programs that Verilator made.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::float::BlockFloat;
use super::model::{DecoderOutput, EncoderOutput};
use super::shape::{CoreShape, HIDDEN, LANES};
use super::{CLOCK_HZ, sources};

/// Version of the messages and of what the cores compute, the same as in `rtl/sim/simulate.cpp`.
const VERSION: u32 = 1;

/// The first number of a message.
const MAGIC: u32 = 0x5452_4346;

/// Bytes of a beat in a message: eight mantissas and an exponent.
const BEAT_BYTES: usize = 2 * (LANES + 1);

/// How long a simulation may take, beside what its beats take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A hundred times what a beat in or out takes on a busy core.
const TIMEOUT_A_BEAT: Duration = Duration::from_millis(10);

/// Programs that simulate the encoder and the decoder.
#[derive(Debug)]
pub struct Simulator {
    folder: PathBuf,
    timeout: Duration,
    stalls: u32,
}

/// When, in cycles from the start of a simulation, a job's beats went over the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoreTiming {
    /// The first beat was taken.
    pub first_in: u64,
    /// The last beat was taken.
    pub last_in: u64,
    /// The first beat came out.
    pub first_out: u64,
    /// The last beat came out.
    pub last_out: u64,
}

impl CoreTiming {
    /// Cycles from the first beat in to the last beat out, both counted.
    pub fn cycles(&self) -> u64 {
        self.last_out + 1 - self.first_in
    }

    /// Cycles of jobs that were simulated one behind another, from the first beat of the first to the last of the last: the
    /// core takes a job in while it works on others.
    pub fn span(timings: &[Self]) -> u64 {
        timings.first().zip(timings.last()).map_or(0, |(first, last)| last.last_out + 1 - first.first_in)
    }

    /// Seconds that a number of cycles takes at [`CLOCK_HZ`].
    pub fn seconds(cycles: u64) -> f64 {
        cycles as f64 / CLOCK_HZ
    }
}

/// What the simulated encoder gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeRun {
    /// Bit for bit what [`super::encode`] gives.
    pub encoded: EncoderOutput,
    /// When it came.
    pub timing: CoreTiming,
}

/// What the simulated decoder gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeRun {
    /// Bit for bit what [`super::decode`] gives.
    pub decoded: DecoderOutput,
    /// When it came.
    pub timing: CoreTiming,
}

/// A job of either core.
struct CoreJob<'a> {
    shape: &'a CoreShape,
    input: &'a BlockFloat,
    beats_out: usize,
}

impl Simulator {
    /// The simulator of `rtl/`, built where that has changed. Fails, with a reason for the user, where Verilator, make or a
    /// C++ compiler are not there.
    pub fn find() -> Result<Self> {
        Self::in_folder(&sources::built()?)
    }

    /// Programs that are there already; fails where they are not of this version.
    fn in_folder(folder: &Path) -> Result<Self> {
        for name in ["encoder", "decoder"] {
            let path = folder.join(format!("fc_{name}"));
            let output = Command::new(&path).arg("--version").stdin(Stdio::null()).output();
            let output = output.with_context(|| format!("cannot start the simulator {}", path.display()))?;
            let (found, expected) =
                (String::from_utf8_lossy(&output.stdout), format!("splitbench-rtl {VERSION} {name}"));
            ensure!(
                found.trim() == expected,
                "the simulator {} says it is {:?}, but {expected:?} is needed: delete its folder, and it is built again",
                path.display(),
                found.trim()
            );
        }
        Ok(Self { folder: folder.to_path_buf(), timeout: TIMEOUT, stalls: 0 })
    }

    /// The same with pauses at both ports at random, one cycle in four; 0 is for none. What comes out does not change.
    pub fn with_stalls(self, seed: u32) -> Self {
        Self { stalls: seed, ..self }
    }

    /// Encodes activations one behind another, as fast as the core takes them.
    pub fn encode(&self, jobs: &[(CoreShape, &BlockFloat)]) -> Result<Vec<EncodeRun>> {
        jobs.iter().try_for_each(|(shape, rows)| shape.check_rows(rows))?;
        let jobs = jobs.iter().map(|(shape, input)| CoreJob { shape, input, beats_out: shape.beats().len() });
        let results = self.run("encoder", &jobs.collect::<Vec<_>>())?;
        let run = |(coefficients, saturations, timing)| EncodeRun {
            encoded: EncoderOutput { coefficients, saturations },
            timing,
        };
        Ok(results.into_iter().map(run).collect())
    }

    /// Decodes coefficients one behind another, as fast as the core takes them.
    pub fn decode(&self, jobs: &[(CoreShape, &BlockFloat)]) -> Result<Vec<DecodeRun>> {
        jobs.iter().try_for_each(|(shape, coefficients)| shape.check_coefficients(coefficients))?;
        let jobs = jobs.iter().map(|(shape, input)| {
            let beats_out = shape.tokens() * shape.lane_length();
            CoreJob { shape, input, beats_out }
        });
        let results = self.run("decoder", &jobs.collect::<Vec<_>>())?;
        let run = |(values, saturations, timing)| DecodeRun { decoded: DecoderOutput { values, saturations }, timing };
        Ok(results.into_iter().map(run).collect())
    }

    fn run(&self, name: &str, jobs: &[CoreJob<'_>]) -> Result<Vec<(BlockFloat, u64, CoreTiming)>> {
        let beats = jobs.iter().map(|job| job.input.mantissas.len() / LANES + job.beats_out).sum::<usize>();
        let timeout = self.timeout + TIMEOUT_A_BEAT * u32::try_from(beats)?;
        let answer = converse(&self.folder, name, request(jobs, self.stalls)?, timeout)?;
        read_answer(&answer, jobs).with_context(|| format!("the answer of the simulated {name}"))
    }
}

/// The message for a program.
fn request(jobs: &[CoreJob<'_>], seed: u32) -> Result<Vec<u8>> {
    let mut numbers = vec![MAGIC, u32::try_from(jobs.len())?, seed];
    for CoreJob { shape, input, beats_out } in jobs {
        let code = HIDDEN.iter().position(|d| *d == shape.hidden()).unwrap_or(HIDDEN.len());
        let beats_in = input.mantissas.len() / LANES;
        for number in [shape.tokens(), code, shape.block().ks, shape.block().kd, beats_in, *beats_out] {
            numbers.push(u32::try_from(number)?);
        }
    }
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    for CoreJob { input, .. } in jobs {
        for (i, beat) in input.mantissas.chunks(LANES).enumerate() {
            let exponent = input.exponents[i * LANES / input.group];
            bytes.extend(beat.iter().chain([&exponent]).flat_map(|n| n.to_le_bytes()));
        }
    }
    Ok(bytes)
}

/// A program's answer in its parts.
fn read_answer(bytes: &[u8], jobs: &[CoreJob<'_>]) -> Result<Vec<(BlockFloat, u64, CoreTiming)>> {
    let expected = 8 + jobs.iter().map(|job| 36 + BEAT_BYTES * job.beats_out).sum::<usize>();
    ensure!(bytes.len() == expected, "has {} bytes, not {expected}", bytes.len());
    let mut rest = bytes;
    let mut number = |size: usize| {
        let (head, tail) = rest.split_at(size);
        rest = tail;
        head.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte))
    };
    ensure!([number(4), number(4)] == [u64::from(MAGIC), jobs.len() as u64], "does not begin as it should");
    let heads: Vec<_> = jobs
        .iter()
        .map(|_| {
            let [first_in, last_in, first_out, last_out] = std::array::from_fn(|_| number(8));
            (CoreTiming { first_in, last_in, first_out, last_out }, number(4))
        })
        .collect();
    let mut results = Vec::with_capacity(jobs.len());
    for (job, (timing, saturations)) in jobs.iter().zip(heads) {
        let mut out = BlockFloat { mantissas: Vec::new(), exponents: Vec::new(), group: LANES };
        for _ in 0..job.beats_out {
            out.mantissas.extend((0..LANES).map(|_| number(2) as u16 as i16));
            out.exponents.push(number(2) as u16 as i16);
        }
        results.push((out, saturations, timing));
    }
    Ok(results)
}

/// Starts a program, gives it a message and takes its answer, which it ends with.
fn converse(folder: &Path, name: &str, request: Vec<u8>, timeout: Duration) -> Result<Vec<u8>> {
    let mut child = Command::new(folder.join(format!("fc_{name}")))
        // Its tables lie there.
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start the simulated {name}"))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut input), Some(output), Some(errors)) = pipes else { bail!("the simulated {name} has no pipes") };
    // A program that ends early closes its input; what it said explains more than that.
    let writing = thread::spawn(move || drop(input.write_all(&request)));
    let (output, errors) = (thread::spawn(move || read(output)), thread::spawn(move || read(errors)));
    let status = wait(&mut child, timeout);
    if status.is_none() {
        // Fails only where it has ended at last.
        let _ = child.kill();
        let _ = child.wait();
    }
    let _ = writing.join();
    let (answer, said) = (output.join().unwrap_or_default(), errors.join().unwrap_or_default());
    let said = said_last(&said);
    match status {
        None => bail!("the simulated {name} was not done after {} s and was killed{said}", timeout.as_secs_f64()),
        Some(status) if !status.success() => bail!("the simulated {name} ended ({status}){said}"),
        Some(_) => Ok(answer),
    }
}

/// The status of a process once it has ended; `None` where it takes longer.
fn wait(child: &mut Child, timeout: Duration) -> Option<std::process::ExitStatus> {
    let deadline = Instant::now() + timeout;
    let mut pause = Duration::from_micros(100);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        let left = deadline.checked_duration_since(Instant::now())?;
        thread::sleep(pause.min(left));
        pause = (2 * pause).min(Duration::from_millis(10));
    }
}

/// All that comes; what came before an error counts as well.
fn read(mut pipe: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    bytes
}

/// The last lines of standard error for an error message.
fn said_last(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last: String = lines[lines.len().saturating_sub(5)..].join(" | ");
    let last: String = last.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if last.is_empty() { "; it said nothing".to_string() } else { format!("; its standard error ended: {last}") }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::quantise;
    use splitbench_codec::kernel::Block;

    /// Two programs that know their version, if it is that, and otherwise do what a shell script says.
    fn fake(version: u32, script: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["encoder", "decoder"] {
            let path = folder.path().join(format!("fc_{name}"));
            let text = format!(
                "#!/bin/sh\nif [ \"$1\" = --version ]; then echo splitbench-rtl {version} {name}; exit; fi\n{script}\n"
            );
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder
    }

    fn error_of(script: &str) -> String {
        let folder = fake(VERSION, script);
        let simulator =
            Simulator { timeout: Duration::from_millis(300), ..Simulator::in_folder(folder.path()).unwrap() };
        let shape = CoreShape::new(2, 192, Block { ks: 1, kd: 3 }).unwrap();
        let rows = quantise(&[0.5; 2 * 192], 192).unwrap().rows;
        format!("{:#}", simulator.encode(&[(shape, &rows)]).unwrap_err())
    }

    #[test]
    fn a_simulator_that_dies_is_reported_with_what_it_said() {
        let error = error_of("echo first >&2; echo 'the core is stuck' >&2; exit 5");
        assert!(error.contains("exit status: 5") && error.contains("first | the core is stuck"), "{error}");
        assert!(error_of("kill -9 $$").contains("signal: 9"));
        assert!(error_of("exit 1").contains("it said nothing"));
    }

    #[test]
    fn a_simulator_that_hangs_is_killed_and_reported_with_what_it_said() {
        let started = Instant::now();
        // As itself, so that nothing is left behind.
        let error = error_of("echo 'cycle 12' >&2; exec sleep 100");
        assert!(error.contains("was not done after") && error.contains("cycle 12"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn an_answer_that_is_cut_short_is_an_error() {
        let error = error_of("cat > /dev/null; printf FCRT");
        assert!(error.contains("the answer of the simulated encoder: has 4 bytes, not"), "{error}");
        // One beat a tile and token frequency: 8 + 36 + 18 bytes.
        let error = error_of("cat > /dev/null; head -c 62 /dev/zero");
        assert!(error.contains("does not begin as it should"), "{error}");
    }

    #[test]
    fn a_wrong_or_missing_version_is_refused() {
        let folder = fake(VERSION + 1, "");
        let error = format!("{:#}", Simulator::in_folder(folder.path()).unwrap_err());
        let versions = [format!("splitbench-rtl {} encoder", VERSION + 1), format!("splitbench-rtl {VERSION} encoder")];
        assert!(versions.iter().all(|version| error.contains(version)), "{error}");
        let empty = tempfile::tempdir().unwrap();
        assert!(
            format!("{:#}", Simulator::in_folder(empty.path()).unwrap_err()).contains("cannot start the simulator")
        );
    }

    #[test]
    fn spans_reach_from_the_first_beat_to_the_last() {
        let at = |first_in, last_out| CoreTiming { first_in, last_in: first_in + 5, first_out: last_out - 3, last_out };
        assert_eq!(
            (at(4, 103).cycles(), CoreTiming::span(&[at(4, 103), at(10, 203)]), CoreTiming::span(&[])),
            (100, 200, 0)
        );
        assert_eq!(CoreTiming::seconds(600), 2e-6);
    }
}
