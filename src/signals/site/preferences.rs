//! AIPREF's `Content-Usage` and `Content-Signal`: dictionaries of what a site prefers.

use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::consent::{Purpose, State};

/// What a dictionary says: purposes with their states, or why it says nothing.
pub(super) type Said = Result<Vec<(Purpose, State)>, String>;

/// AIPREF: a Structured Fields dictionary (RFC 9651) in which `train-ai` is `y` or `n`. The last of several equal keys
/// counts; a dictionary that does not parse says nothing at all.
pub(super) fn usage(text: &str) -> Said {
    let dictionary: Dictionary = Parser::new(text)
        .parse()
        .map_err(|error| format!("`Content-Usage` does not parse: {error}"))?;
    let state = match dictionary.get("train-ai") {
        None => return Ok(Vec::new()),
        Some(ListEntry::Item(item)) => match &item.bare_item {
            BareItem::Token(token) if token.as_str() == "y" => State::Granted,
            BareItem::Token(token) if token.as_str() == "n" => State::Denied,
            _ => return Err("`train-ai` of `Content-Usage` is neither `y` nor `n`".to_string()),
        },
        Some(ListEntry::InnerList(_)) => {
            return Err("`train-ai` of `Content-Usage` is neither `y` nor `n`".to_string());
        }
    };
    Ok(vec![(Purpose::AiGenerativeTraining, state)])
}

/// Content-Signal: `ai-train`, `ai-input` and `search`, each `yes` or `no`, in any letter case. `search` speaks of no
/// purpose here; other names are left to the future.
pub(super) fn signal(text: &str) -> Said {
    let mut said = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((name, value)) = part.split_once('=') else {
            return Err("`Content-Signal` holds something other than `name=yes` and `name=no`".to_string());
        };
        let purposes: &[Purpose] = match name.trim().to_ascii_lowercase().as_str() {
            "ai-train" => &[Purpose::AiTraining, Purpose::AiGenerativeTraining],
            "ai-input" => &[Purpose::AiInference],
            _ => continue,
        };
        let state = match value.trim().to_ascii_lowercase().as_str() {
            "yes" => State::Granted,
            "no" => State::Denied,
            _ => {
                return Err(format!(
                    "`{}` of `Content-Signal` is neither `yes` nor `no`",
                    name.trim()
                ));
            }
        };
        for purpose in purposes {
            // Said twice, it is the refusal that counts.
            match said.iter_mut().find(|(known, _)| known == purpose) {
                Some((_, known)) if state == State::Denied => *known = state,
                Some(_) => {}
                None => said.push((*purpose, state)),
            }
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usage_is_a_structured_dictionary() {
        let generative = |state| Ok(vec![(Purpose::AiGenerativeTraining, state)]);
        let cases = [
            ("train-ai=n", generative(State::Denied)),
            ("train-ai=y", generative(State::Granted)),
            ("train-ai=n, search=y", generative(State::Denied)),
            ("train-ai=y, train-ai=n", generative(State::Denied)),
            ("train-ai=n, train-ai=y", generative(State::Granted)),
            ("train-ai=y;exceptions=1", generative(State::Granted)),
            ("search=y", Ok(vec![])),
            ("", Ok(vec![])),
        ];
        for (text, expected) in cases {
            assert_eq!(usage(text), expected, "{text}");
        }
        for text in [
            "Train-AI=n",
            "train-ai=N",
            "train-ai",
            "train-ai=\"n\"",
            "train-ai=(n)",
            "train-ai=n,",
            "train-ai = n",
        ] {
            assert!(usage(text).is_err(), "{text}");
        }
    }

    #[test]
    fn signals_are_yes_or_no() {
        let (t, g, i) = (Purpose::AiTraining, Purpose::AiGenerativeTraining, Purpose::AiInference);
        let (yes, no) = (State::Granted, State::Denied);
        let cases = [
            ("search=yes, ai-train=no", vec![(t, no), (g, no)]),
            ("ai-input=yes,AI-TRAIN=NO", vec![(i, yes), (t, no), (g, no)]),
            ("ai-train=no, ai-train=yes", vec![(t, no), (g, no)]),
            ("ai-train=yes", vec![(t, yes), (g, yes)]),
            ("search=no", vec![]),
        ];
        for (text, expected) in cases {
            assert_eq!(signal(text), Ok(expected), "{text}");
        }
        assert!(signal("ai-train=maybe").is_err() && signal("no").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in "\\PC{0,200}", mixed in "[a-zA-Z=;,\"()? -]{0,60}") {
            for text in [text, mixed] {
                let _ = usage(&text);
                let _ = signal(&text);
            }
        }
    }
}
