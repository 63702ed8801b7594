//! Identifiers of artists: an address, an ORCID, a ULAN number, an account. Each has one form in which it is compared.
//!
//! | written | compared as | addresses that are clearly theirs |
//! |---|---|---|
//! | `https://orcid.org/0000-0002-1825-0097`, `orcid:…`, the bare number | `orcid:0000-0002-1825-0097` | – |
//! | `http://vocab.getty.edu/ulan/500115588`, `ulan:500115588` | `ulan:500115588` | – |
//! | `@name@host`, `acct:name@host` | `@name@host` | `https://host/@name`, `https://host/users/name` |
//! | `deviantart:name`, `https://www.deviantart.com/name` | `deviantart:name` | `https://www.deviantart.com/name` |
//! | any other `https://host/path` | `https://host/path` | itself, when it has a path of its own |
//!
//! The last digit of an ORCID is checked (ISO 7064, 11-2). An address is compared without `www.`, letter case, query,
//! fragment, trailing `/`, and whether it is `http` or `https`. An address without a path, or whose path is only a word that
//! many share (`/users`), names a site and not an artist: a creator may be called so, but it covers no address.

/// Platforms whose profile addresses are known: the word before the colon, the host, and what stands before the name.
const PLATFORMS: [(&str, &str, &str); 14] = [
    ("artstation", "artstation.com", ""),
    ("behance", "behance.net", ""),
    ("bsky", "bsky.app", "profile/"),
    ("cara", "cara.app", ""),
    ("deviantart", "deviantart.com", ""),
    ("flickr", "flickr.com", "photos/"),
    ("github", "github.com", ""),
    ("instagram", "instagram.com", ""),
    ("openclipart", "openclipart.org", "artist/"),
    ("patreon", "patreon.com", ""),
    ("pixiv", "pixiv.net", "users/"),
    ("tumblr", "tumblr.com", ""),
    ("twitter", "twitter.com", ""),
    ("x", "x.com", ""),
];

/// First steps of a path behind which many people's pages lie.
const SHARED: [&str; 20] = [
    "@", "art", "artist", "artists", "author", "authors", "creator", "de", "en", "gallery", "i", "images", "members",
    "people", "photos", "profile", "u", "user", "users", "works",
];

/// The longest identifier, in bytes.
const LONGEST: usize = 500;

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// It is of no form that is known.
    #[error(
        "expected an identifier (an address, an ORCID, `ulan:NUMBER`, `@name@host`, or an account such as \
         `deviantart:name`), got `{0}`"
    )]
    Unknown(String),
    /// The last digit of an ORCID does not agree with the others.
    #[error("expected an ORCID whose last digit is `{expected}`, got `{found}`: a digit is wrong")]
    Checksum {
        /// The digit the others ask for.
        expected: char,
        /// The ORCID.
        found: String,
    },
}

/// The one form in which an identifier is compared; lower case.
pub fn identifier(text: &str) -> Result<String, IdentifierError> {
    let unknown = || IdentifierError::Unknown(text.chars().take(80).collect());
    let lower = text.trim().to_lowercase();
    if lower.is_empty() || lower.len() > LONGEST || lower.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(unknown());
    }
    if let Some(number) = orcid_digits(&lower) {
        return checked(&number).map(|()| format!("orcid:{number}"));
    }
    if let Some(number) = ["ulan:", "http://vocab.getty.edu/ulan/", "https://vocab.getty.edu/ulan/"]
        .iter()
        .find_map(|prefix| lower.strip_prefix(prefix))
    {
        let number = number.split(['/', '-', '#']).next().unwrap_or_default();
        let whole = number.len() == 9 && number.starts_with("500") && number.bytes().all(|b| b.is_ascii_digit());
        return whole.then(|| format!("ulan:{number}")).ok_or_else(unknown);
    }
    if let Some((name, host)) = account(&lower) {
        return Ok(format!("@{name}@{host}"));
    }
    if let Some(address) = bare_address(&lower) {
        let (host, path) = address.split_once('/').unwrap_or((&address, ""));
        if host.is_empty() || !host.contains('.') {
            return Err(unknown());
        }
        let known = PLATFORMS.iter().filter(|(_, at, _)| *at == host);
        for (platform, _, before) in known {
            let name = path.strip_prefix(before).unwrap_or_default();
            if is_name(name) && !SHARED.contains(&name) {
                return Ok(format!("{platform}:{name}"));
            }
        }
        let account = path.strip_prefix('@').or_else(|| path.strip_prefix("users/"));
        if let Some(name) = account.filter(|name| is_name(name)) {
            return Ok(format!("@{name}@{host}"));
        }
        return Ok(format!("https://{address}"));
    }
    match lower.split_once(':') {
        Some((platform, name)) if is_name(name) && PLATFORMS.iter().any(|(known, _, _)| *known == platform) => {
            Ok(format!("{platform}:{name}"))
        }
        _ => Err(unknown()),
    }
}

/// The addresses, without scheme and `www.`, below which everything is clearly by whom this identifier (as
/// [`identifier`] gives it) names.
pub fn own_addresses(identifier: &str) -> Vec<String> {
    if let Some((name, host)) = account(identifier) {
        return vec![format!("{host}/@{name}"), format!("{host}/users/{name}")];
    }
    if let Some(address) = bare_address(identifier) {
        let steps: Vec<_> = address.split('/').skip(1).filter(|step| !step.is_empty()).collect();
        let own = match steps.as_slice() {
            [] => false,
            [only] => !SHARED.contains(only),
            _ => true,
        };
        return if own { vec![address] } else { Vec::new() };
    }
    let Some((platform, name)) = identifier.split_once(':') else {
        return Vec::new();
    };
    let theirs = PLATFORMS.iter().filter(|(known, _, _)| *known == platform);
    theirs
        .map(|(_, host, before)| format!("{host}/{before}{name}"))
        .collect()
}

