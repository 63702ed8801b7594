//! Latents and embeddings in files: they are read, each change makes anew what it concerns and nothing else, and what is
//! damaged is noticed and never used.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use assent::digest::Sha256Digest;

#[path = "support/studio.rs"]
mod studio;

use studio::Studio;

const PLAIN: &str = "output_name = \"shapes\"\npretrained_model_name_or_path = \"base\"\nsnapshot = \"shapes\"\n\
    resolution = 16\nenable_bucket = true\nmin_bucket_reso = 8\nmax_bucket_reso = 32\nbucket_reso_steps = 8\n\
    network_dim = 2\nnetwork_alpha = 2\nlearning_rate = 1e-2\nmax_train_steps = 2\ntrain_batch_size = 4\nseed = 5\n\
    flip_aug = true\ncaption_dropout_rate = 0.1\n";
const CACHES: &str = "cache_latents_to_disk = true\ncache_text_encoder_outputs_to_disk = true\ncache_dir = \"cache\"\n";

/// The files of the cache with what tells one writing from another.
fn files(studio: &Studio) -> BTreeMap<String, (u64, i64, i64)> {
    let Ok(entries) = fs::read_dir(studio.at("cache")) else {
        return BTreeMap::new();
    };
    let file = |entry: fs::DirEntry| {
        let about = entry.metadata().unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, (about.ino(), about.mtime(), about.mtime_nsec()))
    };
    entries.map(|entry| file(entry.unwrap())).collect()
}

/// Trains with caches and gives back how many files of latents and of texts are new; none that was there is written again.
fn made(studio: &Studio, config: &str, out: &str) -> (usize, usize) {
    fs::write(studio.at("cached.toml"), format!("{config}{CACHES}")).unwrap();
    let before = files(studio);
    studio.ok(&["train", "cached.toml", "--out", out, "-q"]);
    let after = files(studio);
    for (name, about) in &before {
        assert_eq!(after.get(name), Some(about), "{name} was written again by {out}");
    }
    let new: BTreeSet<_> = after.keys().filter(|name| !before.contains_key(*name)).collect();
    let of = |kind: &str| new.iter().filter(|name| name.starts_with(kind)).count();
    assert_eq!(of("latents-") + of("text-"), new.len(), "{new:?}");
    (of("latents-"), of("text-"))
}

