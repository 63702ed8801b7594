//! XMP properties → claims: the IPTC/PLUS `DataMining` property and TDMRep's `reservation`.

use super::xmp::Property;
use super::{Authentication, Claim, SignalSource};
use crate::consent::{Purpose, State};
use crate::digest::Sha256Digest;

const PLUS: &str = "ns.useplus.org/ldf/xmp/1.0";
const PLUS_VOCABULARY: &str = "ns.useplus.org/ldf/vocab";
const TDM: &str = "www.w3.org/ns/tdmrep";
/// Where the conditions of a `…-SEE…` value stand.
const CONDITIONS: [&str; 3] = ["OtherConstraints", "EmbdEncRightsExpr", "LinkedEncRightsExpr"];

/// The claims in these properties; what looks like one and is not understood goes to `review`.
pub(super) fn claims(properties: &[Property], holder: Sha256Digest, review: &mut Vec<String>) -> Vec<Claim> {
    let mut found = Vec::new();
    // Once for all, and no longer than is kept.
    let conditions: String = properties
        .iter()
        .filter(|property| CONDITIONS.contains(&property.name.as_str()))
        .take(8)
        .map(|condition| format!("; {}: {}", condition.name, shortened(&condition.value)))
        .collect();
    let mut claim = |source, raw: String, purpose, state| {
        let claim = Claim {
            source,
            raw,
            purpose,
            state,
            authenticated: Authentication::None,
            holder,
        };
        if !found.contains(&claim) {
            found.push(claim);
        }
    };
    for property in properties.iter().filter(|property| property.is(PLUS, "DataMining")) {
        let Some((state, purposes)) = data_mining(&property.value) else {
            review.push(format!(
                "`DataMining` has the unknown value `{}`",
                shortened(&property.value)
            ));
            claim(
                SignalSource::IptcDataMining,
                shortened(&property.value),
                None,
                State::Unspecified,
            );
            continue;
        };
        // What is said about an ingredient may refuse for the whole; it cannot allow it.
        if state == State::Granted && !property.direct {
            continue;
        }
        let mut raw = property.value.clone();
        if state == State::Constrained {
            raw.push_str(&conditions);
        }
        let raw = shortened(&raw);
        for purpose in purposes {
            claim(SignalSource::IptcDataMining, raw.clone(), *purpose, state);
        }
    }
    for property in properties.iter().filter(|property| property.is(TDM, "reservation")) {
        // The terms of an ingredient are not the terms of the whole.
        let policy = properties
            .iter()
            .find(|policy| policy.is(TDM, "policy") && policy.direct == property.direct);
        let raw = match policy {
            Some(policy) => shortened(&format!("reservation: {}; policy: {}", property.value, policy.value)),
            None => shortened(&format!("reservation: {}", property.value)),
        };
        let mining = [Purpose::DataMining, Purpose::AiTraining, Purpose::AiGenerativeTraining];
        match property.value.as_str() {
            "1" => {
                let state = if policy.is_some() {
                    State::Constrained
                } else {
                    State::Denied
                };
                for purpose in mining {
                    claim(SignalSource::TdmRepXmp, raw.clone(), Some(purpose), state);
                }
            }
            "0" if property.direct => claim(SignalSource::TdmRepXmp, raw, Some(Purpose::DataMining), State::Granted),
            "0" => {}
            _ => {
                review.push(format!("TDMRep has the unknown {raw}"));
                claim(SignalSource::TdmRepXmp, raw, None, State::Unspecified);
            }
        }
    }
    found
}

/// What a value of PLUS's vocabulary says: the state, and the purposes (`None` for all).
fn data_mining(value: &str) -> Option<(State, &'static [Option<Purpose>])> {
    const ALL: &[Option<Purpose>] = &[None];
    const TRAINING: &[Option<Purpose>] = &[Some(Purpose::AiTraining), Some(Purpose::AiGenerativeTraining)];
    const GENERATIVE: &[Option<Purpose>] = &[Some(Purpose::AiGenerativeTraining)];
    let value = value.trim().trim_end_matches('/').to_ascii_uppercase();
    let token = match value.rsplit_once('/') {
        Some((vocabulary, token)) if vocabulary.ends_with(&PLUS_VOCABULARY.to_ascii_uppercase()) => token,
        Some(_) => return None,
        None => value.as_str(),
    };
    Some(match token.strip_prefix("DMI-").unwrap_or(token) {
        "UNSPECIFIED" => (State::Unspecified, ALL),
        "ALLOWED" => (State::Granted, ALL),
        "PROHIBITED-AIMLTRAINING" => (State::Denied, TRAINING),
        "PROHIBITED-GENAIMLTRAINING" => (State::Denied, GENERATIVE),
        "PROHIBITED" | "PROHIBITED-EXCEPTSEARCHENGINEINDEXING" => (State::Denied, ALL),
        "PROHIBITED-SEECONSTRAINT" | "PROHIBITED-SEEEMBEDDEDRIGHTSEXPR" | "PROHIBITED-SEELINKEDRIGHTSEXPR" => {
            (State::Constrained, ALL)
        }
        _ => return None,
    })
}

/// A text short enough to be shown and stored.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = 2000;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
