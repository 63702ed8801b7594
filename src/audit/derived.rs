//! From an adapter that was computed from others to what trained those.

use std::collections::BTreeSet;

use super::finding::{Code, Finding};
use super::lines::SourceLine;
use super::report::Report;
use crate::adapter::{Container, Derived};
use crate::digest::Sha256Digest;
use crate::receipt::{self, SetClaims};
use crate::registry::{AdapterRow, Registry, RegistryError, TrainedOn};

/// Most adapters that are looked at on the way back.
const MOST: usize = 256;

/// A set that trained a source, and what the source's receipt says of it where it holds.
type Found = (TrainedOn, Option<SetClaims>);

/// The sets that trained the adapters that one was computed from, as receipts and registry name them. A source may be
/// computed itself. What the registry does not know, or whose file is not there, is said in the report.
pub(super) fn sources(
    registry: &Registry,
    derived: &Derived,
    report: &mut Report,
) -> Result<Vec<Found>, RegistryError> {
    let (mut seen, mut sets, mut lines) = (BTreeSet::new(), Vec::new(), Vec::new());
    let mut ahead: Vec<_> = derived.from.iter().rev().cloned().collect();
    while let Some(source) = ahead.pop() {
        if !seen.insert(source.sha256) {
            continue;
        }
        if lines.len() >= MOST {
            report
                .unchecked
                .push(format!("more than {MOST} adapters that it was computed from"));
            break;
        }
        let mut line = SourceLine {
            sha256: source.sha256,
            known: false,
            receipt_sha256: None,
        };
        match registry.adapter(&source.sha256)? {
            None => report.unchecked.push(format!(
                "what trained the adapter {}, which it was computed from: the registry does not know it",
                source.sha256.short()
            )),
            Some(row) => {
                line.known = true;
                sets.extend(row.trained_on.iter().map(|on| (*on, None)));
                match look(&row, report) {
                    Some(Origin::Receipt(digest, claims)) => {
                        if source.receipt.is_some_and(|named| named != digest) {
                            let says = "it carries another receipt than the file that was computed from it names";
                            let subject = format!("adapter:{}", row.sha256);
                            report.findings.push(Finding::new(Code::ReceiptChanged, subject, says));
                        }
                        line.receipt_sha256 = Some(digest);
                        sets.extend(claims.into_iter().map(|set| (set.trained_on(), Some(set))));
                    }
                    Some(Origin::Computed(further)) => ahead.extend(further.from.into_iter().rev()),
                    None => {}
                }
            }
        }
        lines.push(line);
    }
    if let Some(adapter) = &mut report.adapter {
        adapter.sources = lines;
    }
    // The receipt's word on a set comes before none.
    sets.sort_by_key(|(_, claims)| claims.is_none());
    Ok(sets)
}

/// What a source's own file says.
enum Origin {
    Receipt(Sha256Digest, Vec<SetClaims>),
    Computed(Derived),
}

fn look(row: &AdapterRow, report: &mut Report) -> Option<Origin> {
    let short = row.sha256.short();
    let mut unchecked = |why: &str| {
        report
            .unchecked
            .push(format!("the receipt of {short}, which it was computed from: {why}"));
        None
    };
    let container = match Sha256Digest::of_file(&row.path) {
        Err(_) => return unchecked("its file is not where it was recorded"),
        Ok(found) if found != row.sha256 => return unchecked("its file holds other bytes now"),
        Ok(_) => match Container::read(&row.path) {
            Ok(container) => container,
            Err(_) => return unchecked("its file does not parse"),
        },
    };
    match receipt::open(&container) {
        Ok(Some(sealed)) if receipt::changes(&container, &sealed).is_ok_and(|changes| changes.is_empty()) => {
            Some(Origin::Receipt(sealed.digest, sealed.receipt.claims.sets()))
        }
        Ok(None) => match Derived::of_header(&container.metadata) {
            Some(derived) => Some(Origin::Computed(derived)),
            None => unchecked("it carries none"),
        },
        _ => {
            let subject = format!("adapter:{}", row.sha256);
            let says = "an adapter that it was computed from carries a receipt that does not hold";
            report.findings.push(Finding::new(Code::ReceiptChanged, subject, says));
            None
        }
    }
}
