//! The habits of this workspace, as tests: which crate may use which, what may be linked, how files look.
//!
//! After `tidy.zig` of TigerBeetle: a rule that no test checks is a wish.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates of the workspace in order of their layers, each with those it may depend on.
///
/// The root package alone knows implementations: `actors` reaches stores only through the ports in `domain`, and `chaos`
/// knows the platform only from outside, as a binary.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("routing", &["domain"]),
    ("persistence", &["domain"]),
    ("actors", &["domain", "routing"]),
    ("uoop", &["domain", "routing", "persistence", "actors"]),
    ("chaos", &["domain"]),
];

/// Crates of the workspace that only a package's tests may use.
const FOR_TESTS: &[(&str, &str)] = &[("uoop", "chaos")];

/// The crates that decide and do nothing else.
const PURE: &[&str] = &["domain", "routing"];

/// Crates that do I/O, tell the time or roll dice. Each stands for its family: `tokio` for `tokio-util` too. `rand` is none
/// of them: its generators start from a seed, and what in it asks the system is among the calls below.
const IMPURE_DEPENDENCIES: &[&str] = &[
    "axum",
    "chrono",
    "fastrand",
    "fred",
    "getrandom",
    "hyper",
    "metrics",
    "mio",
    "ractor",
    "rdkafka",
    "reqwest",
    "rusqlite",
    "sqlx",
    "tempfile",
    "time",
    "tokio",
    "tower",
    "tracing",
];

/// What the standard library, and `rand`, offer of the same.
const IMPURE_CALLS: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "RandomState",
    "rand::random",
    "rand::rng",
    "from_os_rng",
    "OsRng",
];

/// Directories with Rust code.
const CODE: &[&str] = &["src", "domain", "routing", "actors", "persistence", "chaos", "tests"];

/// Longest Rust file in lines, unless it holds nothing but tests.
const FILE_LINES_MAX: usize = 500;

/// Words that say nothing, in names of files, modules and types.
const EMPTY_WORDS: &[&str] = &["manager", "helper", "utils", "common"];

/// Macros that have no place in what is committed.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!"];

#[test]
fn dependencies_between_crates_point_one_way() {
    let metadata = metadata(&["--no-deps"]);
    let packages = array(&metadata["packages"]);
    let mut found: Vec<&str> = packages.iter().map(|package| text(&package["name"])).collect();
    let mut layers: Vec<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    found.sort_unstable();
    layers.sort_unstable();
    assert_eq!(found, layers, "the workspace's crates and those with a place in LAYERS");

    let mut wrong = Vec::new();
    for package in packages {
        let name = text(&package["name"]);
        let allowed = LAYERS
            .iter()
            .find(|(layer, _)| *layer == name)
            .map_or(&[][..], |(_, allowed)| allowed);
        for dependency in array(&package["dependencies"]) {
            let is_for_tests = dependency["kind"] == "dev";
            let dependency = text(&dependency["name"]);
            let is_allowed = allowed.contains(&dependency) || is_for_tests && FOR_TESTS.contains(&(name, dependency));
            if layers.contains(&dependency) && !is_allowed {
                wrong.push(format!("{name} depends on {dependency}"));
            }
        }
    }
    assert_none(&wrong, "dependencies against the layers");
}

#[test]
fn pure_crates_do_no_io() {
    let metadata = metadata(&["--no-deps"]);
    let mut wrong = Vec::new();
    for package in array(&metadata["packages"]) {
        let name = text(&package["name"]);
        if PURE.contains(&name) {
            let impure = dependencies(package).filter(|dependency| is_impure(dependency));
            wrong.extend(impure.map(|dependency| format!("{name} depends on {dependency}")));
        }
    }
    for name in PURE {
        let files = rust_files(&[&format!("{name}/src")])
            .into_iter()
            .filter(|(path, _)| !holds_only_tests(path));
        for (path, content) in files {
            for (number, line) in code_lines(&content) {
                if let Some(call) = IMPURE_CALLS.iter().find(|call| has_word(line, call)) {
                    wrong.push(format!("{}:{number}: {call}", path.display()));
                }
            }
        }
    }
    assert_none(&wrong, "I/O, time or randomness in crates that only decide");
}

