//! Really Simple Licensing 1.0: an XML file of licences, each with what it permits, prohibits and costs.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

use super::pattern::Pattern;
use crate::consent::{Purpose, State};

const NAMESPACE: &str = "rslstandard.org/rsl";
/// Elements inside each other; real files have four.
const MOST_DEPTH: usize = 32;
/// Contents and licences of one file.
const MOST_PARTS: usize = 2000;
/// Bytes of one list of usages.
const MOST_TEXT: usize = 4096;

/// A parsed file.
#[derive(Debug, Default)]
pub(super) struct Rsl {
    contents: Vec<Content>,
    /// What does not parse.
    pub problems: Vec<String>,
}

/// What some paths are licensed under.
#[derive(Debug)]
struct Content {
    pattern: Pattern,
    /// A licence server must be asked first.
    server: bool,
    licenses: Vec<License>,
}

#[derive(Debug, Default)]
struct License {
    /// The usages that are permitted; none: all.
    permits: Option<Vec<String>>,
    prohibits: Vec<String>,
    /// Something must be paid, given, reported or be the case.
    conditions: Vec<String>,
}

/// The usages that a purpose needs, by their tokens.
const USAGES: [(Purpose, &[&str]); 4] = [
    (Purpose::AiTraining, &["ai-train", "train-ai"]),
    (Purpose::AiGenerativeTraining, &["ai-train", "train-ai"]),
    (Purpose::AiInference, &["ai-input"]),
    (Purpose::DataMining, &[]),
];
/// Every token there is, with AIPREF's.
const TOKENS: [&str; 7] = [
    "all", "ai-all", "ai-train", "train-ai", "ai-input", "ai-index", "search",
];

impl Rsl {
    /// Reads the file up to where it stops making sense.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut reading = Reading::default();
        if let Err(problem) = reading.read(text.trim_start_matches('\u{feff}')) {
            reading.rsl.problems.push(problem);
        }
        reading.rsl
    }

    /// What the file says about a path in canonical form: each purpose that it speaks of with its state, and why.
    /// None when it does not cover the path. The longest `url` speaks; of several licences any may be taken up, but
    /// what one of them prohibits is prohibited. What is allowed must be said.
    pub fn says(&self, path: &[u8]) -> Option<Vec<(Purpose, State, String)>> {
        let matching = self.contents.iter().filter(|content| content.pattern.matches(path));
        let most = matching.clone().map(|content| content.pattern.weight).max()?;
        let contents: Vec<&Content> = matching.filter(|content| content.pattern.weight == most).collect();
        let said = USAGES
            .into_iter()
            .filter_map(|(purpose, usages)| said(&contents, purpose, usages).map(|(state, why)| (purpose, state, why)));
        Some(said.collect())
    }
}

fn said(contents: &[&Content], purpose: Purpose, usages: &[&str]) -> Option<(State, String)> {
    let covers = |list: &[String]| {
        list.iter().any(|token| {
            token == "all" || token == "ai-all" && purpose != Purpose::DataMining || usages.contains(&token.as_str())
        })
    };
    let licenses = || {
        contents
            .iter()
            .flat_map(|content| content.licenses.iter().map(move |license| (content.server, license)))
    };
    // What goes into an index of a model is input to it.
    let index = |list: &[String]| purpose == Purpose::AiInference && list.iter().any(|token| token == "ai-index");
    if let Some((_, license)) = licenses().find(|(_, license)| covers(&license.prohibits) || index(&license.prohibits))
    {
        return Some((State::Denied, format!("prohibits {}", license.prohibits.join(" "))));
    }
    let mut best: Option<(State, String)> = None;
    for (server, license) in licenses() {
        let (state, why) = match &license.permits {
            // A list of what is permitted is closed; no token of it speaks of mining alone.
            Some(permits) if !covers(permits) && usages.is_empty() => continue,
            Some(permits) if !covers(permits) => (State::Denied, format!("permits only {}", permits.join(" "))),
            permits => {
                let what = permits
                    .as_ref()
                    .map_or("everything".to_string(), |permits| permits.join(" "));
                let mut conditions = license.conditions.clone();
                if server {
                    conditions.push("a licence server".to_string());
                }
                match conditions.as_slice() {
                    // Not to forbid is not to allow.
                    [] if permits.is_none() => continue,
                    [] => (State::Granted, format!("permits {what}")),
                    _ => (
                        State::Constrained,
                        format!("permits {what}; asks for {}", conditions.join(", ")),
                    ),
                }
            }
        };
        let rank = |state| match state {
            State::Granted => 2,
            State::Constrained => 1,
            _ => 0,
        };
        if best.as_ref().is_none_or(|(known, _)| rank(state) > rank(*known)) {
            best = Some((state, why));
        }
    }
    best
}

/// What is open while reading.
#[derive(Default)]
struct Reading {
    rsl: Rsl,
    /// The local names of the open elements of this namespace, empty for those of others.
    open: Vec<String>,
    /// The kind of the open `permits` or `prohibits`, and its text so far.
    list: Option<(String, String)>,
    rooted: bool,
}

