//! Errors as people read them: `error:`, the causes, and a `hint:` line that says what to do.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

use super::{Context, Style};

/// An error with a line that says what to do about it.
#[derive(Debug)]
pub struct Hinted {
    error: anyhow::Error,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Hinted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Adds a hint to the error of a result.
pub trait HintExt<T> {
    /// Adds the hint `text`: lower case, what to do next.
    fn hint(self, text: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> HintExt<T> for Result<T, E> {
    fn hint(self, text: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| {
            anyhow::Error::new(Hinted {
                error: error.into(),
                hint: text.into(),
            })
        })
    }
}

/// Prints an error to stderr; returns the exit code: 2, or 0 when the reader of stdout just went away.
pub(super) fn report(context: &Context, error: &anyhow::Error) -> ExitCode {
    let closed = |cause: &(dyn Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(closed) {
        return ExitCode::SUCCESS;
    }
    let mut shown = error.to_string();
    eprintln!("{} {shown}", context.paint_err(Style::Bad, "error:"));
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // A wrapper often repeats its cause.
        if !shown.contains(&text) {
            eprintln!("  because {text}");
            shown = text;
        }
    }
    for hint in error.chain().filter_map(|cause| cause.downcast_ref::<Hinted>()) {
        eprintln!("{} {}", context.paint_err(Style::Strong, "hint:"), hint.hint);
    }
    ExitCode::from(2)
}
