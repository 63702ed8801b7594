//! Copyright notices → who holds the copyright.

/// The tag in parts: spelt out it would be taken for this file's own.
pub(super) const COPYRIGHT_TAG: &str = concat!("SPDX-", "FileCopyrightText:");

/// `© 2016, 2018-2019 A. Name <a@example.org>` → `A. Name`. None when the notice names nobody.
pub(super) fn holder(notice: &str) -> Option<String> {
    let text = notice.split(['<', '\0']).next().unwrap_or_default();
    let text = text.replace(COPYRIGHT_TAG, " ");
    let text = text.replace('©', " © ");
    let mut words = text.split_whitespace().peekable();
    let mut begun = false;
    while let Some(word) = words.peek() {
        let plain = word.trim_end_matches([',', ':', ';', '.']).to_lowercase();
        let mark = matches!(
            plain.as_str(),
            "" | "©" | "(c)" | "copyright" | "-" | "–" | "—" | "present"
        );
        if !(mark || years(&plain) || begun && plain == "by") {
            break;
        }
        begun = true;
        words.next();
    }
    let words: Vec<&str> = words.filter(|word| !word.contains('@')).collect();
    let name = words.join(" ");
    let end = name
        .to_ascii_lowercase()
        .find("all rights reserved")
        .unwrap_or(name.len());
    let name = name[..end].trim_matches([' ', ',', '.', ';']);
    // Initials end with a dot.
    let name = if end == words.join(" ").len() {
        words.join(" ")
    } else {
        name.to_string()
    };
    let name = name.trim_matches([' ', ',', ';']);
    let nobody = ["none", "noassertion", "n/a", "unknown", "*no copyright*"];
    (!name.is_empty() && !nobody.contains(&name.to_lowercase().as_str())).then(|| name.to_string())
}

/// `2019`, `2018-2019`, `1999–2003`, `2019-present`.
fn years(word: &str) -> bool {
    let year = |text: &str| text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
    let mut parts = word.split(['-', '–', ',', '/']).filter(|part| !part.is_empty());
    parts.next().is_some_and(year)
        && parts.all(|part| year(part) || part == "present" || part == "now" || part.len() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_gives_the_holder() {
        let cases = [
            ("2016, 2018-2019 Jane Doe <jane@example.com>", Some("Jane Doe")),
            ("© 2019-2021 Ann Other <ann@example.org>", Some("Ann Other")),
            ("Copyright (C) 2019 by J. R. Doe", Some("J. R. Doe")),
            ("©2019 Joe Anybody", Some("Joe Anybody")),
            (
                "Copyright © 2019, Example Organisation. All rights reserved.",
                Some("Example Organisation"),
            ),
            ("2019 - present Jane", Some("Jane")),
            ("2K Games", Some("2K Games")),
            ("Jane jane@example.org", Some("Jane")),
            ("Doe, Jane & Co.", Some("Doe, Jane & Co.")),
            ("2019", None),
            ("NONE", None),
            ("", None),
        ];
        for (notice, expected) in cases {
            assert_eq!(holder(notice).as_deref(), expected, "{notice}");
        }
    }
}
