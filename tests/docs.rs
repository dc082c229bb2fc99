//! The pages that people read: links lead somewhere, README is short, and what stands in a block of commands works.
//!
//! Blocks of ```` ```sh ```` are parsed, those of ```` ```sh run ```` are run, in a folder of their own that has the examples of the
//! tree. A first line of `# needs: COMMAND` or `# needs: numpy` has a block skipped where that is not to be had.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use clap::Parser;
use splitbench::cmd::Cli;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files under a folder with an ending, as paths from the root of the tree.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == ending) {
                out.push(path.strip_prefix(root()).unwrap().to_path_buf());
            }
        }
    }
    out.sort();
    out
}

/// README, docs, and what the crates and the cores say of themselves.
fn prose() -> Vec<PathBuf> {
    let others = ["docs", "crates"].iter().flat_map(|folder| files(folder, "md"));
    std::iter::once(PathBuf::from("README.md")).chain(others).collect()
}

fn read(page: &Path) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// What stands behind the three backticks of a block, its first line's number, and its lines.
struct Block {
    kind: String,
    line: usize,
    text: String,
}

/// Lines outside of blocks with their numbers, and the blocks.
fn parts(text: &str) -> (Vec<(usize, &str)>, Vec<Block>) {
    let (mut lines, mut blocks) = (Vec::new(), Vec::new());
    let mut open: Option<(usize, Block)> = None;
    for (nth, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        let indent = line.len() - line.trim_start().len();
        open = match (open, fence) {
            (None, Some(kind)) => Some((indent, Block { kind: kind.into(), line: nth + 1, text: String::new() })),
            (None, None) => {
                lines.push((nth + 1, line));
                None
            }
            (Some((_, block)), Some("")) => {
                blocks.push(block);
                None
            }
            (Some((indent, mut block)), _) => {
                block.text += line.get(indent..).unwrap_or_default();
                block.text.push('\n');
                Some((indent, block))
            }
        };
    }
    assert!(open.is_none(), "a block is not closed");
    (lines, blocks)
}

/// A line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Links and pictures of a page: where they lead, with the numbers of their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    for (nth, line) in parts(text).0 {
        // Code may stand inside of a link's text, links not inside of code.
        let bare = line.replace("[`", "[").replace("`]", "]");
        for part in without_code(&bare).split("](").skip(1) {
            let to = part.split(')').next().unwrap_or_default();
            out.push((nth, to.trim_start_matches('<').split('>').next().unwrap_or_default().to_string()));
        }
    }
    out
}

/// What GitHub calls a heading: small letters, digits, hyphens and underscores of it, blanks as hyphens.
fn slug(heading: &str) -> String {
    let shown = heading.replace('`', "");
    // Of a link its text is shown.
    let mut parts = shown.split("](");
    let mut shown = parts.next().unwrap_or_default().to_string();
    parts.for_each(|part| shown += part.split_once(')').map_or(part, |(_, rest)| rest));
    let kept = shown.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Anchors of a page; of equal headings the later ones have a number.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut out = BTreeSet::new();
    for (_, line) in parts(text).0 {
        let heading = line.trim_start_matches('#');
        if line.starts_with('#') && heading.starts_with(' ') {
            let slug = slug(heading);
            let count = counts.entry(slug.clone()).or_default();
            out.insert(if *count == 0 { slug } else { format!("{slug}-{count}") });
            *count += 1;
        }
    }
    out
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// Files under version control; none where git does not answer.
fn tracked() -> Option<BTreeSet<PathBuf>> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().ok()?;
    let names = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !names.is_empty()).then(|| names.split('\0').map(PathBuf::from).collect())
}

