//! An XMP packet → its properties, whichever of its many spellings they are written in.
//!
//! RDF lets a property be an attribute, the text of an element, a resource, or an item of a list, under any prefix.
//! All become `(namespace, name, value)`; what a value means is decided elsewhere.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

const RDF: &str = "www.w3.org/1999/02/22-rdf-syntax-ns";
const META: &str = "adobe:ns:meta";
/// Where this program writes what it knows of a picture that it drew.
pub const LABEL_NAMESPACE: &str = "urn:assent:label:1";
/// Elements inside each other; real packets have about ten.
const MOST_DEPTH: usize = 64;
/// Properties of one packet.
const MOST_PROPERTIES: usize = 4096;
/// Elements of one packet.
const MOST_ELEMENTS: usize = 250_000;
/// Bytes of one value.
const MOST_VALUE: usize = 64 << 10;

/// One property of XMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The namespace without scheme and without a last `/` or `#`.
    pub namespace: String,
    /// The local name.
    pub name: String,
    /// The value, trimmed.
    pub value: String,
    /// Whether it speaks of the picture itself, not of a part, an ingredient or an earlier version.
    pub direct: bool,
}

impl Property {
    /// Whether it is `name` of `namespace`.
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }
}

/// The properties up to where the packet stops making sense, and what is wrong there.
pub(super) fn properties(packet: &[u8]) -> (Vec<Property>, Option<String>) {
    let text = decoded(packet);
    let text = text.trim_matches(|c: char| c == '\u{feff}' || c == '\0' || c.is_whitespace());
    let mut reading = Reading::default();
    let problem = reading.read(text).err();
    (reading.properties, problem)
}

/// UTF-8, or UTF-16 in either order as the first bytes show.
fn decoded(packet: &[u8]) -> String {
    let utf16 = |read: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = packet.chunks_exact(2).map(|pair| read([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match packet {
        [0xfe, 0xff, ..] | [0, b'<', ..] => utf16(u16::from_be_bytes),
        [0xff, 0xfe, ..] | [b'<', 0, ..] => utf16(u16::from_le_bytes),
        _ => String::from_utf8_lossy(packet).into_owned(),
    }
}

#[derive(Default)]
struct Reading {
    elements: usize,
    properties: Vec<Property>,
    /// Namespace, name and text so far of every open element.
    open: Vec<(String, String, String)>,
}

impl Reading {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let mut reader = NsReader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        let wrong = |error: &dyn std::fmt::Display| format!("XMP does not parse: {error}");
        loop {
            match reader.read_event().map_err(|error| wrong(&error))? {
                Event::Start(start) => self.start(&reader, &start).map_err(|error| wrong(&error))?,
                Event::End(_) => self.end(),
                Event::Text(text) => self.text(&text.xml10_content()),
                Event::CData(text) => self.text(&text.xml10_content()),
                Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|error| wrong(&error))? {
                    Some(character) => self.text(character.encode_utf8(&mut [0; 4])),
                    None => match quick_xml::escape::resolve_predefined_entity(&reference.xml10_content()) {
                        Some(text) => self.text(text),
                        // Entities that a document declares itself are how XML bombs are built.
                        None => return Err("XMP uses an entity of its own".to_string()),
                    },
                },
                Event::Eof if self.open.is_empty() => return Ok(()),
                Event::Eof => return Err("XMP ends before its elements do".to_string()),
                _ => {}
            }
            if self.open.len() > MOST_DEPTH || self.properties.len() > MOST_PROPERTIES || self.elements > MOST_ELEMENTS
            {
                return Err("XMP is deeper or longer than is read".to_string());
            }
        }
    }

    fn start(&mut self, reader: &NsReader<&[u8]>, start: &BytesStart) -> Result<(), String> {
        self.elements += 1;
        let (namespace, name) = reader.resolver().resolve_element(start.name());
        self.open
            .push((bound(namespace), text_of(name.as_ref()), String::new()));
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| error.to_string())?;
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|error| error.to_string())?
                .into_owned();
            let (namespace, name) = reader.resolver().resolve_attribute(attribute.key);
            let (namespace, name) = (bound(namespace), text_of(name.as_ref()));
            if namespace == RDF {
                // The value of the element it stands in.
                if name == "resource" || name == "value" {
                    self.text(&value);
                }
            } else if !namespace.is_empty() && namespace != META {
                let direct = self.direct(self.open.len());
                self.add(namespace, name, &value, direct);
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if let Some((.., value)) = self.open.last_mut()
            && value.len() + text.len() <= MOST_VALUE
        {
            value.push_str(text);
        }
    }

    fn end(&mut self) {
        let Some((namespace, name, value)) = self.open.pop() else {
            return;
        };
        if namespace != RDF {
            let direct = self.direct(self.open.len());
            self.add(namespace, name, &value, direct);
        } else if name == "li" || name == "value" || name == "Description" {
            // An item, or a value with qualifiers: the value of the property around it.
            let around = self.open.iter().rposition(|(namespace, ..)| namespace != RDF);
            if let Some(around) = around {
                let (namespace, name, _) = self.open[around].clone();
                let direct = self.direct(around);
                self.add(namespace, name, &value, direct);
            }
        }
    }

    /// Whether nothing but RDF's own elements stands above depth `depth`.
    fn direct(&self, depth: usize) -> bool {
        self.open[..depth]
            .iter()
            .all(|(namespace, ..)| namespace == RDF || namespace == META)
    }

    fn add(&mut self, namespace: String, name: String, value: &str, direct: bool) {
        let value = value.trim();
        if !value.is_empty() && wanted(&namespace, &name) {
            self.properties.push(Property {
                namespace,
                name,
                value: value.to_string(),
                direct,
            });
        }
    }
}

/// The namespaces whose properties say something here. Editing histories of many megabytes are not among them.
fn wanted(namespace: &str, name: &str) -> bool {
    match namespace {
        "purl.org/dc/elements/1.1"
        | "ns.adobe.com/xap/1.0/rights"
        | "ns.adobe.com/tiff/1.0"
        | "ns.useplus.org/ldf/xmp/1.0"
        | "iptc.org/std/Iptc4xmpExt/2008-02-29"
        | "creativecommons.org/ns"
        | "web.resource.org/cc"
        | "www.w3.org/ns/tdmrep"
        | LABEL_NAMESPACE => true,
        "ns.adobe.com/xap/1.0" => name == "CreatorTool",
        "ns.adobe.com/exif/1.0" => name == "UserComment",
        "ns.adobe.com/photoshop/1.0" => name == "Credit",
        _ => false,
    }
}

fn bound(namespace: ResolveResult) -> String {
    match namespace {
        ResolveResult::Bound(namespace) => plain_namespace(&text_of(namespace.as_ref())),
        _ => String::new(),
    }
}

/// Writers disagree about `http` and `https` and about the last character.
pub(super) fn plain_namespace(namespace: &str) -> String {
    let namespace = namespace.trim();
    let namespace = namespace
        .strip_prefix("http://")
        .or_else(|| namespace.strip_prefix("https://"))
        .unwrap_or(namespace);
    namespace.trim_end_matches(['/', '#']).to_string()
}

fn text_of(name: impl AsRef<str>) -> String {
    name.as_ref().to_string()
}
