use proptest::prelude::*;

use super::*;

const COPYRIGHT: &str = concat!("SPDX-", "FileCopyrightText");
const LICENSE: &str = concat!("SPDX-", "License-Identifier");

/// A `REUSE.toml` with a table for everything.
fn toml(precedence: &str, copyright: &str, license: &str) -> LicenseFile {
    let mut text = format!("version = 1\n[[annotations]]\npath = \"**\"\nprecedence = \"{precedence}\"\n");
    if !copyright.is_empty() {
        text.push_str(&format!("{COPYRIGHT} = [\"{copyright}\"]\n"));
    }
    if !license.is_empty() {
        text.push_str(&format!("{LICENSE} = \"{license}\"\n"));
    }
    LicenseFile::parse(LicenseFileKind::ReuseToml, text.as_bytes())
}

fn sidecar(copyright: &str, license: &str) -> String {
    let mut text = String::new();
    if !copyright.is_empty() {
        text.push_str(&format!("{COPYRIGHT}: {copyright}\n"));
    }
    if !license.is_empty() {
        text.push_str(&format!("{LICENSE}: {license}\n"));
    }
    text
}

fn said(sidecar: Option<&str>, above: &[&LicenseFile]) -> (Vec<String>, Vec<String>) {
    let above: Vec<Covering> = above
        .iter()
        .map(|file| Covering {
            file,
            path: "art/a.png".to_string(),
        })
        .collect();
    let mut found = Metadata::default();
    read(sidecar.map(str::as_bytes), &above, &mut found);
    (
        found.artists,
        found.licenses.into_iter().map(|(license, _)| license).collect(),
    )
}

/// A sidecar, the files above it, the artists, the licences.
type Case<'a> = (Option<&'a str>, Vec<LicenseFile>, &'a [&'a str], &'a [&'a str]);

#[test]
fn the_precedence_of_reuse_holds() {
    let own = sidecar("2020 Own", "CC0-1.0");
    let own = Some(own.as_str());
    let cases: Vec<Case> = vec![
        (own, vec![toml("closest", "Near", "MIT")], &["Own"], &["CC0-1.0"]),
        (
            None,
            vec![toml("closest", "Near", "MIT"), toml("closest", "Far", "ISC")],
            &["Near"],
            &["MIT"],
        ),
        (
            own,
            vec![toml("aggregate", "Near", "MIT")],
            &["Own", "Near"],
            &["CC0-1.0", "MIT"],
        ),
        (own, vec![toml("override", "Near", "MIT")], &["Near"], &["MIT"]),
        // The outermost that overrides is the one.
        (
            own,
            vec![toml("override", "Near", "MIT"), toml("override", "Far", "ISC")],
            &["Far"],
            &["ISC"],
        ),
        (
            own,
            vec![toml("closest", "Near", "MIT"), toml("override", "Far", "ISC")],
            &["Far"],
            &["ISC"],
        ),
        // What lies outside of it is heard where it aggregates.
        (
            own,
            vec![toml("override", "Near", "MIT"), toml("aggregate", "Far", "ISC")],
            &["Near", "Far"],
            &["MIT", "ISC"],
        ),
        (
            own,
            vec![toml("override", "Near", "MIT"), toml("closest", "Far", "ISC")],
            &["Near"],
            &["MIT"],
        ),
        // Copyright and licence fall back each by itself.
        (
            None,
            vec![toml("closest", "Near", ""), toml("closest", "Far", "ISC")],
            &["Near"],
            &["ISC"],
        ),
        (
            None,
            vec![toml("aggregate", "Near", "MIT"), toml("closest", "Far", "ISC")],
            &["Near", "Far"],
            &["MIT", "ISC"],
        ),
    ];
    for (index, (own, above, artists, licenses)) in cases.iter().enumerate() {
        let above: Vec<&LicenseFile> = above.iter().collect();
        let (found_artists, found_licenses) = said(*own, &above);
        assert_eq!(
            (found_artists.as_slice(), found_licenses.as_slice()),
            (
                artists
                    .iter()
                    .map(|text| text.to_string())
                    .collect::<Vec<_>>()
                    .as_slice(),
                licenses
                    .iter()
                    .map(|text| text.to_string())
                    .collect::<Vec<_>>()
                    .as_slice(),
            ),
            "case {index}"
        );
    }
    let half = sidecar("2020 Own", "");
    let (artists, licenses) = said(Some(&half), &[&toml("closest", "Near", "MIT")]);
    assert_eq!((artists, licenses), (vec!["Own".to_string()], vec!["MIT".to_string()]));
}