#[test]
fn every_dependency_is_licensed_and_sourced_as_deny_toml_says() {
    let policy: toml::Table = toml::from_str(&read(&root().join("deny.toml"))).expect("deny.toml is TOML");
    let allowed = strings(&policy["licenses"]["allow"]);
    let registries = strings(&policy["sources"]["allow-registry"]);
    // The host's platform: packages for others are not downloaded, and offline cargo knows nothing of them.
    let metadata = metadata(&["--locked", "--filter-platform", &host()]);
    let mut wrong = Vec::new();
    let mut foreign = 0;
    for package in array(&metadata["packages"]) {
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        match package["license"].as_str() {
            Some(licence) if Licence::new(licence, &allowed).accepted() => {}
            other => wrong.push(format!("{name} {version}: licence {}", other.unwrap_or("not given"))),
        }
        let Some(source) = package["source"].as_str() else {
            continue;
        };
        foreign += 1;
        if !source
            .strip_prefix("registry+")
            .is_some_and(|url| registries.contains(&url))
        {
            wrong.push(format!("{name} {version}: from {source}"));
        }
    }
    assert!(
        foreign > 50,
        "only {foreign} dependencies found: cargo metadata was not understood"
    );
    assert_none(&wrong, "dependencies that deny.toml does not allow");
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = |expression: &str| Licence::new(expression, &["MIT", "ISC"]).accepted();
    for good in [
        "MIT",
        "MIT OR GPL-3.0",
        "GPL-3.0/MIT",
        "MIT AND (GPL-3.0 OR ISC)",
        "(MIT)",
        "X OR MIT AND ISC",
    ] {
        assert!(allowed(good), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "MIT WITH strange-exception",
        "(MIT OR ISC) AND X",
        "MIT ISC",
        "(MIT",
    ] {
        assert!(!allowed(bad), "{bad}");
    }
}

#[test]
fn code_is_tidy() {
    let mut wrong = Vec::new();
    let mut files = 0;
    for (path, content) in rust_files(CODE) {
        files += 1;
        let lines = content.lines().count();
        if lines > FILE_LINES_MAX && !holds_only_tests(&path) {
            wrong.push(format!(
                "{}: {lines} lines, at most {FILE_LINES_MAX}: split it by concept",
                path.display()
            ));
        }
        if !content.is_empty() && !content.ends_with('\n') {
            wrong.push(format!("{}: no newline at the end", path.display()));
        }
        for (line, number) in content.lines().zip(1..) {
            if line.contains('\t') {
                wrong.push(format!("{}:{number}: a tab", path.display()));
            }
            if line.ends_with([' ', '\r']) {
                wrong.push(format!("{}:{number}: blanks at the end", path.display()));
            }
        }
        for (number, line) in code_lines(&content) {
            for name in UNFINISHED.iter().filter(|name| has_word(line, &format!("{name}("))) {
                wrong.push(format!("{}:{number}: {name}", path.display()));
            }
        }
    }
    assert!(files >= CODE.len(), "only {files} Rust files found");
    assert_none(&wrong, "untidy");
}

#[test]
fn names_say_something() {
    let mut wrong = Vec::new();
    let is_empty = |name: &str| EMPTY_WORDS.iter().any(|word| name.to_lowercase().contains(word));
    for (path, content) in rust_files(CODE) {
        if is_empty(&path.to_string_lossy()) {
            wrong.push(format!("{}: the file's name", path.display()));
        }
        for (number, line) in code_lines(&content) {
            if let Some(name) = defined_name(line).filter(|name| is_empty(name)) {
                wrong.push(format!("{}:{number}: {name}", path.display()));
            }
        }
    }
    assert_none(&wrong, "names that say nothing (manager, helper, utils, common)");
}

#[test]
fn every_decision_record_is_listed() {
    let directory = root().join("docs/adr");
    let index = directory.join("README.md");
    if !index.exists() {
        assert!(
            files_below(&directory, "md").is_empty(),
            "docs/adr has records and no README.md that lists them"
        );
        return;
    }
    let index = read(&index);
    let mut wrong = Vec::new();
    for path in files_below(&directory, "md") {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if name != "README.md" && !index.contains(&format!("({name})")) && !index.contains(&format!("(./{name})")) {
            wrong.push(name);
        }
    }
    assert_none(&wrong, "not linked from docs/adr/README.md");
}

/// An SPDX licence expression, read from left to right: `OR` and the older `/` bind less than `AND`.
struct Licence<'a> {
    /// What is left to read, the next token last.
    tokens: Vec<String>,
    allowed: &'a [&'a str],
}

