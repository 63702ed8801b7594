//! Who signed the receipt: nobody, the right key, another one, or nobody that can be shown.

use assent::adapter::Container;
use assent::audit::{Code, Report, Severity, Verdict, audit_adapter, audit_signed};
use assent::digest::Sha256Digest;
use assent::keys::SecretKey;
use assent::receipt::{self, PROVENANCE_KEY};
use assent::registry::Registry;

use super::world::{World, time};

fn codes(report: &Report) -> Vec<Code> {
    report.findings.iter().map(|finding| finding.code).collect()
}

/// Signs the adapter as `train` does: in the header, then about the file.
fn sign(world: &World, key: &SecretKey) {
    let mut container = Container::read(&world.adapter).unwrap();
    let sealed = receipt::open(&container).unwrap().unwrap();
    receipt::sign(&mut container, &sealed, key).unwrap();
    let written = container.write(&world.adapter).unwrap();
    let bundle = receipt::bundle(&sealed, "adapter.safetensors", written.file, key).unwrap();
    std::fs::write(receipt::bundle_path(&world.adapter), bundle).unwrap();
}

#[test]
fn the_key_behind_a_receipt_is_told_and_another_is_a_finding() {
    let (ours, other) = (SecretKey::from_random(&[1; 32]), SecretKey::from_random(&[2; 32]));
    let world = World::new();
    let by = |key: &SecretKey| audit_signed(&world.adapter, None, Some(&key.public()), time(9)).unwrap();
    let unsigned = by(&ours);
    assert_eq!(
        (codes(&unsigned), unsigned.verdict),
        (vec![Code::SignerOther], Verdict::Invalid)
    );
    sign(&world, &ours);
    let signed = by(&ours);
    assert_eq!((codes(&signed), signed.verdict), (vec![], Verdict::Clean));
    assert_eq!(signed.adapter.unwrap().signer, Some(ours.public().id()));
    assert_eq!(codes(&by(&other)), [Code::SignerOther]);

    // On a computer that did not make it, the trust list decides.
    let mut elsewhere = Registry::in_memory().unwrap();
    let there = |registry: &Registry| audit_adapter(&world.adapter, Some(registry), time(9)).unwrap();
    assert!(codes(&there(&elsewhere)).contains(&Code::SignerUntrusted));
    elsewhere.trust_key(&ours.public(), Some("Studio"), time(8)).unwrap();
    assert!(!codes(&there(&elsewhere)).contains(&Code::SignerUntrusted));
}

#[test]
fn what_a_signature_does_not_cover_is_told_apart() {
    let (ours, other) = (SecretKey::from_random(&[1; 32]), SecretKey::from_random(&[2; 32]));
    let look = |world: &World| audit_adapter(&world.adapter, None, time(9)).unwrap();
    let change = |change: &dyn Fn(&mut Container)| {
        let world = World::new();
        sign(&world, &ours);
        std::fs::remove_file(receipt::bundle_path(&world.adapter)).unwrap();
        let mut container = Container::read(&world.adapter).unwrap();
        change(&mut container);
        container.write(&world.adapter).unwrap();
        codes(&look(&world))
    };
    assert_eq!(change(&|_| {}), []);
    let header = change(&|container| drop(container.metadata.insert("ss_network_dim".into(), "64".into())));
    assert_eq!(
        header,
        [Code::HeaderChanged],
        "the signature of the receipt still holds"
    );
    let broken = change(&|container| {
        let text = container.metadata[PROVENANCE_KEY].replace("\"sig\":\"", "\"sig\":\"AAAA");
        container.metadata.insert(PROVENANCE_KEY.into(), text);
    });
    assert_eq!(broken, [Code::SignatureInvalid]);
    let garbage = change(&|container| drop(container.metadata.insert(PROVENANCE_KEY.into(), "{".into())));
    assert_eq!(garbage, [Code::SignatureInvalid]);
    let moved = change(&|container| {
        let text = container.metadata[PROVENANCE_KEY].clone();
        let mut claims = receipt::open(container).unwrap().unwrap().receipt.claims;
        claims.seed += 1;
        receipt::seal(container, claims).unwrap();
        container.metadata.insert(PROVENANCE_KEY.into(), text);
    });
    assert_eq!(moved, [Code::SignatureInvalid], "a signature of another receipt");

    // Changed weights: the receipt's own finding, and the bundle is about another file.
    let world = World::new();
    sign(&world, &ours);
    let mut bytes = std::fs::read(&world.adapter).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&world.adapter, bytes).unwrap();
    let mut found = codes(&look(&world));
    found.sort();
    assert_eq!(found, [Code::TensorsChanged, Code::SignatureInvalid]);

    // A bundle by another key, or of nothing, beside a file that ours signed.
    let world = World::new();
    sign(&world, &ours);
    let sealed = receipt::open(&Container::read(&world.adapter).unwrap())
        .unwrap()
        .unwrap();
    let file = Sha256Digest::of_file(&world.adapter).unwrap();
    let foreign = receipt::bundle(&sealed, "adapter.safetensors", file, &other).unwrap();
    for bundle in [foreign, Vec::new(), vec![b'a'; 1 << 17]] {
        std::fs::write(receipt::bundle_path(&world.adapter), bundle).unwrap();
        let report = look(&world);
        assert_eq!(codes(&report), [Code::SignatureInvalid]);
        assert_eq!(report.findings[0].severity, Severity::Invalid);
        assert_eq!(report.adapter.unwrap().signer, None);
    }
}
