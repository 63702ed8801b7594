//! Python with diffusers and PEFT, for the tests that compare with them.

use std::process::Command;

/// The interpreter, if it has what the scripts import. Where it has not, the test says so loudly and passes, unless
/// `ASSENT_REQUIRE_PYTHON` is set.
pub fn python() -> Option<String> {
    let python = std::env::var("ASSENT_PYTHON").unwrap_or_else(|_| "python3".into());
    let imports = "import torch, diffusers, peft, transformers, safetensors";
    let tried = Command::new(&python).args(["-c", imports]).output();
    let why = match tried {
        Ok(output) if output.status.success() => return Some(python),
        Ok(output) => String::from_utf8_lossy(&output.stderr)
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned(),
        Err(error) => error.to_string(),
    };
    let text = format!("`{python}` cannot load diffusers and PEFT ({why}); see tests/interop/requirements.txt");
    assert!(std::env::var_os("ASSENT_REQUIRE_PYTHON").is_none(), "{text}");
    eprintln!("\n*** NOT TESTED: {text} ***\n");
    None
}
