//! The patterns of `REUSE.toml` and of Debian's copyright files.

/// Characters of one pattern that is read.
const MOST: usize = 4096;

/// A pattern over whole paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    One(char),
    /// Any one character.
    Any,
    /// Any number of characters; whether a `/` may be among them.
    Run(bool),
}

impl Glob {
    /// REUSE 3.3: `*` matches all but `/`, `**` and `**/` match everything, `\` takes the next character as it is.
    pub fn reuse(pattern: &str) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut rest = pattern.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '\\' => pieces.extend(rest.next().map(Piece::One)),
                '*' if rest.next_if_eq(&'*').is_some() => {
                    // The `/` after it is matched with it.
                    while rest.next_if(|c| matches!(c, '*' | '/')).is_some() {}
                    pieces.push(Piece::Run(true));
                }
                '*' => pieces.push(Piece::Run(false)),
                c => pieces.push(Piece::One(c)),
            }
        }
        (pieces.len() <= MOST).then_some(Glob(pieces))
    }

    /// Debian's: `*` matches everything, `?` one character, `\` stands before `*`, `?` and `\` alone.
    pub fn debian(pattern: &str) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            pieces.push(match c {
                '*' => Piece::Run(true),
                '?' => Piece::Any,
                '\\' => Piece::One(rest.next().filter(|c| matches!(c, '*' | '?' | '\\'))?),
                c => Piece::One(c),
            });
        }
        (pieces.len() <= MOST).then_some(Glob(pieces))
    }

    /// Whether it matches the whole path.
    pub fn matches(&self, path: &str) -> bool {
        // Which pieces may be next, for all ways at once: no pattern takes longer than its length times the path's.
        let mut next = vec![false; self.0.len() + 1];
        let skip_runs = |next: &mut Vec<bool>| {
            for (at, piece) in self.0.iter().enumerate() {
                if next[at] && matches!(piece, Piece::Run(_)) {
                    next[at + 1] = true;
                }
            }
        };
        next[0] = true;
        skip_runs(&mut next);
        for c in path.chars() {
            let mut after = vec![false; next.len()];
            let mut alive = false;
            for (at, piece) in self.0.iter().enumerate().filter(|(at, _)| next[*at]) {
                let to = match piece {
                    Piece::One(one) if *one == c => at + 1,
                    Piece::Any => at + 1,
                    Piece::Run(all) if *all || c != '/' => at,
                    _ => continue,
                };
                (after[to], alive) = (true, true);
            }
            if !alive {
                return false;
            }
            skip_runs(&mut after);
            next = after;
        }
        next.last() == Some(&true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reuse_globs_match_as_its_specification_says() {
        let cases = [
            ("po/*.po", "po/de.po", true),
            ("po/*.po", "po/a/de.po", false),
            ("*", "a.png", true),
            ("*", ".hidden", true),
            ("*", "a/b", false),
            ("**", "a/b/c", true),
            ("tests/resources/**", "tests/resources/a/b", true),
            ("tests/resources/**", "tests/resources", false),
            ("**/b.png", "b.png", true),
            ("**/b.png", "a/c/b.png", true),
            ("src/**/b.png", "src/b.png", true),
            ("a*b*c", "axxbyyc", true),
            (r"\*.png", "*.png", true),
            (r"\*.png", "a.png", false),
            (r"a\\b", r"a\b", true),
            (r"\a.png", "a.png", true),
            ("[ab]?.png", "[ab]?.png", true),
            ("[ab].png", "a.png", false),
            ("", "a", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(
                Glob::reuse(pattern).unwrap().matches(path),
                expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn debian_globs_cross_folders() {
        let cases = [
            ("*", "a/b", true),
            ("po/*.po", "po/a/de.po", true),
            ("file?.txt", "file1.txt", true),
            ("file?.txt", "file10.txt", false),
            (r"\*.png", "*.png", true),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(
                Glob::debian(pattern).unwrap().matches(path),
                expected,
                "{pattern} {path}"
            );
        }
        assert!(Glob::debian(r"\a").is_none() && Glob::debian("a\\").is_none());
    }

    #[test]
    fn many_stars_take_no_time() {
        let glob = Glob::reuse(&"*a".repeat(1000)).unwrap();
        assert!(!glob.matches(&"a".repeat(900)));
    }
}
