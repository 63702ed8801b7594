//! Raw response headers, as `curl -i` and `wget -S` keep them.

/// Bytes that are read; servers refuse to send more.
const MOST: usize = 64 << 10;

/// The fields of the last response in the file: redirects come before the answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Headers {
    /// Names in lower case, with their values, in order.
    fields: Vec<(String, String)>,
    /// What does not parse.
    pub problems: Vec<String>,
}

impl Headers {
    /// Reads the lines; a status line begins the next response.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut headers = Headers::default();
        if bytes.len() > MOST {
            headers
                .problems
                .push(format!("the response headers are longer than {MOST} bytes"));
        }
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]);
        let mut odd = 0;
        for line in text.trim_start_matches('\u{feff}').split(['\n', '\r']) {
            if line.starts_with([' ', '\t']) && !line.trim().starts_with("HTTP/") {
                // Either a value that goes on, as old servers write it, or a list that is indented as a whole.
                match (line.trim().split_once(':'), headers.fields.last_mut()) {
                    (None, Some((_, value))) if !line.trim().is_empty() => {
                        value.push(' ');
                        value.push_str(line.trim());
                        continue;
                    }
                    _ => {}
                }
            }
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            if line.starts_with("HTTP/") {
                headers.fields.clear();
                continue;
            }
            match line.split_once(':') {
                Some((name, value)) if !name.is_empty() && !name.contains(char::is_whitespace) => headers
                    .fields
                    .push((name.to_ascii_lowercase(), value.trim().to_string())),
                _ => odd += 1,
            }
        }
        if odd > 0 {
            headers
                .problems
                .push(format!("{odd} lines of the response headers are not `name: value`"));
        }
        headers
    }

    /// The values of all fields with this name in lower case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    /// The fields with this name as one list, as HTTP joins them; none when there is no such field.
    pub fn joined(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self.all(name).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_response_counts() {
        let text = b"HTTP/1.1 301 Moved\r\ntdm-reservation: 0\r\n\r\nHTTP/2 200\r\nTDM-Reservation:1\r\nX-Robots-Tag: noai\r\nx-robots-tag: a,\r\n  b\r\n\r\n";
        let headers = Headers::parse(text);
        assert_eq!(headers.joined("tdm-reservation").as_deref(), Some("1"));
        assert_eq!(headers.joined("x-robots-tag").as_deref(), Some("noai, a, b"));
        assert!(headers.problems.is_empty() && headers.joined("content-usage").is_none());
        let wget = Headers::parse(b"  HTTP/1.1 200 OK\n  Content-Usage: train-ai=n\n");
        assert_eq!(wget.joined("content-usage").as_deref(), Some("train-ai=n"));
        assert_eq!(Headers::parse(b"tdm-reservation 1\n").problems.len(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1000)) {
            Headers::parse(&bytes).joined("x-robots-tag");
        }
    }
}
