//! A data set of the user's own, from its file to tables, and what may be wrong with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with the example of docs/add-a-data-set.md.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(place.path("sets")).unwrap();
        for file in ["capitals.toml", "capitals.jsonl", "capitals-train.jsonl"] {
            let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/datasets").join(file);
            fs::copy(example, place.path("sets").join(file)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Changes a file; what it changes has to be there.
    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, &text.replacen(from, to, 1));
    }

    /// The program in this folder.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_splitbench"));
        command.args(arguments).current_dir(self.folder.path()).env("HF_HOME", self.path("home")).output().unwrap()
    }

    /// What was printed.
    fn works(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned() + &error
    }

    /// Exit code 1, every part said, no panic.
    fn fails(&self, arguments: &[&str], expected: &[&str]) {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
        for part in expected {
            assert!(text.contains(part), "{arguments:?} does not say {part:?}: {text}");
        }
    }
}

const EXPERIMENT: &str = r#"
analysis = "Capitals."
datasets = ["sets/capitals.toml", "piqa-mini"]
codecs = ["fc", "asvd"]
ratios = [4.0]
limit = 10

[report]
table2 = true
"#;

#[test]
fn the_example_runs_to_a_table_in_one_go_and_in_shares() {
    let place = Place::new();
    place.write("mine.toml", EXPERIMENT);
    let said = place.works(&["plan", "mine.toml"]);
    assert!(said.contains("capitals"), "{said}");
    let said = place.works(&["run", "mine.toml", "--run", "whole"]);
    assert!(said.contains("Capitals") && !said.contains("sha256"), "{said}");
    let table = place.read("results/mine/whole/table2.md");
    assert!(table.contains("| Capitals |") && table.contains("PIQA mini"), "{table}");

    // The manifest says the whole of it, so the files may go.
    let manifest: serde_json::Value = serde_json::from_str(&place.read("results/mine/whole/manifest.json")).unwrap();
    let definition = &manifest["spec"]["datasets"][0];
    assert_eq!(definition["origin"], "sets/capitals.toml");
    assert_eq!(definition["prompt"], "Question: Which city is the capital of {{country}}?\nAnswer:");
    assert_eq!((&definition["gold"], &definition["labels"][4]), (&"capital".into(), &"E".into()));
    for shard in ["1/2", "2/2"] {
        place.works(&["run", "mine.toml", "--run", "shares", "--shard", shard]);
    }
    fs::remove_dir_all(place.path("sets")).unwrap();
    place.works(&["collect", "results/mine/shares"]);
    for file in ["rows.csv", "table2.md", "samples/pocket--capitals.jsonl"] {
        let [whole, shares] = ["whole", "shares"].map(|run| place.read(&format!("results/mine/{run}/{file}")));
        assert_eq!(whole, shares, "{file}");
    }
    let rows = place.read("results/mine/whole/rows.csv");
    let line = rows.lines().find(|line| line.contains(",capitals,")).unwrap();
    assert!(line.contains(",Capitals,") && line.contains("sets/capitals.jsonl,f1831191"), "{line}");

    let said = place.works(&["report", "results/mine/whole"]);
    assert!(said.contains("Capitals"), "{said}");
    let said = place.works(&["compare", "results/mine/whole", "results/mine/shares"]);
    assert!(said.contains("Capitals"), "{said}");
    let said = place.works(&["collect", "results/mine/shares", "--datasets", "capitals"]);
    assert!(said.contains("Capitals") && !said.contains("PIQA"), "{said}");
}

#[test]
fn every_command_that_takes_a_data_set_takes_a_path() {
    let place = Place::new();
    let set = "sets/capitals.toml";
    // As README and docs/add-a-data-set.md have it.
    let said = place.works(&["run", "smoke", "--datasets", set, "--limit", "4"]);
    assert!(said.contains("Capitals"), "{said}");
    let said = place.works(&["score", "--dataset", set]);
    assert!(said.contains("pocket capitals baseline") && said.contains("16 questions"), "{said}");
    place.works(&["score", "--dataset", set, "--codec", "fwsvd", "--ratio", "4", "--limit", "3"]);
    let gate = ["gate", "--codec", "noop", "--split", "1", "--dataset", set, "--max-kl", "0.1", "--limit", "4"];
    place.works(&gate);
    let said = place.works(&["trace", "--datasets", &format!("{set},piqa-mini"), "--limit", "3", "--output", "t.json"]);
    assert!(said.contains("capitals") && said.contains("piqa-mini"), "{said}");
    place.works(&["replay", "t.json", "--codecs", "fc", "--ratio", "4"]);
    place.fails(&["replay", "t.json", "--codecs", "fc", "--ratio", "paper"], &["capitals", "give a number"]);
    place.works(&["layers", "--datasets", set, "--limit", "3", "--codec", "fc", "--ratio", "4"]);
    let searched = ["near-lossless", "--datasets", set, "--limit", "3", "--codecs", "fc", "--points", "50"];
    assert!(place.works(&searched).contains("Capitals"));
    let said = place.works(&["prepare", "--dataset", set]);
    assert!(said.contains("nothing to fetch"), "{said}");
    let said = place.works(&["list", "datasets"]);
    assert!(said.contains("PATH.toml") && said.contains("docs/add-a-data-set.md"), "{said}");
}

