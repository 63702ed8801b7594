//! A registry, a snapshot and an adapter trained on it, as other commands would have made them.

use std::path::PathBuf;

use assent::adapter::{AdapterFile, Container, Dtype, Format, Module, Weight, encode};
use assent::audit::{Report, audit_adapter};
use assent::consent::{EventKind, Policy, Target};
use assent::digest::{PixelDigest, Sha256Digest};
use assent::receipt::{self, AdapterFacts, BaseFacts, PolicyFacts, RunInputs, RunRecord, SetFacts, SnapshotFacts};
use assent::registry::{NewAdapter, NewEvent, NewImage, NewLocation, NewPicture, NewRun, Registry, Role};
use assent::snapshot::{self, Selection};
use jiff::Timestamp;

const POLICY: &str = include_str!("../../configs/policy-open-licences.toml");

pub struct World {
    pub folder: tempfile::TempDir,
    pub adapter: PathBuf,
    pub images: Vec<Sha256Digest>,
}

pub fn time(hour: u8) -> Timestamp {
    format!("2026-03-01T{hour:02}:00:00Z").parse().unwrap()
}

impl World {
    /// Two images of Ann and one of Bea are trained on; Cy opted out before.
    pub fn new() -> World {
        World::trained(false, [3, 4, 5])
    }

    /// The same, and an image of Dee is in a snapshot for regularization.
    pub fn of_two_sets() -> World {
        World::trained(true, [3, 4, 5])
    }

    /// As [`World::new`], frozen and trained, from and to, at these hours.
    pub fn at_hours(hours: [u8; 3]) -> World {
        World::trained(false, hours)
    }

    fn trained(regularized: bool, [frozen, began, ended]: [u8; 3]) -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(&folder.path().join("assent.db")).unwrap();
        let mut images = Vec::new();
        let mut add = |registry: &mut Registry, name: &str, artist, license| {
            let path = folder.path().join(name);
            std::fs::write(&path, name).unwrap();
            images.push(Sha256Digest::of_bytes(name.as_bytes()));
            registry
                .add_images(&[image(name, path, artist, license)], time(1))
                .unwrap();
        };
        for (name, artist, license) in [
            ("a1.png", "Ann", Some("CC-BY-4.0")),
            ("a2.png", "Ann", Some("CC-BY-4.0")),
            ("b.png", "Bea <b>", None),
            ("c.png", "Cy", Some("CC0-1.0")),
        ] {
            add(&mut registry, name, artist, license);
        }
        opt_out(&mut registry, "Cy", 2);
        let silence = "unspecified = \"accept\"\nbasis = \"Directive (EU) 2019/790, Art. 3\"";
        let policy = Policy::parse(&POLICY.replace("unspecified = \"refuse\"", silence)).unwrap();
        let document = snapshot::create(&mut registry, "set", &policy, &Selection::default(), time(frozen)).unwrap();
        assert_eq!((document.members.len(), document.excluded.len()), (3, 1));

        let mut further = Vec::new();
        if regularized {
            add(&mut registry, "d.png", "Dee", Some("CC-BY-4.0"));
            let selection = Selection {
                artists: vec!["Dee".into()],
                sources: Vec::new(),
            };
            let strict = Policy::parse(POLICY).unwrap();
            let kept = snapshot::create(&mut registry, "reg", &strict, &selection, time(3)).unwrap();
            assert_eq!(kept.members.len(), 1);
            further.push(SetFacts::of(Role::Regularization, &kept));
        }

        let inputs = RunInputs {
            program: "assent test".into(),
            base: BaseFacts::new([("unet/config.json".into(), Sha256Digest::of_bytes(b"{}"))].into()).unwrap(),
            snapshot: SnapshotFacts::of(&document),
            policy: PolicyFacts::of(&document),
            further,
            config: Sha256Digest::of_bytes(b"config"),
            settings: [("rank".into(), "1".into())].into(),
            seed: 1,
            versions: [].into(),
        };
        let trained_on = inputs.trained_on();
        let adapter = folder.path().join("adapter.safetensors");
        let mut container = container(Dtype::F32);
        let sealed = receipt::seal(&mut container, inputs.claims(10).unwrap()).unwrap();
        let written = container.write(&adapter).unwrap();
        let facts = AdapterFacts {
            file: written.file,
            tensors: written.tensors,
            receipt: sealed.digest,
            modules: 1,
        };
        let record = RunRecord::new(inputs, 10, (time(began), time(ended)), [].into(), facts)
            .unwrap()
            .to_json()
            .unwrap();
        let run = Sha256Digest::of_bytes(record.as_bytes());
        let path = folder.path().to_owned();
        registry
            .add_run(
                &NewRun {
                    sha256: run,
                    trained_on: trained_on.clone(),
                    record,
                    path,
                    supersedes: None,
                },
                time(ended),
            )
            .unwrap();
        let row = NewAdapter {
            sha256: written.file,
            tensors: written.tensors,
            run: Some(run),
            trained_on,
            path: adapter.clone(),
        };
        registry.add_adapter(&row, time(ended)).unwrap();
        let picture = NewPicture {
            pixels: None,
            sha256: Sha256Digest::of_bytes(b"picture"),
            adapter: written.file,
            path: folder.path().join("picture.png"),
        };
        registry.add_picture(&picture, time(6)).unwrap();
        World {
            folder,
            adapter,
            images,
        }
    }

    pub fn registry(&self) -> Registry {
        Registry::open(&self.folder.path().join("assent.db")).unwrap()
    }

    pub fn audit(&self) -> Report {
        audit_adapter(&self.adapter, Some(&self.registry()), time(9)).unwrap()
    }

    /// Changes the registry as somebody with another program would.
    pub fn tamper(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.folder.path().join("assent.db")).unwrap();
        connection.execute_batch(sql).unwrap();
    }
}

fn image(name: &str, path: PathBuf, artist: &str, license: Option<&str>) -> NewImage {
    NewImage {
        sha256: Sha256Digest::of_bytes(name.as_bytes()),
        pixels: PixelDigest::of_rgba(1, 1, name.as_bytes()),
        width: 1,
        height: 1,
        format: "png".into(),
        bytes: name.len() as u64,
        fingerprint: None,
        location: NewLocation {
            path,
            source: Some("https://example.org/gallery/".to_owned() + name),
            collection: None,
            notices: Vec::new(),
            title: None,
            caption: Some(format!("a drawing, {name}")),
            artists: vec![artist.into()],
            licenses: license.map(|id| (id.into(), "reuse".into())).into_iter().collect(),
            ai_generated: false,
            needs_review: Vec::new(),
            claims: Vec::new(),
            size: name.len() as u64,
            modified: 0,
            context: Sha256Digest::of_bytes(b""),
        },
    }
}

pub fn opt_out(registry: &mut Registry, artist: &str, hour: u8) {
    let event = NewEvent::new(EventKind::OptOut, Some(Target::Artist(artist.into())));
    registry.append_event(&event, time(hour)).unwrap();
}

pub fn container(dtype: Dtype) -> Container {
    let down = Weight::new([1, 2], vec![0.5, 1.0]);
    let up = Weight::new([2, 1], vec![2.0, 3.0]);
    let module = Module::lora("mid_block.attentions.0.proj_in", down, up, 1.0);
    let header = [("ss_network_dim".to_owned(), "1".to_owned())].into();
    encode(
        &AdapterFile {
            modules: vec![module],
            header,
        },
        Format::Kohya,
        dtype,
    )
    .unwrap()
}
