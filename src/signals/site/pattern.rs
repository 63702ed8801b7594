//! Paths and the patterns that match them, as RFC 9309, TDMRep, AIPREF and RSL write them: a prefix, in which `*` is
//! any run of octets and a last `$` is the end.

/// Octets of a pattern that is read; RFC 3986 addresses are shorter.
const MOST: usize = 2048;

/// A pattern in a form in which octets can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// The parts between the stars, in the form of [`canonical`].
    parts: Vec<Vec<u8>>,
    /// Whether it must reach the end.
    anchored: bool,
    /// Octets as written: of two patterns that match, the longer one speaks.
    pub weight: usize,
}

impl Pattern {
    /// Reads a pattern; an address stands for its path. None when it is longer than is read.
    pub fn new(text: &str) -> Option<Self> {
        if text.len() > MOST {
            return None;
        }
        let text = path_of(text);
        let (text, anchored) = match text.strip_suffix('$') {
            Some(text) => (text, true),
            None => (text, false),
        };
        Some(Pattern {
            parts: text.split('*').map(|part| canonical(part.as_bytes(), true)).collect(),
            anchored,
            weight: text.len() + usize::from(anchored),
        })
    }

    /// Whether it matches a path in the form of [`canonical`].
    pub fn matches(&self, path: &[u8]) -> bool {
        let (Some((first, rest)), true) = (self.parts.split_first(), !self.parts.is_empty()) else {
            return false;
        };
        let Some(mut path) = path.strip_prefix(first.as_slice()) else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return !self.anchored || path.is_empty();
        };
        for part in middle {
            match find(path, part) {
                Some(at) => path = &path[at + part.len()..],
                None => return false,
            }
        }
        if self.anchored {
            path.ends_with(last)
        } else {
            find(path, last).is_some()
        }
    }
}

/// Where `part` first stands in `path`.
fn find(path: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    path.windows(part.len()).position(|window| window == part)
}

/// The path of an address, or the text itself.
pub(super) fn path_of(text: &str) -> &str {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text;
    };
    if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return text;
    }
    rest.find('/').map_or("/", |at| &rest[at..])
}

/// One spelling for every way to write a path: unreserved characters and `/` as they are, everything else in percent
/// encoding with capital digits. What is `escaped` already is decoded first where it stands for an unreserved one.
pub(super) fn canonical(path: &[u8], escaped: bool) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(path.len());
    let mut put = |b: u8, raw: bool| {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) || raw && b == b'/' {
            out.push(b);
        } else {
            out.extend_from_slice(format!("%{b:02X}").as_bytes());
        }
    };
    let mut rest = path;
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        if escaped
            && b == b'%'
            && let [high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            put(high << 4 | low, false);
            rest = after;
        } else {
            put(b, true);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rule as it stands in RFC 9309, tried out in every way.
    fn naive(pattern: &[u8], path: &[u8]) -> bool {
        match pattern {
            [] => true,
            b"$" => path.is_empty(),
            [b'*', rest @ ..] => (0..=path.len()).any(|at| naive(rest, &path[at..])),
            [first, rest @ ..] => path.first() == Some(first) && naive(rest, &path[1..]),
        }
    }

    proptest! {
        #[test]
        fn stars_match_every_run(pattern in "/[ab/*]{0,8}[$]?", path in "/[ab/]{0,8}") {
            let matched = Pattern::new(&pattern).unwrap().matches(path.as_bytes());
            prop_assert_eq!(matched, naive(pattern.as_bytes(), path.as_bytes()));
        }
    }

    #[test]
    fn patterns_match_as_rfc_9309_says() {
        let cases = [
            ("/", "/a", true),
            ("/fish", "/fish.html", true),
            ("/fish", "/Fish", false),
            ("/fish/", "/fish", false),
            ("/fish*", "/fishheads/yummy.html", true),
            ("/*.php", "/folder/any.php.file.html", true),
            ("/*.php$", "/folder/any.php", true),
            ("/*.php$", "/any.php5", false),
            ("/fish*.php", "/fishheads/catfish.php", true),
            ("/fish*.php", "/Fish.PHP", false),
            ("/a*b*c$", "/axbxbxc", true),
            ("/a*b*c$", "/axcxb", false),
            ("", "/a", true),
            ("*", "/a", true),
            ("$", "/a", false),
            ("/foo/bar/%E3%83%84", "/foo/bar/\u{30c4}", true),
            ("/foo/bar/\u{30c4}", "/foo/bar/\u{30c4}", true),
            ("/foo/bar/%62%61%7A", "/foo/bar/baz", true),
            ("/path/foo-%24", "/path/foo-$", true),
            ("/a%2fb", "/a/b", false),
            ("/a b", "/a b.png", true),
            ("https://example.org/a/*.png", "/a/b.png", true),
            ("https://example.org", "/a", true),
        ];
        for (pattern, path, expected) in cases {
            let path = canonical(path.as_bytes(), false);
            assert_eq!(Pattern::new(pattern).unwrap().matches(&path), expected, "{pattern}");
        }
        assert_eq!(Pattern::new(&"a".repeat(MOST + 1)), None);
    }
}
