//! The pictures that a person may have to look at. These functions only read.

use rusqlite::params;

use super::{Known, Reader, Result};
use crate::digest::Sha256Digest;

/// Images read at once.
const PAGE: usize = 256;

impl Reader<'_> {
    /// Every image that may be in doubt, with what is known about it, in the order of the digests: those of which
    /// something did not parse, and, when anybody refused anything, those that look like another one. What is in doubt
    /// of them `consent::doubts` says.
    pub fn in_doubt(&self) -> impl Iterator<Item = Result<Known>> {
        let mut last: Option<Sha256Digest> = None;
        let mut page = Vec::new().into_iter();
        std::iter::from_fn(move || {
            loop {
                match page.next().map(|digest| self.known(&digest)) {
                    Some(Ok(Some(known))) => return Some(Ok(known)),
                    Some(Ok(None)) => continue,
                    Some(Err(error)) => return Some(Err(error)),
                    None => {}
                }
                match self.in_doubt_after(last.as_ref()) {
                    Ok(digests) => {
                        last = Some(*digests.last()?);
                        page = digests.into_iter();
                    }
                    Err(error) => return Some(Err(error)),
                }
            }
        })
    }

    fn in_doubt_after(&self, last: Option<&Sha256Digest>) -> Result<Vec<Sha256Digest>> {
        let sql = format!(
            "SELECT sha256 FROM images WHERE sha256 > ?1 AND (
                EXISTS (SELECT 1 FROM locations WHERE image_id = images.id AND needs_review <> '[]')
                OR ?2 AND (EXISTS (SELECT 1 FROM near WHERE a = images.id)
                           OR EXISTS (SELECT 1 FROM near WHERE b = images.id))
             ) ORDER BY sha256 LIMIT {PAGE}"
        );
        let after = last.map_or(&[] as &[u8], |digest| digest.as_bytes());
        let mut query = self.connection.prepare_cached(&sql)?;
        let digests = query.query_map(params![after, self.refused], |row| row.get(0))?;
        Ok(digests.collect::<rusqlite::Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::Target;
    use crate::registry::Registry;
    use crate::registry::tests::{digest, image, opt_out, time};

    #[test]
    fn only_images_that_may_be_in_doubt_are_read() {
        let mut registry = Registry::in_memory().unwrap();
        let unclear = |number: usize| number.is_multiple_of(2);
        let mut images = Vec::new();
        // More than two pages.
        for number in 0..3 * PAGE {
            let mut one = image(&number.to_string(), &format!("/{number}.png"), "Mira");
            if unclear(number) {
                one.location.needs_review = vec!["unclear".into()];
            }
            images.push(one);
        }
        registry.add_images(&images, time(0)).unwrap();
        let sql = "INSERT INTO near (a, b, distance) SELECT min(x.id, y.id), max(x.id, y.id), 9
                   FROM images AS x, images AS y WHERE x.sha256 = ?1 AND y.sha256 = ?2";
        let pair = params![digest("1"), digest("3")];
        assert_eq!(registry.connection.execute(sql, pair).unwrap(), 1);
        let found = |registry: &Registry| {
            let reader = registry.reader().unwrap();
            let found = reader.in_doubt().map(|known| known.unwrap().image.sha256);
            found.collect::<Vec<_>>()
        };
        let expected = |more: &[&str]| {
            let even = (0..3 * PAGE).filter(|number| unclear(*number));
            let mut expected: Vec<_> = even.map(|number| digest(&number.to_string())).collect();
            expected.extend(more.iter().map(|name| digest(name)));
            expected.sort_unstable();
            expected
        };
        // Nobody refused anything: likeness means nothing.
        assert_eq!(found(&registry), expected(&[]));
        let refusal = opt_out(Target::Image(digest("1")));
        registry.append_event(&refusal, time(1)).unwrap();
        assert_eq!(found(&registry), expected(&["1", "3"]));
    }
}
