use super::*;

#[test]
fn errors_name_key_expected_and_found() {
    let head = "name = \"p\"\npurpose = \"ai_training\"\n";
    for (text, message) in [
        (
            "purpose = \"ai_training\"",
            "at `name`: expected a name in quotes, got nothing",
        ),
        (
            "name = \"p\"",
            "at `purpose`: expected a purpose, as in `\"ai_generative_training\"`, got nothing",
        ),
        (
            &format!("{head}[refuse]\nai_generated = \"yes\""),
            "at `refuse.ai_generated` (line 4): expected true or false, got string `\"yes\"`",
        ),
        (
            &format!("{head}[refuse]\nai_genrated = true"),
            "at `refuse.ai_genrated` (line 4): expected one of ai_generated, needs_review, duplicates, \
             without_caption, names_opted_out_artist, got the unknown key `ai_genrated`",
        ),
        (
            &format!("{head}[grants]\nsignals = [\"sealed\"]"),
            "at `grants.signals` (line 4): expected an authentication (none, invalid, signed, trusted), got `sealed`",
        ),
        (
            &format!("{head}[licenses.accept]\n\"CC0\" = []"),
            "at `licenses.accept.CC0` (line 4): expected one SPDX identifier, as in `CC0-1.0`, got `CC0` (unknown term)",
        ),
        (
            &format!("{head}refuse = 3"),
            "at `refuse` (line 3): expected a table, got integer `3`",
        ),
    ] {
        assert_eq!(Policy::parse(text).unwrap_err().to_string(), message);
    }
    assert!(matches!(
        Policy::parse(&format!("{head}[refuse\n")),
        Err(PolicyError::Syntax { line: 3, .. })
    ));
}

#[test]
fn shipped_policies_refuse_what_nobody_spoke_of() {
    for (text, name) in [
        (include_str!("../../../configs/policy-opt-in.toml"), "opt-in"),
        (
            include_str!("../../../configs/policy-open-licences.toml"),
            "open-licences",
        ),
        (include_str!("../../../configs/policy-own-works.toml"), "own-works"),
        (
            include_str!("../../../configs/policy-research-exception.toml"),
            "research-exception",
        ),
    ] {
        let policy = Policy::parse(text).unwrap();
        assert_eq!(policy.name, name);
        assert!(policy.refuse_ai_generated && policy.refuse_needs_review && policy.refuse_duplicates);
        assert!(policy.refuse_names && policy.silence_basis.is_none());
        assert!(!policy.signal_grants.contains(&Authentication::None));
    }
}
