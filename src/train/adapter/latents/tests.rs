use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::*;
use crate::digest::Sha256Digest;
use crate::model::base::Base;
use crate::receipt::BaseFacts;
use crate::train::config::AdapterConfig;
use crate::train::data::Entry;
use crate::train::forecast::Start;
use crate::train::loss::{Example, validate};
use crate::train::watch::Watch;

/// A folder with pictures, a model of a few channels, and settings.
struct World {
    folder: tempfile::TempDir,
    pipeline: Pipeline,
    device: Device,
    config: AdapterConfig,
}

#[derive(Default)]
struct Told(Vec<String>);

impl Watch for Told {
    fn event(&mut self, event: &Event) {
        if let Event::Warning { text } = event {
            self.0.push(text.clone());
        }
    }
}

impl World {
    fn new(more: &str) -> Self {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/sd15-tiny/model");
        let device = Device::flex();
        let text = format!(
            "output_name = \"a\"\npretrained_model_name_or_path = \"base\"\nsnapshot = \"a\"\nresolution = 64\n\
             network_dim = 1\nnetwork_alpha = 1\nlearning_rate = 1e-3\nmax_train_steps = 1\nseed = 5\n{more}"
        );
        Self {
            folder: tempfile::tempdir().unwrap(),
            pipeline: Pipeline::load(&Base::open(&model, None).unwrap(), &device).unwrap(),
            device,
            config: AdapterConfig::parse(&text).unwrap(),
        }
    }

    /// Pictures of these widths and heights, each another one.
    fn pictures(&self, sizes: &[[u32; 2]]) -> Vec<Placed> {
        let entry = |(i, [width, height]): (usize, &[u32; 2])| {
            let path: PathBuf = self.folder.path().join(format!("{i}.png"));
            let shade = 50 * i as u8;
            let picture = image::RgbImage::from_fn(*width, *height, |x, y| image::Rgb([x as u8, y as u8, shade]));
            picture.save(&path).unwrap();
            Entry {
                image: Sha256Digest::of_file(&path).unwrap(),
                path,
                caption: format!("number {i}"),
                subset: self.config.sources[0].options.clone(),
            }
        };
        let entries = sizes.iter().enumerate().map(entry).collect();
        Placed::all(entries, &self.config.data).unwrap()
    }

    fn run(&self) -> AdapterRun<'_> {
        AdapterRun {
            config: &self.config,
            config_digest: Sha256Digest::of_bytes(b"config"),
            sets: &[],
            others: None,
            device: &self.device,
            device_name: "flex",
            key: None,
            supersedes: None,
            resume: false,
            start: Start::PLAIN,
            clock: &|| jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn cached(&self, pictures: Vec<Placed>, held: (&[usize], usize), store: Option<&Store>) -> (Cached, Texts) {
        let (out, stop, mut told) = (self.folder.path(), AtomicBool::new(false), Told::default());
        let mut stage = Stage {
            out,
            watch: &mut told,
            stop: &stop,
        };
        let texts = Texts::new(&self.pipeline, &self.device, None, true);
        let tools = (&self.pipeline, &texts, store);
        let cached = Cached::new(pictures, held, tools, &self.run(), &mut stage).unwrap();
        assert_eq!(told.0, [""; 0]);
        (cached, texts)
    }
}

#[test]
fn what_is_measured_does_not_depend_on_what_is_kept() {
    let world = World::new("");
    let base = [("vae/config.json".to_owned(), Sha256Digest::of_bytes(b"vae"))];
    let base = BaseFacts::new(base.into()).unwrap();
    let folder = world.folder.path().join("cache");
    let store = Store::open(folder.clone(), "latents", &base, &["vae/"], ("float", "flex")).unwrap();
    let one = size_of::<f32>() * 4 * 8 * 8;
    let held = [0, 2, 3];
    let mut expected: Option<(Vec<Example>, f64)> = None;
    for store in [None, Some(&store)] {
        for (most, kept) in [(MOST_HELD, 3), (2 * one + 1, 2), (one, 1), (one - 1, 0)] {
            let (cached, texts) = world.cached(world.pictures(&[[64, 64]; 4]), (&held, most), store);
            let places = |of: &dyn Fn(&usize) -> bool| (0..4).filter(of).collect::<Vec<_>>();
            let here = places(&|&i| cached.latents[i][0].is_some());
            // The one that is trained on is always there.
            assert_eq!(here, places(&|i| *i == 1 || held[..kept].contains(i)));
            let measured = Measured::new("held_out", Arc::new(cached), held.to_vec(), None);
            let run = world.run();
            let encoder = Encoder::new(&world.pipeline, &run);
            let of = |i: usize| {
                Ok::<_, TrainError>(Example {
                    latents: measured.cached.in_the_middle(&encoder, measured.places[i])?,
                    caption: texts.get(&measured.texts[i]),
                })
            };
            let examples: Vec<Example> = (0..3).map(|i| of(i).unwrap()).collect();
            let (unet, schedule) = (&world.pipeline.unet, &world.pipeline.schedule);
            let loss = validate(unet, schedule, (&measured.set, &of), 12, &world.device).unwrap();
            match &expected {
                None => expected = Some((examples, loss)),
                Some(expected) => assert!(*expected == (examples, loss), "{most} bytes, {store:?}"),
            }
        }
    }
    // Each picture has its file, whether or not its latents are kept.
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 4);
    let (examples, _) = expected.unwrap();
    assert!(examples[0].latents != examples[1].latents && examples[0].caption != examples[1].caption);
}