fn tensors(studio: &Studio, out: &str) -> String {
    let shown = studio.ok(&["--json", "adapter", "inspect", &format!("{out}/adapter.safetensors")]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    shown["tensor_sha256"].as_str().unwrap().to_owned()
}

fn studio() -> Studio {
    let studio = Studio::new();
    studio.add_set(
        "shapes",
        "Cleo Example",
        &[
            ([72, 24], "stripes"),
            ([24, 72], "dots"),
            ([32, 32], "dots on the left"),
            ([40, 40], "stripes"),
        ],
    );
    studio
}

/// One picture names a side and is not mirrored; two captions are the same.
const FIRST: (usize, usize) = (7, 3);

#[test]
fn files_are_read_and_a_change_makes_anew_what_it_concerns() {
    let studio = studio();
    fs::write(studio.at("plain.toml"), PLAIN).unwrap();
    studio.ok(&["train", "plain.toml", "--out", "plain", "-q"]);
    assert_eq!(made(&studio, PLAIN, "first"), FIRST);
    assert_eq!(made(&studio, PLAIN, "second"), (0, 0));
    for run in ["first", "second"] {
        assert_eq!(tensors(&studio, run), tensors(&studio, "plain"), "{run}");
        assert!(studio.bytes(run, "metrics.jsonl") == studio.bytes("plain", "metrics.jsonl"));
    }
    assert!(studio.bytes("first", "adapter.safetensors") == studio.bytes("second", "adapter.safetensors"));

    // What decides neither latents nor embeddings leaves both.
    let change = |from: &str, to: &str| PLAIN.replace(from, to);
    assert_eq!(made(&studio, &change("seed = 5", "seed = 6"), "seed"), (0, 0));
    assert_eq!(
        made(&studio, &change("network_dim = 2", "network_dim = 3"), "rank"),
        (0, 0)
    );
    assert_eq!(
        made(&studio, &change("flip_aug = true", "flip_aug = false"), "unflipped"),
        (0, 0)
    );
    // Words before captions change these, another size and precision change pictures, precision both.
    let prefixed = format!("{PLAIN}caption_prefix = \"many\"\n");
    assert_eq!(made(&studio, &prefixed, "prefixed"), (0, 3));
    assert_eq!(
        made(&studio, &change("resolution = 16", "resolution = 24"), "larger"),
        (7, 0)
    );
    let half = format!("{PLAIN}base_precision = \"fp16\"\n");
    assert_eq!(made(&studio, &half, "half"), FIRST);

    // Another caption, and another picture, are each made alone.
    fs::write(studio.at("shapes/shapes-1.txt"), "circles").unwrap();
    studio.ok(&["ingest", "shapes"]);
    studio.freeze("recaptioned", "Cleo Example");
    let recaptioned = change("\"shapes\"\nresolution", "\"recaptioned\"\nresolution");
    assert_eq!(made(&studio, &recaptioned, "recaptioned"), (0, 1));
    let redrawn = image::RgbImage::from_fn(24, 72, |x, _| image::Rgb([x as u8, 200, 9]));
    redrawn.save(studio.at("shapes/shapes-1.png")).unwrap();
    studio.ok(&["ingest", "shapes"]);
    studio.freeze("redrawn", "Cleo Example");
    let redrawn = change("\"shapes\"\nresolution", "\"redrawn\"\nresolution");
    assert_eq!(made(&studio, &redrawn, "redrawn"), (2, 0));

    // Another VAE, text encoder or U-Net.
    let weights = |part: &str| studio.at("base").join(part);
    for (file, expected) in [
        ("vae/diffusion_pytorch_model.safetensors", (7, 0)),
        ("text_encoder/model.safetensors", (0, 3)),
        ("unet/diffusion_pytorch_model.safetensors", (0, 0)),
    ] {
        let mut bytes = fs::read(weights(file)).unwrap();
        // The lowest bit of the last value.
        let at = bytes.len() - 4;
        bytes[at] ^= 1;
        fs::write(weights(file), bytes).unwrap();
        assert_eq!(
            made(&studio, &redrawn, file.split('/').next().unwrap()),
            expected,
            "{file}"
        );
    }
}

/// Rewrites a file of the cache with other values, and a checksum that agrees.
fn forge(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes.truncate(bytes.len() - 32);
    // Behind the first line, the key and the length of the first part.
    for value in bytes[15 + 32 + 8..].chunks_exact_mut(4).take(64) {
        value.copy_from_slice(&1.0f32.to_le_bytes());
    }
    let end = Sha256Digest::of_bytes(&bytes);
    bytes.extend_from_slice(end.as_bytes());
    fs::write(path, bytes).unwrap();
}

/// Rewrites a file, given what it held.
type Damage<'a> = &'a dyn Fn(&Path, &[u8]);

#[test]
fn what_is_damaged_is_noticed_and_made_again() {
    let studio = studio();
    // Every caption counts in every update.
    let config = PLAIN.replace("caption_dropout_rate = 0.1\n", "");
    assert_eq!(made(&studio, &config, "first"), FIRST);
    let names: Vec<String> = files(&studio).into_keys().collect();
    let whole: Vec<Vec<u8>> = names.iter().map(|name| studio.bytes("cache", name)).collect();
    let contents = whole.clone();
    let every = |change: Damage<'_>| {
        for (name, whole) in names.iter().zip(&whole) {
            change(&studio.at("cache").join(name), whole);
        }
    };
    let damages: [(&str, Damage<'_>); 4] = [
        ("empty", &|path, _| fs::write(path, "").unwrap()),
        ("truncated", &|path, whole| {
            fs::write(path, &whole[..whole.len() - 9]).unwrap()
        }),
        ("flipped", &|path, whole| {
            let mut bytes = whole.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            fs::write(path, bytes).unwrap();
        }),
        ("of_another", &|path, whole| {
            // A file that is whole and belongs to another picture or caption.
            let other = contents.iter().find(|other| *other != whole);
            fs::write(path, other.unwrap()).unwrap();
        }),
    ];
    for (damage, change) in damages {
        every(change);
        let output = studio.run(&["train", "cached.toml", "--out", damage]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{damage}: {told}");
        for (name, whole) in names.iter().zip(&whole) {
            let warning = format!("`{name}` in the cache is damaged: it is computed again");
            assert_eq!(told.matches(&warning).count(), 1, "{damage}: {told}");
            assert!(&studio.bytes("cache", name) == whole, "{name} after {damage}");
        }
        assert!(
            studio.bytes("first", "adapter.safetensors") == studio.bytes(damage, "adapter.safetensors"),
            "{damage}"
        );
    }

    // That files are used at all shows where one is whole and holds other numbers.
    for kind in ["latents-", "text-"] {
        let of_kind = || names.iter().filter(|name| name.starts_with(kind));
        of_kind().for_each(|name| forge(&studio.at("cache").join(name)));
        assert_eq!(made(&studio, &config, kind), (0, 0));
        assert_ne!(tensors(&studio, kind), tensors(&studio, "first"), "{kind}");
        every(&|path, whole| fs::write(path, whole).unwrap());
    }
}
