//! The bytes of an adapter's file, or the texts in its header → its receipt, what was changed since, and who signed it.
#![no_main]

use std::collections::BTreeMap;

use assent_fuzz::adapter::{Container, Derived};
use assent_fuzz::digest::Sha256Digest;
use assent_fuzz::keys::Envelope;
use assent_fuzz::receipt::{self, PROVENANCE_KEY, RECEIPT_DIGEST_KEY, RECEIPT_KEY, Receipt, RunRecord};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(container) = Container::from_bytes(bytes.to_vec(), "fuzz") {
        look(&container);
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = RunRecord::parse(&text);
    let _ = Envelope::parse(bytes);
    if let Ok(receipt) = Receipt::parse(&text) {
        let written = receipt.bytes().unwrap_or_default();
        assert_eq!(
            Receipt::parse(&String::from_utf8_lossy(&written)).ok().as_ref(),
            Some(&receipt)
        );
    }
    // The receipt, and after a line end the statement that is signed.
    let (first, second) = text.split_once('\n').unwrap_or((&text, ""));
    let digest = Sha256Digest::of_bytes(first.as_bytes()).to_string();
    let metadata = [
        (RECEIPT_KEY, first),
        (RECEIPT_DIGEST_KEY, &digest),
        (PROVENANCE_KEY, second),
    ];
    let metadata: BTreeMap<_, _> = metadata
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let _ = Derived::of_header(&metadata);
    // An adapter's file without a tensor.
    let header = serde_json::json!({ "__metadata__": metadata }).to_string();
    let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    if let Ok(container) = Container::from_bytes(file, "fuzz") {
        look(&container);
    }
});

fn look(container: &Container) {
    let Ok(Some(sealed)) = receipt::open(container) else {
        return;
    };
    let _ = receipt::changes(container, &sealed);
    let _ = receipt::signer(container, &sealed);
    let file = Sha256Digest::of_bytes(b"file");
    let statement = container
        .metadata
        .get(PROVENANCE_KEY)
        .map(String::as_bytes)
        .unwrap_or_default();
    let _ = receipt::bundle_signer(statement, &sealed, file);
}
