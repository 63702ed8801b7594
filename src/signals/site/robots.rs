//! `robots.txt` (RFC 9309): groups of rules by user agent, with the lines that AIPREF, Content-Signal and RSL add.
//!
//! The groups are read once a site, not once a picture and crawler.

use super::pattern::Pattern;

/// Bytes that are read: what RFC 9309 asks of every parser.
pub(super) const MOST: usize = 500 << 10;
/// Lines with a meaning that are kept.
const MOST_RULES: usize = 20_000;

/// The crawlers that gather for training or for the answers of models, by their product tokens.
pub(super) const CRAWLERS: [&str; 30] = [
    "AI2Bot",
    "Ai2Bot-Dolma",
    "Amazonbot",
    "anthropic-ai",
    "Applebot-Extended",
    "Bytespider",
    "CCBot",
    "ChatGPT-User",
    "Claude-Web",
    "ClaudeBot",
    "cohere-ai",
    "cohere-training-data-crawler",
    "DeepSeekBot",
    "Diffbot",
    "FacebookBot",
    "Google-Extended",
    "GPTBot",
    "ICC-Crawler",
    "ImagesiftBot",
    "img2dataset",
    "LAION",
    "meta-externalagent",
    "OAI-SearchBot",
    "omgili",
    "omgilibot",
    "PanguBot",
    "PerplexityBot",
    "Timpibot",
    "Webzio-Extended",
    "YouBot",
];

/// What one line says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Allow(Pattern),
    Disallow(Pattern),
    /// A path and what is said about it, as written.
    Usage(Pattern, String),
    Signal(Pattern, String),
    License(String),
}

/// The rules for some user agents.
#[derive(Debug, Default)]
struct Group {
    /// Product tokens in lower case; `*` for all. None: the lines stand before any group.
    agents: Vec<String>,
    rules: Vec<Rule>,
}

/// A line that adds a preference, with whom it is addressed to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Preference<'a> {
    /// The user agent, `*` for all.
    pub agent: &'a str,
    /// What the line says after the path.
    pub value: &'a str,
}

/// A parsed `robots.txt`.
#[derive(Debug, Default)]
pub(super) struct Robots {
    groups: Vec<Group>,
    /// What a person should know.
    pub problems: Vec<String>,
}

/// Which of the two preferences is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// AIPREF's `Content-Usage`.
    Usage,
    /// `Content-Signal`.
    Signal,
}

impl Robots {
    /// Reads all lines; those that are not understood are skipped, as RFC 9309 asks.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut robots = Robots::default();
        if bytes.len() > MOST {
            robots.problems.push(format!(
                "`robots.txt` is longer than {MOST} bytes; the rest is not read"
            ));
        }
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]);
        let text = text.trim_start_matches('\u{feff}');
        let mut group = Group::default();
        let mut count = 0;
        for line in text.split(['\r', '\n']) {
            let line = line.split('#').next().unwrap_or_default();
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
            if key == "user-agent" {
                // A line of rules ends the list of agents; other lines do not.
                if !group.rules.is_empty() {
                    robots.groups.push(std::mem::take(&mut group));
                }
                group.agents.extend(token(value));
            } else if let Some(rule) = rule(&key, value) {
                group.rules.push(rule);
            } else {
                continue;
            }
            count += 1;
            if count > MOST_RULES {
                robots.problems.push(format!(
                    "`robots.txt` has more than {MOST_RULES} rules; the rest is not read"
                ));
                break;
            }
        }
        robots.groups.push(group);
        robots
    }

    /// The groups for everybody: `*`, and what stands before any group.
    fn general(&self) -> impl Iterator<Item = &Group> {
        self.groups
            .iter()
            .filter(|group| group.agents.is_empty() || group.agents.iter().any(|agent| agent == "*"))
    }

    /// The lines of this kind whose pattern matches `path` longest: those for everybody, then those of every named
    /// agent.
    pub fn preferences(&self, line: Line, path: &[u8]) -> (Vec<Preference<'_>>, Vec<Preference<'_>>) {
        let all = longest(self.general(), "*", line, path);
        let mut named = Vec::new();
        for group in &self.groups {
            for agent in group.agents.iter().filter(|agent| *agent != "*") {
                named.extend(longest(std::iter::once(group), agent, line, path));
            }
        }
        (all, named)
    }

    /// Where the RSL licences for everybody lie: those of the `*` group, or else those before any group.
    pub fn licenses(&self) -> Vec<&str> {
        let of = |named: bool| -> Vec<&str> {
            self.general()
                .filter(|group| group.agents.is_empty() != named)
                .flat_map(|group| &group.rules)
                .filter_map(|rule| match rule {
                    Rule::License(address) => Some(address.as_str()),
                    _ => None,
                })
                .collect()
        };
        let own = of(true);
        if own.is_empty() { of(false) } else { own }
    }

    /// Whether this crawler, by its product token, may fetch `path`.
    pub fn allows(&self, agent: &str, path: &[u8]) -> bool {
        let agent = agent.to_ascii_lowercase();
        let own = |group: &&Group| group.agents.contains(&agent);
        let mut rules: Vec<&Rule> = self.groups.iter().filter(own).flat_map(|group| &group.rules).collect();
        if !self.groups.iter().any(|group| own(&group)) {
            rules = self
                .general()
                .filter(|group| !group.agents.is_empty())
                .flat_map(|group| &group.rules)
                .collect();
        }
        let best = |allow: bool| {
            rules
                .iter()
                .filter_map(|rule| match rule {
                    Rule::Allow(pattern) if allow => Some(pattern),
                    Rule::Disallow(pattern) if !allow => Some(pattern),
                    _ => None,
                })
                // An empty rule is no rule.
                .filter(|pattern| pattern.weight > 0 && pattern.matches(path))
                .map(|pattern| pattern.weight)
                .max()
        };
        match (best(true), best(false)) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(allowed), Some(refused)) => allowed >= refused,
        }
    }

    /// The crawlers of [`CRAWLERS`] that may not fetch `path`; whether nobody may is the second value.
    pub fn refused(&self, path: &[u8]) -> (Vec<&'static str>, bool) {
        let refused = !self.allows("*", path);
        let named = |crawler: &str| {
            let mut agents = self.groups.iter().flat_map(|group| &group.agents);
            agents.any(|agent| agent.eq_ignore_ascii_case(crawler))
        };
        let crawlers = CRAWLERS.into_iter().filter(|crawler| match named(crawler) {
            true => !self.allows(crawler, path),
            false => refused,
        });
        (crawlers.collect(), refused)
    }
}