fn show(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_link_leads_somewhere() {
    let tracked = tracked();
    let mut problems = Vec::new();
    for page in prose().into_iter().chain(files("results/report", "md")) {
        let text = read(&page);
        for (line, link) in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').map_or((link.as_str(), None), |(file, to)| (file, Some(to)));
            let to = if file.is_empty() { page.clone() } else { plain(&page.parent().unwrap().join(file)) };
            let is_there = root().join(&to).exists()
                && tracked.as_ref().is_none_or(|all| root().join(&to).is_dir() || all.contains(&to));
            if !is_there {
                problems.push(format!("{}:{line}: {link} leads to no committed file", page.display()));
            } else if let (Some(anchor), Some("md")) = (anchor, to.extension().and_then(|kind| kind.to_str()))
                && !anchors(&read(&to)).contains(anchor)
            {
                problems.push(format!("{}:{line}: {} has no heading #{anchor}", page.display(), to.display()));
            }
        }
    }
    show(&problems);
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let mut reached = BTreeSet::from([PathBuf::from("README.md")]);
    let mut pages = vec![PathBuf::from("README.md")];
    while let Some(page) = pages.pop() {
        for (_, link) in links(&read(&page)) {
            let to = plain(&page.parent().unwrap().join(link.split('#').next().unwrap_or_default()));
            if to.extension().is_some_and(|kind| kind == "md")
                && root().join(&to).is_file()
                && reached.insert(to.clone())
            {
                pages.push(to);
            }
        }
    }
    let lost: Vec<String> = prose()
        .into_iter()
        .filter(|page| page.starts_with("docs") && !reached.contains(page))
        .map(|page| format!("{}: no way leads here from README.md", page.display()))
        .collect();
    show(&lost);
}

#[test]
fn pages_are_short_to_read() {
    let mut problems = Vec::new();
    let bytes = read(Path::new("README.md")).len();
    if bytes > 10_000 {
        problems.push(format!("README.md has {bytes} bytes, more than 10,000"));
    }
    for page in prose() {
        let text = read(&page);
        for (line, prose) in parts(&text).0 {
            let is_prose = !prose.starts_with('|') && !prose.contains("](") && !prose.contains("://");
            let letters = prose.chars().count();
            if is_prose && letters > 100 {
                problems.push(format!("{}:{line}: {letters} characters, more than 100", page.display()));
            }
        }
        let first = text.lines().next().unwrap_or_default();
        if !first.starts_with("# ") {
            problems.push(format!("{}: the first line is no title", page.display()));
        }
        if page.starts_with("docs") && !text.lines().take(5).any(|line| line.trim_end().ends_with('?')) {
            problems.push(format!("{}: no question stands at its top", page.display()));
        }
    }
    show(&problems);
}

/// Commands of a block: comments left out, lines that end in a backslash joined.
fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(String::from).collect()
}

/// The words behind the program's name, if a command has it.
fn arguments(words: &[String]) -> Option<&[String]> {
    const CARGO: [&str; 3] = ["cargo", "run", "--release"];
    let words = match words.iter().position(|word| !word.contains('=') || word.contains('/')) {
        Some(first) => &words[first..],
        None => return None,
    };
    if words.first().is_some_and(|word| word == "splitbench" || word == "target/release/splitbench") {
        return Some(&words[1..]);
    }
    if words.len() > 3 && words[..3] == CARGO && words[3] != "-p" {
        return words.iter().position(|word| word == "--").map(|dashes| &words[dashes + 1..]);
    }
    None
}

/// What a line runs, one after another or through a pipe.
fn simple(line: &str) -> Vec<Vec<String>> {
    let words = shlex::split(line.trim_start_matches("! ")).unwrap_or_else(|| panic!("quotes of: {line}"));
    let end = words.iter().position(|word| word == "#" || word == ">" || word == "2>").unwrap_or(words.len());
    words[..end].split(|word| ["&&", "||", "|", ";"].contains(&word.as_str())).map(<[String]>::to_vec).collect()
}

/// What is wrong with a command, if anything.
fn fault(words: &[String], recipes: &BTreeSet<String>) -> Option<String> {
    if words.first().is_some_and(|word| word == "just") {
        let recipe = words.iter().skip(1).find(|word| !word.contains('=')).cloned().unwrap_or_default();
        return (!recipes.contains(&recipe)).then(|| format!("the justfile has no recipe {recipe}"));
    }
    let arguments = arguments(words)?;
    let parsed = Cli::try_parse_from(std::iter::once("splitbench".into()).chain(arguments.iter().cloned()));
    // `--help` and `--version` are answers, not errors.
    parsed.err().filter(clap::Error::use_stderr).map(|error| error.to_string())
}

fn recipes() -> BTreeSet<String> {
    let text = read(Path::new("justfile"));
    let heads = text.lines().filter(|line| line.starts_with(char::is_lowercase) && line.contains(':'));
    heads.map(|line| line.split([' ', ':']).next().unwrap_or_default().to_string()).collect()
}

#[test]
fn every_command_of_the_pages_is_one() {
    let recipes = recipes();
    let mut problems = Vec::new();
    let mut count = 0;
    for page in prose() {
        for block in parts(&read(&page)).1 {
            if block.kind.split(' ').next() != Some("sh") {
                continue;
            }
            for line in commands(&block.text) {
                for words in simple(&line) {
                    count += usize::from(arguments(&words).is_some());
                    if let Some(fault) = fault(&words, &recipes) {
                        problems.push(format!("{}:{}: {line}\n{fault}", page.display(), block.line));
                    }
                }
            }
        }
    }
    show(&problems);
    assert!(count > 50, "only {count} commands were found");
}

