//! The demo runs from the program as built, teaches the style, and the README shows what really comes out.
//!
//! One demo serves all checks, since it trains. The README's `console` blocks run one after the other in the folder
//! that the demo wrote; in the README, `[..]` stands for text and `...` for lines that differ or are left out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The clock of every command, so that ledger digests in the README stay true.
const NOW: &str = "2026-11-22T12:00:00Z";

#[test]
fn demo_teaches_the_style_and_the_readme_tells_the_truth() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = console_blocks(&std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap());
    let (demo, rest): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|step| step.arguments[0] == "demo");
    assert_eq!(demo.len(), 1, "the README runs the demo once");

    let shown = run(folder.path(), &["demo".to_owned()]);
    assert_eq!(shown.code, 0, "{}", shown.all());
    compare(&demo[0], &shown);

    let out = folder.path().join("demo-out");
    for name in [
        "assent.db",
        "adapter.safetensors",
        "run.json",
        "metrics.jsonl",
        "loss.png",
        "before-after.png",
    ] {
        assert!(
            out.join(name).metadata().is_ok_and(|file| file.len() > 0),
            "the demo writes {name}"
        );
    }
    let losses: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("demo.json")).unwrap()).unwrap();
    let fall = |whose: &str| {
        let loss = |when: &str| losses["held_out"][whose][when].as_f64().unwrap();
        1.0 - loss("after") / loss("before")
    };
    assert!(
        fall("chosen") >= 0.15,
        "the chosen artist's held-out loss falls by 15 %: {losses}"
    );
    assert!(
        fall("others") < fall("chosen"),
        "the other artists' falls by less: {losses}"
    );

    // The README's reader stands in the project's folder, above that of the demo.
    let configs = folder.path().join("configs");
    std::fs::create_dir(&configs).unwrap();
    let policy = "policy-open-licences.toml";
    std::fs::copy(Path::new(ROOT).join("configs").join(policy), configs.join(policy)).unwrap();
    std::os::unix::fs::symlink(Path::new(ROOT).join("datasets"), folder.path().join("datasets")).unwrap();
    for step in rest {
        compare(&step, &run(&out, &step.arguments));
    }
}

/// A command of the README and the lines that stand below it.
struct Step {
    arguments: Vec<String>,
    expected: Vec<String>,
    exit: i32,
}

/// What a command printed.
struct Shown {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Shown {
    fn all(&self) -> String {
        format!("{}{}", self.stderr, self.stdout)
    }
}

fn run(folder: &Path, arguments: &[String]) -> Shown {
    let output = Command::new(env!("CARGO_BIN_EXE_assent"))
        .args(arguments)
        .current_dir(folder)
        .env("ASSENT_NOW", NOW)
        .env_remove("ASSENT_REGISTRY")
        .output()
        .unwrap();
    Shown {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The `$ assent …` steps of the README's `console` blocks. `$ cargo run --release -- …` counts as `assent …`, a
/// line `? N` as the exit code; other commands are not run.
fn console_blocks(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut inside, mut taken) = (false, false);
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = !inside && line == "```console";
            taken = false;
        } else if inside && line.starts_with("$ ") {
            let words = shell_words(&line[2..]);
            let skip = if words[0] == "assent" { 1 } else { 4 };
            taken = words[0] == "assent" || line.starts_with("$ cargo run --release -- ");
            if taken {
                steps.push(Step {
                    arguments: words[skip..].to_vec(),
                    expected: Vec::new(),
                    exit: 0,
                });
            }
        } else if let (true, Some(step)) = (inside && taken, steps.last_mut()) {
            match line.strip_prefix("? ") {
                Some(code) => step.exit = code.parse().unwrap(),
                None => step.expected.push(line.to_owned()),
            }
        }
    }
    steps
}

/// Splits at blanks outside of single and double quotes.
fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Compares with what went to stdout; progress and messages are no part of the README.
fn compare(step: &Step, shown: &Shown) {
    let all = shown.all();
    let found: Vec<&str> = shown.stdout.lines().map(str::trim_end).collect();
    let expected: Vec<&str> = step.expected.iter().map(|line| line.trim_end()).collect();
    let told = format!("`assent {}` in the README\n--- found\n{all}", step.arguments.join(" "));
    assert_eq!(step.exit, shown.code, "{told}");
    assert!(
        lines_match(&expected, &found),
        "--- expected\n{}\n{told}",
        expected.join("\n")
    );
}

/// Whether the lines are the same; `...` alone on a line stands for any lines, `[..]` for any text in a line.
fn lines_match(expected: &[&str], found: &[&str]) -> bool {
    match expected.split_first() {
        None => found.is_empty(),
        Some((&"...", rest)) => (0..=found.len()).any(|skip| lines_match(rest, &found[skip..])),
        Some((line, rest)) => found
            .split_first()
            .is_some_and(|(other, others)| line_matches(line, other) && lines_match(rest, others)),
    }
}

fn line_matches(expected: &str, found: &str) -> bool {
    let mut parts = expected.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = found.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn the_comparison_sees_differences() {
    assert!(line_matches("took [..] s, [..] steps", "took 3 s, 40 steps"));
    assert!(!line_matches("took [..] s, [..] steps", "took 3 s, 40 jumps"));
    assert!(!line_matches("done", "done."));
    assert!(lines_match(&["a", "...", "z"], &["a", "b", "c", "z"]));
    assert!(!lines_match(&["a", "...", "z"], &["a", "b"]));
    assert!(!lines_match(&["a"], &["a", "b"]));
    let steps = console_blocks("```console\n$ assent audit 'a b'\n? 1\nfound\n```\n```toml\n$ assent no\n```\n");
    assert_eq!((steps.len(), steps[0].exit), (1, 1));
    assert_eq!(steps[0].arguments, ["audit", "a b"]);
    assert_eq!(steps[0].expected, ["found"]);
}
