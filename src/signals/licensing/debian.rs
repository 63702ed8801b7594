//! Debian's machine-readable copyright files: `debian/copyright`, and `.reuse/dep5`, which REUSE took over.

use debian_copyright::LicenseExpr;
use debian_copyright::lossless::Copyright;

use super::glob::Glob;
use crate::signals::claims::shortened;
use crate::signals::license::expression;

/// Paragraphs about files that are read.
const MOST: usize = 10_000;
/// Characters of one licence's name.
const MOST_NAME: usize = 500;

/// A parsed file.
#[derive(Debug, Default)]
pub(super) struct Debian {
    paragraphs: Vec<Paragraph>,
    /// What is wrong with the file as a whole.
    pub problems: Vec<String>,
}

/// What is said about some files.
#[derive(Debug)]
pub(super) struct Paragraph {
    globs: Vec<Option<Glob>>,
    /// The notices, a line each.
    pub notices: Vec<String>,
    /// The licence as an SPDX expression, or its name where it is none that is known.
    pub license: Result<String, String>,
}

impl Debian {
    /// Reads the file. One that is not in the machine-readable format says nothing: it is prose.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut file = Debian::default();
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let Ok((copyright, errors)) = Copyright::from_str_relaxed(text) else {
            return file;
        };
        if let Some(error) = errors.first() {
            file.problems
                .push(shortened(&format!("a copyright file does not parse: {error}")));
        }
        for paragraph in copyright.iter_files() {
            if file.paragraphs.len() == MOST {
                file.problems
                    .push(format!("a copyright file has more than {MOST} paragraphs about files"));
                break;
            }
            let name = paragraph
                .license()
                .and_then(|license| license.name().map(str::to_string));
            let name = name.unwrap_or_default();
            file.paragraphs.push(Paragraph {
                globs: paragraph.files().iter().map(|glob| Glob::debian(glob)).collect(),
                notices: paragraph
                    .copyright()
                    .iter()
                    .map(|line| shortened(line.trim()))
                    .filter(|line| !line.is_empty() && line != ".")
                    .take(MOST)
                    .collect(),
                license: spdx(name.trim()).ok_or_else(|| shortened(name.trim())),
            });
        }
        file
    }

    /// The paragraph for a path below the root: the last that matches.
    pub fn paragraph(&self, path: &str) -> Option<&Paragraph> {
        self.paragraphs
            .iter()
            .rfind(|paragraph| paragraph.globs.iter().flatten().any(|glob| glob.matches(path)))
    }
}

/// A licence as Debian names it → an SPDX expression.
fn spdx(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > MOST_NAME {
        return None;
    }
    if let Some(expression) = expression(name) {
        return Some(expression);
    }
    expression(&written(&LicenseExpr::parse(name))?)
}

fn written(license: &LicenseExpr) -> Option<String> {
    let joined = |parts: &[LicenseExpr], word: &str| -> Option<String> {
        let parts: Option<Vec<String>> = parts
            .iter()
            .map(|part| match part {
                LicenseExpr::Name(_) | LicenseExpr::WithException(..) => written(part),
                nested => Some(format!("({})", written(nested)?)),
            })
            .collect();
        Some(parts?.join(word))
    };
    match license {
        LicenseExpr::Name(name) => identifier(name),
        LicenseExpr::WithException(name, exception) => Some(format!(
            "{} WITH {}",
            identifier(name)?,
            exception.trim().replace(' ', "-")
        )),
        LicenseExpr::And(parts) => joined(parts, " AND "),
        LicenseExpr::Or(parts) => joined(parts, " OR "),
    }
}

