//! The RDF in an SVG drawing → who made it, what it is called, under which licence.
//!
//! Inkscape and Openclipart describe the drawing as a `cc:Work` in `<metadata>`; a raster made from it carries nothing
//! of that, so the drawing beside it is read as its sidecar.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

use super::claims::shortened;
use super::xmp::plain_namespace;
use super::{Metadata, license};

const RDF: &str = "www.w3.org/1999/02/22-rdf-syntax-ns";
const DC: &str = "purl.org/dc/elements/1.1";
/// The vocabulary of Creative Commons, now and before 2008.
const CC: [&str; 2] = ["creativecommons.org/ns", "web.resource.org/cc"];
/// Elements inside each other within the RDF; real ones have about seven.
const MOST_DEPTH: usize = 32;
/// Bytes of one text.
const MOST_TEXT: usize = 4096;
/// Elements of the RDF.
const MOST_ELEMENTS: usize = 4096;

/// Adds what the drawing says of itself.
pub(super) fn add(drawing: &[u8], found: &mut Metadata) {
    let mut reading = Reading {
        found,
        open: Vec::new(),
        elements: 0,
    };
    if let Err(problem) = reading.read(drawing) {
        found.add_review(shortened(&format!("the RDF of the SVG does not parse: {problem}")));
    }
}

struct Reading<'a> {
    found: &'a mut Metadata,
    /// Name and text of every open element, from `rdf:RDF` on.
    open: Vec<(String, String)>,
    elements: usize,
}

impl Reading<'_> {
    fn read(&mut self, drawing: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(drawing);
        let mut reader = NsReader::from_str(&text);
        reader.config_mut().expand_empty_elements = true;
        loop {
            match reader.read_event().map_err(|error| error.to_string())? {
                Event::Start(start) => {
                    let (namespace, name) = reader.resolver().resolve_element(start.name());
                    let name = known(namespace, name.as_ref());
                    // The drawing itself may be as deep and as wrong as it likes.
                    if !self.open.is_empty() || name == "rdf:RDF" {
                        self.start(&reader, &start, name)?;
                    }
                }
                Event::End(_) if !self.open.is_empty() => {
                    self.end();
                    if self.open.is_empty() {
                        return Ok(());
                    }
                }
                Event::Text(text) => self.text(&text.xml10_content()),
                Event::CData(text) => self.text(&text.xml10_content()),
                Event::GeneralRef(reference) if !self.open.is_empty() => {
                    match reference.resolve_char_ref().map_err(|error| error.to_string())? {
                        Some(character) => self.text(character.encode_utf8(&mut [0; 4])),
                        // Entities of a document's own are not followed.
                        None => self.text(
                            quick_xml::escape::resolve_predefined_entity(&reference.xml10_content()).unwrap_or(" "),
                        ),
                    }
                }
                Event::Eof if self.open.is_empty() => return Ok(()),
                Event::Eof => return Err("it ends before its elements do".to_string()),
                _ => {}
            }
        }
    }

    fn start(&mut self, reader: &NsReader<&[u8]>, start: &BytesStart, name: String) -> Result<(), String> {
        self.elements += 1;
        if self.open.len() >= MOST_DEPTH || self.elements > MOST_ELEMENTS {
            return Err("it is deeper or longer than is read".to_string());
        }
        self.open.push((name, String::new()));
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let (namespace, name) = reader.resolver().resolve_attribute(attribute.key);
            if known(namespace, name.as_ref()) == "rdf:resource" {
                let value = attribute
                    .normalized_value(XmlVersion::Implicit1_0)
                    .map_err(|error| error.to_string())?;
                self.text(&value);
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if let Some((_, value)) = self.open.last_mut()
            && value.len() + text.len() <= MOST_TEXT
        {
            value.push_str(text);
        }
    }

    fn end(&mut self) {
        let text = match self.open.last() {
            Some((_, text)) if !text.trim().is_empty() => text.trim().to_string(),
            _ => {
                self.open.pop();
                return;
            }
        };
        // Lists and their items say nothing by themselves.
        let path: Vec<&str> = self
            .open
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !matches!(*name, "rdf:Bag" | "rdf:Seq" | "rdf:Alt" | "rdf:li"))
            .collect();
        match path.as_slice() {
            ["rdf:RDF", "cc:Work" | "rdf:Description", "dc:title"] => self.found.add_title(&text),
            ["rdf:RDF", "cc:Work" | "rdf:Description", about @ ..] => match about {
                ["dc:creator" | "cc:attributionName"]
                | ["dc:creator" | "dc:rights", "cc:Agent" | "rdf:Description", "dc:title"] => {
                    self.found.add_artist(&text);
                }
                ["dc:rights"] => self.found.add_named_license(&text, "svg"),
                ["cc:license"] => match licensed(&text) {
                    Some(license) => self.found.add_license(license, "svg"),
                    None => self.found.add_review(format!(
                        "the SVG's `cc:license` names no known licence: `{}`",
                        shortened(&text)
                    )),
                },
                _ => {}
            },
            _ => {}
        }
        self.open.pop();
    }
}

