//! Where the demo's sample art, base model and configuration lie: no place is built into the program.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::cli::HintExt;

/// The folders and files that the demo reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assets {
    /// The sample art.
    pub sample: PathBuf,
    /// The base model, a diffusers folder.
    pub base: PathBuf,
    /// The policy of the demo's snapshot.
    pub policy: PathBuf,
    /// The configuration of the demo's training.
    pub training: PathBuf,
}

impl Assets {
    /// The assets below the project's folder `root`, if they are all there.
    pub(super) fn below(root: &Path) -> Option<Self> {
        let assets = Assets {
            sample: root.join("datasets/sample"),
            base: root.join("datasets/base"),
            policy: root.join("configs/policy-open-licences.toml"),
            training: root.join("configs/demo.toml"),
        };
        let whole =
            assets.sample.is_dir() && assets.base.is_dir() && assets.policy.is_file() && assets.training.is_file();
        whole.then_some(assets)
    }

    /// Looks in `named` if it is given; else where cargo runs the program, above the program, and in `here`.
    pub(super) fn find(named: Option<&Path>, here: &Path) -> Result<Self> {
        if let Some(root) = named {
            let missing = || anyhow!("`{}` does not hold `datasets` and `configs`", root.display());
            return Self::below(root)
                .ok_or_else(missing)
                .hint("name the folder that the project was cloned into");
        }
        // Cargo tells a program that it runs where the package lies.
        let cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let program = std::env::current_exe()
            .and_then(|path| path.canonicalize())
            .unwrap_or_default();
        let above = program.ancestors().skip(1).map(Path::to_path_buf);
        cargo
            .into_iter()
            .chain(above)
            .chain([here.to_path_buf()])
            .find_map(|root| Self::below(&root))
            .ok_or_else(|| anyhow!("the sample art and the base model are not beside the program"))
            .hint("run it with `cargo run --release -- demo`, or name the project's folder with `--assets DIR`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_are_found_whole_or_not_at_all() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let assets = Assets::find(Some(root), Path::new("/")).unwrap();
        assert_eq!(assets.sample, root.join("datasets/sample"));
        let empty = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(empty.path().join("datasets/sample")).unwrap();
        assert_eq!(Assets::below(empty.path()), None);
        let error = Assets::find(Some(empty.path()), Path::new("/")).unwrap_err();
        assert!(error.to_string().contains("does not hold"), "{error}");
    }
}