#[test]
fn a_run_does_not_go_on_with_answers_to_other_questions() {
    let place = Place::new();
    let run = ["run", "smoke", "--datasets", "sets/capitals.toml", "--limit", "3", "--run", "one"];
    place.works(&run);
    let rows = place.read("results/smoke/one/rows.csv");
    // What tables print may change, what is asked may not.
    place.edit("sets/capitals.toml", "title = \"Capitals\"", "title = \"Chief towns\"");
    assert!(place.works(&run).contains("Chief towns"));
    assert_eq!(place.read("results/smoke/one/rows.csv").replace("Chief towns", "Capitals"), rows);
    for (from, to) in [
        ("Question: Which", "Q: Which"),
        ("choices = \"cities\"", "choices = \"cities\"\nscored = \"letter\""),
        ("[\"A\", \"B\", \"C\", \"D\", \"E\"]", "[\"A\", \"B\", \"C\", \"D\", \"F\"]"),
    ] {
        place.edit("sets/capitals.toml", from, to);
        place.fails(&run, &["pocket--capitals.journal", "definition of the data set", "--run NAME"]);
        place.edit("sets/capitals.toml", to, from);
    }
    place.edit("sets/capitals.jsonl", "Nairobi", "Nakuru");
    place.fails(&run, &["sets/capitals.jsonl: its sha256 is", "sets/capitals.toml states f1831191"]);
    place.edit("sets/capitals.toml", "sha256 = \"f18", "# sha256 = \"f18");
    place.fails(&run, &["pocket--capitals.journal", "rows (SHA-256)"]);
}

#[test]
fn paths_in_an_experiment_begin_where_it_lies() {
    let place = Place::new();
    fs::create_dir(place.path("deep")).unwrap();
    place.write("deep/mine.toml", &EXPERIMENT.replace("\"sets/", "\"../sets/").replace(", \"asvd\"", ""));
    place.works(&["run", "deep/mine.toml", "--run", "a"]);
    assert!(place.read("results/mine/a/rows.csv").contains("deep/../sets/capitals.jsonl"));
    place.write("deep/mine.toml", EXPERIMENT);
    place.fails(&["plan", "deep/mine.toml"], &["deep/mine.toml", "reading data set deep/sets/capitals.toml"]);
    place.write(
        "deep/mine.toml",
        &EXPERIMENT.replace("ratios = [4.0]", "ratios = \"paper\"").replace("\"sets/", "\"../sets/"),
    );
    place.fails(&["plan", "deep/mine.toml"], &["\"paper\"", "deep/../sets/capitals.toml", "list of numbers"]);
    let inline = "[{ name = \"x\", file = \"x.jsonl\", prompt = \"{{q}}\", choices = \"c\", gold = \"g\" }]";
    place.write("deep/mine.toml", &EXPERIMENT.replace("[\"sets/capitals.toml\", \"piqa-mini\"]", inline));
    place.fails(&["plan", "deep/mine.toml"], &["a definition goes into a file of its own"]);
}

#[test]
fn two_sets_of_one_name_are_refused() {
    let place = Place::new();
    fs::create_dir(place.path("other")).unwrap();
    fs::copy(place.path("sets/capitals.toml"), place.path("other/capitals.toml")).unwrap();
    let (one, other) = ("sets/capitals.toml", "other/capitals.toml");
    let both = format!("{one},{other}");
    place.fails(&["plan", "smoke", "--datasets", &both], &[one, other, "same name or title", "name = "]);
    place.fails(&["trace", "--datasets", &both, "--output", "t.json"], &[one, other, "same name or title"]);
    let twice = format!("{one},{one}");
    place.fails(&["plan", "smoke", "--datasets", &twice], &["sets/capitals.toml is listed twice"]);
    place.fails(&["prepare", "--dataset", &twice], &["sets/capitals.toml is listed twice"]);
}