#[test]
fn every_example_of_a_help_is_a_command() {
    let mut problems = Vec::new();
    for file in files("src/cmd", "rs") {
        for line in read(&file).lines().filter_map(|line| line.trim().strip_prefix("///   splitbench ")) {
            for words in simple(&format!("splitbench {line}")) {
                problems.extend(fault(&words, &recipes()).map(|fault| format!("{}: {line}\n{fault}", file.display())));
            }
        }
    }
    show(&problems);
}

#[test]
fn a_wrong_command_and_a_wrong_link_are_told() {
    let told = |line: &str| simple(line).iter().any(|words| fault(words, &recipes()).is_some());
    for wrong in [
        "splitbench rnu smoke",
        "A=1 splitbench run smoke --lmit 3",
        "just no-such-recipe",
        "true && cargo run --release -- list things",
    ] {
        assert!(told(wrong), "{wrong}");
    }
    for right in
        ["splitbench run smoke --limit 3 > out", "ls no-such-file", "just features=\"--features cuda-kernel\" table4"]
    {
        assert!(!told(right), "{right}");
    }
    assert_eq!(
        links("a [b](c.md#d) `[e](f)` ![g](<h i.svg>)\n```\n[j](k)\n```\n").iter().map(|l| &*l.1).collect::<Vec<_>>(),
        ["c.md#d", "h i.svg"]
    );
    let headings = "# A `b` of C: d?\n## Same\n## Same\n#no\n## [E](f.md) g (h)\n";
    assert_eq!(anchors(headings), ["a-b-of-c-d", "same", "same-1", "e-g-h"].map(String::from).into());
}

/// Whether what a block needs is there.
fn is_there(needs: &str) -> bool {
    let answers = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    match needs {
        "numpy" => answers("python3", &["-c", "import numpy"]),
        program => answers("sh", &["-c", &format!("command -v {program}")]),
    }
}

#[test]
fn blocks_that_are_to_be_run_run() {
    let mut problems = Vec::new();
    let mut count = 0;
    for page in prose() {
        let blocks: Vec<Block> = parts(&read(&page)).1.into_iter().filter(|block| block.kind == "sh run").collect();
        if blocks.is_empty() {
            continue;
        }
        // Blocks of a page build on one another.
        let folder = tempfile::tempdir().unwrap();
        for name in ["examples", "tests", "experiments", "datasets", "models", "docs"] {
            #[cfg(unix)]
            std::os::unix::fs::symlink(root().join(name), folder.path().join(name)).unwrap();
        }
        let bin = folder.path().join(".bin");
        fs::create_dir(&bin).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_splitbench"), bin.join("splitbench")).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        for block in blocks {
            let place = format!("{}:{}", page.display(), block.line);
            let needs = block.text.lines().next().and_then(|line| line.strip_prefix("# needs: "));
            if let Some(needs) = needs.filter(|needs| !is_there(needs)) {
                println!("{place}: skipped: there is no {needs}");
                continue;
            }
            let script = block.text.replace("cargo run --release -- ", "splitbench ");
            let script = script.replace("target/release/splitbench ", "splitbench ");
            let output = Command::new("bash")
                .args(["-euo", "pipefail", "-c", &script])
                .current_dir(folder.path())
                .env("PATH", &path)
                .env("HF_HOME", folder.path().join(".hub"))
                .output()
                .unwrap();
            count += 1;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                problems.push(format!("{place}: {}\n{script}\n{said}", output.status));
            }
        }
    }
    show(&problems);
    assert!(count >= 8, "only {count} blocks were run");
}

/// The example of "Add a codec" is compiled and tested as it stands in the page.
#[test]
fn the_worked_codec_is_the_one_that_is_tested() {
    let page = read(Path::new("docs/add-a-codec.md"));
    let shown = parts(&page).1.into_iter().find(|block| block.kind == "rust").expect("a block of Rust").text;
    let tested = read(Path::new("crates/codec/src/codecs/decimate.rs"));
    let (code, _) = tested.split_once("\n#[cfg(test)]\nmod tests").expect("tests behind the code");
    assert!(shown == code, "docs/add-a-codec.md shows another codec than crates/codec/src/codecs/decimate.rs");
}