/// An address in the form in which addresses are compared: lower case, without scheme, `www.`, query, fragment and
/// trailing `/`. None for what is no `http` or `https` address.
pub fn bare_address(address: &str) -> Option<String> {
    let lower = address.trim().to_lowercase();
    let rest = lower
        .strip_prefix("https://")
        .or_else(|| lower.strip_prefix("http://"))?;
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let rest = rest.strip_prefix("www.").unwrap_or(rest).trim_end_matches('/');
    (!rest.is_empty()).then(|| rest.to_string())
}

/// The number of an ORCID as `0000-0000-0000-0000`, when the text has its form.
fn orcid_digits(lower: &str) -> Option<String> {
    let number = ["https://orcid.org/", "http://orcid.org/", "orcid.org/", "orcid:"]
        .iter()
        .find_map(|prefix| lower.strip_prefix(prefix))
        .unwrap_or(lower)
        .trim_end_matches('/');
    let digits: Vec<char> = number.chars().filter(|c| *c != '-').collect();
    let body = digits.iter().take(15).all(char::is_ascii_digit);
    let last = digits.get(15).is_some_and(|c| c.is_ascii_digit() || *c == 'x');
    let dashes = number.len() == 19 && [4, 9, 14].iter().all(|at| number.as_bytes().get(*at) == Some(&b'-'));
    (digits.len() == 16 && body && last && dashes).then(|| number.to_string())
}

/// ISO 7064 11-2 over the first fifteen digits.
fn checked(number: &str) -> Result<(), IdentifierError> {
    let digits: Vec<char> = number.chars().filter(|c| *c != '-').collect();
    let total = digits
        .iter()
        .take(15)
        .filter_map(|c| c.to_digit(10))
        .fold(0, |total, digit| (total + digit) * 2);
    let expected = match (12 - total % 11) % 11 {
        10 => 'x',
        digit => char::from_digit(digit, 10).unwrap_or('x'),
    };
    if digits.last() == Some(&expected) {
        Ok(())
    } else {
        Err(IdentifierError::Checksum {
            expected: expected.to_ascii_uppercase(),
            found: number.to_uppercase(),
        })
    }
}

/// The name and the host of `@name@host` or `acct:name@host`.
fn account(lower: &str) -> Option<(&str, &str)> {
    let rest = lower.strip_prefix('@').or_else(|| lower.strip_prefix("acct:"))?;
    let (name, host) = rest.split_once('@')?;
    let host_like = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | ':');
    (is_name(name) && host.contains('.') && host.chars().all(host_like)).then_some((name, host))
}

/// Whether this can be the name of an account.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_comes_to_one_form() {
        for (written, form) in [
            ("https://ORCID.org/0000-0002-1825-0097/", "orcid:0000-0002-1825-0097"),
            ("0000-0002-1694-233X", "orcid:0000-0002-1694-233x"),
            ("http://vocab.getty.edu/ulan/500115588-agent", "ulan:500115588"),
            ("ULAN:500115588", "ulan:500115588"),
            ("@Mira@Art.Example", "@mira@art.example"),
            ("acct:mira@art.example", "@mira@art.example"),
            ("https://art.example/@Mira", "@mira@art.example"),
            ("https://art.example/users/mira", "@mira@art.example"),
            ("DeviantArt:Mira-L", "deviantart:mira-l"),
            ("http://www.deviantart.com/mira-l/", "deviantart:mira-l"),
            (
                "https://www.flickr.com/photos/12@n00",
                "https://flickr.com/photos/12@n00",
            ),
            ("https://flickr.com/photos/mira", "flickr:mira"),
            ("https://Mira.Example/", "https://mira.example"),
            (
                "https://host.example/artist/mira?x=1#y",
                "https://host.example/artist/mira",
            ),
        ] {
            assert_eq!(identifier(written).as_deref(), Ok(form), "{written}");
            assert_eq!(identifier(form).as_deref(), Ok(form), "the form of {form} is itself");
        }
        for wrong in [
            "",
            "Mira Lund",
            "mira",
            "Study: blue",
            "ulan:12",
            "https://",
            "https://localhost/x",
            "@mira",
            "a:b",
        ] {
            assert!(matches!(identifier(wrong), Err(IdentifierError::Unknown(_))), "{wrong}");
        }
        let error = identifier("0000-0002-1825-0098").unwrap_err();
        assert!(
            matches!(error, IdentifierError::Checksum { expected: '7', .. }),
            "{error}"
        );
    }

    #[test]
    fn only_what_is_clearly_theirs_covers_addresses() {
        let own = |written: &str| own_addresses(&identifier(written).unwrap());
        assert_eq!(
            own("@mira@art.example"),
            ["art.example/@mira", "art.example/users/mira"]
        );
        assert_eq!(own("pixiv:12"), ["pixiv.net/users/12"]);
        assert_eq!(own("https://host.example/artist/mira"), ["host.example/artist/mira"]);
        assert_eq!(own("https://host.example/mira"), ["host.example/mira"]);
        for shared in [
            "https://host.example/",
            "https://host.example/users",
            "https://www.flickr.com/photos/",
            "0000-0002-1825-0097",
            "ulan:500115588",
        ] {
            assert!(own(shared).is_empty(), "{shared}");
        }
    }
}