impl Reading {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let mut reader = NsReader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        let wrong = |error: &dyn std::fmt::Display| format!("the RSL file does not parse: {error}");
        loop {
            match reader.read_event().map_err(|error| wrong(&error))? {
                Event::Start(start) => self.start(&reader, &start)?,
                Event::End(_) => self.end()?,
                Event::Text(text) => self.text(&text.xml10_content()),
                Event::CData(text) => self.text(&text.xml10_content()),
                Event::Eof if !self.open.is_empty() => return Err("the RSL file ends early".to_string()),
                Event::Eof if !self.rooted => return Err("the RSL file holds no `rsl` element".to_string()),
                Event::Eof => return Ok(()),
                _ => {}
            }
            if self.open.len() > MOST_DEPTH || self.rsl.contents.len() > MOST_PARTS {
                return Err("the RSL file is deeper or longer than is read".to_string());
            }
        }
    }

    fn start(&mut self, reader: &NsReader<&[u8]>, start: &BytesStart) -> Result<(), String> {
        let (namespace, name) = reader.resolver().resolve_element(start.name());
        let ours = match namespace {
            ResolveResult::Bound(namespace) => {
                let namespace: &str = namespace.as_ref();
                let namespace = namespace.trim().trim_end_matches('/');
                namespace.split_once("://").map_or(namespace, |(_, rest)| rest) == NAMESPACE
            }
            _ => false,
        };
        let name: &str = name.as_ref();
        self.open.push(if ours { name.to_string() } else { String::new() });
        if !ours {
            return Ok(());
        }
        let attribute = |wanted: &str| -> Option<String> {
            start
                .attributes()
                .with_checks(false)
                .flatten()
                .find(|attribute| {
                    let key: &str = attribute.key.as_ref();
                    key == wanted
                })
                .and_then(|attribute| {
                    Some(
                        attribute
                            .normalized_value(XmlVersion::Implicit1_0)
                            .ok()?
                            .trim()
                            .to_string(),
                    )
                })
        };
        let kind = attribute("type").unwrap_or_default();
        match name {
            "rsl" => self.rooted = true,
            "content" => {
                let address = attribute("url").unwrap_or_default();
                let pattern = Pattern::new(&address).ok_or("the `url` of an RSL `content` is too long")?;
                self.rsl.contents.push(Content {
                    pattern,
                    server: attribute("server").is_some_and(|server| !server.is_empty()),
                    licenses: Vec::new(),
                });
            }
            "license" => {
                if let Some(content) = self.rsl.contents.last_mut() {
                    content.licenses.push(License::default());
                    if content.licenses.len() > MOST_PARTS {
                        return Err("the RSL file has more licences than are read".to_string());
                    }
                }
            }
            "permits" | "prohibits" if kind == "usage" => self.list = Some((name.to_string(), String::new())),
            "permits" | "prohibits" => self.condition(format!("{kind} as the licence says")),
            "payment" if kind != "free" => {
                let kind = if kind.is_empty() {
                    "a kind that is not named"
                } else {
                    &kind
                };
                self.condition(format!("payment: {kind}"));
            }
            "reporting" => self.condition("reporting".to_string()),
            _ => {}
        }
        Ok(())
    }

    fn license(&mut self) -> Option<&mut License> {
        self.rsl.contents.last_mut()?.licenses.last_mut()
    }

    fn condition(&mut self, condition: String) {
        if let Some(license) = self.license()
            && !license.conditions.contains(&condition)
            && license.conditions.len() < MOST_DEPTH
        {
            license.conditions.push(condition);
        }
    }

    fn text(&mut self, text: &str) {
        if let Some((_, list)) = &mut self.list
            && list.len() + text.len() <= MOST_TEXT
        {
            list.push_str(text);
        }
    }

    fn end(&mut self) -> Result<(), String> {
        let name = self.open.pop().unwrap_or_default();
        if !matches!(name.as_str(), "permits" | "prohibits") {
            return Ok(());
        }
        let Some((kind, list)) = self.list.take() else {
            return Ok(());
        };
        let tokens: Vec<String> = list
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|token| !token.is_empty())
            .map(str::to_ascii_lowercase)
            .collect();
        for token in tokens.iter().filter(|token| !TOKENS.contains(&token.as_str())) {
            let problem = format!("the RSL file {kind} the unknown usage `{token}`");
            if !self.rsl.problems.contains(&problem) && self.rsl.problems.len() < MOST_DEPTH {
                self.rsl.problems.push(problem);
            }
        }
        if let Some(license) = self.license() {
            if kind == "permits" {
                license.permits.get_or_insert_default().extend(tokens);
            } else {
                license.prohibits.extend(tokens);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T: Purpose = Purpose::AiTraining;
    const I: Purpose = Purpose::AiInference;
    const M: Purpose = Purpose::DataMining;

    fn file(inside: &str) -> String {
        format!("<?xml version=\"1.0\"?><rsl xmlns=\"https://rslstandard.org/rsl\">{inside}</rsl>")
    }

    fn state(inside: &str, path: &str, purpose: Purpose) -> Option<State> {
        let rsl = Rsl::parse(file(inside).as_bytes());
        assert!(rsl.problems.is_empty(), "{:?}", rsl.problems);
        let said = rsl.says(path.as_bytes())?;
        said.into_iter()
            .find(|(of, ..)| *of == purpose)
            .map(|(_, state, _)| state)
    }

    #[test]
    fn prohibiting_denies_and_payment_constrains() {
        use State::*;
        let license = |inside: &str| format!("<content url=\"/\"><license>{inside}</license></content>");
        let cases = [
            ("<prohibits type=\"usage\">ai-train</prohibits>", T, Some(Denied)),
            ("<prohibits type=\"usage\">train-ai</prohibits>", T, Some(Denied)),
            ("<prohibits type=\"usage\">ai-all</prohibits>", I, Some(Denied)),
            ("<prohibits type=\"usage\">all</prohibits>", M, Some(Denied)),
            ("<prohibits type=\"usage\">ai-index</prohibits>", I, Some(Denied)),
            ("<prohibits type=\"usage\">search</prohibits>", T, None),
            (
                "<permits type=\"usage\">ai-all</permits><prohibits type=\"usage\">ai-train</prohibits>",
                T,
                Some(Denied),
            ),
            ("<permits type=\"usage\">search ai-input</permits>", T, Some(Denied)),
            ("<permits type=\"usage\">search ai-input</permits>", I, Some(Granted)),
            ("<permits type=\"usage\">search</permits>", M, None),
            ("<permits type=\"usage\">all</permits>", M, Some(Granted)),
            (
                "<permits type=\"usage\">ai-train</permits><payment type=\"training\"/>",
                T,
                Some(Constrained),
            ),
            (
                "<permits type=\"usage\">ai-train</permits><payment type=\"attribution\"/>",
                T,
                Some(Constrained),
            ),
            (
                "<permits type=\"usage\">ai-train</permits><payment type=\"free\"/>",
                T,
                Some(Granted),
            ),
            (
                "<payment type=\"crawl\"><amount currency=\"USD\">0.015</amount></payment>",
                T,
                Some(Constrained),
            ),
            (
                "<permits type=\"usage\">all</permits><permits type=\"user\">education</permits>",
                T,
                Some(Constrained),
            ),
            (
                "<permits type=\"usage\">all</permits><reporting type=\"audit\"/>",
                T,
                Some(Constrained),
            ),
        ];
        for (inside, purpose, expected) in cases {
            assert_eq!(state(&license(inside), "/a.png", purpose), expected, "{inside}");
        }
    }

    #[test]
    fn the_most_specific_content_speaks_and_of_several_licences_any() {
        let file = "<content url=\"/\"><license><permits type=\"usage\">all</permits></license></content>
            <content url=\"https://e.org/art/*.png$\"><license><prohibits type=\"usage\">all</prohibits></license></content>
            <content url=\"/shop/\" server=\"https://l.org\"><license><permits type=\"usage\">ai-all</permits></license></content>
            <content url=\"/two/\"><license><permits type=\"usage\">search</permits></license>
            <license><permits type=\"usage\">ai-train</permits><payment type=\"purchase\"/></license></content>";
        assert_eq!(state(file, "/b.png", T), Some(State::Granted));
        assert_eq!(state(file, "/art/b.png", T), Some(State::Denied));
        assert_eq!(state(file, "/art/b.jpg", T), Some(State::Granted));
        assert_eq!(state(file, "/shop/b.png", T), Some(State::Constrained));
        assert_eq!(state(file, "/two/b.png", T), Some(State::Constrained));
        assert_eq!(state("<content url=\"/x/\"><license/></content>", "/y", T), None);
    }

    #[test]
    fn what_is_not_rsl_is_a_problem() {
        let bomb =
            "<!DOCTYPE a [<!ENTITY b \"bbbb\">]><rsl xmlns=\"https://rslstandard.org/rsl\"><content url=\"&b;\">";
        let unknown =
            file("<content url=\"/\"><license><permits type=\"usage\">ai-training</permits></license></content>");
        for text in [
            "",
            "<rsl><content url=\"/\"/></rsl>",
            "<rsl xmlns=\"https://rslstandard.org/rsl\">",
            bomb,
            &unknown,
        ] {
            assert_eq!(Rsl::parse(text.as_bytes()).problems.len(), 1, "{text}");
        }
        let deep = file(&"<content url=\"/\">".repeat(100));
        assert_eq!(Rsl::parse(deep.as_bytes()).problems.len(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), text in "(<content url=\"/\">|<license>|<permits type=\"usage\">|all|</permits>|</license>|</content>|&|<|>| ){0,20}") {
            Rsl::parse(&bytes).says(b"/a");
            Rsl::parse(file(&text).as_bytes()).says(b"/a");
        }
    }
}
