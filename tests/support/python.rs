//! Python with diffusers, PEFT and LyCORIS, for the tests that compare with them.

use std::process::Command;

/// The interpreter, if it has what the scripts import. Where it has not, the test says so loudly and passes, unless
/// `ASSENT_REQUIRE_PYTHON` is set.
#[allow(dead_code)]
pub fn python() -> Option<String> {
    python_with("torch, diffusers, peft, transformers, safetensors")
}

/// The same for other modules.
pub fn python_with(modules: &str) -> Option<String> {
    let python = std::env::var("ASSENT_PYTHON").unwrap_or_else(|_| "python3".into());
    let imports = format!("import {modules}");
    let tried = Command::new(&python).args(["-c", &imports]).output();
    let why = match tried {
        Ok(output) if output.status.success() => return Some(python),
        Ok(output) => String::from_utf8_lossy(&output.stderr)
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned(),
        Err(error) => error.to_string(),
    };
    let text = format!("`{python}` cannot load {modules} ({why}); see tests/interop/requirements.txt");
    assert!(std::env::var_os("ASSENT_REQUIRE_PYTHON").is_none(), "{text}");
    eprintln!("\n*** NOT TESTED: {text} ***\n");
    None
}
