//! Numbers equal to PyTorch's: every case of every fixture under `tests/fixtures/parity/`, and of every fixture that
//! `$ASSENT_PARITY_FIXTURES` names (folders of fixtures, or fixtures, as in `$PATH`).
//!
//! The format is that of `scripts/parity/make_parity.py`, whose docstring describes it; how the fixture in the
//! repository was made stands in its `README.md`. The tolerance of an output is
//! `max(20 · noise, 2e-5 · scale)`, with the case's own measure of what float32 may differ by: PyTorch's error is about
//! 1e-6 of the scale, and a tanh GELU in place of the exact one moves an output by no more than 1.3e-4 of it. A case
//! that is not checked, or not wholly, fails. What a fixture holds twice, in two layouts, has to be the same in both.

mod check;
mod files;
mod fixture;
mod model_cases;
mod sampler_cases;
mod train_cases;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use check::Check;
use fixture::{Case, Fixture};

/// Where a fixture is: a folder with `cases.json`, or one with such folders in it.
fn fixtures_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.join("cases.json").is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| anyhow!("{}: {e}", folder.display()))? {
        let path = entry?.path();
        if path.join("cases.json").is_file() {
            found.push(path);
        }
    }
    found.sort();
    anyhow::ensure!(!found.is_empty(), "no fixture in {}", folder.display());
    Ok(found)
}

fn run<'a>(fixture: &'a Fixture, case: &'a Case, check: &mut Check<'a>) -> Result<()> {
    match case.kind.as_str() {
        "tokenizer" => model_cases::tokenizer(fixture, case, check),
        "text" => model_cases::text(fixture, case, check),
        "unet" => model_cases::unet(fixture, case, check),
        "int8" => model_cases::int8(fixture, case, check),
        "vae" => model_cases::vae(fixture, case, check),
        "lora" => model_cases::lora(fixture, case, check),
        "scheduler" => sampler_cases::scheduler(fixture, case, check),
        "sampler" => sampler_cases::sampler(fixture, case, check),
        "train" => train_cases::train(fixture, case, check),
        "adamw" => train_cases::adamw(fixture, case, check),
        other => Err(anyhow!("no check for cases of type `{other}`")),
    }
}

/// Prints past the test harness, which holds back what a passing test prints.
fn say(text: &str) {
    // A closed pipe is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Runs a fixture's cases, and returns the names of those that failed.
fn run_fixture(root: &Path) -> Result<Vec<String>> {
    let fixture = Fixture::open(root)?;
    say(&format!(
        "{} ({}, seed {}): {} cases",
        fixture.name,
        fixture.kind,
        fixture.seed,
        fixture.cases.len()
    ));
    let mut failed = Vec::new();
    for case in &fixture.cases {
        let mut check = Check::new(&fixture, case);
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&fixture, case, &mut check)));
        let failure = match outcome {
            Ok(Ok(())) => check.finish().err().map(|e| format!("{e:#}")),
            Ok(Err(e)) => Some(format!("{e:#}")),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                Some(
                    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                        .unwrap_or_default(),
                )
            }
        };
        say(&match &failure {
            None => format!("  {:24} {}", case.name, check.worst()),
            Some(why) => format!("  {:24} FAILED: {why}", case.name),
        });
        failed.extend(failure.map(|_| format!("{}/{}", fixture.name, case.name)));
    }
    anyhow::ensure!(!fixture.cases.is_empty(), "{} has no cases", root.display());
    for (name, outcome) in files::check(&fixture) {
        match outcome {
            Ok(()) => say(&format!("  {name:24} equal")),
            Err(why) => {
                say(&format!("  {name:24} FAILED: {why:#}"));
                failed.push(format!("{}/{name}", fixture.name));
            }
        }
    }
    Ok(failed)
}

#[test]
fn every_case_is_equal_to_pytorch() -> Result<()> {
    let mut roots = fixtures_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity"))?;
    if let Some(more) = std::env::var_os("ASSENT_PARITY_FIXTURES") {
        for folder in std::env::split_paths(&more).filter(|p| !p.as_os_str().is_empty()) {
            roots.extend(fixtures_in(&folder)?);
        }
    }
    say("\nworst error of each case, as a share of its tolerance:");
    let mut failed = Vec::new();
    for root in roots {
        failed.extend(run_fixture(&root)?);
    }
    anyhow::ensure!(
        failed.is_empty(),
        "{} cases failed: {}",
        failed.len(),
        failed.join(", ")
    );
    Ok(())
}