#[test]
fn the_last_table_that_matches_is_used_alone() {
    let text = format!(
        "version = 1\n[[annotations]]\npath = [\"art/*\", \"po/*\"]\n{LICENSE} = \"MIT\"\n{COPYRIGHT} = \"A\"\n\
         [[annotations]]\npath = \"**/*.png\"\n{LICENSE} = [\"ISC\", \"CC0-1.0\"]\n\
         [[annotations]]\npath = 'art/\\*'\n{LICENSE} = \"Zlib\"\n"
    );
    let file = LicenseFile::parse(LicenseFileKind::ReuseToml, text.as_bytes());
    assert_eq!(
        said(None, &[&file]),
        (vec![], vec!["ISC".to_string(), "CC0-1.0".to_string()])
    );
}

#[test]
fn dep5_is_heard_with_the_sidecar_and_debian_beside_both() {
    let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
        Files: *\nCopyright: 2019 Jane Doe\nLicense: CC0-1.0\n";
    let dep5 = LicenseFile::parse(LicenseFileKind::Dep5, text.as_bytes());
    let debian = text.replace("CC0-1.0", "GPL-2+").replace("Jane Doe", "Joe");
    let debian = LicenseFile::parse(LicenseFileKind::Debian, debian.as_bytes());
    let own = sidecar("Ann", "MIT");
    let (artists, licenses) = said(Some(&own), &[&dep5, &debian]);
    assert_eq!(artists, ["Ann", "Jane Doe", "Joe"]);
    assert_eq!(licenses, ["MIT", "CC0-1.0", "GPL-2.0-or-later"]);
}

#[test]
fn what_is_not_understood_is_for_a_person_to_see_where_it_counts() {
    let review = |sidecar: Option<&str>, file: &str| {
        let file = LicenseFile::parse(LicenseFileKind::ReuseToml, file.as_bytes());
        let above = [Covering {
            file: &file,
            path: "a.png".to_string(),
        }];
        let mut found = Metadata::default();
        read(sidecar.map(str::as_bytes), &above, &mut found);
        assert!(found.licenses.iter().all(|(license, _)| license != "wrong"));
        found.needs_review.len()
    };
    let wrong = format!("version = 1\n[[annotations]]\npath = \"**\"\n{LICENSE} = \"do what you like\"");
    assert_eq!(review(None, &wrong), 1);
    assert_eq!(review(Some(&sidecar("A", "MIT")), &wrong), 0);
    assert_eq!(review(None, &wrong.replace("**", "b*")), 0);
    assert_eq!(
        review(None, "version = 1\n[[annotations]]\nprecedence = \"closest\""),
        1
    );
    assert_eq!(
        review(
            None,
            "version = 1\n[[annotations]]\npath = \"*\"\nprecedence = \"loudest\""
        ),
        1
    );
    assert_eq!(review(None, "[[annotations]"), 1);
    assert_eq!(review(None, "version = 2"), 1);
    assert_eq!(review(None, "version = 1\nannotations = 3"), 1);
    assert_eq!(review(Some("nothing here"), "version = 1"), 1);
}

#[test]
fn ignored_blocks_and_plain_notices_are_read_as_reuse_says() {
    let ignored = format!(
        "<!-- {COPYRIGHT}: 2021 Jane Doe -->\n# {LICENSE}: MIT\n# {}\n{COPYRIGHT}: John\n{LICENSE}: ISC\n# {}\n// © 2020 Joe\n",
        concat!("REUSE-", "IgnoreStart"),
        concat!("REUSE-", "IgnoreEnd")
    );
    assert_eq!(
        said(Some(&ignored), &[]),
        (vec!["Jane Doe".to_string(), "Joe".to_string()], vec!["MIT".to_string()])
    );
}

proptest! {
    #[test]
    fn no_bytes_make_them_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), text in "(version = 1\n|\\[\\[annotations\\]\\]\n|path = \"[*/a\\\\]{0,5}\"\n|path = \\[\"\\*\"\\]\n|precedence = \"override\"\n|SPDX-FileCopyrightText = \".{0,9}\"\n){0,8}") {
        for kind in [LicenseFileKind::ReuseToml, LicenseFileKind::Dep5, LicenseFileKind::Debian] {
            for bytes in [&bytes, text.as_bytes()] {
                let file = LicenseFile::parse(kind, bytes);
                let above = [Covering { file: &file, path: "a/b.png".to_string() }];
                read(Some(bytes), &above, &mut Metadata::default());
            }
        }
    }
}