const TOML: &str = "sets/capitals.toml";
const ROWS: &str = "sets/capitals.jsonl";

#[test]
fn the_documentation_has_the_example_whole_and_every_key() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/add-a-data-set.md");
    let page = fs::read_to_string(page).unwrap();
    let indented = |text: String| text.lines().map(|line| format!("   {line}").trim_end().to_string() + "\n").collect();
    let place = Place::new();
    let (example, row): (String, String) = (indented(place.read(TOML)), place.read(ROWS));
    assert!(page.contains(&example), "the example is not the file's");
    assert!(page.lines().all(|line| line.chars().count() <= 100));
    assert!(row.starts_with("{\"id\": \"c01\", \"country\": \"Kenya\", \"cities\": [\"Mombasa\", \"Nairobi\""));
    // The program itself tells which keys there are.
    place.edit(TOML, "title = ", "titel = ");
    let output = place.run(&["score", "--dataset", TOML]);
    let error = String::from_utf8(output.stderr).unwrap();
    let known = error.trim().split_once("known: ").unwrap().1.split(", ");
    let of_built_in = ["origin", "column", "paper_ratio"];
    let keys: Vec<&str> = known.filter(|key| !of_built_in.contains(key)).collect();
    assert!(keys.len() >= 15, "{keys:?}");
    for key in keys {
        assert!(page.contains(&format!("| `{key}` |")) || page.contains(&format!("| `[{key}]` |")), "{key}");
    }
}