/// A name with the usual prefix of its vocabulary; empty for the others.
fn known(namespace: ResolveResult, local: impl AsRef<str>) -> String {
    let ResolveResult::Bound(namespace) = namespace else {
        return String::new();
    };
    let prefix = match plain_namespace(namespace.as_ref()).as_str() {
        RDF => "rdf",
        DC => "dc",
        space if CC.contains(&space) => "cc",
        _ => return String::new(),
    };
    format!("{prefix}:{}", local.as_ref())
}

/// The licence of a `cc:license`: an address, or the old word for the public domain.
fn licensed(text: &str) -> Option<String> {
    let word = text.rsplit('/').next().unwrap_or_default();
    match word.replace(' ', "").eq_ignore_ascii_case("PublicDomain") {
        true => Some("LicenseRef-Public-Domain".to_string()),
        false => license::named(text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Openclipart's drawing of a swan, its shapes left out.
    const SWAN: &str = include_str!("../../tests/fixtures/svg/swan.svg");

    fn read(drawing: &str) -> Metadata {
        let mut found = Metadata::default();
        add(drawing.as_bytes(), &mut found);
        found
    }

    fn drawing(inside: &str) -> String {
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg"><title>not this</title><metadata><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:d="http://purl.org/dc/elements/1.1/" xmlns="http://creativecommons.org/ns#"><Work rdf:about="">{inside}</Work></rdf:RDF></metadata><g><broken &nothing; </svg>"#
        )
    }

    #[test]
    fn openclipart_says_who_and_under_what() {
        let found = read(SWAN);
        assert_eq!(found.title.as_deref(), Some("Cigno di spalle"));
        assert_eq!(found.artists, ["Architetto Francesco Rollandin"]);
        assert_eq!(
            found.licenses,
            [("LicenseRef-Public-Domain".to_string(), "svg".to_string())]
        );
        assert!(found.needs_review.is_empty(), "{found:?}");
    }

    #[test]
    fn inkscape_in_its_other_spellings() {
        let found = read(&drawing(
            r#"<d:title>A &amp; B</d:title><d:creator><Agent><d:title>Ann Other</d:title></Agent></d:creator><d:creator>Bo</d:creator><d:publisher><Agent><d:title>not this</d:title></Agent></d:publisher><license rdf:resource="http://creativecommons.org/licenses/by-sa/4.0/"/>"#,
        ));
        assert_eq!(found.title.as_deref(), Some("A & B"));
        assert_eq!(found.artists, ["Ann Other", "Bo"]);
        assert_eq!(found.licenses, [("CC-BY-SA-4.0".to_string(), "svg".to_string())]);
        assert!(found.needs_review.is_empty(), "{found:?}");
        let unknown = read(&drawing(r#"<license rdf:resource="http://example.org/mine"/>"#));
        assert!(unknown.licenses.is_empty() && unknown.needs_review.len() == 1);
    }

    #[test]
    fn hostile_drawings_cost_a_line() {
        for inside in ["<d:x>".repeat(100), "<d:x/>".repeat(10_000), "<d:title".to_string()] {
            assert_eq!(read(&drawing(&inside)).needs_review.len(), 1, "{:.20}", inside);
        }
        let long = read(&drawing(&format!("<d:title>{}</d:title>", "a".repeat(1 << 20))));
        assert_eq!(long.title, None);
        let entity = read(&format!(
            r#"<!DOCTYPE svg [<!ENTITY a "&b;&b;"><!ENTITY b "&a;&a;">]>{}"#,
            drawing("<d:title>x&a;y</d:title>")
        ));
        assert_eq!(entity.title.as_deref(), Some("x y"));
    }
}
