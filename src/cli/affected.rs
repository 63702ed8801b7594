//! `assent affected`: every snapshot, adapter and picture downstream of an artist, an image or a source.

use anyhow::Result;

use super::subject::TargetArgs;
use super::{Context, Exit, Table};
use crate::audit::{Downstream, downstream};

/// Options of `assent affected`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose, or which, traces to follow
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Lists what is downstream, with everything that shows the same thing as one of the images.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let registry = context.open_registry()?;
    let target = args.target.target(context, &registry)?;
    let lines = downstream(&registry, &target)?;
    if context.json {
        lines.iter().try_for_each(|line| context.json_line(line))?;
    } else if lines.is_empty() {
        context.message(format_args!(
            "nothing was made from the {} `{}`",
            target.kind(),
            target.value()
        ));
    } else {
        context.line(table(context, &lines))?;
    }
    Ok(Exit::Done)
}

/// The lines as people read them.
pub(super) fn table(context: &Context, lines: &[Downstream]) -> Table {
    let short = |digest: &String| -> String { digest.chars().take(12).collect() };
    let mut table = Table::new(context, ["kind", "name or digest", "written to"]);
    for line in lines {
        let id = if line.kind == "snapshot" {
            line.id.clone()
        } else {
            short(&line.id)
        };
        let mut path = line.path.clone().unwrap_or_default();
        if let Some(by) = &line.superseded_by {
            path.push_str(&format!(" (superseded by {})", short(by)));
        }
        table.row([line.kind.to_owned(), id, path]);
    }
    table
}
