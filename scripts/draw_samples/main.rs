//! Draws the sample art of `datasets/sample`: run `cargo run --release --example draw_samples`.
//!
//! Everything is drawn from fixed seeds, so running it again writes the same bytes. It writes pictures, captions and
//! licence sidecars below the folder given as the only argument (default `datasets/sample`) and nothing else.

mod art;

use std::{error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "datasets/sample".into()));
    let mut bytes = 0;
    let plan = art::plan();
    for entry in &plan {
        for (path, content) in art::files(entry)? {
            let path = out.join(path);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&path, &content)?;
            bytes += content.len();
        }
    }
    println!(
        "{} pictures, {} KiB with captions and licences, in {}",
        plan.len(),
        bytes / 1024,
        out.display()
    );
    Ok(())
}
