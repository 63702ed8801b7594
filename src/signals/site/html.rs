//! Pages: what their `<meta>` elements say about robots and about mining, and which pictures they show.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use super::robots::CRAWLERS;

/// Pictures of one page that are kept.
const MOST_PICTURES: usize = 4096;
/// Statements of one page that are kept.
const MOST_STATEMENTS: usize = 64;
/// Bytes of one address or value.
const MOST_VALUE: usize = 4096;

/// What is read of a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Html {
    /// The addresses of `<img src>`, as written.
    pub pictures: Vec<String>,
    /// `<meta>` elements about robots: the name and the content.
    pub robots: Vec<(String, String)>,
    /// The contents of `<meta name="tdm-reservation">`.
    pub reservations: Vec<String>,
    /// The content of `<meta name="tdm-policy">`.
    pub policy: Option<String>,
}

impl Html {
    /// Reads a page as a browser splits it into elements; there is no page that does not parse.
    pub fn parse(bytes: &[u8]) -> Self {
        let input = BufferQueue::default();
        input.push_back(StrTendril::from(String::from_utf8_lossy(bytes).as_ref()));
        let tokenizer = Tokenizer::new(Sink::default(), TokenizerOpts::default());
        // It never pauses: the sink asks for nothing to be run.
        let _ = tokenizer.feed(&input);
        tokenizer.end();
        tokenizer.sink.page.into_inner()
    }
}

#[derive(Default)]
struct Sink {
    page: RefCell<Html>,
}

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let Token::TagToken(tag) = token else {
            return TokenSinkResult::Continue;
        };
        if tag.kind == TagKind::EndTag {
            return TokenSinkResult::Continue;
        }
        match &*tag.name {
            "meta" => meta(&mut self.page.borrow_mut(), &tag),
            "img" => {
                let pictures = &mut self.page.borrow_mut().pictures;
                if let Some(source) = attribute(&tag, "src")
                    && pictures.len() < MOST_PICTURES
                {
                    pictures.push(source);
                }
            }
            // What stands inside of these is text.
            "script" => return TokenSinkResult::RawData(RawKind::ScriptData),
            "style" | "xmp" | "iframe" | "noembed" | "noframes" => {
                return TokenSinkResult::RawData(RawKind::Rawtext);
            }
            "title" | "textarea" => return TokenSinkResult::RawData(RawKind::Rcdata),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

fn attribute(tag: &Tag, name: &str) -> Option<String> {
    tag.attrs
        .iter()
        .find(|attribute| &*attribute.name.local == name)
        .map(|attribute| attribute.value.trim().to_string())
        .filter(|value| value.len() <= MOST_VALUE)
}

fn meta(page: &mut Html, tag: &Tag) {
    let name = attribute(tag, "name").or_else(|| attribute(tag, "http-equiv"));
    let (Some(name), Some(content)) = (name, attribute(tag, "content")) else {
        return;
    };
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "tdm-reservation" if page.reservations.len() < MOST_STATEMENTS => page.reservations.push(content),
        "tdm-policy" if page.policy.is_none() => page.policy = Some(content),
        _ if is_robot(&name) && page.robots.len() < MOST_STATEMENTS => page.robots.push((name, content)),
        _ => {}
    }
}

/// Whether a `<meta>` of this name speaks to robots: to all of them, or to one.
fn is_robot(name: &str) -> bool {
    name == "robots"
        || name == "x-robots-tag"
        || name.ends_with("bot")
        || CRAWLERS.iter().any(|crawler| crawler.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn metas_and_pictures_are_read_as_a_browser_reads_them() {
        let page = Html::parse(
            br#"<!doctype html><HTML><head><title><meta name=robots content=noai></title>
            <META NAME='Robots' CONTENT="NoAI, noimageai"><meta name="tdm-reservation" content="1">
            <meta content=https://e.org/p name=tdm-policy><meta name=keywords content=noai>
            <meta name=GPTBot content=noml>
            <script>"<img src=no.png>"</script><!-- <meta name=robots content=noai> -->
            <style><img src=no.png></style></head><body><img alt=x src=" a%20b.png "><IMG SRC=/c.png><img></body>"#,
        );
        assert_eq!(page.pictures, ["a%20b.png", "/c.png"]);
        let robots = [("robots", "NoAI, noimageai"), ("gptbot", "noml")];
        let robots = robots.map(|(name, content)| (name.to_string(), content.to_string()));
        assert_eq!(page.robots, robots);
        assert_eq!(page.reservations, ["1"]);
        assert_eq!(page.policy.as_deref(), Some("https://e.org/p"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1500), text in "(<|>|/|meta|img|script|!--|-->| |=|\"|'|name|content|src|&amp;|&#x0;|a|\u{0}){0,60}") {
            Html::parse(&bytes);
            Html::parse(text.as_bytes());
        }
    }
}
