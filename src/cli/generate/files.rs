//! Files that a workflow names: found below the folders that the user names, and nowhere else.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use walkdir::WalkDir;

use crate::pixels::{Limits, read_file};

/// Entries of a folder of models that are looked at, and how deep.
const MOST_ENTRIES: usize = 100_000;
const MOST_DEPTH: usize = 8;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A base model.
    Checkpoint,
    /// An adapter.
    Lora,
    /// An autoencoder.
    Vae,
    /// A picture to start from, or a mask.
    Picture,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Lora => "adapter",
            Self::Vae => "VAE",
            Self::Picture => "picture",
        }
    }

    /// The folders that it lies in: `ComfyUI`'s, then A1111's.
    fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Checkpoint => &["checkpoints", "Stable-diffusion"],
            Self::Lora => &["loras", "Lora"],
            Self::Vae => &["vae", "VAE"],
            Self::Picture => &["."],
        }
    }

    fn is_model(self) -> bool {
        self != Self::Picture
    }
}

/// A file that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// What to say where it is not the very file that was named.
    pub note: Option<String>,
}

/// Finds the file of that name. A name without a folder is looked for in subfolders too; in the place of a pickle, which
/// is never read, the `.safetensors` of the same name is taken.
pub fn find(root: &Path, kind: Kind, name: &str) -> Result<Found> {
    let relative = inside(kind, name)?;
    let word = kind.word();
    let folders: Vec<PathBuf> = kind.folders().iter().map(|folder| root.join(folder)).collect();
    let pickle = kind.is_model()
        && ["ckpt", "pt", "pth", "bin"]
            .iter()
            .any(|e| relative.extension().is_some_and(|x| x == *e));
    let wanted = if pickle {
        relative.with_extension("safetensors")
    } else {
        relative
    };
    let note = pickle.then(|| {
        format!(
            "`{}` is read in the place of `{}`, as pickles are not",
            shown(&wanted),
            name.escape_debug()
        )
    });
    let direct = folders
        .iter()
        .map(|folder| folder.join(&wanted))
        .find(|path| path.exists());
    if let Some(path) = direct {
        return Ok(Found { path, note });
    }
    if kind.is_model() && wanted.components().count() == 1 {
        let mut deeper: Vec<PathBuf> = folders.iter().flat_map(|folder| named(folder, &wanted)).collect();
        deeper.sort();
        if deeper.len() > 1 {
            let list: Vec<String> = deeper.iter().map(|path| format!("`{}`", path.display())).collect();
            bail!(
                "the {word} `{}` is there {} times: {}",
                shown(&wanted),
                list.len(),
                list.join(", ")
            );
        }
        if let Some(path) = deeper.pop() {
            return Ok(Found { path, note });
        }
    }
    bail!("there is no {word} `{}` in `{}`", shown(&wanted), folders[0].display())
}

/// A stranger's name as a path that cannot lead out of the folder it is joined to.
fn inside(kind: Kind, name: &str) -> Result<PathBuf> {
    // An annotation that ComfyUI adds where the picture is not in the input folder.
    let plain = name.strip_suffix(" [input]").unwrap_or(name);
    // ComfyUI under Windows writes backslashes.
    let path = PathBuf::from(plain.replace('\\', "/"));
    let normal =
        |c: Component<'_>| matches!(c, Component::Normal(part) if !part.to_string_lossy().contains([':', '\0']));
    if path.as_os_str().is_empty() || !path.components().all(normal) || plain.len() > 1024 {
        bail!(
            "the workflow names the {} `{}`: expected a file below the folder of models or pictures",
            kind.word(),
            name.chars().take(200).flat_map(char::escape_debug).collect::<String>()
        );
    }
    Ok(path)
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// The files and folders of that name below a folder.
fn named(folder: &Path, name: &Path) -> Vec<PathBuf> {
    let entries = WalkDir::new(folder)
        .max_depth(MOST_DEPTH)
        .follow_links(true)
        .into_iter();
    let entries = entries.take(MOST_ENTRIES).filter_map(Result::ok);
    let found = entries.filter(|entry| entry.file_name() == name.as_os_str());
    found.map(walkdir::DirEntry::into_path).collect()
}

/// A workflow's bytes.
pub fn bytes(file: &Path) -> Result<Vec<u8>> {
    let limits = Limits {
        max_file_bytes: 256 << 20,
        ..Limits::default()
    };
    read_file(file, &limits).context("it cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_lead_out_of_their_folder() {
        for bad in [
            "",
            "/etc/passwd",
            "..",
            "a/../../b",
            "..\\b",
            "C:\\b",
            "C:b",
            "\\\\host\\b",
            "./a",
            "a\0",
        ] {
            assert!(inside(Kind::Lora, bad).is_err(), "{bad:?}");
        }
        for (good, path) in [
            ("a.b", "a.b"),
            ("x\\y\\a", "x/y/a"),
            ("x/a", "x/a"),
            ("..a", "..a"),
            ("p.png [input]", "p.png"),
        ] {
            assert_eq!(inside(Kind::Picture, good).unwrap(), Path::new(path));
        }
    }

    #[test]
    fn models_are_found_where_both_programs_lay_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for file in [
            "checkpoints/a.safetensors",
            "loras/x/b.safetensors",
            "loras/x/c.safetensors",
            "loras/y/c.safetensors",
            "Lora/d.safetensors",
        ] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = |kind, name| {
            find(root, kind, name)
                .map(|found| (found.path.strip_prefix(root).unwrap().to_owned(), found.note.is_some()))
        };
        for (kind, name, path, noted) in [
            (Kind::Checkpoint, "a.safetensors", "checkpoints/a.safetensors", false),
            (Kind::Checkpoint, "a.ckpt", "checkpoints/a.safetensors", true),
            (Kind::Lora, "b.safetensors", "loras/x/b.safetensors", false),
            (Kind::Lora, "y\\c.safetensors", "loras/y/c.safetensors", false),
            (Kind::Lora, "d.safetensors", "Lora/d.safetensors", false),
        ] {
            assert_eq!(found(kind, name).unwrap(), (PathBuf::from(path), noted), "{name}");
        }
        let message = |kind, name| found(kind, name).unwrap_err().to_string();
        assert!(message(Kind::Lora, "c.safetensors").contains("is there 2 times"));
        assert!(message(Kind::Lora, "x/d.safetensors").contains("there is no adapter `x/d.safetensors`"));
        assert!(message(Kind::Vae, "a.safetensors").contains("there is no VAE"));
    }
}