impl<'a> Licence<'a> {
    fn new(expression: &str, allowed: &'a [&'a str]) -> Self {
        let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        Self {
            tokens: spaced.split_whitespace().rev().map(str::to_owned).collect(),
            allowed,
        }
    }

    /// Whether the allowed licences suffice. What cannot be read is not allowed.
    fn accepted(mut self) -> bool {
        self.any() && self.tokens.is_empty()
    }

    fn any(&mut self) -> bool {
        let mut fine = self.all();
        while self.take("OR") {
            fine |= self.all();
        }
        fine
    }

    fn all(&mut self) -> bool {
        let mut fine = self.one();
        while self.take("AND") {
            fine &= self.one();
        }
        fine
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let fine = self.any();
            return self.take(")") && fine;
        }
        let Some(mut licence) = self.tokens.pop() else {
            return false;
        };
        if self.take("WITH") {
            licence = format!("{licence} WITH {}", self.tokens.pop().unwrap_or_default());
        }
        self.allowed.contains(&licence.as_str())
    }

    fn take(&mut self, token: &str) -> bool {
        self.tokens.pop_if(|next| next == token).is_some()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// What `cargo metadata` says of the workspace, without a network.
fn metadata(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["metadata", "--format-version", "1", "--offline"])
        .args(arguments)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// The triple of the platform this runs on, as the compiler names it.
fn host() -> String {
    let output = Command::new("rustc")
        .arg("-vV")
        .current_dir(root())
        .output()
        .expect("rustc runs");
    let version = String::from_utf8(output.stdout).expect("rustc -vV is text");
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc -vV names the host")
        .to_owned()
}

/// The packages a package names itself, for use and for its build; for its tests only those of the workspace.
fn dependencies(package: &Value) -> impl Iterator<Item = &str> {
    array(&package["dependencies"])
        .iter()
        .filter(|dependency| dependency["kind"] != "dev" || dependency["path"].is_string())
        .map(|dependency| text(&dependency["name"]))
}

fn is_impure(dependency: &str) -> bool {
    let family = dependency.split(['-', '_']).next().unwrap_or(dependency);
    IMPURE_DEPENDENCIES.contains(&family)
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn strings(value: &toml::Value) -> Vec<&str> {
    value
        .as_array()
        .expect("an array")
        .iter()
        .map(|value| value.as_str().expect("a text"))
        .collect()
}

/// All Rust files below the directories, with paths relative to the root.
fn rust_files(directories: &[&str]) -> Vec<(PathBuf, String)> {
    let paths = directories
        .iter()
        .flat_map(|directory| files_below(&root().join(directory), "rs"));
    paths
        .map(|path| (path.strip_prefix(root()).unwrap_or(&path).to_owned(), read(&path)))
        .collect()
}

/// All files below a directory with this extension, in order; none when the directory does not exist.
fn files_below(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                waiting.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The numbered lines that are not comments.
fn code_lines(content: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(content.lines())
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Whether the text stands in the line other than as a part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(part_of_name) && (word.ends_with('(') || !after.is_some_and(part_of_name))
    })
}

/// The name of the type, trait or module that the line defines, if it defines one.
fn defined_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    match words.next()? {
        "struct" | "enum" | "trait" | "type" | "mod" => {
            words.next()?.split(|c: char| !c.is_alphanumeric() && c != '_').next()
        }
        _ => None,
    }
}

fn holds_only_tests(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs")
}

#[track_caller]
fn assert_none(wrong: &[String], what: &str) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}