fn rule(key: &str, value: &str) -> Option<Rule> {
    let path = |value: &str| -> Option<(Pattern, String)> {
        let (path, rest) = match value.split_once([' ', '\t']) {
            Some((path, rest)) if path.starts_with('/') => (path, rest),
            _ => ("/", value),
        };
        Some((Pattern::new(path)?, rest.trim().to_string()))
    };
    Some(match key {
        "allow" => Rule::Allow(Pattern::new(value)?),
        "disallow" => Rule::Disallow(Pattern::new(value)?),
        "content-usage" => {
            let (path, value) = path(value)?;
            Rule::Usage(path, value)
        }
        "content-signal" => {
            let (path, value) = path(value)?;
            Rule::Signal(path, value)
        }
        "license" if !value.is_empty() => Rule::License(value.to_string()),
        _ => return None,
    })
}

/// The product token in lower case. RFC 9309 knows letters, `_` and `-`; some crawlers have a digit in theirs.
fn token(value: &str) -> Option<String> {
    if value.starts_with('*') {
        return Some("*".to_string());
    }
    let end = value
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
        .unwrap_or(value.len());
    (end > 0).then(|| value[..end].to_ascii_lowercase())
}

fn longest<'a>(
    groups: impl Iterator<Item = &'a Group>,
    agent: &'a str,
    line: Line,
    path: &[u8],
) -> Vec<Preference<'a>> {
    let mut found: Vec<(usize, &str)> = groups
        .flat_map(|group| &group.rules)
        .filter_map(|rule| match (rule, line) {
            (Rule::Usage(pattern, value), Line::Usage) | (Rule::Signal(pattern, value), Line::Signal) => {
                pattern.matches(path).then_some((pattern.weight, value.as_str()))
            }
            _ => None,
        })
        .collect();
    let most = found.iter().map(|(weight, _)| *weight).max();
    found.retain(|(weight, _)| Some(*weight) == most);
    found
        .into_iter()
        .map(|(_, value)| Preference { agent, value })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use robotstxt::DefaultMatcher;

    use super::super::pattern::canonical;
    use super::*;

    fn values(found: &[Preference]) -> Vec<String> {
        found
            .iter()
            .map(|found| format!("{} {}", found.agent, found.value))
            .collect()
    }

    #[test]
    fn preferences_are_those_of_the_longest_path_in_the_group() {
        let text = b"User-Agent: *\nAllow: /\nDisallow: /never/\nContent-Usage: / train-ai=n\n\
            Content-Usage: /ai-ok/ train-ai=y\n\nUser-Agent: ExampleBot\nAllow: /\nContent-Usage: / train-ai=y\n";
        let robots = Robots::parse(text);
        for (path, expected, crawl) in [
            ("/test", "* train-ai=n", true),
            ("/never/test", "* train-ai=n", false),
            ("/ai-ok/test", "* train-ai=y", true),
        ] {
            let (all, named) = robots.preferences(Line::Usage, path.as_bytes());
            assert_eq!(values(&all), [expected], "{path}");
            assert_eq!(values(&named), ["examplebot train-ai=y"]);
            assert_eq!(robots.allows("*", path.as_bytes()), crawl, "{path}");
        }
        let bare = Robots::parse(b"content-signal :search=yes, ai-train=no # both\r\rContent-Usage:train-ai=n");
        assert_eq!(
            values(&bare.preferences(Line::Signal, b"/a").0),
            ["* search=yes, ai-train=no"]
        );
        assert_eq!(values(&bare.preferences(Line::Usage, b"/a").0), ["* train-ai=n"]);
    }

    #[test]
    fn licences_of_the_group_for_all_stand_before_those_of_no_group() {
        let before = "License: https://e.org/a.xml\nUser-agent: x\nLicense: https://e.org/x.xml\n";
        assert_eq!(Robots::parse(before.as_bytes()).licenses(), ["https://e.org/a.xml"]);
        let own = format!("{before}\nUser-agent: *\nLicense: https://e.org/all.xml\n");
        assert_eq!(Robots::parse(own.as_bytes()).licenses(), ["https://e.org/all.xml"]);
    }

    #[test]
    fn crawlers_are_refused_by_their_own_group_or_by_that_for_all() {
        let robots = Robots::parse(
            b"User-agent: GPTBot\nUser-agent: img2dataset\nDisallow: /art/\nAllow: /art/free\n\nUser-agent: *\nDisallow:\n",
        );
        assert_eq!(robots.refused(b"/art/a.png"), (vec!["GPTBot", "img2dataset"], false));
        assert_eq!(robots.refused(b"/art/free.png"), (vec![], false));
        let closed = Robots::parse(b"user-agent: *\ndisallow: /\nuser-agent: ccbot\nallow: /");
        let (refused, all) = closed.refused(b"/a.png");
        assert!(all && !refused.contains(&"CCBot") && refused.contains(&"GPTBot"));
    }

    #[test]
    fn a_long_file_is_read_as_far_as_the_standard_asks() {
        let mut text = "# \u{e9}\n".repeat(MOST / 5 + 1);
        text.push_str("User-agent: *\nDisallow: /\n");
        let robots = Robots::parse(text.as_bytes());
        assert!(robots.allows("GPTBot", b"/a"));
        assert_eq!(robots.problems.len(), 1);
    }

    fn line() -> impl Strategy<Value = String> {
        let agent = prop_oneof![Just("*"), Just("GPTBot"), Just("ccbot"), Just("Other/1.0")];
        let path = "[/a-c$]{0,8}";
        prop_oneof![
            agent.prop_map(|agent| format!("User-agent: {agent}")),
            path.prop_map(|path| format!("Disallow: /{path}")),
            path.prop_map(|path| format!("Allow: /{path}")),
            Just("Disallow:".to_string()),
            Just(String::new()),
        ]
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), path in "/[a-z/]{0,20}") {
            let robots = Robots::parse(&bytes);
            robots.refused(path.as_bytes());
            robots.preferences(Line::Usage, path.as_bytes());
            robots.licenses();
        }

        /// A port of a large crawler's parser comes to the same, but for stars, after which it loses its place, and
        /// for `Sitemap`, which may not end a group (RFC 9309, section 2.2.4) and does there.
        #[test]
        fn what_is_allowed_agrees_with_another_parser(lines in proptest::collection::vec(line(), 0..12), path in "[a-c/]{0,8}") {
            let text = lines.join("\n");
            let path = format!("/{path}");
            let robots = Robots::parse(text.as_bytes());
            for agent in ["GPTBot", "CCBot"] {
                let url = format!("http://e.org{path}");
                let expected = DefaultMatcher::default().one_agent_allowed_by_robots(&text, agent, &url);
                prop_assert_eq!(robots.allows(agent, &canonical(path.as_bytes(), false)), expected, "{} {} {:?}", agent, path, text);
            }
        }
    }
}
