//! Readings of XMP, EXIF, IPTC and text chunks → the facts of [`Metadata`]: artists, title, licences, made by AI.

use super::claims::{claims, shortened};
use super::iptc::Iptc;
use super::xmp::{Property, properties};
use super::{Authentication, Claim, Metadata, exif, generated, license};
use crate::consent::State;
use crate::digest::Sha256Digest;

const DC: &str = "purl.org/dc/elements/1.1";
const RIGHTS: &str = "ns.adobe.com/xap/1.0/rights";
const TIFF: &str = "ns.adobe.com/tiff/1.0";
const PLUS: &str = "ns.useplus.org/ldf/xmp/1.0";
const IPTC_EXT: &str = "iptc.org/std/Iptc4xmpExt/2008-02-29";
const CC: [&str; 2] = ["creativecommons.org/ns", "web.resource.org/cc"];
/// Artists and licences of one picture, and lines about it; more is an attack.
const MOST: usize = 64;
/// Claims of one picture.
const MOST_CLAIMS: usize = 256;

/// Words of firms, groups and places, which are one artist whatever else their names hold.
const GROUP: &[&str] = &[
    "associates",
    "authors",
    "bros",
    "brothers",
    "co",
    "collective",
    "company",
    "contributors",
    "daughters",
    "design",
    "gallery",
    "gmbh",
    "inc",
    "llc",
    "ltd",
    "museum",
    "others",
    "partners",
    "press",
    "sons",
    "studio",
    "studios",
    "team",
    "the",
    "university",
];

/// The people that a credit names: `Ann Other and Joe Anybody` are two. Only names of at least two words are told apart, so
/// that a firm such as `Smith and Wesson` stays one.
fn people(credit: &str) -> Vec<&str> {
    let parts: Vec<&str> = credit
        .split(" and ")
        .flat_map(|part| part.split(" & "))
        .flat_map(|part| part.split("; "))
        .map(str::trim)
        .collect();
    let person = |part: &&str| {
        let words: Vec<&str> = part.split(' ').collect();
        let group = |word: &str| {
            let plain = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            GROUP.contains(&plain.as_str()) || word.contains([',', '(', '/', '@']) || word.contains(char::is_numeric)
        };
        (2..=4).contains(&words.len()) && !words.iter().any(|word| group(word))
    };
    match parts.len() > 1 && parts.iter().all(person) {
        true => parts,
        false => vec![credit],
    }
}

impl Metadata {
    /// Adds who made it. A credit to two people is two artists, so that what either says reaches the picture.
    pub(super) fn add_artist(&mut self, name: &str) {
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        let name = shortened(&name.replace(|c: char| c.is_control(), ""));
        for name in people(&name) {
            if !name.is_empty() && self.artists.len() < MOST && !self.artists.iter().any(|known| known == name) {
                self.artists.push(name.to_owned());
            }
        }
    }

    pub(super) fn add_title(&mut self, title: &str) {
        let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
        if self.title.is_none() && !title.is_empty() {
            self.title = Some(shortened(&title));
        }
    }

    pub(super) fn add_license(&mut self, license: String, source: &str) {
        let entry = (license, source.to_string());
        if self.licenses.len() < MOST && !self.licenses.contains(&entry) {
            self.licenses.push(entry);
        }
    }

    /// A licence, if the text names one.
    pub(super) fn add_named_license(&mut self, text: &str, source: &str) {
        if let Some(license) = license::named(text) {
            self.add_license(license, source);
        }
    }

    /// A claim, once. Of more than anybody makes, only new denials are kept.
    pub(super) fn add_claim(&mut self, claim: Claim) {
        if self.claims.len() >= MOST_CLAIMS {
            self.add_review(format!("it makes more than {MOST_CLAIMS} statements about consent"));
            let same = |other: &Claim| {
                (other.source, other.purpose, other.state) == (claim.source, claim.purpose, claim.state)
            };
            if claim.state != State::Denied || self.claims.iter().any(same) {
                return;
            }
        }
        if !self.claims.contains(&claim) {
            self.claims.push(claim);
        }
    }

    pub(super) fn add_review(&mut self, line: String) {
        if self.needs_review.len() < MOST && !self.needs_review.contains(&line) {
            self.needs_review.push(line);
        }
    }
}

/// What an XMP packet says.
pub(super) fn add_xmp(packet: &[u8], holder: Sha256Digest, found: &mut Metadata) {
    let (properties, problem) = properties(packet);
    problem.into_iter().for_each(|problem| found.add_review(problem));
    add_properties(&properties, holder, Authentication::None, found);
}

