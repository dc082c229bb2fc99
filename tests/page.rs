//! The page of a report as a browser shows it: headless Chromium loads it, at the width of a desk and of a phone. Skipped where there
//! is none in PATH and SPLITBENCH_CHROMIUM names none.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const NAMES: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "chrome", "chrome-headless-shell"];

fn chromium() -> Option<PathBuf> {
    if let Some(named) = env::var_os("SPLITBENCH_CHROMIUM") {
        return Some(named.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|file| file.is_file())
}

/// What is looked at from inside, once the page is there; the findings are attributes of its root.
const PROBE: &str = r#"<script>
addEventListener("load", () => setTimeout(() => {
  // All of it is laid out, or what is off the screen would be too wide for nobody.
  document.head.insertAdjacentHTML("beforeend", "<style>figure { content-visibility: visible !important }</style>");
  const root = document.documentElement;
  const said = {};
  const say = (name, value) => { said[name] = String(value); root.setAttribute("data-" + name, value); };
  say("overflow", root.scrollWidth - root.clientWidth);
  say("width", root.clientWidth);
  say("tables", document.querySelectorAll("table").length);
  say("figures", [...document.querySelectorAll("svg[role=img]")].filter((svg) => svg.getAttribute("aria-label")).length);
  say("drawn", [...document.querySelectorAll("svg")].filter((svg) => svg.closest("details") || svg.getBoundingClientRect().height > 50).length);
  const head = document.querySelector("figure.table:not(:has(.words)) thead th:nth-child(2) button");
  const column = () => [...head.closest("table").tBodies[0].querySelectorAll("tr:not(.section)")]
    .map((row) => parseFloat(row.cells[1].textContent)).filter((number) => !Number.isNaN(number));
  head.click();
  const up = column();
  head.click();
  say("sorted", up.length > 2 && up.every((n, at) => !at || up[at - 1] <= n) && column().join() === [...up].reverse().join());
  const loaded = performance.getEntriesByType("resource").filter((entry) => !entry.name.startsWith("data:"));
  say("loaded", loaded.length);
  say("milliseconds", Math.round(performance.getEntriesByType("navigation")[0].loadEventStart));
  parent.postMessage(said, "*");
}, 0));
</script></body>"#;

/// A window as narrow as a phone, which a browser itself may refuse to be; what the page finds comes as a message.
const PHONE: &str = r#"<!DOCTYPE html><html><head><link rel="icon" href="data:,"></head><body>
<iframe src="probed.html" style="width: 390px; height: 900px; border: 0"></iframe>
<script>
addEventListener("message", ({ data }) => {
  for (const [name, value] of Object.entries(data)) document.documentElement.setAttribute("data-" + name, value);
});
</script></body></html>"#;

/// The page as it is after it was loaded, and what was written on the console.
fn opened(browser: &Path, page: &Path, more: &[&str]) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let Output { stdout, stderr, status } = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"])
        .args(["--enable-logging=stderr", "--log-level=0", "--dump-dom"])
        .arg("--window-size=1280,900")
        .args(more)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (dom, log) = (text(stdout), text(stderr));
    assert!(status.success(), "{} ended with {status}: {log}", browser.display());
    let console = log.lines().filter(|line| line.contains("CONSOLE")).collect::<Vec<_>>().join("\n");
    (dom, console)
}

#[test]
fn a_browser_shows_the_page_without_errors_and_without_overflow() {
    let Some(browser) = chromium() else {
        println!("skipped: no Chromium in PATH, and SPLITBENCH_CHROMIUM names none");
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let runs = ["table2", "figure2", "figure6", "figure7", "codecs"]
        .map(|name| root.join("results").join(name).join("pocket"));
    let made = Command::new(env!("CARGO_BIN_EXE_splitbench"))
        .arg("report")
        .args(&runs)
        .arg("--page")
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let html = fs::read_to_string(folder.path().join("index.html")).unwrap();
    assert!(html.len() < 5_000_000, "{} bytes", html.len());
    let page = folder.path().join("probed.html");
    fs::write(&page, html.replace("</body>", PROBE)).unwrap();
    let phone = folder.path().join("phone.html");
    fs::write(&phone, PHONE).unwrap();
    // Virtual time waits for the message, and would make times of loading meaningless.
    for (page, width, more) in [(&page, 1280, &[][..]), (&phone, 390, &["--virtual-time-budget=20000"][..])] {
        let (dom, console) = opened(&browser, page, more);
        assert_eq!(console, "", "at {width} pixels");
        let said = |name: &str| {
            let root = dom.split('>').take(2).collect::<String>();
            let (_, rest) =
                root.split_once(&format!("data-{name}=\"")).unwrap_or_else(|| panic!("no {name} in {root}"));
            rest.split('"').next().unwrap().to_string()
        };
        let number = |name: &str| said(name).parse::<i64>().unwrap();
        assert!(number("overflow") <= 0, "{} pixels too wide at {}", said("overflow"), said("width"));
        assert!((width - 20..=width).contains(&number("width")), "{}", said("width"));
        assert_eq!(number("tables"), html.matches("<table").count() as i64);
        assert_eq!(number("figures"), html.matches("<svg").count() as i64);
        assert_eq!(number("drawn"), number("figures"));
        assert_eq!((said("sorted").as_str(), number("loaded")), ("true", 0));
        println!(
            "{} bytes, {} tables, {} figures; loaded in {} ms at {} pixels",
            html.len(),
            number("tables"),
            number("figures"),
            said("milliseconds"),
            said("width")
        );
    }
}
