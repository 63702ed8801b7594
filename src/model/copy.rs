//! A base written again with some of its weights changed: the layout, the names and everything else stay.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::base::{Base, Family, Network};
use super::weights::{Change, Checkpoint, LoadError, Stored};
use crate::names::{self, Key};

/// What changes the weights of a base, by the names that diffusers gives them.
pub trait Edit {
    /// What can go wrong.
    type Error: From<LoadError>;

    /// Whether a tensor (`PATH.weight`, `PATH.bias`) is changed.
    fn wants(&self, network: Network, name: &str) -> bool;

    /// The values of one that is.
    ///
    /// # Errors
    /// If they do not fit what is to be done with them.
    fn apply(
        &mut self,
        network: Network,
        name: &str,
        shape: &[usize],
        values: Vec<f32>,
    ) -> Result<Vec<f32>, Self::Error>;

    /// Called when all tensors are written, before they get their place.
    ///
    /// # Errors
    /// If they should not get it.
    fn finished(&self) -> Result<(), Self::Error>;
}

/// How a base is written again.
pub struct Copy<'a> {
    /// The type of all weights; without one each keeps its own.
    pub dtype: Option<Stored>,
    /// Written into the `__metadata__` of each file of weights.
    pub record: (&'a str, String),
    /// Called after each tensor.
    pub done: &'a dyn Fn(),
}

/// Longest file that is copied and holds no weights, in bytes.
const OTHER_BYTES: u64 = 64 << 20;
/// Weights that are not read here, because they can run code, or are for other programs.
const FOREIGN: &[&str] = &["bin", "ckpt", "pt", "pth", "msgpack", "onnx", "pb", "h5", "ot"];
/// Records of the base's own files, which do not hold for other ones.
const RECORDS: &[&str] = &["receipt.json"];

/// A file of a base.
enum Piece {
    /// Weights, of a network that adapters change or of another.
    Weights(Option<Network>),
    /// Anything else.
    Other,
}

/// How many tensors there are to write.
///
/// # Errors
/// If the base's files cannot be read.
pub fn tensors(base: &Base) -> Result<usize, LoadError> {
    let mut count = 0;
    for (name, piece) in pieces(base)? {
        if matches!(piece, Piece::Weights(_)) {
            count += Checkpoint::open(&place(base, &name))?.keys().count();
        }
    }
    Ok(count)
}

/// Writes a base again: a file into a file, a folder into a folder that is not there yet. Of a folder its
/// configurations, tokenizers and those weights are written that would be loaded.
///
/// # Errors
/// If anything cannot be read or written, a value does not fit the type, and what `edit` says. What was written by then
/// stands under a temporary name and is removed.
pub fn write<E: Edit>(base: &Base, target: &Path, edit: &mut E, how: &Copy<'_>) -> Result<(), E::Error> {
    if base.path().is_file() {
        return one(base, base.path(), target, None, edit, how);
    }
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| LoadError::Io { path, source }
    };
    let parent = target
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
    let folder = builder.prefix(".assent-").tempdir_in(parent).map_err(io(parent))?;
    for (name, piece) in pieces(base)? {
        let (from, to) = (base.path().join(&name), folder.path().join(&name));
        if let Some(above) = to.parent() {
            std::fs::create_dir_all(above).map_err(io(above))?;
        }
        match piece {
            Piece::Weights(network) => one(base, &from, &to, network, edit, how)?,
            Piece::Other => drop(std::fs::copy(&from, &to).map_err(io(&from))?),
        }
    }
    edit.finished()?;
    // An empty folder may be in its place; a full one is refused by the system.
    std::fs::rename(folder.path(), target).map_err(io(target))?;
    let _ = folder.keep();
    Ok(())
}

fn one<E: Edit>(
    base: &Base,
    from: &Path,
    to: &Path,
    network: Option<Network>,
    edit: &mut E,
    how: &Copy<'_>,
) -> Result<(), E::Error> {
    let checkpoint = Checkpoint::open(from)?;
    let mut named = Named {
        base,
        network,
        edit,
        record: &how.record,
    };
    checkpoint.rewrite(to, how.dtype, &mut named, how.done)
}

/// Where a file of a base lies; joining nothing to a file would make a folder of it.
fn place(base: &Base, name: &Path) -> PathBuf {
    match name.as_os_str().is_empty() {
        true => base.path().to_owned(),
        false => base.path().join(name),
    }
}