/// Every fault with the file, the line or key, what was expected, and where one is near the name that was meant.
#[test]
fn what_is_wrong_with_a_definition_or_a_row_is_said() {
    struct Case(&'static str, &'static str, &'static str, &'static [&'static str]);
    let cases = [
        Case(
            TOML,
            "prompt = ",
            "promt = ",
            &["sets/capitals.toml: line 12: unknown key \"promt\" (did you mean \"prompt\"?)"],
        ),
        Case(TOML, "rows = 8", "row = 8", &[TOML, "unknown key \"row\" (did you mean \"rows\"?)"]),
        Case(TOML, "gold = \"capital\"\n", "", &[TOML, "missing field `gold`"]),
        Case(TOML, "metric = \"acc\"", "metric = \"f1\"", &[TOML, "f1", "acc_norm"]),
        Case(
            TOML,
            "{{country}}",
            "{{land}}",
            &["line 1", "field \"land\" is missing; expected a string", "known: id, country"],
        ),
        Case(TOML, "{{country}}", "{{countri}}", &["did you mean \"country\"?"]),
        Case(TOML, "{{country}}", "{country}", &[TOML, "a single brace; a field is written {{field}}"]),
        Case(TOML, "{{country}}", "this", &[TOML, "names no field of the row"]),
        Case(TOML, "\"cities\"", "[\"{{country}}\"]", &[TOML, "choices: expected 2 to 26, found 1"]),
        Case(TOML, "\"cities\"", "[\"a\", \"\", \"c\", \"d\", \"e\"]", &[TOML, "choices: \"\" is blank"]),
        Case(TOML, "\"cities\"", "[\"a\", \"b\"]", &[TOML, "labels: expected 2, one a choice, found 5"]),
        Case(TOML, "\"cities\"", "7", &[TOML, "expected the field of the choices, or a list of templates"]),
        Case(TOML, "\"E\"]", "\"A\"]", &[TOML, "label A is listed twice"]),
        Case(TOML, ", \"E\"]", "]", &["capitals.jsonl line 16", "labels: expected 5, one a choice, found 4"]),
        Case(
            TOML,
            "labels = [\"A\", \"B\", \"C\", \"D\", \"E\"]\n",
            "",
            &["line 1", "\"B\" names no choice", "number, 0 to 3"],
        ),
        Case(TOML, "sha256 = \"f", "sha256 = \"F", &[TOML, "expected 64 digits"]),
        Case(
            TOML,
            "sha256 = \"f",
            "sha256 = \"e",
            &["capitals.jsonl: its sha256 is f1831191", "sets/capitals.toml states e1831191"],
        ),
        Case(TOML, "rows = 16", "rows = 17", &["capitals.jsonl has 16 rows, and sets/capitals.toml states 17"]),
        Case(
            TOML,
            "\"capitals.jsonl\"",
            "\"capital.jsonl\"",
            &["reading sets/capital.jsonl, the rows that sets/capitals.toml names"],
        ),
        Case(TOML, "\"capitals.jsonl\"", "\"capitals.csv\"", &[TOML, "a path that ends in .jsonl"]),
        Case(TOML, "file = \"capitals.jsonl\"\n", "", &[TOML, "either file", "or hub_id"]),
        Case(TOML, "rows = 16", "hub_id = \"a/b\"", &[TOML, "either file", "or hub_id"]),
        Case(TOML, "rows = 16", "split = \"test\"", &[TOML, "leave them out"]),
        Case(TOML, "rows = 16", "column = 1", &[TOML, "column", "built-in"]),
        Case(TOML, "\"Capitals\"", "\"PIQA\"", &[TOML, "the built-in set piqa (PIQA) is called so"]),
        Case(TOML, "title = ", "name = \"arc-easy\"\ntitle = ", &[TOML, "the built-in set arc_easy"]),
        Case(TOML, "title = ", "name = \"mine-mini\"\ntitle = ", &[TOML, "only the embedded sets end in \"-mini\""]),
        Case(TOML, "title = ", "name = \"My set\"\ntitle = ", &[TOML, "\"My set\": expected small letters"]),
        Case(
            ROWS,
            "\"country\": \"Kenya\", ",
            "",
            &["capitals.jsonl line 1", "field \"country\" is missing; expected a string"],
        ),
        Case(
            ROWS,
            "\"Australia\"",
            "7",
            &["capitals.jsonl line 2", "field \"country\": expected a string, found a number"],
        ),
        Case(
            ROWS,
            "[\"Akureyri\", \"Reykjavík\"]",
            "[\"Reykjavík\"]",
            &["line 13", "expected 2 to 26 choices, found 1"],
        ),
        Case(
            ROWS,
            "\"capital\": \"B\"",
            "\"capital\": \"E\"",
            &["line 1", "\"E\" names no choice; expected one of \"A\", \"B\""],
        ),
        Case(
            ROWS,
            "\"capital\": \"B\"",
            "\"capital\": \"\"",
            &["line 1", "field \"capital\": no gold; expected one of \"A\""],
        ),
        Case(ROWS, "\"capital\": \"B\"", "\"capital\": B", &["line 1", "malformed JSON"]),
    ];
    let place = Place::new();
    for Case(file, from, to, says) in cases {
        let (definition, lines) = (place.read(TOML), place.read(ROWS));
        place.edit(file, from, to);
        if file == ROWS {
            place.edit(TOML, "sha256 = \"f18", "# sha256 = \"f18");
        }
        place.fails(&["score", "--dataset", TOML], says);
        place.write(TOML, &definition);
        place.write(ROWS, &lines);
    }
    let many: Vec<String> = (0..27).map(|i| format!("\"{i}\"")).collect();
    place.write("many.jsonl", &format!("{{\"q\": \"x\", \"c\": [{}], \"g\": 0}}\n", many.join(", ")));
    place.write("many.toml", "file = \"many.jsonl\"\nprompt = \"{{q}}\"\nchoices = \"c\"\ngold = \"g\"\n");
    place.fails(&["score", "--dataset", "many.toml"], &["many.jsonl line 1", "expected 2 to 26 choices, found 27"]);
    place.fails(&["score", "--dataset", "many.toml", "--codec", "asvd"], &["many.jsonl line 1"]);
    for file in [TOML, ROWS, "sets/capitals-train.jsonl"] {
        place.fails(&["score", "--dataset", TOML, "--samples", file], &["--samples", file]);
    }
    place.fails(&["score", "--dataset", "nowhere.toml"], &["reading data set nowhere.toml"]);
    place.fails(&["score", "--dataset", "many.jsonl"], &["unknown data set \"many.jsonl\"", "ends in .toml"]);
    place.edit(TOML, "[train]\nfile = \"capitals-train.jsonl\"\nrows = 8\n", "[train]\nfile = \"capitals.jsonl\"\n");
    place.edit(TOML, "sha256 = \"f6", "# sha256 = \"f6");
    let asvd = ["score", "--dataset", TOML, "--codec", "asvd", "--ratio", "4", "--limit", "2"];
    place.fails(&asvd, &["capitals.jsonl: every calibration row is scored too"]);
    place.edit(TOML, "[train]\nfile = \"capitals.jsonl\"\n", "");
    place.fails(&asvd, &["names no rows to calibrate a codec on", "[train]"]);
}
