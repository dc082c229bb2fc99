//! For tests: CUDA sources compiled for a processor (`tests/cuda`). A GPU is not needed; a C++20 compiler is.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program of `tests/cuda`, compiled into `folder`; none where there is no C++20 compiler.
pub fn compile(folder: &Path, source: &str, options: &[String]) -> Option<PathBuf> {
    let program = folder.join(format!("{source}{}", options.concat()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda").join(source);
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++20", "-O1", "-pthread", "-w", "-o"]).arg(&program).args(options).arg(source);
    match compiler.output() {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            // A compiler of C++20 must take it.
            assert!(text.contains("barrier: No such file") || text.contains("c++20"), "{text}");
            None
        }
        Err(_) => None,
    }
}

/// What a program writes when it has read these bytes.
pub fn run(program: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}
