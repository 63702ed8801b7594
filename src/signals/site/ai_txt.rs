//! Spawning's `ai.txt`: `User-Agent`, `Disallow` and `Allow` lines over file types and paths. Other formats share the
//! name; they are recognised as not being this one.

use super::pattern::Pattern;

/// Bytes that are read; real files have a few hundred.
const MOST: usize = 64 << 10;
/// Lines that are kept.
const MOST_RULES: usize = 2000;

/// A parsed `ai.txt`.
#[derive(Debug, Default)]
pub(super) struct AiTxt {
    rules: Vec<Rule>,
    /// Lines of another grammar, or too many of this one.
    pub problems: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    /// In lower case; `*` for all.
    agents: Vec<String>,
    allow: bool,
    matcher: Matcher,
    text: String,
}

#[derive(Debug)]
enum Matcher {
    /// `*.png`: the end of the name, in lower case, with the dot.
    Extension(String),
    Path(Pattern),
}

/// What the file says about one path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether it is refused.
    pub refused: bool,
    /// The line that says so, with whom it is addressed to.
    pub raw: String,
}

impl AiTxt {
    /// Reads all lines.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut file = AiTxt::default();
        if bytes.len() > MOST {
            file.problems
                .push(format!("`ai.txt` is longer than {MOST} bytes; the rest is not read"));
        }
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]);
        let mut agents: Vec<String> = Vec::new();
        let mut listing = false;
        let mut foreign = 0;
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "user-agent" => {
                    if !listing {
                        agents.clear();
                    }
                    listing = true;
                    agents.push(value.to_ascii_lowercase());
                }
                key @ ("allow" | "disallow") => {
                    listing = false;
                    if file.rules.len() == MOST_RULES {
                        file.problems.push(format!("`ai.txt` has more than {MOST_RULES} rules"));
                        break;
                    }
                    file.rules.extend(rule(key == "allow", value, &agents));
                }
                "sitemap" | "crawl-delay" => listing = false,
                _ => foreign += 1,
            }
        }
        if foreign > 0 {
            file.problems.push(format!(
                "`ai.txt` is not, or not only, in the grammar that is read: {foreign} lines are neither `User-Agent`, \
                 `Disallow` nor `Allow`"
            ));
        }
        file
    }

    /// What it says about a path in canonical form. Lines for everybody decide; where they are silent, a refusal that
    /// names any agent counts.
    pub fn verdict(&self, path: &[u8]) -> Option<Verdict> {
        let all = |rule: &Rule| rule.agents.is_empty() || rule.agents.iter().any(|agent| agent == "*");
        let matching: Vec<&Rule> = self.rules.iter().filter(|rule| rule.matches(path)).collect();
        let longest = |allow: bool| {
            matching
                .iter()
                .copied()
                .filter(|rule| all(rule) && rule.allow == allow)
                .max_by_key(|rule| rule.text.len())
        };
        let general = match (longest(true), longest(false)) {
            (Some(allowed), Some(refused)) if allowed.text.len() > refused.text.len() => Some(allowed),
            (allowed, refused) => refused.or(allowed),
        };
        general
            .or_else(|| matching.iter().copied().find(|rule| !rule.allow))
            .map(|rule| Verdict {
                refused: !rule.allow,
                raw: rule.raw(),
            })
    }
}

impl Rule {
    fn matches(&self, path: &[u8]) -> bool {
        match &self.matcher {
            Matcher::Extension(extension) => path.to_ascii_lowercase().ends_with(extension.as_bytes()),
            Matcher::Path(pattern) => pattern.matches(path),
        }
    }

    fn raw(&self) -> String {
        let key = if self.allow { "Allow" } else { "Disallow" };
        match self.agents.first() {
            Some(agent) => format!("User-Agent: {agent}; {key}: {}", self.text),
            None => format!("{key}: {}", self.text),
        }
    }
}

fn rule(allow: bool, value: &str, agents: &[String]) -> Option<Rule> {
    if value.is_empty() {
        return None;
    }
    let matcher = match value.strip_prefix('*') {
        Some(extension) if extension.starts_with('.') && !extension.contains(['*', '/']) => {
            Matcher::Extension(extension.trim_end_matches('$').to_ascii_lowercase())
        }
        _ => Matcher::Path(Pattern::new(value)?),
    };
    Some(Rule {
        agents: agents.to_vec(),
        allow,
        matcher,
        text: value.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str, path: &str) -> Option<bool> {
        AiTxt::parse(text.as_bytes())
            .verdict(path.as_bytes())
            .map(|verdict| verdict.refused)
    }

    #[test]
    fn types_and_paths_are_refused() {
        let images = "# Spawning AI\n# Prevent datasets from using the following file types\n\nUser-Agent: *\nDisallow: *.jpg\nDisallow: *.png\nAllow: *.txt\n";
        assert_eq!(refused(images, "/a/b.PNG"), Some(true));
        assert_eq!(refused(images, "/a/b.txt"), Some(false));
        assert_eq!(refused(images, "/a/b.webp"), None);
        assert_eq!(
            refused("User-Agent: *\nDisallow: /\nDisallow: *\n", "/x.gif"),
            Some(true)
        );
        assert_eq!(refused("disallow: *", "/x.gif"), Some(true));
        assert_eq!(
            refused("User-Agent: *\nDisallow: *\nAllow: *.gif", "/x.gif"),
            Some(false)
        );
        assert_eq!(refused("User-Agent: *\nDisallow: /art/", "/x.gif"), None);
    }

    #[test]
    fn everybody_is_asked_before_a_named_agent() {
        assert_eq!(refused("User-Agent: GPTBot\nDisallow: /", "/x.gif"), Some(true));
        assert_eq!(refused("User-Agent: GPTBot\nAllow: /", "/x.gif"), None);
        let both = "User-Agent: *\nAllow: /\nUser-Agent: GPTBot\nDisallow: /";
        assert_eq!(refused(both, "/x.gif"), Some(false));
    }

    #[test]
    fn other_grammars_are_recognised() {
        for text in [
            "# About us\n## Facts\n- we paint",
            "AI-Training: no\n",
            "{\"training\": false}",
            "<html>",
        ] {
            let file = AiTxt::parse(text.replace('#', "=").as_bytes());
            assert_eq!((file.problems.len(), file.verdict(b"/a.png")), (1, None), "{text}");
        }
        let mixed = AiTxt::parse(b"Policy: none\nDisallow: /");
        assert!(mixed.problems.len() == 1 && mixed.verdict(b"/a.png").unwrap().refused);
        assert!(AiTxt::parse(b"# only a comment\n").problems.is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1000), lines in "(User-Agent: .{0,5}\n|Disallow: [*./a$]{0,6}\n){0,6}") {
            AiTxt::parse(&bytes).verdict(b"/a/b.png");
            AiTxt::parse(lines.as_bytes()).verdict(b"/a/b.png");
        }
    }
}