/// Width and height of a picture, and of its bucket; what is told of it as it is, and mirrored.
type Case = ([u32; 2], [u32; 2], [u16; 6], [u16; 6]);

/// Height, width; crop from the top, from the left; height and width of the bucket: worked out by hand from
/// `get_crop_ltrb` and `__getitem__` of sd-scripts' `library/train_util.py`. For 62 × 26 in 96 × 32: the picture in the bucket is 32 · 62/26 = 76.3 wide, so that
/// (96 - 76.3) / 2 = 9.8 are beside it; from the left 9, mirrored 96 - (9 + 76.3) = 10.7.
const TOLD: [Case; 5] = [
    ([62, 26], [96, 32], [26, 62, 0, 9, 32, 96], [26, 62, 0, 10, 32, 96]),
    ([26, 62], [32, 96], [62, 26, 9, 0, 96, 32], [62, 26, 9, 0, 96, 32]),
    ([40, 32], [64, 64], [32, 40, 6, 0, 64, 64], [32, 40, 6, 0, 64, 64]),
    ([80, 20], [128, 32], [20, 80, 0, 0, 32, 128], [20, 80, 0, 0, 32, 128]),
    ([150, 50], [96, 32], [50, 150, 0, 0, 32, 96], [50, 150, 0, 0, 32, 96]),
];

#[test]
fn the_sizes_that_sdxl_is_told_are_those_of_each_picture_and_bucket() {
    for crop in ["", "random_crop = true\n"] {
        let world = World::new(&format!(
            "enable_bucket = true\nmin_bucket_reso = 32\nmax_bucket_reso = 128\nbucket_reso_steps = 32\nflip_aug = true\n\
             {crop}"
        ));
        let (cached, _) = world.cached(world.pictures(&TOLD.map(|(size, ..)| size)), (&[], 0), None);
        let run = world.run();
        let encoder = Encoder::new(&world.pipeline, &run);
        let turns: Vec<Turn> = (0..TOLD.len()).map(|picture| Turn { picture, epoch: 0 }).collect();
        let mut seen = [[false; TOLD.len()]; 2];
        for number in 0..if crop.is_empty() { 12 } else { 3 } {
            let mut flips = Draws::new(5, &format!("adapter/{number}/flips"));
            let samples = cached.samples(&encoder, number, &turns).unwrap();
            for (i, (sample, (_, bucket, straight, mirrored))) in samples.iter().zip(TOLD).enumerate() {
                let flipped = flips.uniform() < 0.5;
                let told = if flipped { mirrored } else { straight };
                assert_eq!(sample.size_ids, told.map(f32::from), "picture {i}, mirrored: {flipped}");
                let [width, height] = bucket.map(|side| side as usize / 8);
                assert_eq!(cached.shape(i), [4, height, width]);
                assert_eq!(sample.latents.len(), 4 * height * width);
                seen[usize::from(flipped)][i] = true;
            }
        }
        let both = (0..TOLD.len()).filter(|&i| seen[0][i] && seen[1][i]).count();
        assert!(both == TOLD.len() || !crop.is_empty(), "{seen:?}");
    }
}