/// What XMP properties say, wherever they stand.
pub(super) fn add_properties(
    properties: &[Property],
    holder: Sha256Digest,
    authenticated: Authentication,
    found: &mut Metadata,
) {
    let mut review = Vec::new();
    for claim in claims(properties, holder, &mut review) {
        let claim = Claim { authenticated, ..claim };
        found.add_claim(claim);
    }
    review.into_iter().for_each(|line| found.add_review(line));
    found.ai_generated |= properties.iter().any(generated::by_property);
    let named = found.licenses.len();
    for Property {
        namespace, name, value, ..
    } in properties.iter().filter(|property| property.direct)
    {
        match (namespace.as_str(), name.as_str()) {
            (DC, "creator") | (TIFF, "Artist") => found.add_artist(value),
            (DC, "title") => found.add_title(value),
            (RIGHTS, "WebStatement" | "UsageTerms") | (DC, "rights") | (TIFF, "Copyright") => {
                found.add_named_license(value, "xmp");
            }
            (space, "license") if CC.contains(&space) => match license::named(value) {
                Some(license) => found.add_license(license, "xmp"),
                None => found.add_review(format!("`cc:license` names no known licence: `{}`", shortened(value))),
            },
            (space, "attributionName") if CC.contains(&space) => found.add_artist(value),
            _ => {}
        }
    }
    // Creators with their identifiers stand in structures.
    for property in properties {
        match (property.namespace.as_str(), property.name.as_str()) {
            (PLUS, "ImageCreatorName" | "ImageCreatorID") | (IPTC_EXT, "AOCreator" | "AOCreatorId") => {
                found.add_artist(&property.value);
            }
            _ => {}
        }
    }
    if found.licenses.len() == named {
        add_marked(properties, found);
    }
}

/// XMP's specification, part 1, 8.7: `Marked` false says public domain; true says that rights are managed, not which.
fn add_marked(properties: &[Property], found: &mut Metadata) {
    let direct = |namespace, name| {
        properties
            .iter()
            .filter(move |property| property.direct && property.is(namespace, name))
    };
    if !direct(RIGHTS, "Marked").any(|property| property.value.eq_ignore_ascii_case("false")) {
        return;
    }
    let reserved = direct(DC, "rights")
        .chain(direct(RIGHTS, "UsageTerms"))
        .find(|property| {
            let text = property.value.to_lowercase();
            ["rights reserved", "©", "copyright", "(c)"]
                .iter()
                .any(|word| text.contains(word))
        });
    match reserved {
        Some(property) => found.add_review(format!(
            "`xmpRights:Marked` says public domain, and the rights say `{}`",
            shortened(&property.value)
        )),
        None => found.add_license("LicenseRef-Public-Domain".to_string(), "xmp"),
    }
}

/// What an EXIF block says.
pub(super) fn add_exif(block: Vec<u8>, found: &mut Metadata) {
    let exif = exif::read(block);
    exif.problem.into_iter().for_each(|problem| found.add_review(problem));
    exif.artists.iter().for_each(|artist| found.add_artist(artist));
    exif.title.iter().for_each(|title| found.add_title(title));
    if let Some(copyright) = exif.copyright {
        found.add_named_license(&copyright, "exif");
    }
    found.ai_generated |= exif
        .texts
        .iter()
        .any(|(keyword, text)| generated::by_text(keyword, text));
}

/// What IPTC records say.
pub(super) fn add_iptc(iptc: Iptc, found: &mut Metadata) {
    iptc.problem.into_iter().for_each(|problem| found.add_review(problem));
    iptc.by_lines.iter().for_each(|name| found.add_artist(name));
    iptc.title.iter().for_each(|title| found.add_title(title));
    if let Some(copyright) = iptc.copyright {
        found.add_named_license(&copyright, "iptc");
    }
    found.ai_generated |= iptc.credit.is_some_and(|credit| generated::by_credit(&credit));
}

/// What a text chunk or a comment says.
pub(super) fn add_text(keyword: &str, text: &str, found: &mut Metadata) {
    let lower = keyword.to_ascii_lowercase();
    // ImageMagick repeats EXIF as text.
    match lower.strip_prefix("exif:").unwrap_or(&lower) {
        "author" | "artist" => found.add_artist(text),
        "title" => found.add_title(text),
        "copyright" => found.add_named_license(text, "text"),
        _ => {}
    }
    found.ai_generated |= generated::by_text(keyword, text);
}

#[cfg(test)]
mod tests {
    use super::people;

    #[test]
    fn a_credit_to_two_people_names_both() {
        for (credit, expected) in [
            ("Ann Other and Joe Anybody", &["Ann Other", "Joe Anybody"][..]),
            ("Ann Other & J. R. Doe", &["Ann Other", "J. R. Doe"]),
            (
                "Ann Other; Joe Anybody; Ida Example",
                &["Ann Other", "Joe Anybody", "Ida Example"],
            ),
            ("Ann Other", &["Ann Other"]),
            ("Smith and Wesson", &["Smith and Wesson"]),
            ("Ann Other and others", &["Ann Other and others"]),
            ("Doe, Jane & Co.", &["Doe, Jane & Co."]),
            ("The Quick and The Dead", &["The Quick and The Dead"]),
            ("Ferdinand Anderson", &["Ferdinand Anderson"]),
            ("", &[""]),
        ] {
            assert_eq!(people(credit), expected, "{credit}");
        }
    }
}