/// A short name of Debian's → SPDX's identifier.
fn identifier(name: &str) -> Option<String> {
    let name = name.trim();
    let lower = name.to_ascii_lowercase();
    let known = match lower.as_str() {
        "public-domain" => "LicenseRef-Public-Domain",
        "expat" => "MIT",
        "cc0" => "CC0-1.0",
        "bsd-2-clause" => "BSD-2-Clause",
        "bsd-3-clause" => "BSD-3-Clause",
        "bsd-4-clause" => "BSD-4-Clause",
        "zlib" => "Zlib",
        "isc" => "ISC",
        "artistic" => "Artistic-1.0-Perl",
        "perl" => "(Artistic-1.0-Perl OR GPL-1.0-or-later)",
        "apache-2" => "Apache-2.0",
        _ => "",
    };
    if !known.is_empty() {
        return Some(known.to_string());
    }
    let (plain, later) = match lower.strip_suffix('+') {
        Some(plain) => (plain, true),
        None => (lower.as_str(), false),
    };
    for (family, spdx) in [
        ("gfdl-niv-", "GFDL-VERSION-no-invariants"),
        ("gfdl-", "GFDL-VERSION"),
        ("agpl-", "AGPL-VERSION"),
        ("lgpl-", "LGPL-VERSION"),
        ("gpl-", "GPL-VERSION"),
    ] {
        let Some(version) = plain.strip_prefix(family) else {
            continue;
        };
        let version = if version.contains('.') {
            version.to_string()
        } else {
            format!("{version}.0")
        };
        let kind = if later { "or-later" } else { "only" };
        return expression(&format!("{}-{kind}", spdx.replace("VERSION", &version)));
    }
    if later {
        return expression(&format!("{name}+"));
    }
    // Debian writes many as SPDX does, and some without the last `.0`.
    expression(name)
        .or_else(|| expression(&format!("{name}.0")))
        .filter(|found| !found.contains(' '))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_names_become_spdx() {
        let cases = [
            ("GPL-2+", Some("GPL-2.0-or-later")),
            ("GPL-3", Some("GPL-3.0-only")),
            ("LGPL-2.1+", Some("LGPL-2.1-or-later")),
            ("AGPL-3+", Some("AGPL-3.0-or-later")),
            ("GFDL-NIV-1.3+", Some("GFDL-1.3-no-invariants-or-later")),
            ("Expat", Some("MIT")),
            ("BSD-3-clause", Some("BSD-3-Clause")),
            ("public-domain", Some("LicenseRef-Public-Domain")),
            ("CC0-1.0", Some("CC0-1.0")),
            ("CC-BY-SA-3.0", Some("CC-BY-SA-3.0")),
            ("CC-BY-SA-4", Some("CC-BY-SA-4.0")),
            ("GPL-2+ or Expat", Some("GPL-2.0-or-later OR MIT")),
            (
                "GPL-2+ and Expat, or CC0-1.0",
                Some("(GPL-2.0-or-later AND MIT) OR CC0-1.0"),
            ),
            ("Perl", Some("(Artistic-1.0-Perl OR GPL-1.0-or-later)")),
            ("CC-BY", None),
            ("custom", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(spdx(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn the_last_paragraph_that_matches_speaks() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
            Upstream-Name: x\n\nFiles: *\nCopyright: 2019 Jane Doe <j@example.org>\n           2020 Joe\nLicense: GPL-2+\n\n\
            Files: art/*.png\n icons/?.png\nCopyright: Ann\nLicense: CC-BY-4.0\n Text.\n\nLicense: GPL-2+\n Text.\n";
        let file = Debian::parse(text.as_bytes());
        assert!(file.problems.is_empty(), "{:?}", file.problems);
        let license = |path: &str| file.paragraph(path).unwrap().license.clone().unwrap();
        assert_eq!(license("art/deep/a.png"), "CC-BY-4.0");
        assert_eq!(license("icons/a.png"), "CC-BY-4.0");
        assert_eq!(license("icons/ab.png"), "GPL-2.0-or-later");
        let notices = &file.paragraph("x").unwrap().notices;
        assert_eq!(notices.as_slice(), ["2019 Jane Doe <j@example.org>", "2020 Joe"]);
        assert!(
            Debian::parse(b"This package was debianized by")
                .paragraph("x")
                .is_none()
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500), text in "(Files: [*?a\\\\]{0,4}\n|Copyright: .{0,9}\n|License: [A-Za-z0-9 +,-]{0,20}\n|\n| .{0,5}\n|\r){0,12}") {
            Debian::parse(&bytes).paragraph("a");
            Debian::parse(format!("Format: x\n\n{text}").as_bytes()).paragraph("a/b");
        }

        #[test]
        fn no_name_makes_the_mapping_panic(name in "\\PC{0,80}", words in "(GPL-2[+]?| or | and |, | with |\\(|\\)|Expat){0,20}") {
            spdx(&name);
            spdx(&words);
        }
    }
}