/// The files of a base by their names in its folder; for a single file an empty name.
fn pieces(base: &Base) -> Result<Vec<(PathBuf, Piece)>, LoadError> {
    let root = base.path();
    if root.is_file() {
        return Ok(vec![(PathBuf::new(), Piece::Weights(None))]);
    }
    let io = |source| LoadError::Io {
        path: root.to_owned(),
        source,
    };
    let mut weights: BTreeMap<PathBuf, Option<Network>> = BTreeMap::new();
    let mut networks = vec![
        ("unet", "diffusion_pytorch_model", Some(Network::UNet)),
        ("vae", "diffusion_pytorch_model", None),
        ("text_encoder", "model", Some(Network::Text)),
    ];
    if base.family() == Family::Xl {
        networks.push(("text_encoder_2", "model", Some(Network::Text2)));
    }
    for (part, stem, network) in &networks {
        for file in Checkpoint::of_part(&root.join(part), stem)?.files() {
            weights.insert(file.to_owned(), *network);
        }
    }
    let mut all = Vec::new();
    let walk = walkdir::WalkDir::new(root)
        .max_depth(2)
        .follow_links(true)
        .sort_by_file_name();
    for entry in walk {
        let entry = entry.map_err(|e| io(e.into()))?;
        let (path, about) = (entry.path(), entry.metadata().map_err(|e| io(e.into()))?);
        let name = path.strip_prefix(root).unwrap_or(path).to_owned();
        if !about.is_file() || name.iter().any(|part| part.to_string_lossy().starts_with('.')) {
            continue;
        }
        let end = path
            .extension()
            .map(|e| e.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        let ours = networks.iter().any(|(part, ..)| name.starts_with(part));
        let piece = match weights.get(path) {
            Some(network) => Piece::Weights(*network),
            // Another variant of the same weights would not hold the change, nor would a whole model beside them.
            None if end == "safetensors" && (ours || entry.depth() == 1) => continue,
            None if end == "safetensors" => Piece::Weights(None),
            None if FOREIGN.contains(&end.as_str()) || about.len() > OTHER_BYTES => continue,
            None if RECORDS.iter().any(|record| name == Path::new(record)) => continue,
            None => Piece::Other,
        };
        all.push((name, piece));
    }
    Ok(all)
}

/// Tensors under the keys of a file, changed under their names.
struct Named<'a, E> {
    base: &'a Base,
    /// The network of a folder's part.
    network: Option<Network>,
    edit: &'a mut E,
    record: &'a (&'a str, String),
}

impl<E: Edit> Named<'_, E> {
    fn meaning(&self, key: &str) -> Option<(Network, Key)> {
        match self.network {
            Some(Network::UNet) => Some((Network::UNet, Key::Tensor(key.to_owned()))),
            Some(text) => Some((text, names::clip(key))),
            None => self.base.meaning(key),
        }
    }
}

impl<E: Edit> Change for Named<'_, E> {
    type Error = E::Error;

    fn metadata(&self, metadata: &mut BTreeMap<String, String>) {
        // Hashes of the base's own bytes, and what it says it was made of.
        metadata.retain(|key, _| {
            !key.starts_with("assent.")
                && !["sshs_legacy_hash", "sshs_model_hash", "modelspec.hash_sha256"].contains(&key.as_str())
        });
        // transformers reads no file without it.
        metadata.entry("format".to_owned()).or_insert_with(|| "pt".to_owned());
        let (key, text) = self.record;
        metadata.insert((*key).to_owned(), text.clone());
    }

    fn finished(&self) -> Result<(), E::Error> {
        // Of a folder there are more files to come.
        match self.base.path().is_file() {
            true => self.edit.finished(),
            false => Ok(()),
        }
    }

    fn wants(&self, key: &str) -> bool {
        match self.meaning(key) {
            Some((network, Key::Tensor(name) | Key::Transposed(name))) => self.edit.wants(network, &name),
            Some((network, Key::Fused(names))) => names.iter().any(|name| self.edit.wants(network, name)),
            Some((_, Key::Unneeded)) | None => false,
        }
    }

    fn change(&mut self, key: &str, shape: &[usize], values: Vec<f32>) -> Result<Vec<f32>, E::Error> {
        match (self.meaning(key), shape) {
            (Some((network, Key::Tensor(name))), _) => self.edit.apply(network, &name, shape, values),
            (Some((network, Key::Transposed(name))), &[rows, columns]) => {
                let turned = self
                    .edit
                    .apply(network, &name, &[columns, rows], turned(&values, rows, columns))?;
                Ok(self::turned(&turned, columns, rows))
            }
            (Some((network, Key::Fused(names))), [rows, rest @ ..]) if rows % names.len() == 0 => {
                let part = [&[rows / names.len()], rest].concat();
                let length = values.len() / names.len();
                let mut out = Vec::with_capacity(values.len());
                for (name, values) in names.iter().zip(values.chunks(length.max(1))) {
                    match self.edit.wants(network, name) {
                        true => out.extend(self.edit.apply(network, name, &part, values.to_vec())?),
                        false => out.extend_from_slice(values),
                    }
                }
                Ok(out)
            }
            _ => Ok(values),
        }
    }
}

/// The transpose of a matrix.
fn turned(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let places = (0..columns).flat_map(|j| (0..rows).map(move |i| i * columns + j));
    places.filter_map(|place| values.get(place)).copied().collect()
}
