use super::*;

fn written(tensors: &[Saved]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    save(&path, tensors, false).unwrap();
    (folder, path)
}

fn counted(name: &str, shape: &[usize]) -> Saved {
    let n: usize = shape.iter().product();
    Saved {
        name: name.to_owned(),
        shape: shape.to_vec(),
        values: (0..n).map(|i| i as f32).collect(),
    }
}

fn values<const D: usize>(weights: &mut Weights, name: &str, shape: [usize; D]) -> Vec<f32> {
    crate::model::params::to_vec(weights.take(name, shape, Init::Zeros))
}

#[test]
fn parts_and_transposes_of_a_tensor() {
    let (_folder, path) = written(&[counted("qkv", &[6, 2]), counted("bias", &[3]), counted("p", &[2, 3])]);
    let checkpoint = Arc::new(Checkpoint::open(&path).unwrap());
    let names = |x: &str| ["q", "k", "v"].map(|n| format!("{n}.{x}"));
    let mut weights = Weights::of(&checkpoint, &Device::flex(), &|key| match key {
        "qkv" => Key::Fused(names("w")),
        "bias" => Key::Fused(names("b")),
        _ => Key::Transposed("t".to_owned()),
    });
    assert_eq!(values(&mut weights, "k.w", [2, 2]), [4.0, 5.0, 6.0, 7.0]);
    assert_eq!(values(&mut weights, "v.b", [1]), [2.0]);
    assert_eq!(values(&mut weights, "t", [3, 2]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    for name in ["q.w", "v.w"] {
        values(&mut weights, name, [2, 2]);
    }
    for name in ["q.b", "k.b"] {
        values(&mut weights, name, [1]);
    }
    weights.finish().unwrap();
}

#[test]
fn every_wrong_key_is_found_in_one_pass() {
    let mut nan = counted("nan", &[2]);
    nan.values[1] = f32::NAN;
    let (_folder, path) = written(&[
        nan,
        counted("odd", &[4, 2]),
        counted("square", &[2, 2]),
        counted("more", &[1]),
    ]);
    let checkpoint = Arc::new(Checkpoint::open(&path).unwrap());
    let mut weights = Weights::of_part(&checkpoint, Some("U-Net"), &Device::flex(), &|key| match key {
        "odd" => Key::Fused(["a", "b", "c"].map(str::to_owned)),
        _ => Key::Tensor(key.to_owned()),
    });
    values(&mut weights, "nan", [2]);
    // A configuration may ask for what no memory holds; it is refused before any is taken.
    values(&mut weights, "square", [1 << 20, 1 << 20]);
    values(&mut weights, "absent", [3]);
    let text = weights.finish().unwrap_err().to_string();
    for part in [
        "U-Net: 1 missing: absent",
        "4 unexpected: more, odd, odd, odd",
        "1 mis-shaped: square (expected [1048576, 1048576], found [2, 2])",
        "1 unreadable: nan (holds NaN or infinity)",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn hostile_headers_are_refused_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let file = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let entry = |shape: &str, begin: u64, end: u64| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#)
    };
    let good = file(&entry("[2]", 0, 8), 8);
    std::fs::write(&path, &good).unwrap();
    assert_eq!(Checkpoint::open(&path).unwrap().shape("a"), Some(&[2][..]));
    for (what, bytes) in [
        ("empty", vec![]),
        ("short", good[..5].to_vec()),
        ("cut", good[..good.len() - 1].to_vec()),
        ("longer", [&good[..], &[0]].concat()),
        (
            "a header longer than the file",
            [&u64::MAX.to_le_bytes()[..], &good[8..]].concat(),
        ),
        ("no json", file("not json", 8)),
        ("offsets that go back", file(&entry("[2]", 8, 0), 8)),
        ("offsets beyond the end", file(&entry("[2]", 0, 1 << 40), 8)),
        ("offsets of another length", file(&entry("[3]", 0, 8), 8)),
        (
            "a shape that overflows",
            file(&entry("[4294967296,4294967296,4294967296]", 0, 8), 8),
        ),
        ("a negative shape", file(&entry("[-2]", 0, 8), 8)),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = Checkpoint::open(&path)
            .err()
            .unwrap_or_else(|| panic!("{what} was read"));
        assert!(matches!(error, LoadError::Format { .. }), "{what}: {error}");
    }
    assert!(Checkpoint::open(folder.path()).is_err());
}

#[test]
fn shards_stay_in_their_folder_and_hold_what_the_index_says() {
    let (folder, path) = written(&[counted("a", &[2])]);
    std::fs::rename(&path, folder.path().join("model-1.safetensors")).unwrap();
    let index = |text: &str| {
        std::fs::write(folder.path().join("model.safetensors.index.json"), text).unwrap();
        Checkpoint::of_part(folder.path(), "model").map(|c| c.keys().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(index(r#"{"weight_map": {"a": "model-1.safetensors"}}"#).unwrap(), ["a"]);
    for (text, expected) in [
        (
            r#"{"weight_map": {"a": "../model-1.safetensors"}}"#,
            "names of .safetensors files beside it",
        ),
        (
            r#"{"weight_map": {"a": "/model-1.safetensors"}}"#,
            "names of .safetensors files beside it",
        ),
        (
            r#"{"weight_map": {"b": "model-1.safetensors"}}"#,
            "expected `b` in `model-1.safetensors`",
        ),
        (r#"{"weight_map": {"a": "model-2.safetensors"}}"#, "cannot access"),
        ("{}", "weight_map"),
    ] {
        let error = index(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    let none = || Checkpoint::of_part(empty.path(), "model").err().unwrap().to_string();
    assert!(none().contains("it holds no weights"));
    std::fs::write(empty.path().join("pytorch_model.bin"), "x").unwrap();
    assert!(none().contains("pickled weights only"));
}

/// A file with one f32 matrix `[2, 2]` of 1, 2, 3, 4, whose header has `more` spaces at its end.
fn matrix(path: &Path, more: usize) {
    let mut header = r#"{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#.to_owned();
    while !(header.len() + 8).is_multiple_of(8) {
        header.push(' ');
    }
    header.push_str(&" ".repeat(more));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend([1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_matrix_stays_in_its_file_where_it_lies_as_memory_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    for (more, lent) in [(0, true), (4, true), (1, false)] {
        matrix(&path, more);
        let mut weights = Weights::open(&path, &Device::flex()).unwrap();
        let tensor: Tensor<2> = weights.take("a", [2, 2], Init::Zeros);
        let pages = weights.pages();
        assert_eq!(!pages.is_empty(), lent, "{more} more bytes");
        let read = |tensor: &Tensor<2>| crate::model::params::to_vec(tensor.clone());
        assert_eq!(read(&tensor), [1.0, 2.0, 3.0, 4.0]);
        pages.rest();
        assert_eq!(read(&tensor), [1.0, 2.0, 3.0, 4.0]);
        // Nobody else holds it, so burn would add where it lies.
        assert_eq!(read(&tensor.add_scalar(1.0)), [2.0, 3.0, 4.0, 5.0]);
        let mut again = Weights::open(&path, &Device::flex()).unwrap();
        assert_eq!(values(&mut again, "a", [2, 2]), [1.0, 2.0, 3.0, 4.0]);
        weights.finish().unwrap();
    }
}

#[test]
fn a_model_whose_file_is_written_to_is_no_longer_to_be_relied_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    matrix(&path, 0);
    let mut weights = Weights::open(&path, &Device::flex()).unwrap();
    let _tensor: Tensor<2> = weights.take("a", [2, 2], Init::Zeros);
    let pages = weights.pages();
    pages.check().unwrap();
    matrix(&path, 4);
    assert!(matches!(pages.check(), Err(LoadError::Changed { .. })));
    std::fs::remove_file(&path).unwrap();
    assert!(pages.check().is_err());
}
